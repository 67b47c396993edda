"""From one noisy marginal over a fine public domain to few codes, and to the distribution within each.

Post-processing of released counts, column by column. In steps:

    SMOOTH    noisy counts become shares that are not negative: differences that noise explains are shrunk away
    CUT       cells that hold much by themselves get a code each; the others are cut into quantiles
    MERGE     categories whose noisy count is below three standard deviations of its noise share a code
              (as in MST: McKenna, Miklau and Sheldon 2021, arXiv:2108.04978)

The fine domain is the grid of a number and the declared list of a category; null is a cell like any other.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.schema import Categorical, Modelled, Numeric, Quantiles, Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT = 1.5  # a difference below so many standard deviations of its noise is taken for noise
_FEW = 3.0  # and so is a category below so many
_ALONE = 0.5  # a cell with more than this share of a quantile may get a code of its own, if it stands out
_STANDS_OUT = 4.0  # against its neighbours: so many times as much


@dataclass(frozen=True)
class Shape:
    """How the codes of one column lie on its fine domain.

    Attributes:
        codes: (cells,) the code of every fine cell.
        shares: (cells,) how likely every cell is, given its code.
    """

    codes: NDArray[np.int32]
    shares: NDArray[np.float64]

    def draw(self, codes: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int32]:
        """A fine cell for each of ``codes`` (n,), by the shares."""
        order = np.argsort(self.codes, kind="stable")
        sizes = np.bincount(self.codes)
        starts = np.cumsum(sizes) - sizes
        # The cells of code k lie between k and k + 1 on a line: one search places all draws.
        within = np.concatenate([np.cumsum(part) for part in np.split(self.shares[order], starts[1:])])
        places = np.searchsorted(self.codes[order] + within, codes + rng.random(len(codes)), side="right")
        return order[np.clip(places, starts[codes], (starts + sizes - 1)[codes])].astype(np.int32)


def concerned(schema: Schema) -> list[str]:
    """The columns whose codes are to be found: numbers in quantiles, categories with ``rare: merge``."""
    return [name for name, column in schema.modelled.items() if _is_found(column)]


def fine(schema: Schema) -> Schema:
    """The schema with every such column on its fine domain."""
    return _with(schema, {name: _fine(schema.modelled[name]) for name in concerned(schema)})


def promised(schema: Schema, sigma: float) -> Schema:
    """The schema with as many codes as can be found, at most: what a method is priced for.

    Args:
        schema: the public domain, as declared.
        sigma: noise of a fine cell, in rows.
    """
    found: dict[str, Modelled] = {}
    for name in concerned(schema):
        column = schema.modelled[name]
        if isinstance(column, Numeric):
            found[name] = replace(column, bins=_written(column, column.edges))
        elif isinstance(column, Categorical):
            found[name] = _merged(column, np.arange(len(column.categories)) >= _most(schema, sigma))
    return _with(schema, found)


def coarse(schema: Schema, shapes: dict[str, Shape]) -> Schema:
    """The schema with the codes that were found."""
    found: dict[str, Modelled] = {}
    for name, shape in shapes.items():
        column = schema.modelled[name]
        if isinstance(column, Numeric):
            edges = np.asarray(column.grid.edges[:-1])
            begins = np.diff(shape.codes[: len(edges)], prepend=-1) != 0
            found[name] = replace(column, bins=_written(column, edges[begins]))
        elif isinstance(column, Categorical):
            codes = shape.codes[: len(column.categories)]
            found[name] = _merged(column, np.bincount(codes)[codes] > 1)
    return _with(schema, found)


def public_codes(schema: Schema) -> dict[str, NDArray[np.int32]]:
    """For every such column, the code under ``schema`` itself of every fine cell."""
    found = {}
    for name in concerned(schema):
        column = schema.modelled[name]
        if isinstance(column, Numeric):
            cells = np.searchsorted(column.edges[1:-1], column.grid.edges[:-1], side="right")
            codes = np.append(cells, [column.size - 1] * column.nullable)
        else:
            codes = np.arange(column.size)
        found[name] = codes.astype(np.int32)
    return found


def shape(counts: NDArray[np.float64], sigma: float, name: str, schema: Schema) -> Shape:
    """The codes of one column and the distribution within each.

    Args:
        counts: noisy counts of its fine cells, null last where the column is nullable.
        sigma: standard deviation of their noise.
        name: of the column.
        schema: the public domain, as declared.
    """
    column = schema.modelled[name]
    cells = len(counts) - column.nullable
    if isinstance(column, Numeric):
        mass = _smooth(counts[:cells], sigma, np.array(column.grid.points))
        codes = _cut(mass, column.bins.quantiles) if isinstance(column.bins, Quantiles) else np.arange(cells)
    else:
        few = _few(counts[:cells], sigma, _most(schema, sigma))
        mass = np.where(few, _shrunk(counts[:cells], few, sigma), 1.0)
        codes = np.where(few, np.count_nonzero(~few), np.cumsum(~few) - 1)
    if column.nullable:
        mass, codes = np.append(mass, 1.0), np.append(codes, codes.max() + 1)
    return Shape(codes.astype(np.int32), _within(mass, codes))


# Numbers


def _smooth(counts: NDArray[np.float64], sigma: float, points: NDArray[np.bool_]) -> NDArray[np.float64]:
    """SMOOTH. Cells (m,) to masses that are not negative.

    Cells are halved, and halved again; how a mass divides between two halves differs from how their
    cells do by what was counted, shrunk by the noise of that difference (the non-negative garrote,
    Breiman 1995, on unbalanced Haar coefficients). Declared single values have no neighbours.
    """
    mass = np.zeros(len(counts))
    mass[points] = _garrote(np.maximum(counts[points], 0.0), sigma)
    rest = np.flatnonzero(~points)
    if len(rest) == 0:
        return mass
    sums = np.concatenate([[0.0], np.cumsum(counts[rest])])
    pending = [(0, len(rest), max(0.0, float(sums[-1])))]
    while pending:
        start, end, whole = pending.pop()
        if end - start == 1:
            mass[rest[start]] = whole
            continue
        middle = (start + end) // 2
        share = (middle - start) / (end - start)
        difference = (sums[middle] - sums[start]) - share * (sums[end] - sums[start])
        spread = sigma * np.sqrt(share * (1 - share) * (end - start))
        left = float(np.clip(share * whole + _garrote(difference, spread), 0.0, whole))
        pending += [(start, middle, left), (middle, end, whole - left)]
    return mass


def _garrote(value: NDArray[np.float64] | float, spread: float) -> NDArray[np.float64]:
    noise = np.minimum(1.0, _KEPT * spread / np.maximum(np.abs(value), 1e-200))
    return np.asarray(value * (1 - noise**2))


def _cut(mass: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """CUT. The bin of every cell, of ``most`` bins (fewer where there are fewer cells)."""
    cells, quantile = len(mass), mass.sum() / most
    if cells <= most:
        return np.arange(cells)
    padded = np.concatenate([mass[1:2], mass, mass[-2:-1]])
    beside = np.maximum(padded[:-2], padded[2:])
    out = (mass > quantile) | ((mass > _ALONE * quantile) & (mass > _STANDS_OUT * beside))
    alone = np.zeros(cells, dtype=bool)
    for cell in sorted(np.flatnonzero(out), key=lambda k: -mass[k]):
        alone[cell] = True
        if _runs(alone)[-1] + 1 > most:  # what lies between needs a bin, too
            alone[cell] = False
    runs = _runs(alone)
    bins = np.ones(runs[-1] + 1, dtype=np.int64)
    held, lengths = np.bincount(runs, weights=mass), np.bincount(runs)
    # The run with the most for each of its bins gets the next one (highest averages).
    while bins.sum() < most:
        bins[np.argmax(np.where(bins < lengths, (held + 1e-9 * lengths) / bins, -1.0))] += 1
    begins = np.zeros(cells, dtype=np.int64)
    for run, (start, length, count) in enumerate(zip(np.cumsum(lengths) - lengths, lengths, bins, strict=True)):
        begins[start + _quantiles(mass[runs == run], int(count), int(length))] = 1
    return np.cumsum(begins) - 1


def _runs(alone: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of the run that every cell is in: a cell alone is one, and so are neighbours between two such."""
    return np.cumsum(np.concatenate([[False], alone[1:] | alone[:-1]]))


