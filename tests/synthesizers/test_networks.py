"""The small modules: exact one-hot codes, draws with the right odds, rows apart, no global state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from synthkit.synthesizers.networks import OneHot, Residual, initialize, seeded

FALSE_ALARM = 1e-7

domains = st.lists(st.integers(1, 6), min_size=1, max_size=6).map(
    lambda sizes: {f"c{j}": size for j, size in enumerate(sizes)}
)


@pytest.fixture(autouse=True)
def _global_generator_untouched():  # type: ignore[no-untyped-def]
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


def codes(domain: dict[str, int], rows: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.integers(0, size, rows) for size in domain.values()], axis=1))


# --- OneHot ------------------------------------------------------------------------------------------


@given(domain=domains, rows=st.integers(0, 12), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_one_hot_there_and_back(domain: dict[str, int], rows: int, seed: int) -> None:
    one_hot, drawn = OneHot(domain), codes(domain, rows, seed)
    encoded = one_hot.encode(drawn)
    assert encoded.shape == (rows, sum(domain.values())) and encoded.dtype == torch.float32
    assert set(encoded.unique().tolist()) <= {0.0, 1.0}
    parts = one_hot.blocks(encoded)
    assert [part.shape for part in parts] == [(rows, size) for size in domain.values()]
    for j, part in enumerate(parts):
        assert torch.equal(part.sum(dim=1), torch.ones(rows))
        assert torch.equal(part.argmax(dim=1), drawn[:, j])
    # As logits, a hundred against nothing: the draw gives the codes back.
    assert torch.equal(one_hot.draw(100 * encoded, seeded(seed)), drawn)
    assert one_hot.starts == tuple(np.cumsum([0, *domain.values()])[:-1].tolist())
    assert one_hot.width == sum(domain.values()) and one_hot.names == tuple(domain)


def test_draws_follow_the_softmax_of_each_column() -> None:
    """100,000 rows of three columns: chi-square at 1e-7, and odds of another temperature are rejected."""
    logits = torch.tensor([0.0, 1.0, -2.0, 3.0, 2.5, 0.0, -0.5, 0.3, 1.2])
    one_hot, rows = OneHot({"a": 3, "b": 2, "c": 4}), 100_000
    drawn = one_hot.draw(logits.expand(rows, -1), seeded(7)).numpy()
    for j, block in enumerate(one_hot.blocks(logits[None, :])):
        counts = np.bincount(drawn[:, j], minlength=block.shape[1])

        def pvalue(temperature: float, block: Tensor = block, counts: np.ndarray = counts) -> float:
            chances = torch.softmax(block[0].double() / temperature, dim=0).numpy()
            return float(stats.chisquare(counts, chances * rows).pvalue)

        assert pvalue(1.0) > FALSE_ALARM
        assert pvalue(0.7) < FALSE_ALARM and pvalue(1.3) < FALSE_ALARM


def test_columns_and_rows_are_drawn_independently() -> None:
    one_hot, rows = OneHot({"a": 2, "b": 2}), 40_000
    drawn = one_hot.draw(torch.zeros(rows, 4), seeded(8)).numpy()
    for one, two in ((drawn[:, 0], drawn[:, 1]), (drawn[:-1, 0], drawn[1:, 0])):
        table = np.bincount(2 * one + two, minlength=4)
        assert stats.chisquare(table).pvalue > FALSE_ALARM


def test_impossible_values_are_never_drawn() -> None:
    logits = torch.tensor([[0.0, -1e9, 0.0, 0.0, -1e9]]).expand(20_000, -1)
    drawn = OneHot({"a": 3, "b": 2}).draw(logits, seeded(9))
    assert set(drawn[:, 0].tolist()) == {0, 2} and set(drawn[:, 1].tolist()) == {0}


def test_draws_repeat_with_their_seed_alone() -> None:
    one_hot, logits = OneHot({"a": 5, "b": 3}), torch.zeros(200, 8)
    assert torch.equal(one_hot.draw(logits, seeded(1)), one_hot.draw(logits, seeded(1)))
    assert not torch.equal(one_hot.draw(logits, seeded(1)), one_hot.draw(logits, seeded(2)))


# --- Residual ----------------------------------------------------------------------------------------


def check_rows_apart(network: nn.Module, width: int) -> None:
    """Changing, adding or removing rows leaves what the others give; and no gradient crosses rows."""
    rows = torch.randn(9, width, generator=seeded(3))
    given_rows = network(rows)
    changed = rows.clone()
    changed[4] = 1e6
    kept = torch.arange(9) != 4
    torch.testing.assert_close(network(changed)[kept], given_rows[kept], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network(rows[kept]), given_rows[kept], rtol=1e-5, atol=1e-5)
    jacobian = torch.autograd.functional.jacobian(network, rows)  # (9, width, 9, width)
    for i in range(9):
        for j in range(9):
            assert i == j or not jacobian[i, :, j].any()


def test_residual_mixes_no_rows() -> None:
    for width in (1, 8):
        block = _initialized(width)
        check_rows_apart(block, width)
        assert block(torch.zeros(0, width)).shape == (0, width)


def _initialized(width: int) -> Residual:
    with torch.random.fork_rng():  # torch's own initialization, which is overwritten
        block = Residual(width)
    initialize(block, seeded(5))
    return block


def test_a_layer_that_mixes_rows_is_caught() -> None:
    class Centred(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return rows - rows.mean(dim=0)

    for broken in (Centred(), nn.BatchNorm1d(8, track_running_stats=False)):
        with pytest.raises(AssertionError):
            check_rows_apart(broken, 8)


def test_residual_adds_to_its_input() -> None:
    block = _initialized(6)
    rows = torch.randn(4, 6, generator=seeded(1))
    torch.testing.assert_close(block(rows), rows + block.body(rows))
    for parameter in block.body[-1].parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(rows), rows)


# --- initialize and seeded ---------------------------------------------------------------------------


def test_weights_come_from_the_draws_alone_and_are_uniform() -> None:
    with torch.random.fork_rng():
        one, two, three = (nn.Sequential(nn.Linear(400, 100), nn.Linear(100, 3)) for _ in range(3))
    for network, seed in ((one, 1), (two, 1), (three, 2)):
        initialize(network, seeded(seed))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one[0].weight, three[0].weight)
    for layer in (one[0], one[1]):
        bound = layer.in_features**-0.5
        assert stats.kstest(layer.weight.detach().double().ravel() / bound, "uniform", (-1, 2)).pvalue > FALSE_ALARM
        assert layer.bias.abs().max() <= bound


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_any_seed_is_taken(seed: int) -> None:
    generator = seeded(seed)
    assert generator.initial_seed() == seed % 2**63
    assert generator is not torch.default_generator
