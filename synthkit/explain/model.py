"""The free explanation of a released model: everything is computed from rows that it draws.

Two subjects, three questions. What did the *discriminator* push on, where the method has one? What does a
*downstream* model that is trained on the synthetic rows decide by? And where does the synthetic table leave the noisy
marginals that were released with it? Rows, backgrounds and training rows are all synthetic, so this is
post-processing: no read of private data, no entry in any ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.data.schema import Schema
from synthkit.errors import ExplanationError
from synthkit.evidence import Payment
from synthkit.explain import defects, lime, shapley
from synthkit.explain.agreement import Agreement
from synthkit.explain.checks import Stability, deletion_share, stability
from synthkit.explain.defects import Defects
from synthkit.explain.downstream import train
from synthkit.explain.lime import Surrogate
from synthkit.explain.shapley import Attribution
from synthkit.explain.words import labels, listed
from synthkit.privacy.mechanisms.attributions import NoisyImportance
from synthkit.synthesizers.base import Discriminator, Model, Progress, discriminator_of, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BACKGROUND, _WIDE_BACKGROUND, _WIDE = 100, 25, 25  # rows; fewer where there are many columns
_EFFORT, _OTHER_EFFORT = 8_000_000, 3_000_000  # rows that the discriminator is asked for, by the first seed and others
_OTHER_SEEDS = 100  # rows that seeds beyond the first explain, at most, where there are many columns
_FURTHER = 4  # times that each seed explains as many rows again, where the seeds disagree on the order
_LIME_BACKGROUND = 40
_TRAIN_ROWS = 10_000
_LIME_ROWS = 12
_COMPARED = 10_000  # rows beside the marginals, at least
_DELETED, _DELETED_BACKGROUND = 40, 20


@dataclass(frozen=True)
class Subject:
    """One model's explanation.

    Attributes:
        name: ``discriminator`` or ``downstream``.
        title: for people.
        question: what the values answer.
        verdict: the answer, in a sentence.
        explained: Shapley values of some synthetic rows.
        seeds: (s, p) importances of every seed, each of rows of its own.
        stability: of the seeds.
        deletion: share of random orders of deletion that the values' order beats.
        surrogate: local surrogates of a few of the rows.
        surrogate_rows: which.
        shown: rows for waterfalls: the highest score, one in the middle, the lowest.
        labels: what the codes of each column stand for.
        ordered: columns whose codes have an order.
    """

    name: str
    title: str
    question: str
    verdict: str
    explained: Attribution
    seeds: NDArray[np.float64]
    stability: Stability
    deletion: float
    surrogate: Surrogate
    surrogate_rows: tuple[int, ...]
    shown: tuple[int, ...]
    labels: dict[str, list[str]]
    ordered: frozenset[str]

    @property
    def lime_agreement(self) -> NDArray[np.float64]:
        """(k,) rank correlation of each surrogate with its row's Shapley values."""
        return self.surrogate.agreement(self.explained, self.surrogate_rows)

    def row_words(self, row: int) -> list[str]:
        """The values of one explained row, by column."""
        return [
            self.labels[name][int(code)]
            for name, code in zip(self.explained.columns, self.explained.rows[row], strict=True)
        ]

    def _repr_html_(self) -> str:
        from synthkit.explain.figures import notebook

        return notebook(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        one, low, high = self.explained, self.seeds.min(axis=0), self.seeds.max(axis=0)
        return {
            "name": self.name,
            "question": self.question,
            "verdict": self.verdict,
            "payment": one.payment,
            "explainer": one.explainer,
            "rows": len(one.scores),
            "additivity_gap": one.gap,
            "relative_standard_error": one.relative_error,
            "stability": {
                "spearman": self.stability.spearman,
                "jaccard": self.stability.jaccard,
                "seeds": len(self.seeds),
            },
            "deletion_beats": self.deletion,
            "columns": [
                {
                    "column": name,
                    "importance": float(one.importance[j]),
                    "seeds": [float(low[j]), float(high[j])],
                    "standard_error": None if one.errors is None else float(one.errors[:, j].mean()),
                }
                for j, name in enumerate(one.columns)
            ],
            "rows_shown": [
                {
                    "values": dict(zip(one.columns, self.row_words(row), strict=True)),
                    "score": float(one.scores[row]),
                    "base": float(one.base[row]),
                    "shapley": one.values[row].tolist(),
                }
                for row in self.shown
            ],
            "lime": {
                "rows": len(self.surrogate_rows),
                "r2": self.surrogate.r2.tolist(),
                "faithful": int(self.surrogate.faithful.sum()),
                "stability": float(np.mean([one.spearman for one in self.surrogate.stability])),
                "agreement_with_shapley": self.lime_agreement.tolist(),
            },
        }


@dataclass(frozen=True)
class Explanation:
    """What can be said of a model and its data.

    Attributes:
        schema: its name.
        rows: how many rows were explained.
        subjects: the models that were explained; empty where there is none.
        defects: what gives the table away.
        missing: why a subject is not there.
        agreement: same reasons as on real rows? Internal; None in a public explanation.
        payment: the dearest part's.
        importance: what matters on real rows, on average, as it was paid for; None where it was not asked.
    """

    schema: str
    rows: int
    subjects: tuple[Subject, ...]
    defects: tuple[Defects, ...]
    missing: tuple[str, ...]
    agreement: Agreement | None = None
    payment: Payment = "free"
    importance: NoisyImportance | None = None

    @property
    def verdict(self) -> tuple[str, ...]:
        """The answers, one sentence each."""
        told = [subject.verdict for subject in self.subjects] + [found.verdict for found in self.defects]
        if self.importance is not None:
            ranked = [self.importance.columns[j] for j in np.argsort(-self.importance.values, kind="stable")[:3]]
            told.append(f"On held-out real rows, a model trained on synthetic ones decides mostly by {listed(ranked)}.")
        return (*told, *([self.agreement.verdict] if self.agreement else ()), *self.missing)

    def _repr_html_(self) -> str:
        from synthkit.explain.figures import notebook

        return "".join(notebook(subject) for subject in self.subjects)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "synthkit_explanation": 1,
            "schema": self.schema,
            "payment": self.payment,
            "rows": self.rows,
            "verdict": list(self.verdict),
            "subjects": [subject.to_dict() for subject in self.subjects],
            "defects": [found.to_dict() for found in self.defects],
            "importance": None if self.importance is None else _importance(self.importance),
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
            "missing": list(self.missing),
        }


