"""What a downstream model learns from the synthetic table: train on synthetic, test on real (TSTR).

Models are trained on synthetic rows alone (free). On the holdout they are scored through
mechanisms: a noisy histogram of scores by class gives AUC and accuracy, a noisy sum of clipped
losses gives log loss; a regression target gives its mean absolute error. Every figure has an
interval that holds the noise and the holdout's sampling error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.data.encoding import Table, discretize
from synthkit.data.private import Private
from synthkit.data.schema import Numeric, Schema
from synthkit.evidence import Evidence
from synthkit.privacy.mechanisms.counts import noisy_histogram
from synthkit.privacy.mechanisms.moments import noisy_sum
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODELS: Mapping[str, str] = {"logistic": "logistic regression", "boosting": "gradient boosting"}
LOSS_BOUND = math.log(100)  # a probability below 1% counts as 1%
MOST_CLASSES = 20  # one-vs-rest AUC for so many classes; the rarest (in the synthetic table) have none
_BINS = 24  # bins of a score histogram
_TRAIN_ROWS = 50_000
_DRAWS = 500  # for intervals
_Z95 = 1.959964


@dataclass(frozen=True)
class Downstream:
    """A downstream model trained on synthetic rows.

    Attributes:
        name: key of ``MODELS``.
        classes: codes of the target that it knows; empty for regression.
        target: position of the target among the modelled columns.
        fitted: the scikit-learn model.
        inputs: positions of the other columns.
    """

    name: str
    classes: NDArray[np.int32]
    target: int
    fitted: Any
    inputs: tuple[int, ...]

    def probabilities(self, codes: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n, d) codes to (n, classes), row by row."""
        scores: NDArray[np.float64] = self.fitted.predict_proba(codes[:, self.inputs])
        return scores


def histograms(schema: Schema) -> int:
    """How many score histograms a model costs: one for two classes, one a class (and one of right and
    wrong) for more, none for a regression target."""
    if schema.target is None or isinstance(schema.modelled[schema.target], Numeric):
        return 0
    classes = min(schema.domain[schema.target], MOST_CLASSES)
    return 1 if classes == 2 else classes + 1


