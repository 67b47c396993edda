"""Same reasons? Whether a model trained on synthetic rows decides as one trained on real rows does.

Both are explained on the same real rows. Compared are the global importances: their rank correlation, and the
SHAP distance, one minus their cosine (arXiv:2511.17590). Neither means much alone, so two marks stand beside
them. The *ceiling* is how far two models agree that were trained on two bootstrap samples of the real rows; no
synthetic table does better but by luck. The *floor* is a model of permuted labels, which has no reasons.

Everything here is exact and internal: the second model saw real rows, and real rows are explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.data.schema import Schema
from synthkit.errors import ExplanationError
from synthkit.evidence import Evidence
from synthkit.explain.checks import spearman
from synthkit.explain.downstream import train

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_ROWS, _EXPLAINED = 20_000, 500


@dataclass(frozen=True)
class Agreement:
    """Importances of both models, and how far they agree.

    Attributes:
        columns: the inputs (p).
        real: (p,) importances of the model trained on real rows, as shares.
        synthetic: (p,) of the one trained on synthetic rows.
        spearman: their rank correlation.
        distance: one minus their cosine.
        ceiling: (rank correlation, distance) between models of two real bootstrap samples, the mean.
        floor: the same between the real model and models of permuted labels.
        payment: always ``internal``.
    """

    columns: tuple[str, ...]
    real: NDArray[np.float64]
    synthetic: NDArray[np.float64]
    spearman: float
    distance: float
    ceiling: tuple[float, float]
    floor: tuple[float, float]
    payment: str = "internal"

    @property
    def recovered(self) -> float:
        """Where the distance lies between floor (0) and ceiling (1)."""
        span = self.floor[1] - self.ceiling[1]
        return 0.0 if span <= 0 else float(np.clip((self.floor[1] - self.distance) / span, 0, 1))

    @property
    def verdict(self) -> str:
        """One sentence."""
        words = (
            "the same reasons"
            if self.recovered >= 0.9
            else "similar reasons"
            if self.recovered >= 0.6
            else "other reasons"
        )
        return (
            f"The model trained on synthetic rows has {words}: rank correlation {self.spearman:.2f} "
            f"(two real samples: {self.ceiling[0]:.2f}, permuted labels: {self.floor[0]:.2f}), SHAP distance "
            f"{self.distance:.3f} (two real samples: {self.ceiling[1]:.3f}, permuted labels: {self.floor[1]:.3f})."
        )

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Both figures. Internal."""
        how = "global importances of gradient boosting trained on synthetic and on real rows, explained on real rows"
        return (
            Evidence("explain.exact_shap_spearman", self.spearman, None, f"rank correlation of {how}", "internal"),
            Evidence("explain.exact_shap_distance", self.distance, None, f"one minus the cosine of {how}", "internal"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "verdict": self.verdict,
            "payment": self.payment,
            "columns": list(self.columns),
            "real": self.real.tolist(),
            "synthetic": self.synthetic.tolist(),
            "spearman": self.spearman,
            "distance": self.distance,
            "ceiling": {"spearman": self.ceiling[0], "distance": self.ceiling[1]},
            "floor": {"spearman": self.floor[0], "distance": self.floor[1]},
        }


def compare(
    training: NDArray[np.int32],
    explained: NDArray[np.int32],
    synthetic: NDArray[np.int32],
    schema: Schema,
    *,
    repeats: int = 3,
    seed: int = 0,
) -> Agreement:
    """Train on real and on synthetic rows, explain both on real rows. Internal.

    Args:
        training: real codes (n, d).
        explained: real codes (m, d) that neither model saw.
        synthetic: codes (k, d).
        schema: theirs.
        repeats: of ceiling and floor.
        seed: of samples and permutations.

    Raises:
        ExplanationError: as :func:`synthkit.explain.downstream.train`, or no rows to explain.
    """
    if len(explained) == 0:
        raise ExplanationError("no real rows to explain: reasons are compared on a holdout; say 'holdout: 0.2'")
    rng = np.random.default_rng(seed)
    count = min(len(training), len(synthetic), _MOST_ROWS)
    real = training[rng.permutation(len(training))[:count]]
    fake = synthetic[rng.permutation(len(synthetic))[:count]]
    rows = explained[rng.permutation(len(explained))[:_EXPLAINED]]

    def shares(codes: NDArray[np.int32], target: NDArray[Any] | None = None) -> NDArray[np.float64]:
        found = train(codes, schema, seed=seed, target=target).importance(rows)
        return found / (found.sum() or 1.0)

    model = train(real, schema, seed=seed)
    ours, theirs = shares(fake), shares(real)
    at = list(schema.modelled).index(schema.target or "")
    ceilings, floors = [], []
    for _ in range(repeats):
        ceilings.append([shares(training[rng.integers(0, len(training), count)]) for _ in range(2)])
        floors.append([theirs, shares(real, rng.permutation(real[:, at]))])
    return Agreement(
        model.columns,
        theirs,
        ours,
        spearman(theirs, ours),
        cosine_distance(theirs, ours),
        _mean(ceilings),
        _mean(floors),
    )


def cosine_distance(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """One minus the cosine: 0 where one is a multiple of the other."""
    size = float(np.linalg.norm(left) * np.linalg.norm(right))
    return 1.0 if size == 0 else max(0.0, 1.0 - float(left @ right) / size)


def _mean(pairs: list[list[NDArray[np.float64]]]) -> tuple[float, float]:
    return float(np.mean([spearman(*pair) for pair in pairs])), float(
        np.mean([cosine_distance(*pair) for pair in pairs])
    )


__all__ = ["Agreement", "compare", "cosine_distance"]
