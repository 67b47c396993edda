"""What an equivalence class must be like, and how likely an attacker is right about a record.

    k-anonymity       Samarati 2001; Sweeney 2002
    (alpha, k)        Wong, Li, Fu, Wang 2006, the general form: every value of the sensitive column
    l-diversity       Machanavajjhala, Kifer, Gehrke, Venkitasubramaniam 2007: distinct, entropy, recursive (c, l)
    t-closeness       Li, Li, Venkatasubramanian 2007: earth mover's distance, ordered or equal
    delta-disclosure  Brickell, Shmatikov 2008, natural logarithm; a value that is absent from a class fails it
    attackers         El Emam 2013: prosecutor, journalist, marketer

An equivalence class holds the records that share all quasi-identifiers. Distributions of a class are held against
those of the whole table that is given away, suppressed records left out: so whoever holds it can recompute them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from synthkit.errors import JobError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_SLACK = 1e-9  # rounding of sums of a few floats


@dataclass(frozen=True)
class Classes:
    """Equivalence classes.

    Attributes:
        size: ``(classes,)`` int64, at least 1.
        counts: per sensitive column, ``(classes, values)`` int64; rows sum to ``size``.
        totals: per sensitive column, ``(values,)`` int64, at least 1: counts in the whole table.
    """

    size: NDArray[np.int64]
    counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    totals: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def shares(self, column: str) -> Floats:
        """Per class, the share of each value of ``column``: ``(classes, values)``, in [0, 1]."""
        shares: Floats = self.counts[column] / self.size[:, None]
        return shares

    def whole(self, column: str) -> Floats:
        """The share of each value of ``column`` in the table: ``(values,)``."""
        shares: Floats = self.totals[column] / self.totals[column].sum()
        return shares


class Model(Protocol):
    """A demand on each class.

    ``least_size`` is a size below which no class can meet it: the number of records in smaller classes never grows
    when values are generalized, which is what a search may prune by. Nothing else here has this property.
    """

    @property
    def name(self) -> str: ...
    @property
    def sensitive(self) -> str | None: ...
    @property
    def least_size(self) -> int: ...
    def measure(self, classes: Classes) -> Floats:
        """The figure of each class, ``(classes,)``."""

    def holds(self, classes: Classes) -> Bools:
        """Which classes meet the demand, ``(classes,)``."""

    def attained(self, classes: Classes) -> float:
        """The figure of the worst class."""


@dataclass(frozen=True, kw_only=True)
class KAnonymity:
    """Classes of at least ``k`` records."""

    name: ClassVar[str] = "k-anonymity"
    sensitive: ClassVar[None] = None
    k: int

    def __post_init__(self) -> None:
        _at_least("k", self.k, 1)

    @property
    def least_size(self) -> int:
        return self.k

    def measure(self, classes: Classes) -> Floats:
        return classes.size.astype(np.float64)

    def holds(self, classes: Classes) -> Bools:
        met: Bools = classes.size >= self.k
        return met

    def attained(self, classes: Classes) -> float:
        return float(self.measure(classes).min())


@dataclass(frozen=True, kw_only=True)
class AlphaK:
    """Classes of at least ``k`` records, of which at most the share ``alpha`` has one sensitive value."""

    name: ClassVar[str] = "(alpha, k)-anonymity"
    sensitive: str
    alpha: float
    k: int = 1

    def __post_init__(self) -> None:
        _at_least("k", self.k, 1)
        _within("alpha", self.alpha, 0, 1)

    @property
    def least_size(self) -> int:
        return self.k

    def measure(self, classes: Classes) -> Floats:
        return _float(classes.shares(self.sensitive).max(1))

    def holds(self, classes: Classes) -> Bools:
        met: Bools = (classes.size >= self.k) & (self.measure(classes) <= self.alpha + _SLACK)
        return met

    def attained(self, classes: Classes) -> float:
        return float(self.measure(classes).max())


@dataclass(frozen=True, kw_only=True)
class DistinctL:
    """At least ``l`` sensitive values in each class."""

    name: ClassVar[str] = "distinct l-diversity"
    sensitive: str
    l: int  # noqa: E741  (the field's name for it)

    def __post_init__(self) -> None:
        _at_least("l", self.l, 1)

    @property
    def least_size(self) -> int:
        return self.l

    def measure(self, classes: Classes) -> Floats:
        return _float((classes.counts[self.sensitive] > 0).sum(1))

    def holds(self, classes: Classes) -> Bools:
        met: Bools = self.measure(classes) >= self.l
        return met

    def attained(self, classes: Classes) -> float:
        return float(self.measure(classes).min())


@dataclass(frozen=True, kw_only=True)
class EntropyL:
    """Entropy of the sensitive values of at least ``log l`` in each class; measured is its exponential."""

    name: ClassVar[str] = "entropy l-diversity"
    sensitive: str
    l: float  # noqa: E741

    def __post_init__(self) -> None:
        _at_least("l", self.l, 1)

    @property
    def least_size(self) -> int:
        return int(np.ceil(self.l - _SLACK))  # exp(entropy) is at most the number of values, and of records

    def measure(self, classes: Classes) -> Floats:
        share = classes.shares(self.sensitive)
        logs = np.log(share, out=np.zeros_like(share), where=share > 0)
        return _float(np.exp(-(share * logs).sum(1)))

    def holds(self, classes: Classes) -> Bools:
        met: Bools = self.measure(classes) >= self.l - _SLACK
        return met

    def attained(self, classes: Classes) -> float:
        return float(self.measure(classes).min())


@dataclass(frozen=True, kw_only=True)
class RecursiveL:
    """Recursive (c, l)-diversity: the commonest value less often than ``c`` times the l-th commonest and rarer ones.

    Measured is their ratio, infinite where there are fewer than ``l`` values.
    """

    name: ClassVar[str] = "recursive (c, l)-diversity"
    sensitive: str
    l: int  # noqa: E741
    c: float

    def __post_init__(self) -> None:
        _at_least("l", self.l, 2)
        if not self.c > 0:
            raise JobError(f"c must be above 0, got {self.c:g}")

    @property
    def least_size(self) -> int:
        return self.l

    def measure(self, classes: Classes) -> Floats:
        falling = -np.sort(-classes.counts[self.sensitive], axis=1)
        tail = falling[:, self.l - 1 :].sum(1)
        first = falling[:, 0].astype(np.float64)
        ratio: Floats = np.divide(first, tail, out=np.full(len(tail), np.inf), where=tail > 0)
        return ratio

    def holds(self, classes: Classes) -> Bools:
        met: Bools = self.measure(classes) < self.c
        return met

    def attained(self, classes: Classes) -> float:
        return float(self.measure(classes).max())


@dataclass(frozen=True, kw_only=True)
class TCloseness:
    """Earth mover's distance of at most ``t`` between each class and the table.

    ``ordered``: values lie on a line, one step apart, as numbers in their order do. Else all are equally far.
    """

    name: ClassVar[str] = "t-closeness"
    sensitive: str
    t: float
    ordered: bool = False
    least_size: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _within("t", self.t, 0, 1)

    def measure(self, classes: Classes) -> Floats:
        gap = classes.shares(self.sensitive) - classes.whole(self.sensitive)
        if not self.ordered:
            return _float(np.abs(gap).sum(1) / 2)
        return _float(np.abs(np.cumsum(gap, 1)).sum(1) / max(1, gap.shape[1] - 1))

    def holds(self, classes: Classes) -> Bools:
        met: Bools = self.measure(classes) <= self.t + _SLACK
        return met

    def attained(self, classes: Classes) -> float:
        return float(self.measure(classes).max())


@dataclass(frozen=True, kw_only=True)
class DeltaDisclosure:
    """``|log(share in the class / share in the table)| < delta`` for every value; infinite where a class lacks one."""

    name: ClassVar[str] = "delta-disclosure privacy"
    sensitive: str
    delta: float
    least_size: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise JobError(f"delta must be above 0, got {self.delta:g}")

    def measure(self, classes: Classes) -> Floats:
        share, whole = classes.shares(self.sensitive), classes.whole(self.sensitive)
        share, whole = share[:, whole > 0], whole[whole > 0]
        with np.errstate(divide="ignore"):
            return _float(np.abs(np.log(share / whole)).max(1))

    def holds(self, classes: Classes) -> Bools:
        met: Bools = self.measure(classes) < self.delta
        return met

    def attained(self, classes: Classes) -> float:
        return float(self.measure(classes).max())


RELATIVE = (TCloseness, DeltaDisclosure)  # these hold a class against the whole table
MODELS: Mapping[str, Callable[..., Model]] = {
    model.name: model for model in (KAnonymity, AlphaK, DistinctL, EntropyL, RecursiveL, TCloseness, DeltaDisclosure)
}


@dataclass(frozen=True)
class Risk:
    """How likely an attacker names the right person.

    Attributes:
        highest: of the record in the greatest danger, in [0, 1].
        average: over records, in [0, 1].
        above: the share of records whose risk is above the threshold, in [0, 1].
    """

    highest: float
    average: float
    above: float


def risks(
    size: NDArray[np.int64], *, threshold: float, population: NDArray[np.int64] | None = None
) -> dict[str, Risk | float]:
    """The three attackers.

    The prosecutor knows that the person is in the table: 1 over the class. The journalist does not: 1 over the class
    in the population. The marketer wants as many as possible: the share that a guess within each class gets right.

    Args:
        size: ``(classes,)``, records per class of the table.
        threshold: a risk that is too high, in [0, 1].
        population: ``(classes,)``, persons per class in the population, at least ``size``. Without it the population
            is taken to be the table, which is the worst case.

    Raises:
        JobError: a population smaller than the table.
    """
    larger = size if population is None else population
    if (larger < size).any():
        raise JobError("a class of the population is smaller than that of the table: it cannot hold it")
    marketer = float((size / larger).sum() / size.sum())
    return {
        "prosecutor": _risk(size, size, threshold),
        "journalist": _risk(size, larger, threshold),
        "marketer": marketer,
    }


def _risk(size: NDArray[np.int64], among: NDArray[np.int64], threshold: float) -> Risk:
    each = 1 / among
    rows = size.sum()
    return Risk(
        float(each.max()), float((size * each).sum() / rows), float(size[each > threshold + _SLACK].sum() / rows)
    )


def _float(values: NDArray[np.floating] | NDArray[np.integer]) -> Floats:
    return np.asarray(values, np.float64)


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise JobError(f"{name} must be at least {least:g}, got {value:g}")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low < value <= high:
        raise JobError(f"{name} must be above {low:g} and at most {high:g}, got {value:g}")


__all__ = [
    "MODELS",
    "RELATIVE",
    "AlphaK",
    "Classes",
    "DeltaDisclosure",
    "DistinctL",
    "EntropyL",
    "KAnonymity",
    "Model",
    "RecursiveL",
    "Risk",
    "TCloseness",
    "risks",
]
