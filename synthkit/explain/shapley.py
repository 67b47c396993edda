"""Shapley values of a score: how much each column of a row moved it, one player a column.

The game of a row x: a coalition S of columns is worth E f(x_S, z_-S), z drawn from the background. A column
is one player however it is encoded later: values are exchanged as codes, and the score encodes them itself.
Columns that are held fixed keep the row's value throughout.

Up to 12 players all coalitions are asked (Shapley 1953). Above, permutations are drawn in antithetic pairs,
each with its reverse (Mitchell et al. 2022, arXiv:2104.12199), which is exact where no more than two columns
interact; the standard error comes from the spread over pairs. Boosted trees go to TreeExplainer (Lundberg et
al. 2020, arXiv:1905.04610), path dependent. In every case

    base + sum of values = score

is checked on every row against a score that is computed by itself, and what fails is not returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synthkit.errors import ExplanationError
from synthkit.evidence import Payment

if TYPE_CHECKING:
    from numpy.typing import NDArray

Score = Callable[["NDArray[Any]"], "NDArray[np.float64]"]  # rows (n, d) to logits (n,), each from its own row
Worth = Callable[["NDArray[np.bool_]"], "NDArray[np.float64]"]  # coalitions (k, p) to what they are worth (k,)

MOST_EXACT = 12  # players; 2^12 coalitions a row
ADDITIVITY = 1e-5  # of a score of at most 1; relative above
TREE_ADDITIVITY = 1e-3  # of a logit: trees sum in single precision
_SAMPLED = 0.025  # standard error, relative to the mean value, at which sampling stops
_FIRST_PAIRS, _MOST_PAIRS, _MANY = 4, 256, 25
_EFFORT = 20_000_000  # rows that a score is asked for, in all
_BATCH = 100_000  # rows the score is asked for at a time


@dataclass(frozen=True)
class Attribution:
    """What moved the scores of some rows.

    Attributes:
        columns: the players (p).
        values: (n, p) what each column adds to the row's score.
        base: (n,) the score without any column known.
        scores: (n,) base plus the row's values.
        rows: (n, p) the rows' codes, for charts.
        errors: (n, p) standard errors of ``values``; None where they are exact.
        explainer: how they were computed, in words.
        gap: largest difference between base plus values and the score.
        payment: ``free`` where rows, background and score are released values.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    base: NDArray[np.float64]
    scores: NDArray[np.float64]
    rows: NDArray[Any]
    errors: NDArray[np.float64] | None
    explainer: str
    gap: float
    payment: Payment

    @cached_property
    def importance(self) -> NDArray[np.float64]:
        """Mean absolute value of each column: (p,). Signed values are summed within a row before, never after."""
        found: NDArray[np.float64] = np.abs(self.values).mean(axis=0)
        return found

    @property
    def ranking(self) -> list[str]:
        """Columns from the most to the least important."""
        return [self.columns[j] for j in np.argsort(-self.importance, kind="stable")]

    @property
    def relative_error(self) -> float:
        """Mean standard error over the mean absolute value; 0 where values are exact."""
        size = float(np.abs(self.values).mean())
        return 0.0 if self.errors is None or size == 0 else float(self.errors.mean()) / size


