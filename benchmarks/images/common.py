"""Shared by the benchmarks of image methods: data, the downstream classifier, a sheet of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private


@dataclass(frozen=True)
class Labelled:
    """uint8 pixels (n, C, H, W) and labels (n,)."""

    pixels: np.ndarray
    labels: np.ndarray


def read(path: Path) -> tuple[Labelled, Labelled]:
    """Training and test images of an .npz with x_train, y_train, x_test, y_test."""
    held = np.load(path)

    def part(name: str) -> Labelled:
        pixels = held[f"x_{name}"]
        pixels = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1)
        return Labelled(np.ascontiguousarray(pixels), held[f"y_{name}"].astype(np.int32))

    return part("train"), part("test")


def locked(images: Labelled, name: str) -> Private[Images, ImageSchema]:
    """Images under a schema that says what is plain from their shape."""
    channels, height, width = images.pixels.shape[1:]
    schema = ImageSchema(
        name=name,
        height=height,
        width=width,
        channels=channels,
        classes=tuple(range(int(images.labels.max()) + 1)),
        rows=len(images.labels),
        reviewed=True,
    )
    return Private(Images(images.pixels, images.labels), dataset=name, schema=schema)


def classifier(channels: int, height: int, width: int, classes: int) -> nn.Module:
    """A plain small CNN: two convolutions, two layers, dropout."""
    cells = ((height - 2) // 2 - 2) // 2 * (((width - 2) // 2 - 2) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * cells, 128),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(128, classes),
    )


def train(images: Labelled, epochs: int, seed: int) -> nn.Module:
    """The classifier, trained on ``images`` alone; of its epochs, the best on a held-out tenth of them.

    Real images choose nothing: that would spend privacy, and flatter the result.
    """
    torch.manual_seed(seed)
    count = len(images.labels)
    network = classifier(*images.pixels.shape[1:], int(images.labels.max()) + 1)
    order = torch.randperm(count)
    held, used = order[: count // 10], order[count // 10 :]
    steps = epochs * -(-len(used) // 128)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    best, state = -1.0, {}
    for _ in range(epochs):
        network.train()
        for batch in used[torch.randperm(len(used))].split(128):
            loss = F.cross_entropy(network(_tensor(images.pixels[batch])), _labels(images, batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            pace.step()
        reached = accuracy(network, Labelled(images.pixels[held], images.labels[held]))
        if reached >= best:
            best, state = reached, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    return network


@torch.no_grad()
def accuracy(network: nn.Module, images: Labelled) -> float:
    """Share of ``images`` that the classifier gets right."""
    network.eval()
    right = 0
    for start in range(0, len(images.labels), 1000):
        part = slice(start, start + 1000)
        right += int((network(_tensor(images.pixels[part])).argmax(1).numpy() == images.labels[part]).sum())
    return right / len(images.labels)


def sheet(images: Labelled, path: Path, columns: int = 20) -> None:
    """Pictures of every class, a row each."""
    channels, height, width = images.pixels.shape[1:]
    rows = []
    for label in range(int(images.labels.max()) + 1):
        shown = images.pixels[images.labels == label][:columns]
        row = np.zeros((channels, height, columns * width), dtype=np.uint8)
        for k, picture in enumerate(shown):
            row[:, :, k * width : (k + 1) * width] = picture
        rows.append(row)
    whole = np.moveaxis(np.concatenate(rows, axis=1), 0, 2)
    Image.fromarray(whole[:, :, 0] if channels == 1 else whole).resize((2 * whole.shape[1], 2 * whole.shape[0])).save(
        path
    )


def _tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255


def _labels(images: Labelled, batch: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(images.labels[batch.numpy()]).long()
