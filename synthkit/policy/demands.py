"""What a rule demands of a release before it may leave. Whether it is met, ``gate.py`` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

APPROVES = "approves"  # the statement of a signature


@dataclass(frozen=True)
class Check:
    """A figure that must be there, free or charged, and keep a limit.

    Attributes:
        evidence: its name, e.g. ``fidelity.tvd_2way``.
        relation: ``present``: any value will do.
        limit: in the figure's unit; None where it must be present alone.
    """

    evidence: str
    relation: Literal["at most", "at least", "present"]
    limit: float | None = None

    def __str__(self) -> str:
        return f"check {self.evidence}: {self.relation}" + ("" if self.limit is None else f" {self.limit:g}")


@dataclass(frozen=True)
class Signatures:
    """So many different people, in these roles, approve of the bundle."""

    at_least: int
    of: tuple[str, ...]

    def __str__(self) -> str:
        return f"approved by at least {self.at_least} of: {', '.join(self.of)}"


@dataclass(frozen=True)
class Statement:
    """Somebody in this role states what no machine can check."""

    statement: str
    by: str

    def __str__(self) -> str:
        return f"{self.by} states: {self.statement}"


@dataclass(frozen=True)
class Retention:
    """The release says that it is kept for at most so many days."""

    days: int

    def __str__(self) -> str:
        return f"kept for at most {self.days} days"


@dataclass(frozen=True)
class Recipients:
    """The release goes to nobody else."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"goes to nobody but: {', '.join(self.names)}"


@dataclass(frozen=True)
class Labels:
    """The release carries these marks."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"labelled: {', '.join(self.names)}"


@dataclass(frozen=True)
class Attempts:
    """The best of many tries is not what one try would be: at most so many were made."""

    most: int

    def __str__(self) -> str:
        return f"at most {self.most} attempts"


Demand = Check | Signatures | Statement | Retention | Recipients | Labels | Attempts

__all__ = [
    "APPROVES",
    "Attempts",
    "Check",
    "Demand",
    "Labels",
    "Recipients",
    "Retention",
    "Signatures",
    "Statement",
]
