"""Small labelled images for tests: bars at the left, at the right, across."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images

QUICK = {"codes": 8, "energies": 10, "public": 500, "steps": 2, "label_steps": 2, "matched": 20, "style_draws": 20}


def schema(**changes: object) -> ImageSchema:
    """Eight by eight pixels, grey, three classes of bars."""
    settings = {
        "name": "bars",
        "height": 8,
        "width": 8,
        "channels": 1,
        "classes": ("left", "right", "across"),
        "rows": 120,
        "reviewed": True,
    }
    return ImageSchema(**{**settings, **changes})  # type: ignore[arg-type]


def images(public: ImageSchema, rows: int = 120, seed: int = 0) -> Images:
    """Bars on a dark ground; of every unit two images."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(public.classes), rows).astype(np.int32)
    pixels = rng.integers(0, 40, (rows, *public.shape)).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        place = [np.s_[:, :, :3], np.s_[:, :, -3:], np.s_[:, :3]][label % 3]
        image[place] = 220
    units = None if public.unit.column is None else (np.arange(rows) // 2).astype(np.uint64)
    return Images(pixels, labels, units)


def write(folder: Path, public: ImageSchema | None = None, rows: int = 120, **changes: Any) -> Path:
    """A release file beside its schema and an .npz file; ``changes`` replace top-level keys (None removes one)."""
    public = public or schema()
    made = images(public, rows)
    pixels = made.pixels[:, 0] if public.channels == 1 else np.moveaxis(made.pixels, 1, -1)
    arrays = {"train_images": pixels, "train_labels": made.labels[:, None]}
    if made.units is not None:
        arrays["train_units"] = made.units
    np.savez_compressed(folder / "bars.npz", **arrays)
    (folder / "bars.schema.yaml").write_text(yaml.safe_dump(public.to_dict(), sort_keys=False))
    document = {
        "version": 1,
        "dataset": "bars",
        "data": {"path": "bars.npz", "split": "train"},
        "schema": "bars.schema.yaml",
        "budget": {"epsilon": 5.0, "delta": 1e-4},
        "method": {"name": "image_moments", **QUICK},
        "rows": 50,
        "holdout": 0.3,
        "output": "release",
    }
    document = {key: value for key, value in {**document, **changes}.items() if value is not None}
    file = folder / "release.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file
