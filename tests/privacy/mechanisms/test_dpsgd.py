"""Noisy gradients: what a unit can do to the sum, what is sampled, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Categorical, Column, Identifier, Schema, Unit
from synthkit.errors import BudgetExceeded, MethodError
from synthkit.privacy import events
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms import dpsgd
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session

SIZES = (5, 3, 4)
CLIPPINGS: list[Literal["hooks", "ghost"]] = ["hooks", "ghost"]


class Quiet(NoiseSource):
    """Adds nothing, so that a test sees the clipped sum itself."""

    def gaussian(self, values: np.ndarray, scale: float, *, grid: float | None = None) -> np.ndarray:
        return np.asarray(values, dtype=np.float64)


class Scores(nn.Module):
    """A small network of codes; ``middle`` is what a test puts into it."""

    def __init__(self, middle: nn.Module | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(len(SIZES), 6), middle or nn.Tanh(), nn.Linear(6, 1))
        with torch.no_grad():
            for k, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape) * (1 + k / 7))

    def forward(self, codes: Tensor) -> Tensor:
        scores: Tensor = self.body(codes.to(self.body[0].weight.dtype)).squeeze(1)
        return scores


def score(network: nn.Module, codes: Tensor) -> Tensor:
    """The score is the loss."""
    return network(codes)  # type: ignore[no-any-return]


def rows(codes: np.ndarray, *, public: int = 100, units: np.ndarray | None = None, most: int = 1) -> Private[Table]:
    columns: dict[str, Column] = {f"c{j}": Categorical(categories=tuple(range(size))) for j, size in enumerate(SIZES)}
    unit = Unit()
    if units is not None:
        columns, unit = {"person": Identifier(), **columns}, Unit("person", most)
    schema = Schema("rows", columns, public, unit=unit, reviewed=True)
    table = Table({f"c{j}": codes[:, j].astype(np.int32) for j in range(len(SIZES))}, units, len(codes))
    return Private(table, dataset="rows", schema=schema, bounded=True)


def some(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, count) for size in SIZES], axis=1)


def gradients(
    data: Private[Table],
    network: nn.Module | None = None,
    loss: Callable[[Any, Tensor], Tensor] = score,
    *,
    norm: float = 1.0,
    noise: NoiseSource | None = None,
    rate: float = 1.0,
    multiplier: float = 50.0,
    steps: int = 50,
    made: type[NoisyGradients] = NoisyGradients,
    **options: Any,
) -> NoisyGradients:
    budget = Budget(1e3, 1e-6, unit=data.schema.unit)
    session = Session(
        Plan(budget, events.repeat(step_event(multiplier, rate), steps)), noise=noise or Quiet(test_seed=1)
    )
    return made(
        data,
        session,
        network or Scores(),
        loss,
        clipping_norm=norm,
        noise_multiplier=multiplier,
        sample_rate=rate,
        **options,
    )


def flat(parts: list[Tensor]) -> np.ndarray:
    return torch.cat([part.reshape(-1) for part in parts]).double().numpy()


def exact_sum(data: Private[Table], network: nn.Module | None = None, **options: Any) -> np.ndarray:
    """The clipped sum, undivided, in float64."""
    found = gradients(data, (network or Scores()).double(), **options)
    return flat(found.step()) * found._divisor


def alone(codes: np.ndarray, network: nn.Module | None = None, loss: Any = score) -> np.ndarray:
    """Every row's gradient by itself: (n, P)."""
    network = (network or Scores()).double()
    found = []
    for row in torch.from_numpy(codes).split(1):
        parts = torch.autograd.grad(loss(network, row).sum(), list(network.parameters()))
        found.append(torch.cat([part.reshape(-1) for part in parts]).numpy())
    return np.stack(found) if found else np.zeros((0, sum(p.numel() for p in network.parameters())))


# CLIP


