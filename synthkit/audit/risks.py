"""The three risks of anonymization by which WP216 judges a release, attacked: singling out, linkability, inference.

Giomi, Boenisch, Wehmeyer, Tasnadi 2023 (arXiv:2211.10459), "Anonymeter", sections 4 and 5; intervals by Wilson (1927).

    SINGLING OUT   a predicate that isolates one synthetic row: does it isolate one person?
    LINKABILITY    two halves of a person's columns: do they lead to the same synthetic row?
    INFERENCE      what is known of a person: does the nearest synthetic row tell what is not?

Each attack is run three times. The main attack uses the synthetic table against the original rows. The control is the same
attack against people who were not in the data: what succeeds there holds for the population, and is no one's secret. The
baseline guesses at random. The risk is how much more the main attack succeeds than the control, of what the control left
open: (main - control) / (1 - control). Where the main attack does not beat the baseline, it is a bad attack, and its result
is no evidence of anything, least of all of safety.

Internal: exact figures of real rows, for nobody but the steward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synthkit.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Verdict = Literal["no evidence", "risk found", "no risk found"]
Query = tuple[tuple[int, str, float], ...]  # column, relation, value

_Z = 1.959964  # 95%, two-sided
_CHUNK = 256  # targets compared at once
_PATIENCE = 40  # predicates that are tried for one that is kept


@dataclass(frozen=True)
class Rows:
    """A table as numbers.

    Attributes:
        values: ``(rows, columns)``: numbers, or codes of labels; null is NaN.
        numeric: per column, whether its values are numbers.
        names: per column.
    """

    values: Floats
    numeric: tuple[bool, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def some(self, count: int, rng: np.random.Generator) -> Rows:
        """At most ``count`` rows, by lot."""
        return Rows(self.values[rng.permutation(len(self))[:count]], self.numeric, self.names)

    def places(self, names: Sequence[str]) -> list[int]:
        """Where columns stand.

        Raises:
            InputError: one is not there.
        """
        if unknown := [name for name in names if name not in self.names]:
            raise InputError(f"no column {unknown[0]!r} to attack by; there are {', '.join(self.names)}")
        return [self.names.index(name) for name in names]


@dataclass(frozen=True)
class Rate:
    """A share of attacks that succeed.

    Attributes:
        successes, attacks: what was counted.
        error: standard deviation that noise gives the share; 0 where counts are exact.
    """

    successes: float
    attacks: float
    error: float = 0.0

    def wilson(self, z: float = _Z) -> tuple[float, float]:
        """The middle of Wilson's interval, and half its width, noise included; ``z`` standard deviations, by default 95%."""
        n, s = self.attacks, self.successes
        half = z / (n + z**2) * math.sqrt(s * (n - s) / n + z**2 / 4)
        return (s + z**2 / 2) / (n + z**2), math.hypot(half, z * self.error)

    def between(self, z: float = _Z) -> tuple[float, float]:
        """Wilson's interval."""
        middle, half = self.wilson(z)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Attacked:
    """What came of one attack.

    Attributes:
        name: which attack, and by which columns.
        main, control, baseline: how often it succeeded.
        strict: standard deviations that the verdict asks for; more than for 95% where several attacks were made, so that
            all their verdicts together raise a false alarm in one of twenty audits at most (Bonferroni).
    """

    name: str
    main: Rate
    control: Rate
    baseline: Rate
    strict: float = _Z

    @property
    def risk(self) -> float:
        """What the main attack has over the control, of what the control left open; in [0, 1]."""
        return min(1.0, max(0.0, self._excess(_Z)[0]))

    @property
    def interval(self) -> tuple[float, float]:
        """95%, by the propagation of both rates' errors."""
        excess, half = self._excess(_Z)
        return min(1.0, max(0.0, excess - half)), min(1.0, max(0.0, excess + half))

    @property
    def verdict(self) -> Verdict:
        """``no evidence`` where the main attack's interval does not lie above the baseline's."""
        if self.main.between(self.strict)[0] <= self.baseline.between(self.strict)[1]:
            return "no evidence"
        excess, half = self._excess(self.strict)
        return "risk found" if excess - half > 0 else "no risk found"

    def over(self, rate: Rate) -> tuple[float, float, float]:
        """What ``rate`` has over the control, in the terms of :attr:`risk`, between the ends of its 95% interval; in [-1, 1]."""
        excess, half = self._excess(_Z, rate)
        low, value, high = (min(1.0, max(-1.0, one)) for one in (excess - half, excess, excess + half))
        return low, value, high

    def _excess(self, z: float, rate: Rate | None = None) -> tuple[float, float]:
        (main, by_main), (control, by_control) = (rate or self.main).wilson(z), self.control.wilson(z)
        left = 1 - control
        return (main - control) / left, math.hypot(by_main / left, by_control * (main - 1) / left**2)


