"""Opacus's DCGAN example, fitted and judged as the methods in mnist.py are.

    python benchmarks/images/opacus_dcgan.py mnist.npz --epsilon 10 --seconds 3600 --ndf 32 --ngf 32 --json peer.json

The example (examples/dcgan.py of pytorch/opacus, Apache 2.0) learns one digit. Here every class has a GAN of its own,
trained on that class's images alone, so that what it draws is labelled: classes are disjoint, so that adding or
removing an image concerns one GAN, and all of them together cost what one costs. How many images a class has is
taken as public, as the example takes it.

Networks, losses, Adam, batch size and clipping norm are the example's, and so is the order: the discriminator on real
and on drawn images in one private step, then the generator on the same drawn images. In that step a real image is
paired with a drawn one, the gradients of the pair are added and clipped together, and noise is added once to the sum
over pairs: Opacus does so of itself, where two passes forward share one pass back. Two things differ. The generator
learns from as many images as a batch is expected to have; the example's, from as many as a batch has, which no
accountant knows of. And pairs go through a chunk at a time, by Opacus's virtual steps: same sums, less memory.

``--seconds`` is for all classes, in equal shares. A few steps on random images tell how many fit into it; noise is
then calibrated for exactly so many (seconds of its own, that come on top). Randomness is seeded, not
secure: a benchmark.
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import chain, repeat
from typing import Any

import common
import numpy as np
import torch
import torch.nn.functional as F
from opacus import PrivacyEngine
from opacus.accountants.utils import get_noise_multiplier
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SIDE, LATENT, NORM = 64, 100, 1.0
ACCOUNTANT = "prv"
CHUNK = 8  # pairs whose gradients are held at once: of 8, 16 and 32 the fastest on a CPU


def generator(channels: int, width: int) -> nn.Sequential:
    """(n, LATENT, 1, 1) to images (n, channels, SIDE, SIDE) in [-1, 1]."""
    widths = [8 * width, 4 * width, 2 * width, width]
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT, widths[0], 4, bias=False)]
    for wide, narrow in zip(widths, [*widths[1:], channels], strict=True):
        layers += [nn.BatchNorm2d(wide), nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
    return _ready(nn.Sequential(*layers, nn.Tanh()))


def discriminator(channels: int, width: int) -> nn.Sequential:
    """Images (n, channels, SIDE, SIDE) to the logits (n,) of being real."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for narrow in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(narrow, 2 * narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * narrow), nn.LeakyReLU(0.2)]
    return _ready(nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, bias=False), nn.Flatten(0)))


def _ready(network: nn.Sequential) -> nn.Sequential:
    """Group norm in place of batch norm, and the example's weights."""
    fixed: nn.Sequential = ModuleValidator.fix(network)
    for layer in fixed:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
    return fixed