@pytest.mark.parametrize("clipping", CLIPPINGS)
@given(count=st.integers(0, 40), norm=st.floats(0.05, 20), physical=st.integers(1, 50), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_sum_is_of_clipped_gradients_of_single_rows(
    clipping: str, count: int, norm: float, physical: int, seed: int
) -> None:
    codes = some(count, seed)
    single = alone(codes)
    factors = np.minimum(1, norm * (1 - 1e-6) / np.maximum(np.linalg.norm(single, axis=1), 1e-12))
    found = exact_sum(rows(codes), norm=norm, clipping=clipping, physical_batch=physical)
    np.testing.assert_allclose(found, (factors[:, None] * single).sum(axis=0), rtol=1e-9, atol=1e-9)


def check_neighbours(sum_of: Callable[[np.ndarray], np.ndarray], norm: float) -> None:
    """Nobody moves the sum by more than the norm, and somebody moves it by nearly that."""
    codes = some(24)
    whole = sum_of(codes)
    moved = [np.linalg.norm(whole - sum_of(np.delete(codes, i, axis=0))) for i in range(len(codes))]
    assert max(moved) <= norm
    assert max(moved) > 0.9 * norm


class Unclipped(NoisyGradients):
    """Mutant: forgets to clip."""

    def _clipped_sum(self, rows: Tensor, owners: Tensor) -> np.ndarray:
        return self._row_gradients(rows).sum(dim=0).numpy()


class ByLayer(NoisyGradients):
    """Mutant: clips every layer to the norm, so that together they are longer."""

    def _clipped_sum(self, rows: Tensor, owners: Tensor) -> np.ndarray:
        whole, parts, start = self._row_gradients(rows), [], 0
        for parameter in self._parameters:
            part = whole[:, start : start + parameter.numel()]
            start += parameter.numel()
            parts.append(part * (self._norm / part.norm(dim=1, keepdim=True)).clamp(max=1.0))
        return torch.cat(parts, dim=1).sum(dim=0).numpy()


class Centred(NoisyGradients):
    """Mutant: takes the batch's mean off before clipping (what batch normalization does, in effect)."""

    def _row_gradients(self, rows: Tensor) -> Tensor:
        whole = super()._row_gradients(rows)
        return whole - 3 * whole.mean(dim=0)

    def _prove_rows_apart(self, rows: Tensor) -> None:
        return


@pytest.mark.parametrize("clipping", CLIPPINGS)
def test_one_row_moves_the_sum_by_at_most_the_norm(clipping: str) -> None:
    check_neighbours(lambda codes: exact_sum(rows(codes), norm=0.7, clipping=clipping), 0.7)


@pytest.mark.parametrize("mutant", [Unclipped, ByLayer, Centred])
def test_a_mutant_moves_it_further(mutant: type[NoisyGradients]) -> None:
    with pytest.raises(AssertionError):
        check_neighbours(lambda codes: exact_sum(rows(codes), norm=0.7, made=mutant), 0.7)


def test_float64_keeps_rounding_below_the_slack() -> None:
    """The reason for the twin: what a row does to the rounding of the others, in both precisions."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4000, 200)) + 1.0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    excess = {}
    for kind in (np.float32, np.float64):
        typed, ones = vectors.astype(kind), np.ones(len(vectors), dtype=kind)
        gap = np.float64(ones @ typed) - np.float64(ones[1:] @ typed[1:])
        excess[kind] = np.linalg.norm(gap - vectors[0])
    assert excess[np.float64] < 1e-9 < 1e-6 < excess[np.float32]


@pytest.mark.parametrize("clipping", CLIPPINGS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200, 1e308])
def test_a_row_with_an_unusable_gradient_counts_for_nothing(clipping: str, bad: float) -> None:
    def loss(network: nn.Module, codes: Tensor) -> Tensor:
        scores = network(codes)
        return scores * torch.where(codes[:, 0] == 4, torch.full_like(scores, bad), torch.ones_like(scores))

    codes = some(30)
    codes[:, 0] %= 4
    clean = exact_sum(rows(codes), loss=loss, clipping=clipping)
    codes = np.concatenate([codes, [[4, 0, 0], [4, 2, 3]]])
    dirty = exact_sum(rows(codes), loss=loss, clipping=clipping)
    assert np.isfinite(dirty).all()
    gap = np.linalg.norm(dirty - clean)
    assert gap <= 2.0  # two rows, norm 1
    if not math.isfinite(bad) or bad == 1e308:
        np.testing.assert_allclose(dirty, clean, rtol=1e-9)


def test_all_rows_of_a_person_are_clipped_together() -> None:
    codes, people = some(12), np.array([1] * 9 + [2, 3, 4], dtype=np.uint64)

    def total(kept: np.ndarray) -> np.ndarray:
        return exact_sum(rows(codes[kept], units=people[kept], most=9), norm=0.5, physical_batch=4)

    whole = total(np.ones(12, dtype=bool))
    for person in (1, 2, 3, 4):
        assert np.linalg.norm(whole - total(people != person)) <= 0.5
    # Mutant: a row at a time, as if each were a person.
    apart = exact_sum(rows(codes), norm=0.5) - exact_sum(rows(codes[people != 1]), norm=0.5)
    assert np.linalg.norm(apart) > 0.5


# SAMPLE


class Counting(NoisyGradients):
    """Notes how many rows joined."""

    seen: list[int]

    def _batches(self, joined: np.ndarray) -> Any:
        self.seen = [*getattr(self, "seen", []), len(joined)]
        return super()._batches(joined)


class Shuffled(Counting):
    """Mutant: batches of fixed size, accounted as if they were Poisson samples."""

    def _batches(self, joined: np.ndarray) -> Any:
        return super()._batches(np.arange(round(self._rate * self._units)))


def check_poisson(made: type[Counting]) -> None:
    """Batch sizes have the binomial's mean and variance; false alarm below 1e-6."""
    count, rate, steps = 400, 0.05, 300
    found = gradients(rows(some(count)), rate=rate, steps=steps, made=made)
    for _ in range(steps):
        found.step()
    sizes = np.array(found.seen)  # type: ignore[attr-defined]
    variance = count * rate * (1 - rate)
    assert abs(sizes.mean() - count * rate) < 5.0 * math.sqrt(variance / steps)
    spread = (steps - 1) * sizes.var(ddof=1) / variance
    assert 5e-7 < stats.chi2.cdf(spread, steps - 1) < 1 - 5e-7


def test_sampling_is_poisson() -> None:
    check_poisson(Counting)


def test_shuffling_is_found() -> None:
    with pytest.raises(AssertionError):
        check_poisson(Shuffled)


def test_an_empty_sample_and_an_empty_table_release_noise() -> None:
    for data in (rows(some(50)), rows(some(0))):
        found = gradients(data, rate=1e-9, noise=NoiseSource(test_seed=3))
        parts = flat(found.step())
        assert np.isfinite(parts).all() and parts.std() > 0


# NOISE, DIVIDE


def check_noise(found: NoisyGradients, scale: float) -> None:
    """The released steps, times the divisor, are normal with that scale; false alarm below 1e-6."""
    drawn = np.concatenate([flat(found.step()) for _ in range(600)]) * found._divisor
    assert stats.kstest(drawn, "norm", args=(0, scale)).pvalue > 1e-7


def noise_only(made: type[NoisyGradients] = NoisyGradients) -> NoisyGradients:
    network = Scores().double()
    source = NoiseSource(test_seed=11)
    return gradients(rows(some(0)), network, noise=source, norm=2.0, multiplier=3.0, rate=0.5, steps=600, made=made)


class Whisper(NoisyGradients):
    """Mutant: seven tenths of the noise."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._clipped_noise = 0.7

    def step(self) -> list[Tensor]:
        return [part * self._clipped_noise for part in super().step()]


def test_the_noise_has_the_declared_scale() -> None:
    check_noise(noise_only(), 6.0)
    for wrong in (0.7, 1.3):
        with pytest.raises(AssertionError):
            check_noise(noise_only(), 6.0 * wrong)
    with pytest.raises(AssertionError):
        check_noise(noise_only(Whisper), 6.0)


def check_public_divisor(made: type[NoisyGradients]) -> None:
    """The divisor is the same on neighbouring tables, and on an empty one."""
    divisors = {gradients(rows(some(n)), rate=0.25, made=made)._divisor for n in (0, 1, 59, 60, 61, 960, 961)}
    assert divisors == {25.0}


class CountedDivisor(NoisyGradients):
    """Mutant: divides by a share of the real number of rows, as Opacus does."""

    def __init__(self, data: Private[Table], *args: Any, **options: Any) -> None:
        super().__init__(data, *args, **options)
        self._divisor = max(1, round(options["sample_rate"] * dpsgd.reveal(data).rows))


def test_the_divisor_is_public() -> None:
    check_public_divisor(NoisyGradients)
    with pytest.raises(AssertionError):
        check_public_divisor(CountedDivisor)


# The order of things


def test_a_step_is_charged_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(some(20))
    found = gradients(data, steps=2)
    order: list[str] = []
    charge, reveal = found._session.charge, dpsgd.reveal
    monkeypatch.setattr(found._session, "charge", lambda c: (order.append("charge"), charge(c)))
    monkeypatch.setattr(dpsgd, "reveal", lambda box: (order.append("read"), reveal(box))[1])
    found.step()
    assert order == ["charge", "read"]
    found.step()
    with pytest.raises(BudgetExceeded):
        found.step()
    assert len(found._session.trace) == 2
    assert found._session.trace[0].norm_bound == 1.0


def test_nothing_is_read_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("read before it was charged")

    monkeypatch.setattr(dpsgd, "reveal", refuse)
    for clipping in CLIPPINGS:
        gradients(rows(some(20)), clipping=clipping)


# The borrowed network


@pytest.mark.parametrize("clipping", CLIPPINGS)
def test_the_network_is_left_as_it_was(clipping: str) -> None:
    network = Scores().eval()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = gradients(rows(some(20)), network, clipping=clipping)
    parts = found.step()
    assert all(part.dtype == torch.float32 for part in parts)
    assert not network.training and not network._forward_hooks and not network.body[0]._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is not None and (parameter.grad == 1).all() for parameter in network.parameters())
    # A loss on synthetic rows between steps keeps its gradient (under Opacus' hooks it would be lost).
    public = torch.from_numpy(some(7, 5))
    fresh = torch.autograd.grad(score(network, public).mean(), list(network.parameters()))
    expected = alone(some(7, 5)).mean(axis=0)
    np.testing.assert_allclose(flat(list(fresh)), expected, rtol=1e-4, atol=1e-5)


def test_a_step_follows_the_weights() -> None:
    network, data = Scores().double(), rows(some(20))
    found = gradients(data, network, norm=100.0)
    first = flat(found.step())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5)
    second = flat(found.step()) * found._divisor
    assert not np.allclose(first * found._divisor, second)
    half = Scores()
    with torch.no_grad():
        for parameter in half.parameters():
            parameter.mul_(0.5)
    np.testing.assert_allclose(second, alone(some(20), half).sum(axis=0), rtol=1e-6)


# What is refused


class Centring(nn.Module):
    """Takes the batch's mean off: no parameters, no buffers, and Opacus' validator lets it pass."""

    def forward(self, rows: Tensor) -> Tensor:
        return torch.tanh(rows - rows.mean(dim=0))


class Packing(nn.Module):
    """PacGAN: looks at two rows at once."""

    def forward(self, rows: Tensor) -> Tensor:
        return torch.tanh(rows + rows.roll(1, dims=0))


class Tied(Scores):
    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(6, 1)
        self.again.weight = self.body[2].weight


def penalty(network: nn.Module, codes: Tensor) -> Tensor:
    """A gradient penalty: differentiates twice."""
    point = codes.double().requires_grad_()
    scores = network.body(point).squeeze(1)  # type: ignore[operator, union-attr]
    (slope,) = torch.autograd.grad(scores.sum(), point, create_graph=True)
    return scores + (slope.norm(dim=1) - 1) ** 2


@pytest.mark.parametrize("clipping", CLIPPINGS)
@pytest.mark.parametrize(
    ("network", "loss", "named"),
    [
        (lambda: Scores(nn.BatchNorm1d(6)), score, "per-sample gradients|mixes the rows"),
        (lambda: Scores(nn.BatchNorm1d(6, track_running_stats=False)), score, "per-sample gradients|mixes the rows"),
        (lambda: Scores(Centring()), score, "mixes the rows"),
        (lambda: Scores(Packing()), score, "mixes the rows"),
        (Tied, score, "share a weight"),
        (Scores, penalty, "gradient penalty|mixes the rows"),
    ],
    ids=["batch norm", "batch norm without statistics", "centring", "packing", "tied", "penalty"],
)
def test_what_cannot_be_clipped_by_row_is_refused(
    clipping: str, network: Callable[[], nn.Module], loss: Any, named: str
) -> None:
    with pytest.raises(MethodError, match=named):
        gradients(rows(some(8)), network(), loss, clipping=clipping)


@pytest.mark.parametrize("middle", [nn.LayerNorm(6), nn.GroupNorm(2, 6), nn.SiLU()], ids=["layer", "group", "silu"])
def test_what_looks_at_one_row_is_taken(middle: nn.Module) -> None:
    check_neighbours(lambda codes: exact_sum(rows(codes), Scores(middle), norm=0.2), 0.2)


def test_dropout_needs_hooks() -> None:
    gradients(rows(some(8)), Scores(nn.Dropout(0.5))).step()
    with pytest.raises(MethodError, match="dropout"):
        gradients(rows(some(8)), Scores(nn.Dropout(0.5)), clipping="ghost")


def test_a_loss_that_draws_by_lot_needs_hooks_too() -> None:
    def noisy(network: nn.Module, codes: Tensor) -> Tensor:
        return network(codes) * torch.rand(len(codes))  # type: ignore[no-any-return]

    with pytest.raises(MethodError):
        gradients(rows(some(8)), loss=noisy, clipping="ghost")


@pytest.mark.parametrize("option", [{"rate": 0.0}, {"rate": 1.5}, {"norm": 0.0}, {"multiplier": -1.0}])
def test_settings_are_checked(option: dict[str, float]) -> None:
    session = Session(Plan(Budget(1e3, 1e-6), step_event(1.0, 1.0)), noise=Quiet(test_seed=1))
    given = {"norm": 1.0, "multiplier": 1.0, "rate": 1.0} | option
    with pytest.raises(MethodError, match="sample rate"):
        NoisyGradients(
            rows(some(8)),
            session,
            Scores(),
            score,
            clipping_norm=given["norm"],
            noise_multiplier=given["multiplier"],
            sample_rate=given["rate"],
        )


def test_a_network_without_parameters_is_refused() -> None:
    with pytest.raises(MethodError, match="no trainable parameters"):
        gradients(rows(some(8)), nn.Flatten(), lambda network, codes: network(codes).sum(dim=1))
    with pytest.raises(MethodError, match="units of several rows"):
        gradients(rows(some(8), units=np.arange(8, dtype=np.uint64), most=2), clipping="ghost")
