"""The red-team bench for images, on the code as it is. ``tests/mutants`` runs it on code that is broken on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synthkit.audit import forensics
from synthkit.audit import images as neighbours
from synthkit.audit.replay import replay
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.data.schema import Unit
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.mechanisms.counts import noisy_image_histogram
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients
from synthkit.privacy.mechanisms.moments import noisy_sum
from synthkit.release.attack import releasing
from synthkit.release.job import Job
from synthkit.release.run import run
from synthkit.synthesizers.base import method
from synthkit.synthesizers.image_gan import Discriminator
from synthkit.synthesizers.image_model import initialize_decoder
from synthkit.synthesizers.image_vae import Corrector
from tests.images import images, schema, write
from tests.privacy.mechanisms.promises import Recording
from tests.synthesizers.test_image_methods import SETTINGS

PATIENT = Unit("patient", 2)
HOSTILE = ("added: white", "added: static", "added: checkerboard", "added: the only one of its class")


@pytest.mark.parametrize("unit", [Unit(), PATIENT], ids=["image", "patient"])
@pytest.mark.parametrize("name", SETTINGS)
def test_methods_replay(name: str, unit: Unit) -> None:
    public = schema(unit=unit, rows=20)
    recipe: Any = method(name, SETTINGS[name])
    program = neighbours.fitting(recipe, public, Budget(5.0, 1e-4, unit=unit))
    tightest = 0.0
    for pair in neighbours.pairs(public, Adjacency.ADD_OR_REMOVE, images=20):
        if pair.name in HOSTILE:
            found = replay(program, pair.left, pair.right)
            assert found.passed, f"{pair.name}: {'; '.join(map(str, found.divergences[:3]))}"
            tightest = max(tightest, found.tightest)
    assert tightest > 0.5  # a bound that nothing comes near would hide one that is broken


def test_a_whole_release_replays(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path, schema(unit=PATIENT, rows=30)))
    for pair in neighbours.pairs(job.schema, job.budget.adjacency, images=30):  # type: ignore[arg-type]
        if pair.name == "added: white":
            found = replay(releasing(job), pair.left, pair.right)
            assert found.passed, "; ".join(map(str, found.divergences[:3]))
            assert found.tightest > 0.3  # a release that is refused on both sides would replay, too


def _conv(network: nn.Module, rows: Tensor) -> Tensor:
    return network(rows[:, :-1].view(-1, 1, 8, 8), rows[:, -1].long()).square().flatten(1).sum(dim=1)


def _flat(network: nn.Module, rows: Tensor) -> Tensor:
    return torch.relu(1 - network(rows[:, :-1]))


def _corrector() -> nn.Module:
    network = Corrector(1, 3)
    initialize_decoder(network, torch.Generator().manual_seed(0))
    return network


NETWORKS = {  # every layer that an image method trains by DP-SGD: linear; embedding and convolution
    "discriminator": (lambda: Discriminator(60, 4, 3, torch.Generator().manual_seed(0)), _flat),
    "decoder": (_corrector, _conv),
}


def _encode(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1) / 255


def _gradients(network: str, made: Images, norm: float) -> tuple[list[Tensor], nn.Module, Any]:
    public = schema(rows=made.rows)
    trained, loss = NETWORKS[network]
    built = trained()
    session = Recording(Budget(1e6, 1e-5))
    box = Private(made, dataset="bars", schema=public, bounded=True)
    noisy = NoisyGradients(
        box, session, built, loss, encode=_encode, clipping_norm=norm, noise_multiplier=1.0, sample_rate=1.0
    )
    return noisy.step(), built, loss


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_have_parity(network: str) -> None:
    made = images(schema(), 12)
    found, built, loss = _gradients(network, made, 100.0)
    rows = torch.from_numpy(np.column_stack([_encode(made.pixels), made.labels]))
    expected = torch.autograd.grad(loss(built.double(), rows).sum() / 12, list(built.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_one_image_moves_gradients_by_no_more_than_the_norm(network: str) -> None:
    made = images(schema(), 12)
    for pixels in (np.full((1, 1, 8, 8), 255, np.uint8), made.pixels[:1]):
        more = Images(np.concatenate([made.pixels, pixels]), np.append(made.labels, 2).astype(np.int32))
        with_it, _, _ = _gradients(network, more, 0.01)
        without, _, _ = _gradients(network, made, 0.01)
        moved = torch.cat([(13 * a - 12 * b).flatten().double() for a, b in zip(with_it, without, strict=True)])
        assert 0.005 < moved.norm() <= 0.01 + 1e-6


def test_reports_ask_one_image_at_a_time_and_bound_what_it_adds() -> None:
    public = schema(unit=PATIENT)
    budget = Budget(1e6, 1e-5, unit=PATIENT)
    box = Private(images(public, 10), dataset="bars", schema=public, bounded=True)
    session = Recording(budget)
    sizes: list[int] = []

    def cell_of(image: Images) -> int:
        sizes.append(image.rows)
        return int(image.labels[0]) if image.labels[0] < 2 else 99

    def vector_of(image: Images) -> np.ndarray:
        sizes.append(image.rows)
        return np.full((1, 3), 1e9)

    counts = noisy_image_histogram(box, session, cell_of, 3, 1.0, "labels")
    total = noisy_sum(box, session, vector_of, 3, 2.0, 1.0, "long vectors")
    assert set(sizes) == {1} and len(sizes) == 20
    assert counts.sum() == 10
    assert np.linalg.norm(total) == pytest.approx(20, rel=1e-6)  # ten images of norm 2 at most
    assert [charge.norm_bound for charge in session.trace] == [2.0, 4.0]


def test_a_planted_image_leaves_in_no_form(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path, schema(rows=40), model=True, holdout=0))
    frame, pattern = neighbours.planted(job.schema, 40)  # type: ignore[arg-type]
    trial = Job(**{**job.__dict__, "source": neighbours.source(frame, job.schema)})  # type: ignore[arg-type]
    made = run(trial, Ledger(tmp_path / "out.sqlite"))
    places = {"bundle": made.folder, "ledger": tmp_path / "out.sqlite"}
    assert not forensics.search_bytes(places, {"image": neighbours.forms(pattern)})
    drawn = np.load(made.folder / "images.npz")["images"][:, None]
    assert neighbours.alike(pattern, drawn) == 0
