"""How finely a numeric column is cut before anybody looks at it: the grid on which private bins are found.

A grid follows from the declaration alone. Equal cells, on the line or on a signed log scale, and cells
of their own for single values that are expected often:

    linear    x
    log       sign(x) log(1 + |x| / u),  u the largest of the column's step and a millionth of its largest bound
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synthkit.errors import SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_CELLS = 10_000
MAX_SPIKES = 100
_FINEST = 1e-6  # of the largest bound: below, the log scale is linear


@dataclass(frozen=True)
class Quantiles:
    """Bins that hold about equally many rows: their edges are found by a charged mechanism.

    Attributes:
        quantiles: at most so many bins.
        grid: about so many cells between the bounds; a column with no more values gets one cell a value.
        scale: ``linear`` for equal cells, ``log`` for a heavy tail.
        spikes: single values that get a cell each. On the log scale zero has one in any case, and so
            have both bounds where values are clamped to them.
    """

    quantiles: int
    grid: int = 256
    scale: Literal["linear", "log"] = "linear"
    spikes: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("quantiles", self.quantiles), ("grid", self.grid)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_CELLS:
                raise SchemaError(f"bins: {name} is {value!r}; it must be a whole number from 1 to {MAX_CELLS}")
        if self.quantiles > self.grid:
            raise SchemaError(f"bins: {self.quantiles} quantiles on a grid of {self.grid} cells; make the grid finer")
        if self.scale not in ("linear", "log"):
            raise SchemaError(f"bins: scale is {self.scale!r}; use linear or log")
        if len(self.spikes) > MAX_SPIKES:
            raise SchemaError(f"bins: {len(self.spikes)} spikes; at most {MAX_SPIKES}")
        object.__setattr__(self, "spikes", tuple(self.spikes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in a schema file."""
        settings: dict[str, Any] = {"quantiles": self.quantiles}
        for name in ("grid", "scale", "spikes"):
            value = getattr(self, name)
            if value != self.__dataclass_fields__[name].default:
                settings[name] = list(value) if isinstance(value, tuple) else value
        return settings

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Quantiles:
        """The inverse of :meth:`to_dict`."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
        return cls(**plain)


@dataclass(frozen=True)
class Grid:
    """The cells.

    Attributes:
        edges: one more than there are cells, ascending; the last cell is closed.
        points: which cells are declared to hold a single value, one entry a cell.
        coarse: some of the edges: about as many equal bins on the same scale, for forecasts and figures.
    """

    edges: tuple[float, ...]
    points: tuple[bool, ...]
    coarse: tuple[float, ...]


def grid(
    low: float,
    high: float,
    step: float | None,
    at: Callable[[int], float],
    declared: Quantiles,
    spikes: Iterable[float],
) -> Grid:
    """The grid of a column.

    Args:
        low, high: its bounds, on the inner line.
        step: distance of neighbouring values, or None on a continuum.
        at: the value so many steps above ``low``.
        declared: how to cut.
        spikes: values that get a cell each, on the inner line.

    Raises:
        SchemaError: a spike that is no possible value.
    """
    wanted = set(spikes)
    if any(not low <= spike <= high for spike in wanted):
        raise SchemaError("bins: a spike lies outside min and max")
    cuts = _cuts(low, high, step, declared.scale, declared.grid)
    if step:
        values = round((high - low) / step) + 1
        places = {spike: round((spike - low) / step) for spike in wanted}
        if any(abs(spike - at(place)) > step * 1e-6 for spike, place in places.items()):
            raise SchemaError("bins: a spike is not a possible value of the column")
        if values <= declared.grid:
            steps = set(range(values + 1))
        else:
            steps = {0, values} | {min(values, math.ceil((cut - low) / step - 1e-9)) for cut in cuts}
            steps |= {place + more for place in places.values() for more in (0, 1)}
        edges = [at(k) for k in sorted(steps)]
        single = {at(place) for place in places.values()}
    else:
        # On a continuum, a single value is a cell from itself to the next float; the last cell is closed.
        single = {min(spike, math.nextafter(high, low)) for spike in wanted}
        edges = sorted({low, high} | set(cuts) | single | {math.nextafter(spike, math.inf) for spike in single})
    coarse = _nearest(edges, _cuts(low, high, step, declared.scale, declared.quantiles))
    return Grid(tuple(edges), tuple(edge in single for edge in edges[:-1]), coarse)


def _cuts(low: float, high: float, step: float | None, scale: str, count: int) -> list[float]:
    """Where ``count`` cells meet that are equal on the scale; strictly inside the bounds."""
    high += step or 0.0  # on a grid of values, the last one has its place, too
    if scale == "linear":
        inner = [low + (high - low) * (i / count) for i in range(1, count)]
    else:
        unit = max(step or 0.0, _FINEST * max(abs(low), abs(high)))
        start, end = (math.copysign(math.log1p(abs(x) / unit), x) for x in (low, high))
        places = [start + (end - start) * (i / count) for i in range(1, count)]
        inner = [math.copysign(unit * math.expm1(abs(place)), place) for place in places]
    return [cut for cut in inner if low < cut < high]


def _nearest(edges: list[float], wanted: list[float]) -> tuple[float, ...]:
    line: NDArray[np.float64] = np.asarray(edges)
    middles = (line[:-1] + line[1:]) / 2
    inner = {float(line[k]) for k in np.searchsorted(middles, wanted)} - {edges[0], edges[-1]}
    return (edges[0], *sorted(inner), edges[-1])


__all__ = ["MAX_CELLS", "MAX_SPIKES", "Grid", "Quantiles", "grid"]
