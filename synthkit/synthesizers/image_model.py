"""What the image methods share: a decoder, drawing labelled images, being saved and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.errors import InputError, JobError
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.synthesizers.base import load, write_model_card
from synthkit.synthesizers.features import resized, working_shape
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.network_model import set_state
from synthkit.synthesizers.networks import seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 250
_TRIES = 4  # draws of an image that got another label than the wanted one


@dataclass(frozen=True)
class SyntheticImages:
    """Synthetic labelled images.

    Attributes:
        pixels: uint8 (n, channels, height, width).
        labels: int32 (n,), each a class's place in the schema.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]


class Decoder(nn.Module):
    """A small convolutional decoder: a smooth image, a code and a class to an image.

    It works at a quarter of the size, then a half; the last layers correct the smooth image itself.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, classes: int) -> None:
        """
        Args:
            shape: channels, height, width; both sides multiples of 4.
            width: length of codes.
            classes: how many.
        """
        super().__init__()
        channels, height, side = shape
        self.grid = (height // 4, side // 4)
        with torch.random.fork_rng(devices=[]):  # torch initializes from its global state: leave that alone
            self.kinds = nn.Embedding(classes, 16)
            cells = self.grid[0] * self.grid[1]
            self.enter = nn.Sequential(nn.Linear(width + 16, 256), nn.SiLU(), nn.Linear(256, 48 * cells), nn.SiLU())
            self.body = nn.Sequential(
                nn.Conv2d(48 + 16 * channels, 64, 3, padding=1),
                nn.SiLU(),
                nn.Upsample(scale_factor=2),
                nn.Conv2d(64, 32, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(32, 32, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(32, 32, 3, padding=1),
                nn.PixelShuffle(2),
                nn.SiLU(),
            )
            self.leave = nn.Sequential(
                nn.Conv2d(8 + channels, 16, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(16, 16, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(16, channels, 3, padding=1),
            )

    def forward(self, smooth: Tensor, codes: Tensor, classes: Tensor) -> Tensor:
        """(b, C, h, w), (b, d), (b,) to (b, C, h, w) in [0, 1]."""
        entered = self.enter(torch.cat([codes, self.kinds(classes)], dim=1)).view(-1, 48, *self.grid)
        hidden = self.body(torch.cat([entered, F.pixel_unshuffle(smooth, 4)], dim=1))  # (b, 8, h, w)
        logits = self.leave(torch.cat([hidden, smooth], dim=1)) + 5 * smooth - 2.5
        return torch.sigmoid(logits)


def initialize_decoder(network: nn.Module, draws: torch.Generator) -> None:
    """Uniform weights within 1 / sqrt(inputs), standard normal embeddings, all from ``draws``."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            bound = module.weight[0].numel() ** -0.5
            for parameter in module.parameters(recurse=False):
                nn.init.uniform_(parameter, -bound, bound, generator=draws)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=draws)


class ImageNetwork(Protocol):
    """A network that draws images of given classes."""

    shares: Tensor  # (K,) of every class

    def draw(self, classes: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images drawn for classes (b,), (b, C, h, w) in [0, 1] of the working size, and the labels they got (b,)."""


@dataclass(frozen=True)
class ImageModel:
    """A network that draws labelled images, under its public schema.

    Attributes:
        schema: what it was fitted under.
        method: the method's name.
        network: released values only.
        parameters: plain values that the network is built from, and the classes' noisy ``counts`` with the
            standard deviation of their noise, ``counts_sigma``.
    """

    schema: ImageSchema
    method: str
    network: nn.Module
    parameters: Mapping[str, Any]

    @property
    def marginals(self) -> tuple[NoisyMarginal, ...]:
        """The classes' noisy counts, as they were released."""
        counts = np.array(self.parameters["counts"], dtype=np.float64)
        return (NoisyMarginal(("label",), counts, float(self.parameters["counts_sigma"])),)

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> SyntheticImages:
        """``n`` labelled images; classes about as often as they were counted, with noise.

        Args:
            n: how many, 0 or more.
            where: ``{"label": a class}`` for images of one class alone.
            seed: reproducible draws. Harmless: the model is already released.

        Raises:
            JobError: a condition on anything else, or on no declared class.
        """
        draws = seeded(int(np.random.default_rng(seed).integers(2**62)))
        given = _given(where or {}, self.schema)
        network = cast(ImageNetwork, self.network)
        wanted = torch.multinomial(network.shares, max(n, 1), replacement=True, generator=draws)[:n]
        if given is not None:
            wanted = torch.full((n,), given)
        pixels = np.empty((n, *self.schema.shape), dtype=np.uint8)
        labels = np.empty(n, dtype=np.int32)
        with torch.no_grad():
            for start in range(0, n, _BATCH):
                part = slice(start, start + _BATCH)
                images, got = network.draw(wanted[part], draws)
                if given is not None:
                    images = _insisted(network, images, got, given, draws)
                whole = resized(images, self.schema.height, self.schema.width)
                pixels[part] = pixels_of(whole).numpy()
                labels[part] = (got if given is None else wanted[part]).numpy()
        return SyntheticImages(pixels, labels)

    def save(self, folder: Place) -> None:
        """Write safetensors and JSON into ``folder``, which must not exist."""
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        write_model_card(folder, self.method, self.schema, self.parameters, save(tensors))


def load_image_model(folder: str | Place) -> ImageModel:
    """Open a saved image model.

    Raises:
        InputError: not an image model, damaged, or of another version.
    """
    model: object = load(folder)
    if not isinstance(model, ImageModel):
        raise InputError(f"{folder}: a model that draws no images; open it with load()")
    return model


def read_network(network: nn.Module, folder: Place) -> None:
    """Give ``network`` the state saved in ``folder``.

    Raises:
        InputError: it is another network's.
    """
    from safetensors.torch import load as load_bytes

    set_state(network, load_bytes((folder / "weights.safetensors").read_bytes()), folder)


def images_of(pixels: NDArray[np.uint8], schema: ImageSchema) -> Tensor:
    """uint8 (n, C, H, W) to float32 (n, C, h, w) in [0, 1] of the working size."""
    _, height, width = working_shape(schema.shape)
    return resized(torch.from_numpy(np.array(pixels)).float() / 255, height, width)


def pixels_of(images: Tensor) -> Tensor:
    """Images (n, C, h, w) in [0, 1] as they are released: uint8."""
    return (images * 255).round().to(torch.uint8)


def _insisted(network: ImageNetwork, images: Tensor, got: Tensor, given: int, draws: torch.Generator) -> Tensor:
    """Images that got another label than ``given`` are drawn again, a few times."""
    for _ in range(_TRIES):
        again = torch.nonzero(got != given)[:, 0]
        if not len(again):
            break
        images[again], got[again] = network.draw(torch.full((len(again),), given), draws)
    return images


def _given(where: Mapping[str, Any], schema: ImageSchema) -> int | None:
    if unknown := sorted(set(where) - {"label"}):
        raise JobError(f"--where {unknown[0]}: images have only a label")
    if not where:
        return None
    listed = [str(label) for label in schema.classes]
    if str(where["label"]) not in listed:
        raise JobError(f"--where label={where['label']}: no such class; there are {', '.join(listed[:20])}")
    return listed.index(str(where["label"]))


__all__ = [
    "Decoder",
    "ImageModel",
    "ImageNetwork",
    "SyntheticImages",
    "images_of",
    "initialize_decoder",
    "load_image_model",
    "pixels_of",
    "read_network",
]
