"""Where a synthetic table is wrong: what gives it away, ranked, in plain sentences.

*Internal*: a classifier is trained to tell real rows from synthetic ones (arXiv:2504.20687 explains such a
detector). Its cross-fitted AUC says how easy that is, its Shapley values which columns it uses, their interactions
which pairs. Exact, and for the steward's eyes alone.

*Free*: the synthetic table beside the noisy marginals that the model released anyway. *Charged*: beside noisy
marginals of held-out rows, all pairs of columns, measured for this purpose. Both see what single marginals
show, beyond their noise, and no more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from dp_accounting import DpEvent

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.errors import ExplanationError
from synthkit.evidence import Evidence, Payment
from synthkit.explain import shapley
from synthkit.explain.words import labels, middles, percent
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import repeat
from synthkit.privacy.mechanisms.counts import NoisyMarginal, counts_event, exact_marginal, noisy_marginals
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE = "defects"  # what it is called in a plan
_MOST_ROWS = 10_000  # of each side
_EXPLAINED, _PAIRED = 600, 200  # rows whose values, and whose interactions, are computed
_MOST_QUERIES, _MOST_CELLS = 300, 100_000
_SURE = 4.0  # standard errors of a difference that is put into a sentence
_SHOWN = 12
_Z95 = 1.959964


@dataclass(frozen=True)
class Defects:
    """What gives a synthetic table away.

    Attributes:
        columns: (name, weight) from the worst; the weights of one table sum to 1, or are all 0.
        pairs: (name, name, weight) likewise.
        sentences: what is wrong, the surest first; empty where nothing stands out.
        auc: of the classifier, with its interval; None of marginals, which train none.
        verdict: one sentence.
        payment: what it was made of.
    """

    columns: tuple[tuple[str, float], ...]
    pairs: tuple[tuple[str, str, float], ...]
    sentences: tuple[str, ...]
    auc: Evidence | None
    verdict: str
    payment: Payment

    @property
    def found(self) -> bool:
        """Something tells the tables apart."""
        return bool(self.sentences) if self.auc is None else (self.auc.interval or (0.0, 0.0))[0] > 0.5

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "verdict": self.verdict,
            "payment": self.payment,
            "auc": None if self.auc is None else self.auc.to_dict(),
            "columns": [{"column": name, "weight": weight} for name, weight in self.columns],
            "pairs": [{"columns": [a, b], "weight": weight} for a, b, weight in self.pairs],
            "sentences": list(self.sentences),
        }


def internal(real: NDArray[np.int32], synthetic: NDArray[np.int32], schema: Schema, *, seed: int = 0) -> Defects:
    """Exact: a classifier between real and synthetic codes. For the steward's eyes alone.

    Args:
        real: codes (n, d) of real rows, e.g. by ``privacy.internal.internal_codes``.
        synthetic: codes (m, d).
        schema: theirs.
        seed: of the folds.

    Raises:
        ExplanationError: too few rows, or codes of another schema.
    """
    names = list(schema.modelled)
    if real.ndim != 2 or synthetic.ndim != 2 or not real.shape[1] == synthetic.shape[1] == len(names):
        raise ExplanationError(f"both tables must have the {len(names)} modelled columns of schema {schema.name}")
    if min(len(real), len(synthetic)) < 40:
        raise ExplanationError("the defect finder needs 40 rows of each table at least")
    rng = np.random.default_rng(seed)
    count = min(len(real), len(synthetic), _MOST_ROWS)
    left, right = (side[rng.permutation(len(side))[:count]] for side in (real, synthetic))
    rows, truth = np.concatenate([left, right]), np.repeat([0, 1], count)
    folds = np.tile(np.arange(count) % 2, 2)
    areas, values, pairs = [], [], []
    for fold in (0, 1):
        model = _classifier(seed).fit(rows[folds != fold], truth[folds != fold])
        held, said = rows[folds == fold], model.decision_function(rows[folds == fold])
        areas.append(_auc(said, truth[folds == fold]))
        some = rng.permutation(len(held))
        values.append(shapley.trees(model, held[some[:_EXPLAINED]], names).importance)
        pairs.append(np.abs(shapley.tree_interactions(model, held[some[:_PAIRED]])).mean(axis=0))
    area, spread = float(np.mean(areas)), _auc_error(float(np.mean(areas)), count)
    interval = (max(0.0, area - _Z95 * spread), min(1.0, area + _Z95 * spread))
    auc = Evidence(
        "explain.exact_detection_auc",
        area,
        interval,
        f"area under the ROC curve of a classifier between {count} real and as many synthetic rows, two folds",
        "internal",
    )
    both = 2 * np.mean(pairs, axis=0)
    joint = [(names[i], names[j], float(both[i, j])) for i, j in itertools.combinations(range(len(names)), 2)]
    columns, ranked = _shares(list(zip(names, np.mean(values, axis=0).tolist(), strict=True))), _pair_shares(joint)
    if interval[0] <= 0.5:
        return Defects(
            columns,
            ranked,
            (),
            auc,
            f"No defect: a classifier cannot tell the tables apart (AUC {area:.3f}).",
            "internal",
        )
    said_of = _sentences([name for name, _ in columns], [(a, b) for a, b, _ in ranked[:20]], left, right, schema)
    worst = f"{columns[0][0]} first, then {columns[1][0]}" if len(columns) > 1 else columns[0][0]
    verdict = (
        f"A classifier tells the tables apart with an AUC of {area:.3f} (0.5 is chance). What gives them away: {worst}."
    )
    return Defects(columns, ranked, said_of, auc, verdict, "internal")


def measured(
    marginals: Sequence[NoisyMarginal], synthetic: NDArray[np.int32], schema: Schema, payment: Payment = "free"
) -> Defects:
    """The synthetic table beside released noisy marginals: cells that differ by more than the noise explains.

    Args:
        marginals: as a model released them (free), or as :func:`charged` measured them.
        synthetic: codes (m, d).
        schema: theirs.
        payment: ``free`` or ``charged``.
    """
    names = list(schema.modelled)
    usable = [m for m in marginals if len(m.columns) <= 2 and m.counts.shape == _shape(m.columns, schema)]
    if not usable or len(synthetic) == 0:
        return Defects((), (), (), None, "Nothing was measured that the table could be held against.", payment)
    cells = sum(m.counts.size for m in usable)
    sure = _quantile(0.05 / cells)
    single: dict[str, float] = dict.fromkeys(names, 0.0)
    joint: dict[tuple[str, str], float] = {}
    told: list[tuple[float, str]] = []
    for marginal in usable:
        total = max(1.0, float(marginal.counts.sum()))
        share = exact_marginal(synthetic, schema, marginal.columns) / len(synthetic)
        noise = np.sqrt(
            (marginal.sigma / total) ** 2 + share * (1 - share) / len(synthetic) + share * (1 - share) / total
        )
        gap = share - marginal.counts / total
        beyond = np.where(np.abs(gap) > sure * noise, np.abs(gap), 0.0)
        weight = float(beyond.sum()) / 2
        if len(marginal.columns) == 2:
            joint[(marginal.columns[0], marginal.columns[1])] = weight
        for name in marginal.columns:
            single[name] += weight / len(marginal.columns)
        for flat in np.argsort(-(beyond / noise).ravel())[:3]:
            at = np.unravel_index(flat, gap.shape)
            if beyond[at] > 0:
                told.append((float(np.abs(gap[at]) / noise[at]), _cell(marginal, at, share, gap, noise, schema)))
    sentences = tuple(text for _, text in sorted(told, reverse=True)[:_SHOWN])
    columns = _shares(list(single.items()))
    pairs = _pair_shares([(a, b, weight) for (a, b), weight in joint.items()])
    if not sentences:
        verdict = (
            f"No defect is seen in noisy marginals: none of {cells:,} cells differs by more than its noise explains."
        )
    else:
        verdict = f"{len(told)} measured cells differ by more than their noise explains; most of it in {columns[0][0]}."
    return Defects(columns, pairs, sentences, None, verdict, payment)


def plan(schema: Schema, budget: Budget) -> Plan:
    """The price of :func:`charged`: noisy marginals of all pairs of columns, evenly thinned where there are many."""
    sigma = calibrate(lambda scale: event(scale, schema, budget), budget)
    return Plan(budget, event(sigma, schema, budget), {NOISE: sigma}, 5.0, 500.0)


def event(sigma: float, schema: Schema, budget: Budget) -> DpEvent:
    """What :func:`charged` costs with noise ``sigma``, in rows."""
    return repeat(counts_event(sigma, budget), len(_queries(schema)))


def charged(holdout: Private[Table], session: Session, synthetic: NDArray[np.int32]) -> Defects:
    """Beside noisy marginals of held-out rows.

    Args:
        holdout: real rows that no generator saw.
        session: its plan is :func:`plan`'s.
        synthetic: codes (m, d).
    """
    found = noisy_marginals(holdout, session, _queries(holdout.schema), session.plan.noise[NOISE])
    return measured(found, synthetic, holdout.schema, "charged")


def _queries(schema: Schema) -> list[tuple[str, ...]]:
    sizes = schema.domain
    pairs = [p for p in itertools.combinations(sizes, 2) if sizes[p[0]] * sizes[p[1]] <= _MOST_CELLS]
    asked: list[tuple[str, ...]] = [*pairs[:: max(1, math.ceil(len(pairs) / _MOST_QUERIES))]]
    return asked or [(name,) for name in sizes]


def _shape(columns: tuple[str, ...], schema: Schema) -> tuple[int, ...]:
    return tuple(schema.domain[name] for name in columns)


def _classifier(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=seed, min_samples_leaf=20)


def _auc(said: NDArray[np.float64], truth: NDArray[np.integer]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, said))


def _auc_error(area: float, count: int) -> float:
    """Standard error of an AUC with ``count`` rows on each side (Hanley and McNeil 1982)."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    square = area * (1 - area) + (count - 1) * (one + two - 2 * area**2)
    return math.sqrt(max(square, 0.0)) / count