def _importance(found: NoisyImportance) -> dict[str, Any]:
    return {
        "payment": "charged",
        "error": found.error,
        "columns": [
            {"column": name, "value": float(value)} for name, value in zip(found.columns, found.values, strict=True)
        ],
    }


def explain_model(
    model: Model, *, rows: int = 200, seeds: int = 5, seed: int = 0, progress: Progress = silent
) -> Explanation:
    """Explain a released model of one table by rows that it draws. Free: no private value is in reach.

    Args:
        model: as fitting released it.
        rows: how many synthetic rows are explained, 20 to 100,000.
        seeds: independent draws whose importances are compared, 2 or more.
        seed: of all draws.
        progress: told what is being done.

    Raises:
        ExplanationError: not a model of one table, too few rows or seeds, or values that do not add up.
    """
    if not isinstance(getattr(model, "schema", None), Schema):
        raise ExplanationError("explained are models of one table; draw from this one, or explain its parts")
    if not 20 <= rows <= 100_000 or not 2 <= seeds <= 100:
        raise ExplanationError(f"rows is {rows} (20 to 100000) and seeds is {seeds} (2 to 100); change them")
    schema = model.schema
    subjects, missing = [], []
    judge = discriminator_of(model)
    progress(0.0, "explaining the discriminator")
    if judge is None:
        missing.append("The method has no discriminator, so nothing is said of what one pushed on.")
    else:
        subjects.append(_discriminator(judge, rows, seeds, seed))
    progress(0.4, "explaining a downstream model")
    try:
        subjects.append(_downstream(model, rows, seeds, seed))
    except _NothingToPredict as problem:
        missing.append(f"No downstream model: {problem}.")
    progress(0.9, "looking for defects")
    table = model.sample(max(_COMPARED, rows), seed=seed).codes
    found = defects.measured(model.marginals, table, schema)
    progress(1.0, "explained")
    return Explanation(schema.name, rows, tuple(subjects), (found,), tuple(missing))


class _NothingToPredict(ExplanationError):
    """The synthetic rows hold no target with two classes: public, and no fault of the explanation."""


def _discriminator(judge: Discriminator, rows: int, seeds: int, seed: int) -> Subject:
    schema, names = judge.schema, list(judge.schema.modelled)
    beside = _background(schema)
    fixed = () if judge.held is None else (judge.held,)

    def draw(number: int) -> tuple[Attribution, NDArray[np.int32]]:
        codes = judge.draw(rows + beside, seed + number)
        some = codes[: rows if number == 0 or len(names) < _WIDE else min(rows, _OTHER_SEEDS)]
        effort = _EFFORT if number == 0 else _OTHER_EFFORT
        found = shapley.explain(
            judge.pushed, some, codes[rows:], names, fixed=fixed, seed=seed + number, effort=effort, payment="free"
        )
        return found, codes

    drawn = [draw(number) for number in range(seeds)]
    explained, codes = drawn[0]
    means = [found.importance for found, _ in drawn]
    further = 0
    while len(names) >= _WIDE and further < _FURTHER and not stability(means).stable:
        further += 1  # of many columns that matter about the same, more rows tell the order
        for number in range(seeds):
            more = judge.draw(_OTHER_SEEDS + beside, seed + number + 1000 * further)
            found = shapley.explain(
                judge.pushed, more[:_OTHER_SEEDS], more[_OTHER_SEEDS:], names,
                fixed=fixed, seed=seed + number, effort=_OTHER_EFFORT, payment="free",
            )  # fmt: skip
            means[number] = (further * means[number] + found.importance) / (further + 1)
    strength, left = (float(np.abs(score(codes)).mean()) for score in (judge.pushed, judge.left))
    if strength == 0:
        verdict = "The discriminator saw nothing in the real rows that its noise does not explain."
    else:
        verdict = (
            f"The discriminator pushed the generator most on {listed(explained.ranking[:3])}; "
            f"{left / strength:.0%} of what it saw is left in the rows that are drawn now."
        )
    held = f" Rows are judged as rows with the {judge.held} that they were drawn for." if judge.held else ""
    return _subject(
        "discriminator",
        "The discriminator",
        "Which columns made a synthetic row look more, or less, like a real one to the discriminator, "
        f"before the generator learnt from it?{held}",
        verdict,
        explained,
        means,
        judge.pushed,
        (codes[:rows], codes[rows:]),
        (names, fixed),
        schema,
    )