def attack_all(
    original: Rows,
    control: Rows,
    synthetic: Rows,
    *,
    auxiliary: Sequence[str] | None = None,
    secrets: Sequence[str] = (),
    attacks: int = 500,
    seed: int = 0,
) -> list[Attacked]:
    """All three risks.

    Args:
        original: rows that the synthetic table was made of.
        control: rows of the same population that it was not made of.
        synthetic: the table.
        auxiliary: what an attacker knows; None: all columns but the secret.
        secrets: what he is after, one at a time; by default the last column.
        attacks: of each kind, at least 1.
        seed: of whom and what is attacked.

    Raises:
        InputError: tables of different columns, or too few rows.
    """
    if not original.names == control.names == synthetic.names:
        raise InputError("the original, the control and the synthetic table must have the same columns")
    if min(len(original), len(control), len(synthetic)) < 2:
        raise InputError("too few rows to attack: two at least in the original, the control and the synthetic table")
    if attacks < 1 or len(original.names) < 2:
        raise InputError("an attack needs two columns at least, and must be made once at least")
    rng = np.random.default_rng(seed)
    size = min(len(original), len(control))  # a predicate isolates less often among more rows
    original, control = original.some(size, rng), control.some(size, rng)
    known = list(auxiliary) if auxiliary is not None else list(original.names)
    found = [
        singling_out(original, control, synthetic, columns=1, attacks=attacks, rng=rng),
        singling_out(original, control, synthetic, columns=min(3, len(known)), attacks=attacks, rng=rng),
    ]
    half = (len(known) + 1) // 2
    if len(known) > 1:
        parts = known[:half], known[half:]
        found.append(linkability(original, control, synthetic, *parts, attacks=attacks, rng=rng))
    for secret in secrets or original.names[-1:]:
        aux = [name for name in known if name != secret]
        found.append(inference(original, control, synthetic, aux, secret, attacks=attacks, rng=rng))
    strict = NormalDist().inv_cdf(1 - 0.025 / len(found))
    return [replace(one, strict=strict) for one in found]


# Singling out ----------------------------------------------------------------------------------


def singling_out(
    original: Rows, control: Rows, synthetic: Rows, *, columns: int, attacks: int, rng: np.random.Generator
) -> Attacked:
    """Predicates over ``columns`` columns that isolate one synthetic row, tried on real rows.

    The baseline's predicates are drawn without looking for one that isolates.
    """
    queries = _univariate(synthetic, rng) if columns == 1 else _multivariate(synthetic, columns, attacks, rng)
    queries = queries[:attacks]
    guessed = _guesses(synthetic, columns, len(queries), rng)
    name = f"singling out by {columns} column{'s' if columns > 1 else ''}"
    if not queries:  # nothing isolates a synthetic row: there is no such attack
        return Attacked(name, Rate(0, attacks), Rate(0, attacks), Rate(0, attacks))

    def isolate(some: Sequence[Query], rows: Rows) -> Rate:
        return Rate(sum(_matches(query, rows) == 1 for query in some), len(some))

    return Attacked(name, isolate(queries, original), isolate(queries, control), isolate(guessed, original))


def _matches(query: Query, rows: Rows) -> int:
    """How many rows meet a predicate."""
    held: Bools = np.ones(len(rows), bool)
    for place, relation, value in query:
        column = rows.values[:, place]
        if relation == "null":
            held &= np.isnan(column)
        elif relation == "<=":
            held &= column <= value
        elif relation == ">=":
            held &= column >= value
        else:
            held &= column == value
    return int(held.sum())