def _shares(weights: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    total = math.fsum(weight for _, weight in weights) or 1.0
    return tuple(sorted(((name, weight / total) for name, weight in weights), key=lambda pair: -pair[1]))


def _pair_shares(weights: list[tuple[str, str, float]]) -> tuple[tuple[str, str, float], ...]:
    total = math.fsum(weight for *_, weight in weights) or 1.0
    ranked = sorted(((a, b, weight / total) for a, b, weight in weights), key=lambda pair: -pair[2])
    return tuple(ranked[:30])


# Sentences --------------------------------------------------------------------------------------


def _cell(marginal: NoisyMarginal, at: tuple[Any, ...], share: Any, gap: Any, noise: Any, schema: Schema) -> str:
    """One cell of a marginal, in words."""
    where = " with ".join(
        f"{name} {labels(name, schema)[int(k)]}" for name, k in zip(marginal.columns, at, strict=True)
    )
    much = "too frequent" if gap[at] > 0 else "too rare"
    return (
        f"{where} is {much}: {percent(float(share[at]))} of synthetic rows, measured "
        f"{percent(max(0.0, float(share[at] - gap[at])))} ± {percent(float(_Z95 * noise[at]))}."
    )


def _sentences(
    columns: list[str],
    pairs: list[tuple[str, str]],
    real: NDArray[np.int32],
    synthetic: NDArray[np.int32],
    schema: Schema,
) -> tuple[str, ...]:
    """What differs in single columns, then what differs within groups by more than that."""
    names, told = list(schema.modelled), []
    for name in columns[:10]:
        j = names.index(name)
        told.append(_contrast(name, real[:, j], synthetic[:, j], schema, "", 0.0, 0.0))
    inside = []
    for pair in pairs:
        for name, by in (pair, pair[::-1]):
            inside += _within(name, by, real, synthetic, schema)
    best = [found for found in told if found and found[0] >= _SURE]
    groups = sorted((found for found in inside if found[0] >= _SURE), reverse=True)
    seen: set[tuple[str, str]] = set()
    kept = []
    for sure, text, key in groups:
        if key not in seen:
            seen.add(key)
            kept.append((sure, text))
    return tuple(text for _, text in [*[(s, t) for s, t in sorted(best, reverse=True)][:6], *kept[: _SHOWN - 6]])


def _within(
    name: str, by: str, real: NDArray[np.int32], synthetic: NDArray[np.int32], schema: Schema
) -> list[tuple[float, str, tuple[str, str]]]:
    names = list(schema.modelled)
    j, k = names.index(name), names.index(by)
    middle = middles(name, schema)
    overall = [_moments(side[:, j], middle) for side in (real, synthetic)]
    found = []
    for code, label in enumerate(labels(by, schema)):
        groups = [side[side[:, k] == code][:, j] for side in (real, synthetic)]
        if min(map(len, groups)) < 30:
            continue
        told = _contrast(
            name, groups[0], groups[1], schema, f" where {by} is {label}", overall[1][0] - overall[0][0], 1.0
        )
        if told:
            found.append((told[0], told[1], (name, by)))
    return found


def _moments(codes: NDArray[np.integer], middle: NDArray[np.float64] | None) -> tuple[float, float, int]:
    """Mean, variance and count of the values behind codes, nulls left out."""
    if middle is None:
        return 0.0, 0.0, 0
    values = middle[codes]
    values = values[~np.isnan(values)]
    return (float(values.mean()), float(values.var()), len(values)) if len(values) else (0.0, 0.0, 0)


def _contrast(
    name: str,
    real: NDArray[np.integer],
    synthetic: NDArray[np.integer],
    schema: Schema,
    where: str,
    expected: float,
    minus: float,
) -> tuple[float, str] | None:
    """How surely a column differs, and the sentence; ``expected`` is what it differs by everywhere."""
    middle = middles(name, schema)
    best: tuple[float, str] | None = None
    if middle is not None:
        (m0, v0, n0), (m1, v1, n1) = _moments(real, middle), _moments(synthetic, middle)
        error = math.sqrt(v0 / max(n0, 1) + v1 / max(n1, 1))
        gap = m1 - m0 - minus * expected
        if error > 0 and min(n0, n1) >= 30 and abs(gap) > 0.05 * math.sqrt(v0 + v1):
            much = "too high" if gap > 0 else "too low"
            best = abs(gap) / error, f"{name} is {much}{where}: mean {m1:.4g} in synthetic rows, {m0:.4g} in real ones."
    if best is not None or (where and middle is not None):
        return best  # a number is told by its mean; within a group, by nothing else
    size = schema.domain[name]
    p0, p1 = (np.bincount(side, minlength=size)[:size] / max(1, len(side)) for side in (real, synthetic))
    pooled = (p0 * len(real) + p1 * len(synthetic)) / max(1, len(real) + len(synthetic))
    spread = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / max(1, len(real)) + 1 / max(1, len(synthetic))))
    code = int((np.abs(p1 - p0) / spread).argmax())
    if p1[code] == p0[code]:
        return None
    much = "too frequent" if p1[code] > p0[code] else "too rare"
    text = (
        f"{name} {labels(name, schema)[code]} is {much}{where}: {percent(float(p1[code]))} of synthetic rows, "
        f"{percent(float(p0[code]))} of real ones."
    )
    return float(np.abs(p1 - p0)[code] / spread[code]), text


def _quantile(tail: float) -> float:
    from scipy.stats import norm

    return float(norm.isf(tail / 2))


__all__ = ["NOISE", "Defects", "charged", "event", "internal", "measured", "plan"]