def explain(
    score: Score,
    rows: NDArray[Any],
    background: NDArray[Any],
    columns: Sequence[str],
    *,
    fixed: Collection[str] = (),
    how: Literal["auto", "exact", "sampled"] = "auto",
    seed: int = 0,
    effort: int = _EFFORT,
    payment: Payment = "internal",
) -> Attribution:
    """Shapley values of ``score`` on rows of codes.

    Args:
        score: codes (n, d) to one number a row, e.g. a logit; must look at each row by itself.
        rows: (n, d) what is explained.
        background: (b, d), two rows or more: what a column is when it is not known.
        columns: d names.
        fixed: columns that are never unknown, such as what the discriminator was conditioned on.
        how: all coalitions, sampled permutations, or by the number of players.
        seed: of the permutations.
        effort: about how many rows the score may be asked for in all, where permutations are drawn; what it
            buys is said by the standard errors.
        payment: of the result. Say ``free`` only where all three inputs are released values.

    Raises:
        ExplanationError: inputs that do not fit, too many players for ``exact``, scores that are not finite,
            or values that do not add up to the score.
    """
    rows, background = np.asarray(rows), np.asarray(background)
    players = checked_players(rows, background, columns, fixed)
    exact = how == "exact" or (how == "auto" and len(players) <= MOST_EXACT)
    if exact and len(players) > MOST_EXACT:
        raise ExplanationError(
            f"{len(players)} columns have 2^{len(players)} coalitions; exact values need at most {MOST_EXACT} columns: "
            "sample permutations"
        )
    rng = np.random.default_rng(seed)
    most = max(2, min(_MOST_PAIRS, effort // (2 * len(rows) * len(players) * len(background))))
    scores = asked(score, rows)
    values = np.zeros((len(rows), len(players)))
    errors = np.zeros_like(values)
    base = np.zeros(len(rows))
    for i, row in enumerate(rows):
        worth = game(score, row, background, players)
        if exact:
            values[i], base[i] = exact_values(worth, len(players))
        else:
            values[i], errors[i], base[i] = sampled_values(worth, len(players), rng, most_pairs=most)
    gap = added_up(values, base, scores, ADDITIVITY)
    names = tuple(columns[j] for j in players)
    words = "exact: all coalitions of columns" if exact else "antithetic permutations of columns"
    return Attribution(names, values, base, scores, rows[:, players], None if exact else errors, words, gap, payment)


def trees(
    model: Any,
    rows: NDArray[Any],
    columns: Sequence[str],
    *,
    output: int | None = None,
    payment: Payment = "internal",
) -> Attribution:
    """Shapley values of a boosted model's raw score (logit), by TreeExplainer, path dependent.

    Args:
        model: fitted: scikit-learn's gradient boosting on integer codes, LightGBM or XGBoost.
        rows: (n, d) codes as the model was trained on.
        columns: d names.
        output: of several classes, which one's logit.
        payment: of the result; the model's training rows count, since they are its background.

    Raises:
        ExplanationError: TreeExplainer does not know the model, or its values do not add up.
    """
    shap = _shap()
    explainer = _tree_explainer(model)
    inputs = np.asarray(rows, dtype=np.float64)
    values = np.asarray(explainer.shap_values(inputs, check_additivity=False), dtype=np.float64)
    base = np.asarray(explainer.expected_value, dtype=np.float64).reshape(-1)
    scores = raw_scores(model, rows)
    if values.ndim == 3:
        if output is None:
            raise ExplanationError(f"the model has {values.shape[2]} classes; say which one's logit is explained")
        values, base, scores = values[:, :, output], base[output : output + 1], scores[:, output]
    gap = added_up(values, base, scores, TREE_ADDITIVITY)
    words = f"TreeExplainer (shap {shap.__version__}), path dependent"
    return Attribution(
        tuple(columns), values, np.broadcast_to(base, len(rows)), scores, np.asarray(rows), None, words, gap, payment
    )


def tree_interactions(model: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Shapley interaction values (n, d, d) of a boosted model with two classes; each sums to the score.

    Raises:
        ExplanationError: as :func:`trees`.
    """
    _shap()
    explainer = _tree_explainer(model)
    found = np.asarray(explainer.shap_interaction_values(np.asarray(rows, dtype=np.float64)))
    base = np.asarray(explainer.expected_value, dtype=np.float64).reshape(-1)
    added_up(found.sum(axis=2), base, raw_scores(model, rows), TREE_ADDITIVITY)
    return found


def exact_values(worth: Worth, players: int) -> tuple[NDArray[np.float64], float]:
    """Shapley values (p,) by asking all 2^p coalitions, and the worth of the empty one."""
    order = np.arange(2**players)
    masks = (order[:, None] >> np.arange(players)) & 1  # (2^p, p)
    found, sizes = worth(masks.astype(bool)), masks.sum(axis=1)
    weights = np.array(
        [math.factorial(s) * math.factorial(players - s - 1) / math.factorial(players) for s in range(players)]
    )
    values = np.empty(players)
    for j in range(players):
        without = order[masks[:, j] == 0]
        values[j] = (weights[sizes[without]] * (found[without | (1 << j)] - found[without])).sum()
    return values, float(found[0])


def sampled_values(
    worth: Worth, players: int, rng: np.random.Generator, *, most_pairs: int = _MOST_PAIRS
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Shapley values by antithetic permutations, their standard errors, and the worth of the empty coalition.

    Every permutation's contributions add up to the score, so their mean does. Pairs are drawn until the
    standard errors are small beside the values, or there are ``most_pairs``.
    """
    ends = worth(np.repeat([[False], [True]], players, axis=1))
    gains = np.zeros((0, players))  # one line a pair: the mean of a permutation's and its reverse's
    while len(gains) < most_pairs:
        first = _FIRST_PAIRS if players < _MANY else 2  # of many players, two pairs show the spread
        count = min(max(len(gains), first), max(2, most_pairs - len(gains)))
        forward = rng.permuted(np.tile(np.arange(players), (count, 1)), axis=1)
        walks = np.stack([forward, forward[:, ::-1]], axis=1).reshape(-1, players)  # (2m, p)
        rank = np.argsort(walks, axis=1)  # place of each player in its walk
        steps = rank[:, None, :] < np.arange(1, players)[:, None]  # (2m, p-1, p): the first 1, 2, ... players
        inner = worth(steps.reshape(-1, players)).reshape(len(walks), players - 1)
        paths = np.column_stack([np.full(len(walks), ends[0]), inner, np.full(len(walks), ends[1])])
        won = np.take_along_axis(np.diff(paths, axis=1), rank, axis=1)  # (2m, p) by player
        gains = np.concatenate([gains, won.reshape(count, 2, players).mean(axis=1)])
        error = gains.std(axis=0, ddof=1) / math.sqrt(len(gains))
        if error.mean() <= _SAMPLED * np.abs(gains.mean(axis=0)).mean():
            break
    return gains.mean(axis=0), error, float(ends[0])


def asked(score: Score, rows: NDArray[Any]) -> NDArray[np.float64]:
    """The scores of rows, batch by batch.

    Raises:
        ExplanationError: other than one finite number a row.
    """
    parts = [np.asarray(score(rows[k : k + _BATCH]), dtype=np.float64) for k in range(0, len(rows), _BATCH)]
    found = np.concatenate(parts) if parts else np.zeros(0)
    if found.shape != (len(rows),) or not np.isfinite(found).all():
        raise ExplanationError("the score must give one finite number for each row; give the logit of one class")
    return found


def added_up(
    values: NDArray[np.float64], base: NDArray[np.float64], scores: NDArray[np.float64], tolerance: float
) -> float:
    """The largest gap between base plus values and the score.

    Raises:
        ExplanationError: it is above ``tolerance`` (relative where scores are above 1).
    """
    gap = float(np.abs(base + values.sum(axis=1) - scores).max(initial=0.0))
    allowed = tolerance * max(1.0, float(np.abs(scores).max(initial=0.0)))
    if not gap <= allowed:
        raise ExplanationError(
            f"the values do not add up to the score (gap {gap:.2g}, allowed {allowed:.2g}): this explainer reads the "
            "model wrongly, or the score of a row depends on other rows; nothing is shown. Explain the score by "
            "exact or sampled coalitions"
        )
    return gap


def game(score: Score, row: NDArray[Any], background: NDArray[Any], players: Sequence[int]) -> Worth:
    """The game of one row: its own values inside a coalition, the background's outside, on average."""
    unknown = np.tile(row, (len(background), 1))  # (b, d): columns held fixed keep the row's value
    unknown[:, players] = background[:, players]

    def worth(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        parts = []
        step = max(1, _BATCH // len(background))
        for start in range(0, len(coalitions), step):
            some = coalitions[start : start + step]
            known = np.zeros((len(some), len(row)), dtype=bool)
            known[:, players] = some
            mixed = np.where(known[:, None, :], row, unknown)  # (k, b, d)
            parts.append(asked(score, mixed.reshape(-1, len(row))).reshape(len(some), -1).mean(axis=1))
        return np.concatenate(parts)

    return worth


def checked_players(
    rows: NDArray[Any], background: NDArray[Any], columns: Sequence[str], fixed: Collection[str]
) -> list[int]:
    """Positions of the columns that are not held fixed.

    Raises:
        ExplanationError: rows, background and columns do not fit each other.
    """
    if rows.ndim != 2 or background.ndim != 2 or not rows.shape[1] == background.shape[1] == len(columns):
        raise ExplanationError(
            f"rows {rows.shape} and background {background.shape} must both have the {len(columns)} columns that are "
            "named: are they of another schema?"
        )
    if len(rows) < 1 or len(background) < 2:
        raise ExplanationError(
            f"{len(rows)} rows and a background of {len(background)}; it takes 1 row and a background of 2 at least: "
            "with one, 'not known' would mean 'as in that row'"
        )
    if missing := sorted(set(fixed) - set(columns)):
        raise ExplanationError(f"columns to be held fixed are not there: {', '.join(missing)}")
    players = [j for j, name in enumerate(columns) if name not in fixed]
    if not players:
        raise ExplanationError("every column is held fixed, so nothing is left to explain")
    return players


def ready() -> None:
    """Import what trees are explained with. At its first import it logs, which a replay would take for a difference."""
    _shap()


def _shap() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice to notebooks, at import
        import shap
    return shap


def _tree_explainer(model: Any) -> Any:
    kinds = getattr(model, "is_categorical_", None)
    if kinds is not None and np.any(kinds):
        raise ExplanationError(
            f"{type(model).__name__} with categorical_features: TreeExplainer reads such splits as thresholds; "
            "train it on integer codes"
        )
    try:
        return _shap().TreeExplainer(model, feature_perturbation="tree_path_dependent")
    except Exception as problem:  # shap raises its own kind, or whatever it stumbles over
        raise ExplanationError(
            f"TreeExplainer does not know {type(model).__name__} ({type(problem).__name__})"
        ) from None


def raw_scores(model: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
    """The logits of a boosted model (n,), or (n, classes); a regression's prediction."""
    if hasattr(model, "decision_function"):
        found = model.decision_function(rows)
    elif hasattr(model, "loss") and not hasattr(model, "classes_"):  # scikit-learn's boosted regression
        found = model.predict(rows)
    elif hasattr(model, "booster_"):  # LightGBM
        found = model.predict(rows, raw_score=True)
    elif hasattr(model, "get_booster"):  # XGBoost
        found = model.predict(rows, output_margin=True)
    else:
        raise ExplanationError(f"{type(model).__name__} has no raw score (logit) that values could add up to")
    return np.asarray(found, dtype=np.float64)


__all__ = [
    "ADDITIVITY",
    "MOST_EXACT",
    "TREE_ADDITIVITY",
    "Attribution",
    "Score",
    "Worth",
    "added_up",
    "asked",
    "checked_players",
    "exact_values",
    "explain",
    "game",
    "raw_scores",
    "ready",
    "sampled_values",
    "tree_interactions",
    "trees",
]