def train(synthetic: NDArray[np.int32], schema: Schema, name: str) -> Downstream | None:
    """Train one downstream classifier on synthetic codes (m, d).

    Returns:
        None where the synthetic target has a single class, so that there is nothing to learn.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    assert schema.target is not None
    names, sizes = list(schema.domain), list(schema.domain.values())
    target = names.index(schema.target)
    inputs = tuple(j for j in range(len(names)) if j != target)
    rows = synthetic
    if len(rows) > _TRAIN_ROWS:
        rows = rows[np.random.default_rng(0).choice(len(rows), _TRAIN_ROWS, replace=False)]
    classes = np.unique(rows[:, target]).astype(np.int32)
    if len(classes) < 2 or not inputs:
        return None
    if name == "logistic":
        encoder = OneHotEncoder(categories=[np.arange(sizes[j]) for j in inputs], dtype=np.float32)
        fitted = make_pipeline(encoder, LogisticRegression(max_iter=1000))
    else:
        narrow = [k for k, j in enumerate(inputs) if sizes[j] <= 255]
        fitted = HistGradientBoostingClassifier(
            categorical_features=[k for k in narrow if not isinstance(schema.modelled[names[inputs[k]]], Numeric)],
            random_state=0,
            early_stopping=False,
        )
    fitted.fit(rows[:, inputs], rows[:, target])
    return Downstream(name, classes, target, fitted, inputs)


def charged(
    holdout: Private[Table], session: Session, synthetic: NDArray[np.int32], rows: float, sigma: float
) -> list[Evidence]:
    """TSTR figures of every downstream model on the holdout.

    Args:
        holdout: real rows that no generator saw.
        session: charged ``histograms(schema)`` counts and one sum a model.
        synthetic: codes (m, d).
        rows: a released (noisy) count of the holdout's rows.
        sigma: noise of every count, in rows; a sum of losses gets sigma times the loss's bound.
    """
    schema = holdout.schema
    if histograms(schema) == 0:
        return []
    found = []
    for name, words in MODELS.items():
        trained = train(synthetic, schema, name)
        if trained is None:
            continue
        if histograms(schema) == 1:
            found += _two_classes(holdout, session, trained, synthetic, rows, sigma, words)
        else:
            found += _many_classes(holdout, session, trained, synthetic, rows, sigma, words)
        found.append(_log_loss(holdout, session, trained, synthetic, rows, sigma, words))
    return found


def exact(train_codes: NDArray[np.int32], test_codes: NDArray[np.int32], schema: Schema, prefix: str) -> list[Evidence]:
    """Exact accuracy, log loss and AUC on real test rows. Internal.

    Args:
        train_codes: what the models learn from (synthetic for TSTR, real for TRTR).
        test_codes: real rows.
        schema: their schema.
        prefix: ``tstr`` or ``trtr``.
    """
    from sklearn.metrics import log_loss, roc_auc_score

    if histograms(schema) == 0:
        return []
    found = []
    for name, words in MODELS.items():
        trained = train(train_codes, schema, name)
        if trained is None:
            continue
        truth = test_codes[:, trained.target]
        known = np.isin(truth, trained.classes)
        scores = trained.probabilities(test_codes)
        figures = {"accuracy": float((trained.classes[scores.argmax(axis=1)] == truth).mean())}
        clipped = np.clip(scores[known], 0.01, 0.99)
        figures["log_loss"] = float(
            log_loss(truth[known], clipped / clipped.sum(axis=1, keepdims=True), labels=trained.classes)
        )
        if set(np.unique(truth)) == set(trained.classes):
            if len(trained.classes) == 2:
                figures["auc"] = float(roc_auc_score(truth, scores[:, 1]))
            else:
                figures["auc"] = float(roc_auc_score(truth, scores, multi_class="ovr", labels=trained.classes))
        found += [
            Evidence(
                f"utility.exact_{prefix}_{figure}_{name}",
                value,
                None,
                f"exact {prefix.upper()} {figure}, {words}",
                "internal",
            )
            for figure, value in figures.items()
        ]
    return found


def _two_classes(
    holdout: Private[Table],
    session: Session,
    trained: Downstream,
    synthetic: NDArray[np.int32],
    rows: float,
    sigma: float,
    words: str,
) -> list[Evidence]:
    high = int(trained.classes[1])
    edges = _score_edges(trained.probabilities(_some(synthetic))[:, 1])
    bins = len(edges) + 1

    def cell(codes: NDArray[np.int32]) -> NDArray[np.integer]:
        place = np.searchsorted(edges, trained.probabilities(codes)[:, 1], side="right")
        return np.asarray(place + bins * (codes[:, trained.target] == high))

    counts = noisy_histogram(holdout, session, cell, 2 * bins, sigma, f"scores of {words} by class").reshape(2, bins)
    auc, auc_interval = simulated(counts, sigma, _auc)
    right = int(np.searchsorted(edges, 0.5, side="left")) + 1  # first bin at or above one half
    accuracy, interval = simulated(counts, sigma, lambda table: _accuracy(table, right))
    return [
        _tstr(
            "auc",
            trained.name,
            auc,
            auc_interval,
            f"TSTR area under the ROC curve, {words}, from a noisy score histogram",
        ),
        _tstr("accuracy", trained.name, accuracy, interval, f"TSTR accuracy, {words}, from a noisy score histogram"),
    ]


def _many_classes(
    holdout: Private[Table],
    session: Session,
    trained: Downstream,
    synthetic: NDArray[np.int32],
    rows: float,
    sigma: float,
    words: str,
) -> list[Evidence]:
    schema = holdout.schema
    assert schema.target is not None
    wanted = min(schema.domain[schema.target], MOST_CLASSES)
    sample = _some(synthetic)
    known = trained.probabilities(sample)
    frequency = [(sample[:, trained.target] == c).sum() for c in trained.classes]
    order = np.argsort(frequency)[::-1][:wanted]
    areas, intervals, weights = [], [], []
    for k in order:
        edges = _score_edges(known[:, k])
        bins = len(edges) + 1

        def cell(
            codes: NDArray[np.int32], k: int = k, edges: NDArray[np.float64] = edges, bins: int = bins
        ) -> NDArray[np.integer]:
            place = np.searchsorted(edges, trained.probabilities(codes)[:, k], side="right")
            return np.asarray(place + bins * (codes[:, trained.target] == trained.classes[k]))

        counts = noisy_histogram(
            holdout, session, cell, 2 * bins, sigma, f"scores of {words}, class {k + 1} against the rest"
        )
        area, interval = simulated(counts.reshape(2, bins), sigma, _auc)
        areas.append(area)
        intervals.append(interval)
        weights.append(1.0)
    hits = noisy_histogram(
        holdout,
        session,
        lambda codes: (trained.classes[trained.probabilities(codes).argmax(axis=1)] == codes[:, trained.target]).astype(
            np.int64
        ),
        2,
        sigma,
        f"right and wrong predictions of {words}",
    )
    accuracy, spread = simulated(hits.reshape(2, 1), sigma, lambda table: float(table[1, 0] / max(1.0, table.sum())))
    mean = float(np.mean(areas))
    half = float(np.mean([high - low for low, high in intervals]) / 2)
    return [
        _tstr(
            "auc",
            trained.name,
            mean,
            (_unit(mean - half), _unit(mean + half)),
            f"TSTR one-vs-rest area under the ROC curve, mean of {len(areas)} classes, {words}",
        ),
        _tstr("accuracy", trained.name, accuracy, spread, f"TSTR accuracy, {words}, from a noisy count"),
    ]


def _log_loss(
    holdout: Private[Table],
    session: Session,
    trained: Downstream,
    synthetic: NDArray[np.int32],
    rows: float,
    sigma: float,
    words: str,
) -> Evidence:
    schema = holdout.schema

    def losses(codes: NDArray[np.int32]) -> NDArray[np.float64]:
        scores = trained.probabilities(codes)
        place = np.searchsorted(trained.classes, codes[:, trained.target]).clip(max=len(trained.classes) - 1)
        known = trained.classes[place] == codes[:, trained.target]
        chance = np.where(known, scores[np.arange(len(codes)), place], 0.0)
        return np.asarray(-np.log(np.clip(chance, math.exp(-LOSS_BOUND), 1.0)))

    total = noisy_sum(
        holdout,
        session,
        lambda table: losses(discretize(table, schema))[:, None],
        1,
        LOSS_BOUND,
        sigma * LOSS_BOUND,
        f"log loss of {words}",
    )
    value = float(total[0]) / rows
    spread = float(losses(_some(synthetic)).std())
    error = _Z95 * math.hypot(sigma * LOSS_BOUND / rows, spread / math.sqrt(rows))
    interval = (max(0.0, value - error), max(0.0, value + error))
    return _tstr(
        "log_loss",
        trained.name,
        max(0.0, value),
        interval,
        f"TSTR log loss (nats, at most {LOSS_BOUND:.2f} a row), {words}, from a noisy sum",
    )


def _tstr(figure: str, model: str, value: float, interval: tuple[float, float], how: str) -> Evidence:
    return Evidence(f"utility.tstr_{figure}_{model}", value, interval, how, "charged")


def _some(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    return codes[:_TRAIN_ROWS]


def _score_edges(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Public bin edges: quantiles of the synthetic rows' scores, and one half."""
    return np.unique(np.append(np.quantile(scores, np.linspace(0, 1, _BINS)[1:-1]), 0.5))