def _quantiles(mass: NDArray[np.float64], count: int, cells: int) -> NDArray[np.int64]:
    """Where ``count`` bins begin that hold about the same, one cell at least."""
    total = np.cumsum(mass if mass.sum() > 0 else np.ones(cells))
    wanted = total[-1] * np.arange(1, count) / count
    after = np.searchsorted(total, wanted)
    before = np.concatenate([[0.0], total])
    begins = [0]
    for k, (cell, goal) in enumerate(zip(after, wanted, strict=True), start=1):
        nearer = int(cell) + (total[cell] - goal < goal - before[cell])
        begins.append(min(max(nearer, begins[-1] + 1), cells - (count - k)))
    return np.array(begins)


# Categories


def _most(schema: Schema, sigma: float) -> int:
    """So many categories can hold more than what is few; a public number."""
    return max(1, int(schema.rows / (_FEW * sigma)))


def _few(counts: NDArray[np.float64], sigma: float, most: int) -> NDArray[np.bool_]:
    """MERGE. Which categories share a code."""
    few = counts < _FEW * sigma
    few[np.argsort(-counts, kind="stable")[most:]] = True
    return few if np.count_nonzero(few) > 1 else np.zeros(len(counts), dtype=bool)


def _shrunk(counts: NDArray[np.float64], few: NDArray[np.bool_], sigma: float) -> NDArray[np.float64]:
    """Masses of the few, drawn to their mean as far as noise explains how they differ (empirical Bayes)."""
    if not few.any():
        return np.zeros(len(counts))
    mean, spread = counts[few].mean(), counts[few].var()
    signal = max(0.0, 1 - sigma**2 / spread) if spread > 0 else 0.0
    masses: NDArray[np.float64] = np.maximum(0.0, mean + signal * (counts - mean))
    return masses


