"""The downstream model whose reasons are compared: gradient boosting on integer codes.

As the one of ``assess``, but for categories: their codes are numbers here, since TreeExplainer reads splits on
sets of categories wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.data.schema import Numeric, Schema
from synthkit.errors import ExplanationError
from synthkit.evidence import Payment
from synthkit.explain import shapley
from synthkit.explain.shapley import Attribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 50


@dataclass(frozen=True)
class Boosted:
    """A model of the schema's target.

    Attributes:
        fitted: the scikit-learn model.
        columns: names of its inputs.
        inputs: their positions among the modelled columns.
        classes: codes of the target that it knows; empty for a number.
        target: the target's name.
    """

    fitted: Any
    columns: tuple[str, ...]
    inputs: tuple[int, ...]
    classes: tuple[int, ...]
    target: str

    def explain(self, codes: NDArray[np.int32], payment: Payment) -> Attribution:
        """TreeExplainer on codes (n, d). Of several classes: the most frequent one's logit against the others."""
        output = None if len(self.classes) <= 2 else 0
        return shapley.trees(self.fitted, codes[:, self.inputs], self.columns, output=output, payment=payment)

    def importance(self, codes: NDArray[np.int32]) -> NDArray[np.float64]:
        """Mean absolute Shapley value of each input (p,), over all classes."""
        outputs = [None] if len(self.classes) <= 2 else list(range(len(self.classes)))
        found = [shapley.trees(self.fitted, codes[:, self.inputs], self.columns, output=k).importance for k in outputs]
        mean: NDArray[np.float64] = np.mean(found, axis=0)
        return mean

    def score(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """The raw score that :meth:`explain` explains, of inputs (n, p)."""
        found = shapley.raw_scores(self.fitted, rows)
        return found if found.ndim == 1 else found[:, 0]


def train(codes: NDArray[np.int32], schema: Schema, *, seed: int = 0, target: NDArray[Any] | None = None) -> Boosted:
    """Train on codes (m, d).

    Args:
        codes: rows.
        schema: theirs.
        seed: of the training.
        target: (m,) in place of the target's own codes, e.g. permuted.

    Raises:
        ExplanationError: no target, nothing beside it, a single class, or more classes than rows.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    names = list(schema.modelled)
    if schema.target is None:
        raise ExplanationError(f"schema {schema.name} declares no target, so there is no downstream model to explain")
    if len(codes) == 0 or codes.shape[1] != len(names):
        raise ExplanationError(
            f"{codes.shape[0]} rows of {codes.shape[1]} columns; schema {schema.name} models {len(names)}: "
            "is the table of another schema?"
        )
    at = names.index(schema.target)
    inputs = tuple(j for j in range(len(names)) if j != at)
    if not inputs:
        raise ExplanationError(f"schema {schema.name} has no column beside its target")
    truth = codes[:, at] if target is None else target
    classes: tuple[int, ...] = ()
    settings: dict[str, Any] = {"max_iter": _ROUNDS, "early_stopping": False, "random_state": seed}
    if isinstance(schema.modelled[schema.target], Numeric):
        fitted: Any = HistGradientBoostingRegressor(**settings)
    else:
        counts = np.bincount(truth)
        known = np.flatnonzero(counts)
        if len(known) < 2:
            raise ExplanationError(
                f"target {schema.target} has a single class in the rows: there is nothing to predict, and so no reasons"
            )
        if len(known) > len(codes) // 2:
            raise ExplanationError(
                f"target {schema.target} has {len(known)} classes in {len(codes)} rows; explain with more rows"
            )
        classes = tuple(int(k) for k in known[np.argsort(-counts[known], kind="stable")])
        if len(classes) > 2:  # the most frequent class first: scikit-learn orders classes by their number
            place = np.full(len(counts), -1)
            place[list(classes)] = np.arange(len(classes))
            truth = place[truth]
        fitted = HistGradientBoostingClassifier(**settings)
    fitted.fit(codes[:, inputs], truth)
    return Boosted(fitted, tuple(names[j] for j in inputs), inputs, classes, schema.target)


__all__ = ["Boosted", "train"]