def _auc(table: NDArray[np.float64]) -> float:
    """Area under the ROC curve of a score histogram (2, bins): negatives, positives; ties count half."""
    negative, positive = table
    below = np.cumsum(negative) - negative / 2
    if negative.sum() <= 0 or positive.sum() <= 0:
        return 0.5
    return _unit((positive * below).sum() / (negative.sum() * positive.sum()))


def _accuracy(table: NDArray[np.float64], first_positive: int) -> float:
    total = table.sum()
    right = table[0, :first_positive].sum() + table[1, first_positive:].sum()
    return float(np.clip(right / total, 0, 1)) if total > 0 else 0.5


def simulated(counts: NDArray[np.float64], sigma: float, statistic: Any) -> tuple[float, tuple[float, float]]:
    """A statistic of noisy counts, and its 95% interval by parametric bootstrap of sampling and noise."""
    rng = np.random.default_rng(0)
    value = float(statistic(counts))
    rates = np.maximum(counts, 0.0)
    drawn = [
        float(statistic(counts + rng.poisson(rates) - rates + rng.normal(0.0, sigma, counts.shape)))
        for _ in range(_DRAWS)
    ]
    centre = float(np.median(drawn))
    low, high = np.quantile(drawn, [0.025, 0.975]) - centre + value
    return value, (_unit(low), _unit(high))


def _unit(value: float) -> float:
    return min(1.0, max(0.0, float(value)))


__all__ = ["LOSS_BOUND", "MODELS", "Downstream", "charged", "exact", "histograms", "simulated", "train"]
