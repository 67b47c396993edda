"""What an explanation may ask of held-out rows, for a price: it is part of the holdout's plan, or it is not asked.

The holdout composes in parallel with training, so a release costs no more for it; but the holdout's budget is shared, and
every figure of the quality report becomes noisier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dp_accounting import DpEvent

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.errors import ExplanationError, JobError
from synthkit.evidence import Evidence
from synthkit.explain import defects, importance
from synthkit.explain.defects import Defects
from synthkit.explain.model import Explanation
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.attributions import NoisyImportance, importance_event
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTS = ("importance", "defects")


@dataclass(frozen=True)
class Charged:
    """What was released from held-out rows.

    Attributes:
        importance: how much each column matters to a model of synthetic rows, on real ones; or None.
        defects: the synthetic table beside noisy marginals of held-out rows; or None.
        missing: why one is not there though it was asked for.
    """

    importance: NoisyImportance | None = None
    defects: Defects | None = None
    missing: tuple[str, ...] = ()

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """One figure a column, for the manifest, and for a gate."""
        if self.importance is None:
            return ()
        how = "mean absolute Shapley value over held-out rows, of gradient boosting trained on synthetic ones, clipped"
        error = self.importance.error
        return tuple(
            Evidence(
                f"explain.importance.{name}",
                float(value),
                (max(0.0, float(value) - error), float(value) + error),
                how,
                "charged",
            )
            for name, value in zip(self.importance.columns, self.importance.values, strict=True)
        )

    def beside(self, public: Explanation) -> Explanation:
        """The public explanation with what was paid for."""
        found = public.defects if self.defects is None else (*public.defects, self.defects)
        paid = self.importance is not None or self.defects is not None
        return replace(
            public,
            defects=found,
            importance=self.importance,
            missing=(*public.missing, *self.missing),
            payment="charged" if paid else public.payment,
        )


def check_asked(parts: Sequence[str], schema: object, holdout: float) -> None:
    """Refuse what cannot be asked of these rows.

    Raises:
        JobError: no holdout, not one table, or no target.
    """
    if not parts:
        return
    if not isinstance(schema, Schema):
        raise JobError(f"explain.{parts[0]} is read from held-out rows of one table alone; write 'explain: true'")
    if holdout == 0:
        raise JobError(f"explain.{parts[0]} is read from held-out rows, and holdout is 0; set a holdout, such as 0.2")
    if "importance" in parts and (schema.target is None or len(schema.modelled) < 2):
        raise JobError(
            f"explain.importance is of a model that predicts a target, and schema {schema.name} declares none"
        )


def reads(parts: Sequence[str], schema: Schema, budget: Budget) -> list[tuple[str, Callable[[float], DpEvent]]]:
    """What each part costs with a given noise, in rows; by the name of its noise in a plan."""
    events: dict[str, Callable[[float], DpEvent]] = {
        importance.NOISE: lambda sigma: importance_event(sigma, budget),
        defects.NOISE: lambda sigma: defects.event(sigma, schema, budget),
    }
    return [(name, events[name]) for name in PARTS if name in parts]


def read(parts: Sequence[str], held: Private[Table], session: Session, synthetic: NDArray[np.int32]) -> Charged:
    """Run what :func:`reads` priced."""
    found, wrong = None, None
    missing: tuple[str, ...] = ()
    if "importance" in parts:
        try:
            found = importance.charged(held, session, synthetic)
        except ExplanationError as problem:  # public: the synthetic rows hold nothing to predict. Nothing was read
            missing = (f"No importance on held-out rows: {problem}.",)
    if "defects" in parts:
        wrong = defects.charged(held, session, synthetic)
    return Charged(found, wrong, missing)


__all__ = ["PARTS", "Charged", "check_asked", "read", "reads"]
