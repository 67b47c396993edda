"""Neighbouring sets of labelled images to attack with, drawn from a schema alone, and a planted pattern.

A set goes through a replay as one frame: a column ``image`` of arrays (channels, height, width), one
``label``, and one of the unit's name where the schema has one. The changed unit stands last, so that a
coupling of coins by position leaves everyone else's coin alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthkit.audit.neighbours import Pair
from synthkit.audit.programs import Fits, program_of
from synthkit.audit.replay import Program
from synthkit.data.encoding import unit_keys
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import ArraySource, Images, read_images
from synthkit.data.private import Private
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.rows import bound_contributions

if TYPE_CHECKING:
    from numpy.typing import NDArray

Draw = Callable[[ImageSchema, np.random.Generator], "NDArray[np.uint8]"]
_ALIKE = 0.9  # correlation above which an image is taken for the planted one


def table(schema: ImageSchema, images: int, *, seed: int = 0) -> pd.DataFrame:
    """``images`` images of soft blots, every class equally likely."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "image": pd.Series([_blot(schema, rng) for _ in range(images)], dtype=object),
            "label": pd.Series(
                [str(schema.classes[code]) for code in rng.integers(0, len(schema.classes), images)], dtype=object
            ),
        }
    )
    if schema.unit.column is not None:
        names = people(max(1, images // schema.unit.max_rows))[:-1]
        frame[schema.unit.column] = pd.Series(rng.choice(names, images), dtype=object)
    return frame


def pairs(schema: ImageSchema, adjacency: Adjacency, *, images: int = 60, seed: int = 0) -> Iterator[Pair]:
    """Pairs that differ in one unit: ordinary images and hostile ones, of the last class.

    Args:
        schema: what is public.
        adjacency: what a neighbour is.
        images: size of the sets.
        seed: of the draws.
    """
    common = table(schema, images, seed=seed)
    newcomer = people(max(1, images // schema.unit.max_rows))[-1]
    units = {kind: _unit(schema, newcomer, draw, seed + 1) for kind, draw in KINDS.items()}
    if adjacency is Adjacency.REPLACE_ONE:
        for kind, unit in units.items():
            if kind != "ordinary":
                yield Pair(f"replaced: {kind}", _joined(common, units["ordinary"]), _joined(common, unit))
        return
    for kind, unit in units.items():
        yield Pair(f"added: {kind}", common, _joined(common, unit))
    yield Pair("removed: ordinary", _joined(common, units["ordinary"]), common)
    yield Pair("added to two images", common.iloc[:2], _joined(common.iloc[:2], units["white"]))
    lonely = common[common["label"] != str(schema.classes[-1])].reset_index(drop=True)
    if len(lonely) >= 2:
        yield Pair("added: the only one of its class", lonely, _joined(lonely, units["ordinary"]))


def source(frame: pd.DataFrame, schema: ImageSchema) -> ArraySource:
    """A frame of images as a source."""
    units = None if schema.unit.column is None else frame[schema.unit.column].to_numpy()
    return ArraySource(np.stack(list(frame["image"])), frame["label"].to_numpy(), units)


def fitting(method: Fits, schema: ImageSchema, budget: Budget, *, images: int = 20) -> Program:
    """``method`` as a program to replay: read, bound, fit, save, sample.

    Args:
        method: what is attacked.
        schema, budget: under which.
        images: synthetic ones that are drawn and compared.
    """

    def locked(frame: pd.DataFrame, noise: NoiseSource) -> Private[Images, ImageSchema]:
        return bound_contributions(read_images(source(frame, schema), schema, dataset=schema.name), noise)

    def drawn(model: Any) -> Mapping[str, Any]:
        made = model.sample(images, seed=0)
        return {"pixels": made.pixels, "labels": made.labels}

    return program_of(method, method.plan(schema, budget), locked, drawn)


def planted(schema: ImageSchema, images: int) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """A set of images with one that nobody draws by chance: its pixels are random. And that image."""
    frame = table(schema, images)
    pattern = np.random.default_rng(77281).integers(0, 256, schema.shape).astype(np.uint8)
    others = frame.iloc[1:]
    first = frame.iloc[:1].assign(image=pd.Series([pattern], dtype=object))
    return _joined(first, others), pattern


def forms(pattern: NDArray[np.uint8]) -> dict[str, bytes]:
    """The bytes in which software keeps an image's pixels: the middle row of the first channel, say, as floats."""
    row = np.ascontiguousarray(pattern[0, pattern.shape[1] // 2])
    last = np.ascontiguousarray(np.moveaxis(pattern, 0, -1)[pattern.shape[1] // 2])
    scaled = row.astype(np.float64) / 255
    return {
        "pixels": row.tobytes(),
        "pixels, channels last": last.tobytes(),
        "float32": row.astype(np.float32).tobytes(),
        "float32, from 0 to 1": scaled.astype(np.float32).tobytes(),
        "float64, from 0 to 1": scaled.tobytes(),
        "int32": row.astype(np.int32).tobytes(),
        "int64": row.astype(np.int64).tobytes(),
    }


def alike(pattern: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> int:
    """How many of ``drawn`` (n, C, H, W) look like the planted pattern: their correlation with it is above 0.9."""
    flat = drawn.reshape(len(drawn), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    wanted = pattern.ravel().astype(np.float64) - pattern.mean()
    norms = np.linalg.norm(flat, axis=1) * np.linalg.norm(wanted)
    return int((flat @ wanted > _ALIKE * np.maximum(norms, 1e-9)).sum())


def people(count: int) -> list[str]:
    """Names of ``count`` units and one more, whose key sorts last: it takes nobody's place."""
    names = [f"person {k}" for k in range(count + 1)]
    keys = unit_keys(pd.Series(names, dtype=object), "units")
    return [names[k] for k in np.argsort(keys)]


def _unit(schema: ImageSchema, newcomer: str, draw: Draw, seed: int) -> pd.DataFrame:
    """All images of one unit, one more than it may have where it may have several."""
    rng = np.random.default_rng(seed)
    most = 1 if schema.unit.column is None else schema.unit.max_rows + 1
    frame = pd.DataFrame(
        {
            "image": pd.Series([draw(schema, rng) for _ in range(most)], dtype=object),
            "label": pd.Series([str(schema.classes[-1])] * most, dtype=object),
        }
    )
    if schema.unit.column is not None:
        frame[schema.unit.column] = newcomer
    return frame


def _joined(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def _blot(schema: ImageSchema, rng: np.random.Generator) -> NDArray[np.uint8]:
    y, x = np.meshgrid(np.linspace(0, 1, schema.height), np.linspace(0, 1, schema.width), indexing="ij")
    centre, size = rng.random(2), rng.uniform(0.1, 0.4)
    blot = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / size**2)
    light = rng.uniform(100, 255, schema.channels)[:, None, None]
    pixels: NDArray[np.uint8] = (light * blot + rng.uniform(0, 20, schema.shape)).clip(0, 255).astype(np.uint8)
    return pixels


def _flat(value: int) -> Draw:
    return lambda schema, _: np.full(schema.shape, value, dtype=np.uint8)


def _board(schema: ImageSchema, _: np.random.Generator) -> NDArray[np.uint8]:
    y, x = np.indices((schema.height, schema.width))
    board: NDArray[np.uint8] = np.broadcast_to(255 * ((x + y) % 2), schema.shape).astype(np.uint8)
    return board


def _stripes(schema: ImageSchema, _: np.random.Generator) -> NDArray[np.uint8]:
    x = np.arange(schema.width)
    stripes: NDArray[np.uint8] = np.broadcast_to(255 * (x // 2 % 2), schema.shape).astype(np.uint8)
    return stripes


def _static(schema: ImageSchema, rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 2, schema.shape).astype(np.uint8) * 255


KINDS: Mapping[str, Draw] = {
    "ordinary": _blot,
    "black": _flat(0),
    "white": _flat(255),
    "checkerboard": _board,
    "stripes": _stripes,
    "static": _static,
}

__all__ = ["KINDS", "alike", "fitting", "forms", "pairs", "people", "planted", "source", "table"]
