"""Shared by the benchmarks of image methods: data, the downstream classifier, a sheet of pictures, the run itself."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from synthkit.assess import likeness
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private


@dataclass(frozen=True)
class Labelled:
    """uint8 pixels (n, C, H, W) and labels (n,)."""

    pixels: np.ndarray
    labels: np.ndarray


Draw = Callable[[int], Labelled]
Fit = Callable[[Labelled, float, int], tuple[Draw, dict[str, Any]]]  # images, epsilon, run to draws and facts


def parser(description: str) -> argparse.ArgumentParser:
    """What all these benchmarks are told."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("data", type=Path)
    found.add_argument("--epsilon", type=float, action="append", required=True)
    found.add_argument("--delta", type=float, default=1e-5)
    found.add_argument("--runs", type=int, default=1)
    found.add_argument("--train", type=int, default=0, metavar="N", help="fit to the first N training images")
    found.add_argument("--sample", type=int, default=60_000, help="synthetic images")
    found.add_argument("--epochs", type=int, default=5, help="of the classifiers")
    found.add_argument("--classifier", choices=CLASSIFIERS, action="append", help="both, unless one is named")
    found.add_argument("--threads", type=int, default=1)
    found.add_argument("--validate", action="store_true", help="test on the last 10,000 training images")
    found.add_argument("--json", type=Path)
    found.add_argument("--sheet", type=Path)
    found.add_argument("--keep", type=Path, help="a stem of .npz files for the synthetic images")
    return found


def measure(method: str, fit: Fit, options: argparse.Namespace) -> None:
    """Fit, draw, and hold the images against real ones, for every epsilon; a table, and JSON where asked for."""
    torch.set_num_threads(options.threads)
    train_images, test = parts(options)
    kinds = options.classifier or list(CLASSIFIERS)
    columns = ("epsilon", "run", *kinds, "Fréchet", "fit s", "sample s", "classifiers s", "peak MB")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    results = []
    for epsilon in options.epsilon:
        for run in range(options.runs):
            start = time.monotonic()
            draw, facts = fit(train_images, epsilon, run)
            fitted = time.monotonic()
            images = draw(options.sample)
            sampled = time.monotonic()
            if options.sheet:
                sheet(images, options.sheet.with_stem(f"{options.sheet.stem}-{epsilon:g}-{run}"))
            if options.keep:
                kept = options.keep.with_name(f"{options.keep.name}-{epsilon:g}-{run}.npz")
                np.savez(kept, pixels=images.pixels, labels=images.labels)
            reached = {kind: accuracy(train(images, options.epochs, run, kind), test) for kind in kinds}
            ended = time.monotonic()
            result = {
                "data": options.data.stem,
                "method": method,
                "images": len(train_images.labels),
                "epsilon": epsilon,
                "delta": options.delta,
                "run": run,
                "accuracy": reached,
                "frechet": frechet(images, test),
                "tested on": "validation" if options.validate else "test",
                "fit_seconds": fitted - start,
                "sample_seconds": sampled - fitted,
                "classifier_seconds": ended - sampled,
                "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                **facts,
            }
            results.append(result)
            accuracies = " | ".join(f"{reached[kind]:.4f}" for kind in kinds)
            print(
                f"| {epsilon:g} | {run} | {accuracies} | {result['frechet']:.4f} | {result['fit_seconds']:.0f} "
                f"| {result['sample_seconds']:.0f} | {result['classifier_seconds']:.0f} "
                f"| {result['peak_megabytes']:.0f} |",
                flush=True,
            )
            if options.json:
                options.json.write_text(json.dumps(results, indent=1) + "\n")


def parts(options: argparse.Namespace) -> tuple[Labelled, Labelled]:
    """The images to fit to, and those to test on."""
    train, test = read(options.data)
    if options.validate:
        test = Labelled(train.pixels[-10_000:], train.labels[-10_000:])
        train = Labelled(train.pixels[:-10_000], train.labels[:-10_000])
    if options.train:
        train = Labelled(train.pixels[: options.train], train.labels[: options.train])
    return train, test


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


def plain(channels: int, height: int, width: int, classes: int) -> nn.Module:
    """A small CNN: two convolutions, two layers, dropout."""
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


def deep(channels: int, height: int, width: int, classes: int) -> nn.Module:
    """Five convolutions with batch normalization: slower by three, and better on real images."""
    layers: list[nn.Module] = []
    for before, after, pooled in ((channels, 24, 2), (24, 48, 1), (48, 48, 2), (48, 96, 1), (96, 96, 2)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        if pooled == 2:
            layers += [nn.MaxPool2d(2), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.4), nn.Linear(96 * (height // 8) * (width // 8), classes))


CLASSIFIERS = {"plain": plain, "deep": deep}


def train(images: Labelled, epochs: int, seed: int, kind: str = "plain") -> nn.Module:
    """The classifier, trained on ``images`` alone; of its epochs, the best on a held-out tenth of them.

    Real images choose nothing: that would spend privacy, and flatter the result.
    """
    torch.manual_seed(seed)
    count = len(images.labels)
    network = CLASSIFIERS[kind](*images.pixels.shape[1:], int(images.labels.max()) + 1)
    network = network.to(memory_format=torch.channels_last)
    order = torch.randperm(count)
    held, used = order[: count // 10], order[count // 10 :]
    steps = epochs * -(-len(used) // 128)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    best, state = -1.0, {}
    for _ in range(epochs):
        network.train()
        for batch in used[torch.randperm(len(used))].split(128):
            with torch.autocast("cpu", dtype=torch.bfloat16):  # half the time
                logits = network(_tensor(images.pixels[batch]).contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), _labels(images, batch))
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


def frechet(images: Labelled, real: Labelled) -> float:
    """Exact Fréchet distance in the public features of ``synthkit.assess.likeness``, which are not Inception's."""
    space = likeness.space_of(real.pixels.shape[1:])
    return likeness.frechet(*(part for each in (real, images) for part in likeness.moments(space.places(each.pixels))))


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
