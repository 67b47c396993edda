"""Images by class moments: runs what was priced, draws what was asked for, saves, and tells when it is not private."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded, InputError, JobError, MethodError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.mechanisms.image_moments import CLASS, COUNT, MEAN, ClassMoments
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.class_gaussians import class_gaussians
from synthkit.synthesizers.features import Codes, Energies, bases, working_shape
from synthkit.synthesizers.image_drawer import Drawer, Style, _sharper
from synthkit.synthesizers.image_labels import row_of
from synthkit.synthesizers.image_matching import cell_of
from synthkit.synthesizers.image_model import ImageModel, load_image_model
from synthkit.synthesizers.image_moments import ImageMoments
from synthkit.synthesizers.networks import seeded
from synthkit.synthesizers.procedural import procedural
from synthkit.synthesizers.regions import PASSES
from tests.images import images
from tests.synthesizers.contract import check_encrypted

BUDGET = Budget(5.0, 1e-4)
QUICK = ImageMoments(codes=12, energies=16, public=500, steps=3, label_steps=3, matched=20, style_draws=20)


def schema(**changes: object) -> ImageSchema:
    """Twelve by eight pixels, grey, three classes of bars."""
    settings = {"name": "bars", "height": 12, "width": 8, "channels": 1, "classes": ("left", "right", 7), "rows": 90}
    return ImageSchema(**{**settings, **changes})  # type: ignore[arg-type]


def locked(public: ImageSchema, rows: int = 90, seed: int = 0) -> Private[Images, ImageSchema]:
    """Bars at the left, at the right, across."""
    return Private(images(public, rows, seed), dataset="bars", schema=public, bounded=True)


def fitted(
    recipe: ImageMoments = QUICK,
    public: ImageSchema | None = None,
    budget: Budget = BUDGET,
    rows: int = 90,
    seed: int | None = None,
) -> tuple[ImageModel, Session]:
    public = public or schema()
    noise = None if seed is None else NoiseSource(test_seed=seed)
    session = Session(recipe.plan(public, budget), noise=noise)
    return recipe.fit(locked(public, rows), session), session


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return fitted()[0]


def test_settings_are_checked() -> None:
    for wrong in ({"codes": 1}, {"energies": 0}, {"public": 10}, {"steps": -1}):
        with pytest.raises(MethodError, match=next(iter(wrong))):
            ImageMoments(**wrong)


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("unit", [Unit(), Unit("patient", 2)], ids=["image", "patient"])
def test_a_fit_runs_what_was_priced(adjacency: Adjacency, unit: Unit) -> None:
    _, session = fitted(public=schema(unit=unit), budget=Budget(5.0, 1e-4, adjacency, unit))
    assert session.spent == pytest.approx(session.plan.epsilon)
    assert 0.99 * 5 < session.spent <= 5
    assert [charge.what for charge in session.trace] == [
        "12 codes",
        "16 energies",
        *(PASSES * ["96 patterns of 1 regions a class"]),
        "correlations of 96 patterns",
        *(3 * ["gradient of the labels"]),
        "what the labels' classifier sees",
        "what classifiers of 6 styles get right",
        "what classifiers of 2 styles get right",
    ]


def test_a_fit_that_is_not_in_the_plan_is_refused() -> None:
    planned = QUICK.plan(schema(), BUDGET)
    cheaper = QUICK.plan(schema(), Budget(1.0, 1e-4))
    session = Session(Plan(planned.budget, cheaper.event, planned.noise))
    with pytest.raises(BudgetExceeded):
        QUICK.fit(locked(schema()), session)
    assert session.trace == ()


def test_forecasts_grow_with_the_work() -> None:
    small, large = QUICK.plan(schema(), BUDGET), ImageMoments().plan(schema(rows=9_000), BUDGET)
    assert 0 < small.seconds < large.seconds  # type: ignore[operator]
    assert 0 < small.megabytes < large.megabytes < 6_000  # type: ignore[operator]


def test_images_have_the_declared_shape_and_classes(model: ImageModel) -> None:
    drawn = model.sample(40, seed=1)
    assert drawn.pixels.shape == (40, 1, 12, 8) and drawn.pixels.dtype == np.uint8
    assert drawn.labels.shape == (40,) and drawn.labels.dtype == np.int32
    assert set(drawn.labels) <= {0, 1, 2}
    assert model.sample(0).pixels.shape == (0, 1, 12, 8)


@pytest.mark.parametrize("label", ["left", 7, "7"])
def test_one_class_alone(model: ImageModel, label: object) -> None:
    drawn = model.sample(20, where={"label": label}, seed=2)
    assert set(drawn.labels) == {2 if str(label) == "7" else 0}


@pytest.mark.parametrize("where", [{"label": "middle"}, {"age": 3}, {"label": 0}])
def test_other_conditions_are_refused(model: ImageModel, where: dict[str, object]) -> None:
    with pytest.raises(JobError, match="--where"):
        model.sample(1, where=where)


def test_draws_repeat_with_their_seed(model: ImageModel) -> None:
    one, two, other = model.sample(30, seed=3), model.sample(30, seed=3), model.sample(30, seed=4)
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert not np.array_equal(one.pixels, other.pixels)


def test_clearer_images_are_near_and_nearer_to_their_class(model: ImageModel) -> None:
    network, draws = deepcopy(model.network), seeded(3)
    assert isinstance(network, Drawer)
    torch.nn.init.normal_(network.labels.layer.weight, generator=draws)  # three steps have taught it little
    images, classes = torch.rand(20, *network.codes.shape, generator=draws), torch.arange(20) % 2
    lengths = torch.linspace(0, 1, 20)
    clearer = network.clearer(images, classes, lengths)
    assert not clearer.requires_grad
    assert clearer.min() >= 0
    assert clearer.max() <= 1
    moved = (clearer - images).flatten(1).norm(dim=1)
    assert moved[0] == 0
    assert (moved <= lengths + 1e-4).all()
    before, after = (
        F.cross_entropy(network.labels(row_of(network.energies, shown)), classes, reduction="none")
        for shown in (images, clearer)
    )
    assert (after[1:] < before[1:]).all()


def test_the_style_is_followed(model: ImageModel) -> None:
    network = deepcopy(model.network)
    assert isinstance(network, Drawer)
    torch.nn.init.zeros_(network.labels.layer.weight)  # pushes nowhere
    classes = torch.zeros(40, dtype=torch.int64)
    plain, moved, decoded, sharper = (
        network.drawn(classes, style, seeded(1))[0]
        for style in (Style(0.0, False), Style(0.0, True), Style(0.5, False), Style(0.0, False, 1.5))
    )
    assert not torch.equal(plain, moved)
    # Two thirds are a region's picture alone; with decoded ones, a third.
    same = (plain == decoded).flatten(1).all(dim=1)
    assert 4 < same.sum() < 24
    assert _roughness(sharper) > 1.05 * _roughness(plain)


def test_images_are_kept_as_real_ones_are_seen(model: ImageModel) -> None:
    network, draws = deepcopy(model.network), seeded(4)
    assert isinstance(network, Drawer)
    torch.nn.init.normal_(network.labels.layer.weight, generator=draws)  # three steps have taught it little
    classes = torch.arange(4000) % 3
    seen = torch.bincount(cell_of(network.shown(classes, network.style, 1 / 3, draws)[1]))
    common = int(seen.argmax())  # a tenth of candidates or more, so that few thousands tell shares well
    share = float(seen[common]) / 4000
    network.match.counts.zero_()
    network.match.counts[common] = 1_000.0  # all that real images are
    network.match.sigma.fill_(1.0)
    network.weigh(4000, draws)
    images, labels = network.draw(classes[:1000], draws)
    assert len(images) == len(labels) == 1000
    kept = float((cell_of(network.see(images)) == common).double().mean())
    assert kept > 0.6 * min(1.0, 3 * share)  # up to three times as many, as there are three candidates


def _roughness(images: Tensor) -> float:
    return float(images.diff(dim=2).square().mean() + images.diff(dim=3).square().mean())


def test_sharpening_adds_what_differs_from_around() -> None:
    flat, dot = torch.full((1, 1, 5, 5), 0.4), torch.full((1, 1, 5, 5), 0.4)
    dot[..., 2, 2] = 0.5
    torch.testing.assert_close(_sharper(flat, torch.tensor([1.5])), flat)
    around = 0.4 + 0.1 / 9
    assert _sharper(dot, torch.tensor([1.0]))[0, 0, 2, 2] == pytest.approx(0.5 + (0.5 - around))
    assert _sharper(dot, torch.tensor([9.0])).amax() == 1  # cut to the range
    torch.testing.assert_close(_sharper(dot, torch.zeros(1)), dot)


def test_two_fits_differ_unless_seeded() -> None:
    one, two = (fitted()[0].sample(20, seed=1).pixels for _ in range(2))
    assert not np.array_equal(one, two)
    (a, session), (b, _) = fitted(seed=7), fitted(seed=7)
    np.testing.assert_array_equal(a.sample(20, seed=1).pixels, b.sample(20, seed=1).pixels)
    assert "NON-PRIVATE" in session.noise.description


def test_fitting_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fitted()[0].sample(3)
    assert torch.equal(before, torch.get_rng_state())


def test_a_saved_model_draws_the_same(model: ImageModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}
    again = load_image_model(tmp_path / "model")
    assert again.schema == model.schema
    np.testing.assert_array_equal(again.sample(20, seed=3).pixels, model.sample(20, seed=3).pixels)


def test_encrypted_it_is_opened_in_memory(model: ImageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = check_encrypted(model, tmp_path, monkeypatch)
    np.testing.assert_array_equal(again.sample(20, seed=3).pixels, model.sample(20, seed=3).pixels)


def test_any_flipped_byte_is_found(model: ImageModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    rng = np.random.default_rng(0)
    for path in (tmp_path / "model").iterdir():
        whole = path.read_bytes()
        for position in rng.integers(0, len(whole), 10):
            broken = bytearray(whole)
            broken[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(broken))
            with pytest.raises(InputError):
                load_image_model(tmp_path / "model")
        path.write_bytes(whole)


@pytest.mark.parametrize("rows", [0, 1])
def test_tiny_sets_are_legal(rows: int) -> None:
    model, session = fitted(rows=rows)
    assert session.spent == pytest.approx(session.plan.epsilon)
    assert len(model.sample(10).labels) == 10


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(4, 4, 1), (8, 8, 3), (28, 28, 1), (33, 70, 3), (128, 96, 1)]
)
def test_any_size(height: int, width: int, channels: int) -> None:
    public = schema(height=height, width=width, channels=channels)
    model, _ = fitted(
        ImageMoments(codes=8, energies=8, public=500, steps=1, label_steps=2, matched=20, style_draws=5), public, rows=6
    )
    assert model.sample(3).pixels.shape == (3, channels, height, width)


def test_one_class() -> None:
    assert set(fitted(public=schema(classes=("x",)))[0].sample(5).labels) == {0}


def test_classes_come_as_often_as_they_were_counted() -> None:
    model, _ = fitted(replace(QUICK, label_steps=0), budget=Budget(1e4, 1e-4))
    counted = np.bincount(np.asarray(locked(schema())._Private__value.labels), minlength=3) / 90  # type: ignore[attr-defined]
    np.testing.assert_allclose(model.network.shares.numpy(), counted, atol=0.01)


# --- features ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 20)])
def test_features_look_at_one_image_and_stay_in_the_unit_ball(shape: tuple[int, int, int]) -> None:
    public, *both = bases(procedural(500, shape), 10, 20)
    extreme = torch.cat([public[:4], torch.zeros(1, *shape), torch.ones(1, *shape), (public[:1] > 0.5).float()])
    for features in both:
        together = features(extreme)
        assert (together.norm(dim=1) <= 1 + 1e-6).all()
        alone = torch.cat([features(image[None]) for image in extreme])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_bases_are_the_same_every_time() -> None:
    for one, two in zip(*(bases(procedural(500, (1, 8, 8)), 6, 6) for _ in range(2)), strict=True):
        same = [(one, two)] if isinstance(one, torch.Tensor) else zip(one.buffers(), two.buffers(), strict=True)  # type: ignore[union-attr]
        assert all(torch.equal(a, b) for a, b in same)


def test_codes_of_a_drawn_code_are_that_code() -> None:
    _, codes, _ = bases(procedural(500, (1, 12, 12)), 6, 6)
    wanted = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)) * 0.2
    torch.testing.assert_close(codes(codes.drawn(wanted)), wanted, atol=1e-5, rtol=1e-4)


def test_energies_do_not_see_flat_light() -> None:
    energies = Energies((1, 16, 16), 4)
    dark, light = (energies._raw(torch.full((1, 1, 16, 16), level))[0, 64:] for level in (0.2, 0.21))
    inner = torch.isclose(dark, light, atol=1e-3)
    assert inner.float().mean() > 0.2  # borders see the padding


def test_working_shapes() -> None:
    assert working_shape((1, 28, 28)) == (1, 28, 28)
    assert working_shape((3, 128, 64)) == (3, 32, 16)
    assert working_shape((1, 4, 200)) == (1, 8, 32)
    assert Codes((1, 8, 8), 4).patterns.shape == (64, 4)


def test_public_images_fill_the_range_and_repeat() -> None:
    images = procedural(60, (3, 16, 12))
    assert images.shape == (60, 3, 16, 12) and images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, procedural(60, (3, 16, 12)))
    assert not torch.equal(images, procedural(60, (3, 16, 12), seed=1))
    assert images.flatten(1).std(dim=1).median() > 0.05
    assert procedural(0, (1, 8, 8)).shape == (0, 1, 8, 8)


# --- Gaussians --------------------------------------------------------------------------------------------


def noisy(rows: int, sigma: float, seed: int = 0) -> tuple[ClassMoments, np.ndarray, np.ndarray]:
    """Moments of two classes in four dimensions, with their noise; their means and covariances."""
    rng = np.random.default_rng(seed)
    means = np.array([[0.3, 0, 0, 0], [-0.3, 0.1, 0, 0]])
    deviations = np.array([[0.2, 0.1, 0.05, 0.01], [0.1, 0.2, 0.05, 0.01]])
    draws = means[:, None] + deviations[:, None] * rng.normal(size=(2, rows, 4))

    def noise(scale: float, *shape: int) -> np.ndarray:
        upper = np.triu(rng.normal(0, scale / np.sqrt(2), shape), 1)
        return upper + np.swapaxes(upper, -1, -2) + np.eye(4) * rng.normal(0, scale, shape)

    products = np.einsum("cni,cnj->cij", draws, draws)
    moments = ClassMoments(
        np.full(2, rows) + rng.normal(0, sigma / COUNT, 2),
        draws.sum(axis=1) + rng.normal(0, sigma / MEAN, (2, 4)),
        products + noise(sigma / CLASS, 2, 4, 4),
        products.sum(axis=0) + noise(sigma, 4, 4),
        sigma,
    )
    return moments, means, np.stack([np.diag(d**2) for d in deviations])


def test_gaussians_of_quiet_moments_are_the_classes() -> None:
    moments, means, covariances = noisy(50_000, 0.01)
    found = class_gaussians(moments)
    np.testing.assert_allclose(found.shares, 0.5, atol=0.01)
    np.testing.assert_allclose(found.means, means, atol=0.01)
    spread = found.spreads @ found.spreads.transpose(0, 2, 1)
    np.testing.assert_allclose(spread, covariances, atol=0.002)


@pytest.mark.parametrize("rows", [0, 3, 1_000])
def test_gaussians_of_loud_moments_are_usable(rows: int) -> None:
    for seed in range(10):
        found = class_gaussians(noisy(rows, 300.0, seed)[0])
        assert found.shares.sum() == pytest.approx(1) and (found.shares > 0).all()
        for values in (found.means, found.spreads, found.whiten, found.log_volumes):
            assert np.isfinite(values).all()
        assert (np.linalg.norm(found.means, axis=1) <= 1 + 1e-9).all()
        assert (np.linalg.norm(found.spreads, axis=(1, 2)) <= 2 + 1e-9).all()
