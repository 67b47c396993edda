"""The three risks of WP216 as figures of a release: attacks on training rows and on held-out ones, counted with noise.

The attacks are those of ``audit/risks.py`` (Giomi, Boenisch, Wehmeyer, Tasnadi 2023, arXiv:2211.10459), in a form in which
one unit can change little. What an attacker does with one person is a function of that person's row and of the
synthetic table, which is released; so that it succeeds is 0 or 1, and the number of successes is a sum of these:

    INFERENCE      the nearest synthetic row by what is known has the secret: one term a row
    LINKABILITY    the nearest synthetic rows by two halves of the columns are the same: one term a row
    SINGLING OUT   predicates that isolate one synthetic row isolate one real row. Whether a predicate does depends on all
                   rows, and one row may make or break every predicate that it meets. So predicates are disjoint: the values
                   (bins, of numbers) of five columns together, and one row changes one verdict (isolation.py)

Distances are taken by the schema's bounds: a range that is found in the data would let one row move all others' neighbours.

The same attack is run on rows that the method was fitted to and on rows that it never saw, of which there are about equally many:
a predicate isolates less often among more rows. Training rows are paid for out of the training's budget, before the fit is
calibrated to what is left. Held-out rows are paid for as the quality report is, in parallel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from dp_accounting import DpEvent

from synthkit.audit.risks import Attacked, Rate, Rows, nearest, within
from synthkit.data.encoding import Table, discretize, from_frame
from synthkit.data.private import Private
from synthkit.data.schema import Categorical, Numeric, Schema
from synthkit.errors import JobError
from synthkit.evidence import Evidence
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget, Remainder
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.isolation import NOBODY, isolation_event, noisy_isolated
from synthkit.privacy.mechanisms.moments import noisy_sum, sum_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.rows import split
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

NOISE = "risks"  # what it is called in a plan
SHARE = 0.1  # of the training's budget, where budgets are shared as variances are
_MOST_SYNTHETIC, _LEAST_SYNTHETIC = 10_000, 1_000  # rows that an attacker looks for neighbours among
_WORK = 2e9  # comparisons of cells in one attack
_PREDICATES = 5_000
_COLUMNS = 5  # of a predicate
_SETS = 200  # of columns, among which the one with the most predicates is chosen
_INFERENCE, _LINKABILITY = math.sqrt(3), math.sqrt(2)  # L2 norms of a row's vector


@dataclass(frozen=True)
class Risks:
    """What is attacked.

    Attributes:
        secrets: what an attacker is after, one at a time.
        known: what he knows of a person; None: all other columns.
    """

    secrets: tuple[str, ...] = ()
    known: tuple[str, ...] | None = None

    def of(self, schema: Schema) -> Risks:
        """With the schema's target for a secret where none is named.

        Raises:
            JobError: there is none, or a column is not modelled, or nothing is left to know.
        """
        secrets = self.secrets or ((schema.target,) if schema.target else ())
        if not secrets:
            raise JobError(
                f"risks: schema {schema.name} declares no target; say what an attacker is after: 'risks: {{secrets: [COLUMN]}}'"
            )
        for name in (*secrets, *(self.known or ())):
            if name not in schema.modelled:
                raise JobError(f"risks: column {name!r} is not modelled; those that are: {', '.join(schema.modelled)}")
        known = self.known or tuple(schema.modelled)
        if any(not set(known) - {secret} for secret in secrets):
            raise JobError("risks: an attacker who knows nothing but his secret attacks nobody; name what he knows")
        return Risks(secrets, known)

    @property
    def links(self) -> bool:
        """Whether there are two halves to link."""
        return len(self.known or ()) > 1


# The price -------------------------------------------------------------------------------------


def reads(sigma: float, budget: Budget, risks: Risks, *, control: bool) -> DpEvent:
    """What the attacks cost with a given noise, in rows.

    Args:
        sigma: of every count.
        budget: whose neighbours.
        risks: what is attacked; see :meth:`Risks.of`.
        control: held-out rows, on which nobody guesses.
    """
    return compose(
        [
            repeat(sum_event(sigma, _INFERENCE, budget), len(risks.secrets)),
            *([sum_event(sigma, _LINKABILITY, budget)] if risks.links else []),
            repeat(isolation_event(sigma, budget), 1 if control else 2),
        ]
    )


def plan(training: Callable[[Budget], Plan], budget: Budget, risks: Risks) -> Plan:
    """The price of a fit and of attacks on its rows: attacks by their share of the budget, the fit by what they leave.

    Args:
        training: the price of the fit within a budget.
        budget: of both.
        risks: what is attacked.
    """
    sigma = calibrate(lambda scale: reads(scale, budget, risks, control=False), budget) / math.sqrt(SHARE)
    attacks = reads(sigma, budget, risks, control=False)
    fit = training(Remainder.of(budget, attacks))
    return replace(
        fit,
        budget=budget,
        event=compose([attacks, fit.event]),
        noise={**fit.noise, NOISE: sigma},
        seconds=(fit.seconds or 0.0) + 40.0,
    )


# The attacks -----------------------------------------------------------------------------------


def attack(
    training: tuple[Private[Table], Session],
    held: tuple[Private[Table], Session],
    synthetic: pd.DataFrame,
    risks: Risks,
    holdout: float,
    noise: NoiseSource,
) -> list[Attacked]:
    """Run what :func:`plan` and :func:`reads` priced.

    Args:
        training: the rows that the synthetic table was made of, and the session of the fit.
        held: rows of the same population that it was not made of, and theirs.
        synthetic: the table that is to be released.
        risks: what is attacked; see :meth:`Risks.of`.
        holdout: the probability of the holdout, in (0, 1).
        noise: of coins and of public lots.

    Returns:
        singling out, linkability, then inference by secret; none of a table of fewer than two rows.
    """
    schema = training[0].schema
    table = _table(synthetic, schema)
    made = rows_of(table, schema)
    seed = noise.public_seed()
    (people, inside), (others, outside) = training, held
    if holdout < 0.5:  # as many of both, by coins
        people = split(people, holdout / (1 - holdout), noise)[1]
    elif holdout > 0.5:
        others = split(others, (1 - holdout) / holdout, noise)[1]
    inside.check(people)
    outside.check(others)
    if len(made) < 2:
        return []
    rng = np.random.default_rng(seed)
    known = list(risks.known or made.names)
    work = _WORK / max(1, people.schema.rows * len(known))
    among = made.some(int(np.clip(work, _LEAST_SYNTHETIC, _MOST_SYNTHETIC)), rng)
    codes = discretize(table, schema)[rng.permutation(len(made))[:_MOST_SYNTHETIC]]
    found = [_singling_out((people, inside), (others, outside), codes, known, rng)]
    if risks.links:
        half = (len(known) + 1) // 2
        found.append(_linkability((people, inside), (others, outside), among, known[:half], known[half:], rng))
    for secret in risks.secrets:
        auxiliary = [name for name in known if name != secret]
        found.append(_inference((people, inside), (others, outside), among, auxiliary, secret, rng))
    strict = NormalDist().inv_cdf(1 - 0.025 / len(found))
    return [replace(one, strict=strict) for one in found]


Side = tuple[Private[Table], Session]


def _sigma(session: Session) -> float:
    return session.plan.noise[NOISE]


def _rate(released: NDArray[np.float64], at: int, sigma: float) -> Rate:
    """A share of rows, of a noisy count and a noisy sum."""
    rows = max(1.0, float(released[0]))
    successes = float(np.clip(released[at], 0.0, rows))
    return Rate(successes, rows, sigma * math.sqrt(1 + (successes / rows) ** 2) / rows)


def _inference(
    people: Side, others: Side, among: Rows, auxiliary: list[str], secret: str, rng: np.random.Generator
) -> Attacked:
    schema = people[0].schema
    places, (at,) = among.places(auxiliary), among.places([secret])
    scales, order = _scales(schema), rng.permutation(len(among))

    def vectors(table: Table) -> NDArray[np.float64]:  # one row's is (1, guessed rightly, how likely by chance)
        rows = rows_of(table, schema)
        if not len(rows):
            return np.zeros((0, 3))
        near = nearest(rows, among, places, order, scales)
        truth = rows.values[:, at]
        right = within(among.values[near, at], truth, numeric=among.numeric[at])
        chance = _chance(among.values[:, at], truth, numeric=among.numeric[at])
        return np.stack([np.ones(len(rows)), right, chance], 1)

    def run(side: Side) -> tuple[Rate, Rate]:
        what = f"inference of {secret} by the nearest synthetic row"
        released = noisy_sum(side[0], side[1], vectors, 3, _INFERENCE, _sigma(side[1]), what)
        return _rate(released, 1, _sigma(side[1])), _rate(released, 2, _sigma(side[1]))

    (main, guessed), (control, _) = run(people), run(others)
    return Attacked(f"inference of {secret}", main, control, guessed)


def _chance(values: NDArray[np.float64], truth: NDArray[np.float64], *, numeric: bool) -> NDArray[np.float64]:
    """Per row the share of synthetic rows that have its secret: how often a guess by lot is right."""
    known = np.sort(values[~np.isnan(values)])
    slack = 0.05 * np.abs(truth) if numeric else np.zeros(len(truth))
    low, high = np.searchsorted(known, truth - slack, "left"), np.searchsorted(known, truth + slack, "right")
    count = np.where(np.isnan(truth), len(values) - len(known), high - low)
    shares: NDArray[np.float64] = count / len(values)
    return shares


def _linkability(
    people: Side, others: Side, among: Rows, first: list[str], second: list[str], rng: np.random.Generator
) -> Attacked:
    schema = people[0].schema
    halves, scales, order = (among.places(first), among.places(second)), _scales(schema), rng.permutation(len(among))

    def vectors(table: Table) -> NDArray[np.float64]:  # one row's is (1, linked)
        rows = rows_of(table, schema)
        if not len(rows):
            return np.zeros((0, 2))
        left, right = (nearest(rows, among, places, order, scales) for places in halves)
        return np.stack([np.ones(len(rows)), left == right], 1)

    def run(side: Side) -> Rate:
        what = f"linkability of {len(first)} and {len(second)} columns"
        return _rate(noisy_sum(side[0], side[1], vectors, 2, _LINKABILITY, _sigma(side[1]), what), 1, _sigma(side[1]))

    main, control = run(people), run(others)
    guessed = Rate(main.attacks / len(among), main.attacks)  # two lots that fall on the same synthetic row
    return Attacked(f"linkability of {len(first)} and {len(second)} columns", main, control, guessed)


def _singling_out(
    people: Side, others: Side, made: NDArray[np.int32], known: list[str], rng: np.random.Generator
) -> Attacked:
    schema = people[0].schema
    sizes, names = schema.domain, list(schema.modelled)
    count = min(_COLUMNS, len(known))
    every = list(islice(combinations(known, count), _SETS + 1))
    if len(every) > _SETS:
        every = [tuple(rng.choice(np.array(known, object), count, replace=False)) for _ in range(_SETS)]

    def cells_of(codes: NDArray[np.int32], columns: tuple[str, ...]) -> NDArray[np.int64]:
        """One number for the values (n, columns) together. Where it overflows, two cells may be one: a partition still."""
        found = np.zeros(len(codes), np.int64)
        for name, values in zip(columns, codes.T, strict=True):
            found = found * sizes[name] + values
        return found

    def chosen(codes: NDArray[np.int32], columns: tuple[str, ...]) -> NDArray[np.int32]:
        return codes[:, [names.index(name) for name in columns]]

    def alone(columns: tuple[str, ...]) -> NDArray[np.int64]:
        cells, held = np.unique(cells_of(chosen(made, columns), columns), return_counts=True)
        single: NDArray[np.int64] = cells[held == 1]
        return single

    columns = max(every, key=lambda one: len(alone(one)))
    single = alone(columns)
    isolating = np.sort(single[rng.permutation(len(single))[:_PREDICATES]])
    lots = np.stack([rng.choice(values, 4 * _PREDICATES) for values in chosen(made, columns).T], 1)
    drawn = np.unique(cells_of(lots, columns))
    by_lot = np.sort(drawn[rng.permutation(len(drawn))[: max(1, len(isolating))]])

    def run(side: Side, predicates: NDArray[np.int64], how: str) -> Rate:
        def cell_of(table: Table) -> NDArray[np.int64]:
            keys = cells_of(chosen(discretize(table, schema), columns), columns)
            at = np.minimum(np.searchsorted(predicates, keys), len(predicates) - 1)
            cells: NDArray[np.int64] = np.where(predicates[at] == keys, at, NOBODY)
            return cells

        sigma = _sigma(side[1])
        what = f"rows singled out by {len(predicates)} values of {', '.join(columns)}, {how}"
        found = noisy_isolated(side[0], side[1], cell_of, len(predicates), sigma, what)
        return Rate(min(max(found, 0.0), float(len(predicates))), len(predicates), sigma / len(predicates))

    name = f"singling out by {count} column{'s' if count > 1 else ''}"
    if not len(isolating):  # nothing isolates a synthetic row: there is no such attack, and nothing is read
        return Attacked(name, Rate(0, 1), Rate(0, 1), Rate(0, 1))
    how = "each of which isolates a synthetic one"
    return Attacked(name, run(people, isolating, how), run(others, isolating, how), run(people, by_lot, "drawn by lot"))


# Rows ------------------------------------------------------------------------------------------


def _table(frame: pd.DataFrame, schema: Schema) -> Table:
    plain = Schema(schema.name, schema.modelled, schema.rows)
    return from_frame(frame[list(schema.modelled)], plain, source="the synthetic table")


def rows_of(table: Table, schema: Schema) -> Rows:
    """A table on the inner line as numbers, codes of labels, and NaN."""
    values, numeric = [], []
    for name, column in schema.modelled.items():
        line = np.array(table.columns[name], dtype=np.float64)
        numeric.append(isinstance(column, Numeric))
        if not isinstance(column, Numeric):  # null is the code after all others
            line[line == (len(column.categories) if isinstance(column, Categorical) else 2)] = np.nan
        values.append(line)
    return Rows(np.stack(values, 1), tuple(numeric), tuple(schema.modelled))


def _scales(schema: Schema) -> list[float | None]:
    """The declared range of each column of numbers; None of labels."""
    return [c.high - c.low if isinstance(c, Numeric) else None for c in schema.modelled.values()]


# What is told ----------------------------------------------------------------------------------


def evidence(found: Sequence[Attacked]) -> Iterator[Evidence]:
    """Each risk with its interval, and what guessing has over the control, in the same terms. Below 0 is chance, too."""
    inferences = [one for one in found if one.name.startswith("inference")]
    for one in found:
        kind = "singling_out" if one.name.startswith("singling") else one.name.split()[0]
        name = f"risk.{kind}" if kind != "inference" else f"risk.inference.{one.name.removeprefix('inference of ')}"
        yield from _told(name, one)
    if inferences:
        yield from _told("risk.inference", max(inferences, key=lambda one: one.over(one.main)[2]))


def _told(name: str, one: Attacked) -> Iterator[Evidence]:
    rates = ", ".join(
        f"{what} {100 * rate.wilson()[0]:.1f}% ± {100 * rate.wilson()[1]:.1f}"
        for what, rate in (("training rows", one.main), ("held-out rows", one.control), ("guessing", one.baseline))
    )
    how = f"{one.name}: (training - held-out) / (1 - held-out) of shares that succeed, counted with noise: {rates}; {one.verdict}"
    (low, value, high), guessing = one.over(one.main), one.over(one.baseline)
    yield Evidence(name, value, (low, high), how, "charged")
    guessed = f"{one.name}: (guessing - held-out) / (1 - held-out); an attack that does not beat it is no evidence"
    yield Evidence(f"{name}_baseline", guessing[1], (guessing[0], guessing[2]), guessed, "charged")


__all__ = ["NOISE", "SHARE", "Risks", "attack", "evidence", "plan", "reads", "rows_of"]