def _within(mass: NDArray[np.float64], codes: NDArray[np.integer]) -> NDArray[np.float64]:
    held = np.bincount(codes, weights=mass)
    even = 1 / np.bincount(codes)[codes]
    shares: NDArray[np.float64] = np.where(held[codes] > 0, mass / np.where(held > 0, held, 1.0)[codes], even)
    return shares


# Schemas


def _is_found(column: Modelled) -> bool:
    if isinstance(column, Numeric):
        return isinstance(column.bins, Quantiles)
    return isinstance(column, Categorical) and column.rare == "merge"


def _fine(column: Modelled) -> Modelled:
    if isinstance(column, Numeric):
        return replace(column, bins=_written(column, column.grid.edges))
    return replace(column, rare="keep") if isinstance(column, Categorical) else column


def _written(column: Numeric, edges: tuple[float, ...] | NDArray[np.float64]) -> tuple[object, ...]:
    """Edges as they stand in a schema, without the one above all values."""
    return tuple(column.edge(float(edge)) for edge in edges if edge <= column.high)


def _merged(column: Categorical, few: NDArray[np.bool_]) -> Categorical:
    rare = tuple(itertools.compress(column.categories, few))
    return replace(column, rare=rare or "keep")


def _with(schema: Schema, columns: dict[str, Modelled]) -> Schema:
    return replace(schema, columns={**schema.columns, **columns})


__all__ = ["Shape", "coarse", "concerned", "fine", "promised", "public_codes", "shape"]
