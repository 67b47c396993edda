"""What a release says about how it is to be handled: to whom it goes, for how long, with which marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SYNTHETIC = "synthetic"  # the mark that every release carries


@dataclass(frozen=True)
class Handling:
    """How a release is to be handled. What is None is not stated, and fails a policy that asks for it.

    Attributes:
        recipients: who gets it.
        retention_days: how long it is kept.
        labels: the marks that it carries beside ``synthetic``.
        producer: who made it, as labelling rules want it stated.
    """

    recipients: tuple[str, ...] | None = None
    retention_days: int | None = None
    labels: tuple[str, ...] = ()
    producer: str | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Handling:
        """From the plain values of a release file or a manifest."""
        recipients = values.get("recipients")
        return cls(
            recipients=None if recipients is None else tuple(recipients),
            retention_days=values.get("retention_days"),
            labels=tuple(label for label in values.get("labels", ()) if label != SYNTHETIC),
            producer=values.get("producer"),
        )

    @property
    def marks(self) -> tuple[str, ...]:
        """All marks."""
        return (SYNTHETIC, *self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as a manifest holds them; what is not stated is left out."""
        stated = {"recipients": self.recipients, "retention_days": self.retention_days, "producer": self.producer}
        return {"labels": list(self.marks)} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in stated.items()
            if value is not None
        }


__all__ = ["SYNTHETIC", "Handling"]