def _univariate(synthetic: Rows, rng: np.random.Generator) -> list[Query]:
    """Rare values, and the ends of numbers, that one synthetic row has."""
    queries: list[Query] = []
    for place, numeric in enumerate(synthetic.numeric):
        column = synthetic.values[:, place]
        present = column[~np.isnan(column)]
        values, counts = np.unique(present, return_counts=True)
        queries += [((place, "==", float(value)),) for value in values[counts == 1]]
        if numeric and len(values):
            queries += [((place, "<=", float(values[0])),), ((place, ">=", float(values[-1])),)]
        queries.append(((place, "null", 0.0),))
    kept = [query for query in queries if _matches(query, synthetic) == 1]
    return [kept[k] for k in rng.permutation(len(kept))]


def _multivariate(synthetic: Rows, columns: int, wanted: int, rng: np.random.Generator) -> list[Query]:
    """Conjunctions that hold for a synthetic row drawn by lot, and for no other."""
    medians = np.array([np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else 0.0 for c in synthetic.values.T])
    kept: dict[Query, None] = {}
    for _ in range(_PATIENCE * wanted):
        row = synthetic.values[rng.integers(len(synthetic))]
        places = rng.choice(row.size, columns, replace=False)
        query = tuple(sorted(_like(int(p), row[p], synthetic.numeric[p], medians[p]) for p in places))
        if query not in kept and _matches(query, synthetic) == 1:
            kept[query] = None
            if len(kept) == wanted:
                break
    return list(kept)


def _like(place: int, value: float, numeric: bool, median: float) -> tuple[int, str, float]:
    if math.isnan(value):
        return place, "null", 0.0
    if not numeric:
        return place, "==", float(value)
    return place, ">=" if value > median else "<=", float(value)


def _guesses(synthetic: Rows, columns: int, count: int, rng: np.random.Generator) -> list[Query]:
    """Columns, values that occur in them and relations, all by lot."""
    values = [np.unique(column) for column in synthetic.values.T]  # null once, too
    queries = []
    for _ in range(count):
        query = []
        for place in rng.choice(len(values), columns, replace=False):
            value = float(rng.choice(values[place]))
            relation = str(rng.choice(["==", "<=", ">="])) if synthetic.numeric[place] else "=="
            query.append((int(place), "null", 0.0) if math.isnan(value) else (int(place), relation, value))
        queries.append(tuple(sorted(query)))
    return queries


# Linkability -----------------------------------------------------------------------------------


def linkability(
    original: Rows,
    control: Rows,
    synthetic: Rows,
    first: Sequence[str],
    second: Sequence[str],
    *,
    attacks: int,
    rng: np.random.Generator,
    neighbours: int = 1,
) -> Attacked:
    """Whether two halves of a person's columns have a synthetic row in common among their nearest.

    Args:
        original, control, synthetic: the tables.
        first, second: what each of two holders knows.
        attacks: how many persons.
        rng: who they are.
        neighbours: how many nearest rows are looked at. Of equally near ones, some are taken by lot.
    """
    halves = original.places(first), original.places(second)

    def link(targets: Rows) -> Rate:
        left, right = (_nearest(targets, synthetic, places, neighbours, rng) for places in halves)
        return Rate(_in_common(left, right), len(targets))

    def lot(targets: Rows) -> NDArray[np.int64]:
        return np.stack([rng.permutation(len(synthetic))[:neighbours] for _ in range(len(targets))])

    people, others = original.some(attacks, rng), control.some(attacks, rng)
    guessed = Rate(_in_common(lot(people), lot(people)), len(people))
    return Attacked(f"linkability of {len(first)} and {len(second)} columns", link(people), link(others), guessed)


