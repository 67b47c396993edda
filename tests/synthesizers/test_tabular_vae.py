from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.synthesizers.marginals import Measured
from synthkit.synthesizers.networks import seeded
from synthkit.synthesizers.tabular_vae import Autoencoder, TabularVae, _queries
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import frame, schema


class TestTabularVae(MethodContract):
    name = "tabular_vae"
    settings = {"steps": 8, "sample_rate": 0.5, "latent": 3, "dreams": 64, "scalings": 2}  # noqa: RUF012


def network(target: str | None = "ill", latent: int = 3, pairs: int = 2) -> Autoencoder:
    """Untrained, on made-up marginals; its weights are random."""
    public, rng = schema(target=target), np.random.default_rng(0)
    sizes = public.domain
    released = [
        NoisyMarginal(query, rng.integers(5, 60, [sizes[name] for name in query]).astype(float), 1.0)
        for query in _queries(public)
    ]
    made = Autoencoder(
        Measured.of(released, public, None if target is None else list(public.modelled).index(target)),
        latent=latent,
        pairs=pairs,
    )
    made.leave.weight.data.normal_(0.0, 0.5, generator=seeded(1))
    made.renew_noise(seeded(2))
    return made


def rows(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.integers(0, size, count) for size in schema().domain.values()], axis=1))


@pytest.mark.parametrize(
    "setting",
    [{"warm_start": 1.0}, {"placement": 0.5}, {"steps": 1.5}, {"sample_rate": 0}, {"latent": 65}, {"pairs": True}],
)
def test_settings_are_checked(setting: dict[str, float]) -> None:
    with pytest.raises(MethodError, match=next(iter(setting))):
        TabularVae(**setting)  # type: ignore[arg-type]


def test_the_decoder_starts_at_the_measured_product() -> None:
    model, _ = fitted(TabularVae(steps=0))
    measured = Measured.of(list(model.marginals), schema(), 6)
    made = Autoencoder(measured, latent=3, pairs=1)
    shares = made.one_hot.shares(made.decode(torch.randn(2, 1, 3), torch.tensor([0, 1]))[:, 0])
    torch.testing.assert_close(shares, torch.tensor(measured.conditionals, dtype=torch.float32), atol=1e-5, rtol=1e-3)


def test_a_rows_noise_is_its_own() -> None:
    made, some = network(), rows(40)
    noise = made._row_noise(some)
    torch.testing.assert_close(made._row_noise(some[17:18])[0], noise[17], rtol=0, atol=0)
    torch.testing.assert_close(made._row_noise(some.flip(0)).flip(0), noise, rtol=0, atol=0)
    made.renew_noise(seeded(3))
    assert not torch.isclose(made._row_noise(some), noise).any()


def test_the_noise_of_different_rows_is_standard_normal_and_independent() -> None:
    made = network(latent=64, pairs=64)
    noise = made._row_noise(torch.unique(rows(60), dim=0))  # (about 60, 4096)
    bound = 6 / math.sqrt(noise.shape[1])
    correlations = noise @ noise.T / noise.shape[1] - torch.eye(len(noise))
    assert correlations.fill_diagonal_(0).abs().max() < bound
    assert noise.mean(dim=1).abs().max() < bound
    assert (noise.std(dim=1) - 1).abs().max() < bound


def test_the_loss_is_the_expected_reconstruction_error() -> None:
    """One row, its latents drawn anew many times, against the loss under many keys."""
    made, row = network(), rows(1)
    made.dream(2000, seeded(4))
    losses = []
    for k in range(400):
        made.renew_noise(seeded(k))
        losses.append(float(made(row).detach()))
    classes = made.classes(row).expand(20_000)
    means = torch.from_numpy(made.means(row.numpy())).float()
    latents = means + made.deviation * torch.randn(20_000, 3, generator=seeded(5))
    shares = made.one_hot.shares(made.decode(latents[:, None], classes)[:, 0])
    expected = -(shares.detach().log() * made.one_hot.encode(row)).sum(dim=1).mean()
    assert np.mean(losses) == pytest.approx(float(expected), abs=6 * np.std(losses) / 20 + 0.02)


def test_means_are_the_encoders_and_do_not_depend_on_other_rows() -> None:
    made, some = network(), rows(50)
    made.dream(500, seeded(4))
    means = made.means(some.numpy())
    centred = made.one_hot.encode(some) - made.base[made.classes(some)]
    np.testing.assert_allclose(means, (centred @ made.encoder).numpy(), atol=1e-5)
    np.testing.assert_array_equal(made.means(some[31:32].numpy())[0], means[31])


@pytest.mark.parametrize("target", ["ill", None])
def test_dreams_are_encoded_as_well_as_a_linear_map_can(target: str | None) -> None:
    """Against least squares on drawn rows: the moments that it uses are exact for them."""
    made, draws = network(target), seeded(6)
    made.dream(40_000, draws)
    classes, latents = made.draw_classes(40_000, draws), torch.randn(40_000, 3, generator=draws)
    codes = made.one_hot.draw(made.decode(latents[:, None], classes)[:, 0].detach(), draws)
    if made.condition is not None:
        codes[:, made.condition] = classes
    gaps = latents - torch.from_numpy(made.means(codes.numpy())).float()
    torch.testing.assert_close(gaps.std(dim=0), made.deviation, atol=0.02, rtol=0)
    centred = made.one_hot.encode(codes) - made.base[classes]
    assert (centred.T @ gaps / 40_000).abs().max() < 0.02  # nothing linear is left


def test_the_anchor_restores_the_measured_marginals() -> None:
    made, draws = network(), seeded(7)
    for step in range(20):
        made.anchor(8000, (1 + step) ** -0.5, draws)
    classes = torch.arange(2).repeat_interleave(20_000)
    shares = made.one_hot.shares(made.decode(made.draw_latents(40_000, draws)[:, None], classes)[:, 0]).detach()
    for k in range(2):
        torch.testing.assert_close(shares[classes == k].mean(dim=0), made.base[k], atol=0.01, rtol=0)


def test_latents_are_drawn_where_real_rows_lie_unless_noise_hides_that() -> None:
    made = network()
    made.deviation.fill_(0.5)
    moment = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, -0.3]])
    made.place(moment, 0.0)
    expected = torch.tensor([[2.25, 0.5, 0.0], [0.5, 1.25, 0.0], [0.0, 0.0, 0.25]])
    torch.testing.assert_close(made.spread @ made.spread.T, expected)
    made.place(100 * moment, 1e4)
    torch.testing.assert_close(made.spread @ made.spread.T, torch.eye(3), atol=1e-3, rtol=0)


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    fitted(TabularVae(steps=8, sample_rate=0.5, latent=3, dreams=64, scalings=1))[0].sample(10)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.slow
def test_the_decoder_learns_dependence_that_the_warm_start_lacks() -> None:
    """Two columns that are equal, and independent of the target."""
    rng = np.random.default_rng(0)
    data = frame(4000)
    data["sex"] = rng.choice(["f", "m"], 4000)
    data["smoker"] = data["sex"].eq("m")
    gaps = []
    for steps in (0, 100):
        drawn = fitted(TabularVae(steps=steps), schema(rows=4000), data, Budget(3.0, 1e-6))[0].sample(4000, seed=0)
        gaps.append((drawn.frame["sex"].eq("m") != drawn.frame["smoker"].fillna(False)).mean())
    assert gaps[0] > 0.4
    assert gaps[1] < 0.25
