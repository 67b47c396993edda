"""Evidence: one figure about a release, and how it was paid for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Payment = Literal["free", "charged", "internal"]


@dataclass(frozen=True)
class Evidence:
    """One measured figure.

    Attributes:
        name: stable dotted name, e.g. ``"fidelity.tvd_2way"``.
        value: the figure.
        interval: 95% interval ``(low, high)``, or None where none is known.
        how: one sentence: what was computed, on what, with what noise.
        payment: ``free`` (post-processing of released values), ``charged`` (a mechanism of the
            plan) or ``internal`` (an exact value of real data: never in a bundle, never the input
            of a gate).
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    how: str
    payment: Payment

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


__all__ = ["Evidence", "Payment"]