class Gan:
    """A generator and its private discriminator.

    Args:
        images: (n, C, SIDE, SIDE) in [-1, 1].
        noise: standard deviation, in norms of clipping.
        options: the script's.
    """

    def __init__(self, images: Tensor, noise: float, options: argparse.Namespace) -> None:
        self.generator = generator(images.shape[1], options.ngf)
        judge = discriminator(images.shape[1], options.ndf)
        self._creating = torch.optim.Adam(self.generator.parameters(), 2e-4, (0.5, 0.999))
        self._engine = PrivacyEngine(accountant=ACCOUNTANT)
        self._discriminator, self._judging, batches = self._engine.make_private(
            module=judge,
            optimizer=torch.optim.Adam(judge.parameters(), 2e-4, (0.5, 0.999)),
            data_loader=DataLoader(TensorDataset(images), options.batch_size),
            noise_multiplier=noise,
            max_grad_norm=NORM,
            poisson_sampling=True,
        )
        self._batches = chain.from_iterable(repeat(batches))
        self._batch = options.batch_size

    def step(self) -> None:
        """The discriminator on pairs of a real and a drawn image, then the generator."""
        (real,) = next(self._batches)
        drawn = self.generator(torch.randn(max(len(real), self._batch), LATENT, 1, 1))
        pairs = list(zip(real.split(CHUNK), drawn[: len(real)].detach().split(CHUNK), strict=True))
        self._discriminator.enable_hooks()
        for left, (true, false) in zip(reversed(range(len(pairs))), pairs, strict=True):
            self._judging.signal_skip_step(left > 0)
            (self._loss(true, 1.0) + self._loss(false, 0.0)).backward()
            self._judging.step()
            self._judging.zero_grad()
        self._discriminator.disable_hooks()
        self._creating.zero_grad()
        self._loss(drawn[: self._batch], 1.0).backward(inputs=list(self.generator.parameters()))
        self._creating.step()

    def _loss(self, images: Tensor, truth: float) -> Tensor:
        logits = self._discriminator(images)
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))

    def epsilon(self, delta: float) -> float:
        """What the steps so far have cost."""
        spent: float = self._engine.get_epsilon(delta)
        return spent


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, required=True, help="of training, for all classes")
    parser.add_argument("--ngf", type=int, default=128, help="width of generators")
    parser.add_argument("--ndf", type=int, default=128, help="width of discriminators")
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "Secure RNG turned off|Full backward hook is firing|Optimal order is")
    common.measure("opacus dcgan", lambda train, epsilon, run: fit(train, epsilon, run, options), options)


def fit(
    train: common.Labelled, epsilon: float, seed: int, options: argparse.Namespace
) -> tuple[common.Draw, dict[str, Any]]:
    """A generator for every class."""
    torch.manual_seed(seed)
    start = time.monotonic()
    channels, height, width = train.pixels.shape[1:]
    classes = int(train.labels.max()) + 1
    pace = _pace(channels, options)
    steps = max(1, int((options.seconds - (time.monotonic() - start)) / classes / pace))
    generators, noises, spent = [], [], 0.0
    for label in range(classes):
        pixels = train.pixels[train.labels == label]
        noise = get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=options.delta,
            sample_rate=1 / -(-len(pixels) // options.batch_size),  # what make_private takes
            steps=steps,
            accountant=ACCOUNTANT,
            epsilon_tolerance=epsilon / 1000,
        )
        gan = Gan(2 * _scaled(torch.from_numpy(pixels).float() / 255, SIDE, SIDE) - 1, noise, options)
        for _ in range(steps):
            gan.step()
        generators.append(gan.generator)
        noises.append(noise)
        spent = max(spent, gan.epsilon(options.delta))

    def draw(count: int) -> common.Labelled:
        labels = np.arange(count, dtype=np.int32) % classes
        pixels = np.empty((count, channels, height, width), dtype=np.uint8)
        for label, each in enumerate(generators):
            pixels[labels == label] = _drawn(each, int((labels == label).sum()), height, width)
        return common.Labelled(pixels, labels)

    settings = {"steps": steps, "ngf": options.ngf, "ndf": options.ndf, "batch": options.batch_size}
    return draw, {"spent": spent, "noise": noises, "step_seconds": pace, **settings}


def _pace(channels: int, options: argparse.Namespace) -> float:
    """Seconds a step, measured on random images."""
    gan = Gan(2 * torch.rand(50 * options.batch_size, channels, SIDE, SIDE) - 1, 1.0, options)
    gan.step()  # the first is slow
    start, steps = time.monotonic(), 0
    while steps < 3 or time.monotonic() - start < options.seconds / 50:
        gan.step()
        steps += 1
    return (time.monotonic() - start) / steps


@torch.no_grad()
def _drawn(network: nn.Module, count: int, height: int, width: int) -> np.ndarray:
    """uint8 (count, C, height, width)."""
    parts = [
        _scaled((network(latent) + 1) / 2, height, width).clamp(0, 1).mul(255).round().byte()
        for latent in torch.randn(count, LATENT, 1, 1).split(100)
    ]
    return torch.cat(parts).numpy()


def _scaled(images: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(images, size=(height, width), mode="bilinear", antialias=True, align_corners=False)


if __name__ == "__main__":
    main()