def _in_common(left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    return int((left[:, :, None] == right[:, None, :]).any((1, 2)).sum())


# Inference -------------------------------------------------------------------------------------


def inference(
    original: Rows,
    control: Rows,
    synthetic: Rows,
    auxiliary: Sequence[str],
    secret: str,
    *,
    attacks: int,
    rng: np.random.Generator,
    tolerance: float = 0.05,
) -> Attacked:
    """Whether the nearest synthetic row tells a person's secret.

    Args:
        original, control, synthetic: the tables.
        auxiliary: what is known of a person.
        secret: what is not.
        attacks: how many persons.
        rng: who they are.
        tolerance: a number is guessed rightly within this share of it.
    """
    places, (at,) = original.places(auxiliary), original.places([secret])

    def right(guess: Floats, truth: Floats) -> int:
        return int(within(guess, truth, numeric=original.numeric[at], tolerance=tolerance).sum())

    def infer(targets: Rows) -> Rate:
        near = _nearest(targets, synthetic, places, 1, rng)[:, 0]
        return Rate(right(synthetic.values[near, at], targets.values[:, at]), len(targets))

    people, others = original.some(attacks, rng), control.some(attacks, rng)
    lot = synthetic.values[rng.integers(len(synthetic), size=len(people)), at]
    guessed = Rate(right(lot, people.values[:, at]), len(people))
    return Attacked(f"inference of {secret}", infer(people), infer(others), guessed)


def within(guess: Floats, truth: Floats, *, numeric: bool, tolerance: float = 0.05) -> Bools:
    """Which guesses are right; of numbers, within a share of the truth."""
    same: Bools = (guess == truth) | (np.isnan(guess) & np.isnan(truth))
    if numeric:
        with np.errstate(invalid="ignore"):
            same |= np.abs(guess - truth) <= tolerance * np.abs(truth)
    return same


# Distances -------------------------------------------------------------------------------------


def _nearest(
    targets: Rows, among: Rows, places: Sequence[int], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Per target the rows of ``among`` that are nearest by ``places``, ``(targets, count)``; ties by lot (Gower 1971)."""
    order = rng.permutation(len(among))
    scales = {place: _scale(targets, among, place) for place in places}
    found = [
        order[np.argsort(distance, axis=1, kind="stable")[:, :count]]
        if count > 1
        else order[distance.argmin(1)[:, None]]
        for distance in _distances(targets, among, order, scales)
    ]
    return np.concatenate(found).astype(np.int64)


def nearest(
    targets: Rows, among: Rows, places: Sequence[int], order: NDArray[np.int64], scales: Sequence[float | None]
) -> NDArray[np.int64]:
    """Per target the nearest row of ``among``, ``(targets,)``: a function of that target alone.

    Args:
        targets, among: the tables.
        places: by which columns.
        order: of ``among``; of equally near ones, the first is taken.
        scales: per column of the table its range, which is public; None of labels.
    """
    by = {place: scales[place] for place in places}
    found = [order[distance.argmin(1)] for distance in _distances(targets, among, order, by)]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _distances(
    targets: Rows, among: Rows, order: NDArray[np.int64], scales: Mapping[int, float | None]
) -> Iterator[NDArray[np.float32]]:
    """Distances to all of ``among``, in that order, by the columns that have a scale; some targets at a time."""
    for start in range(0, len(targets), _CHUNK):
        rows = targets.values[start : start + _CHUNK]
        distance = np.zeros((len(rows), len(among)), np.float32)
        for place, scale in scales.items():
            distance += _apart(rows[:, place], among.values[order, place], scale)
        yield distance


def _scale(targets: Rows, among: Rows, place: int) -> float | None:
    """The range of a column of numbers; None of labels."""
    if not targets.numeric[place]:
        return None
    both = np.concatenate([targets.values[:, place], among.values[:, place]])
    both = both[~np.isnan(both)]
    return float(both.max() - both.min()) if len(both) else 0.0


def _apart(left: Floats, right: Floats, scale: float | None) -> NDArray[np.float32]:
    """The distance in one column, ``(left, right)``, in [0, 1]; null is far from all but null."""
    none_left, none_right = np.isnan(left), np.isnan(right)
    if scale is None:
        apart = (left[:, None] != right[None, :]).astype(np.float32)
    else:
        gap = np.abs(np.nan_to_num(left)[:, None] - np.nan_to_num(right)[None, :])
        apart = (gap / scale if scale > 0 else gap * 0.0).astype(np.float32)
    if none_left.any() or none_right.any():
        apart = np.where(none_left[:, None] ^ none_right[None, :], np.float32(1), apart)
        apart = np.where(none_left[:, None] & none_right[None, :], np.float32(0), apart)
    whole: NDArray[np.float32] = apart.astype(np.float32)
    return whole


__all__ = [
    "Attacked",
    "Rate",
    "Rows",
    "attack_all",
    "inference",
    "linkability",
    "nearest",
    "singling_out",
    "within",
]