def _downstream(model: Model, rows: int, seeds: int, seed: int) -> Subject:
    schema, beside = model.schema, _background(model.schema)
    if schema.target is None or len(schema.modelled) < 2:
        raise _NothingToPredict(f"schema {schema.name} declares no target")

    def draw(number: int) -> tuple[Any, NDArray[np.int32]]:
        codes = model.sample(rows + beside + _TRAIN_ROWS, seed=seed + 1000 + number).codes
        return train(codes[rows + beside :], schema, seed=seed + number), codes

    try:
        drawn = [draw(number) for number in range(seeds)]
    except ExplanationError as problem:
        raise _NothingToPredict(str(problem)) from None
    found = [boosted.explain(codes[:rows], "free") for boosted, codes in drawn]
    boosted, codes = drawn[0]
    of = schema.target
    if boosted.classes:
        top = labels(of, schema)[boosted.classes[0] if len(boosted.classes) > 2 else max(boosted.classes)]
        of = f"{of} being {top}"
    verdict = f"A model trained on the synthetic rows predicts {of} mostly by {listed(found[0].ranking[:3])}."
    inputs = codes[:, boosted.inputs]
    return _subject(
        "downstream",
        "A downstream model: gradient boosting trained on synthetic rows",
        f"Which columns raise, or lower, the logit of {of} in a synthetic row?",
        verdict,
        found[0],
        [one.importance for one in found],
        boosted.score,
        (inputs[:rows], inputs[rows : rows + beside]),
        (list(boosted.columns), ()),
        schema,
    )


def _background(schema: Schema) -> int:
    return _BACKGROUND if len(schema.modelled) < _WIDE else _WIDE_BACKGROUND


def _subject(
    name: str,
    title: str,
    question: str,
    verdict: str,
    explained: Attribution,
    means: Sequence[NDArray[np.float64]],
    score: Callable[[NDArray[Any]], NDArray[np.float64]],
    tables: tuple[NDArray[Any], NDArray[Any]],
    columns: tuple[list[str], Sequence[str]],
    schema: Schema,
) -> Subject:
    """The checks and the local surrogates beside the values, all on synthetic rows."""
    (rows, background), (names, fixed) = tables, columns
    some = np.linspace(0, len(rows) - 1, min(_LIME_ROWS, len(rows))).astype(int)
    order = np.argsort(explained.scores)
    shown = tuple(int(order[k]) for k in (-1, len(order) // 2, 0))
    near = tuple(dict.fromkeys([*shown, *some.tolist()]))
    surrogate = lime.surrogate(
        score, rows[list(near)], background[:_LIME_BACKGROUND], names, fixed=fixed, payment=explained.payment
    )
    few = replace(explained, values=explained.values[:_DELETED], rows=explained.rows[:_DELETED])
    deletion = 1.0
    if explained.importance.max() > 0 and not fixed:
        deletion = deletion_share(score, few, background[:_DELETED_BACKGROUND])
    elif explained.importance.max() > 0:
        deletion = _deletion_with_fixed(score, few, rows[:_DELETED], background[:_DELETED_BACKGROUND], names, fixed)
    importances = np.array(means)
    return Subject(
        name,
        title,
        question,
        verdict,
        explained,
        importances,
        stability(list(importances)),
        deletion,
        surrogate,
        near,
        shown,
        {column: labels(column, schema) for column in explained.columns},
        frozenset(c for c in explained.columns if schema.modelled[c].kind in ("integer", "continuous", "datetime")),
    )


def _deletion_with_fixed(
    score: Callable[[NDArray[Any]], NDArray[np.float64]],
    explained: Attribution,
    rows: NDArray[Any],
    background: NDArray[Any],
    names: Sequence[str],
    fixed: Sequence[str],
) -> float:
    """As for no fixed column, within the rows of the most frequent value of what is held."""
    held, players = [names.index(name) for name in fixed], [j for j, name in enumerate(names) if name not in fixed]
    values, counts = np.unique(rows[:, held], axis=0, return_counts=True)
    common = values[counts.argmax()]
    same = (rows[:, held] == common).all(axis=1)

    def part(of: NDArray[Any]) -> NDArray[np.float64]:
        whole = np.empty((len(of), len(names)), dtype=rows.dtype)
        whole[:, players], whole[:, held] = of, common
        return score(whole)

    few = replace(explained, values=explained.values[same], rows=explained.rows[same])
    return deletion_share(part, few, background[:, players])


__all__ = ["Explanation", "Subject", "explain_model"]
