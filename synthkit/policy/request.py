"""A request: who asks to do what, with which dataset, for which purpose, at which price."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from synthkit.errors import PolicyError
from synthkit.policy.facts import LARGEST, PRICED, Facts, whole
from synthkit.policy.names import folded

if TYPE_CHECKING:
    from synthkit.privacy.budget import Budget

ANY = "any"  # every purpose; the root of the tree
_MOST_ROWS = 2**52
_WORDS = {
    "adjacency": ("add-or-remove", "replace-one"),
    "unit": ("row", "person"),
    "schema": ("reviewed", "allowed", "unreviewed"),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody wants to do. What is None is not known, and counts against the request.

    Attributes:
        role: in which role it is asked.
        action: one of ``facts.ACTIONS``.
        dataset: the ledger's name for the private data.
        purpose: out of the policy's tree.
        epsilon: the most that it may cost; infinite for a method without a guarantee.
        delta: the slack, between 0 and 1.
        adjacency: ``add-or-remove`` or ``replace-one``.
        unit: ``row``, or ``person`` where a column names whose rows are protected together.
        unit_column: that column.
        rows: about how many private rows there are, as the schema declares; of linked tables, parents.
        spent: epsilon that the dataset's releases cost so far, without this one; this one's is added to it.
        total: in place of ``spent``, epsilon of all of them with this one, as the ledger composes them.
        schema: ``reviewed``; ``unreviewed``; or ``allowed``: unreviewed, and somebody went on explicitly.

    Raises:
        PolicyError: a value is of the wrong type or out of range.
    """

    role: str
    action: str
    dataset: str
    purpose: str = ANY
    epsilon: float | None = None
    delta: float | None = None
    adjacency: str | None = None
    unit: Literal["row", "person"] | None = None
    unit_column: str | None = None
    rows: int | None = None
    spent: float | None = None
    total: float | None = None
    schema: Literal["reviewed", "allowed", "unreviewed"] | None = None

    def __post_init__(self) -> None:
        for name in ("role", "action", "dataset", "purpose", "unit_column"):
            value = getattr(self, name)
            if type(value) is not str and not (name == "unit_column" and value is None):
                raise PolicyError(f"request: {name} is {_kind(value)}; it must be text")
        for name, words in _WORDS.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value in words):
                raise PolicyError(f"request: {name} is {value!r}; it must be {' or '.join(words)}")
        for name, most in (("epsilon", math.inf), ("delta", 1.0), ("spent", math.inf), ("total", math.inf)):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PolicyError(f"request: {name} is {_kind(value)}; it must be a number")
            if not 0 <= value <= most:  # NaN is neither
                raise PolicyError(f"request: {name} is {value}; it must be a number of 0 or more, at most {most:g}")
        if self.rows is not None and (isinstance(self.rows, bool) or not isinstance(self.rows, int)):
            raise PolicyError(f"request: rows is {_kind(self.rows)}; it must be a whole number")
        if self.rows is not None and not 0 <= self.rows <= _MOST_ROWS:
            raise PolicyError("request: rows is out of range; it must be 0 or more, at most 2^52")
        if self.spent is not None and self.total is not None:
            raise PolicyError("request: 'spent' is without this release and 'total' with it; give one of the two")
        if (self.unit == "person") != (self.unit_column is not None):
            raise PolicyError("request: unit is 'person' exactly where unit_column names the column")

    @classmethod
    def under(
        cls,
        budget: Budget,
        *,
        role: str,
        action: str,
        dataset: str,
        private: bool,
        purpose: str = ANY,
        rows: int | None = None,
        spent: float | None = None,
        total: float | None = None,
        schema: Literal["reviewed", "allowed", "unreviewed"] | None = None,
    ) -> Request:
        """A request at the price of a budget.

        Args:
            budget: epsilon, delta, adjacency and unit are taken from it.
            private: whether the method has a guarantee; without one, epsilon is infinite.
            role, action, dataset, purpose, rows, spent, total, schema: as in :class:`Request`.
        """
        return cls(
            role=role,
            action=action,
            dataset=dataset,
            purpose=purpose,
            epsilon=budget.epsilon if private else math.inf,
            delta=budget.delta,
            adjacency=budget.adjacency.value,
            unit="row" if budget.unit.column is None else "person",
            unit_column=budget.unit.column,
            rows=rows,
            spent=spent,
            total=total,
            schema=schema,
        )

    def facts(self) -> Facts:
        """What is known, in whole units rounded up; of an action without a price, nothing."""
        if self.action not in PRICED:
            return {}
        known: dict[str, int | str] = {}
        for name in ("adjacency", "unit", "unit_column", "schema"):
            if (value := getattr(self, name)) is not None:
                known[name] = str(value)
        if self.delta is not None:
            known["delta"] = whole("delta", self.delta)
        if self.rows is not None:
            known["rows"] = self.rows
        if self.epsilon is not None:
            known["epsilon"] = epsilon = whole("epsilon", self.epsilon)
            known["method"] = "private" if self.epsilon < math.inf else "non-private"
            if self.spent is not None:
                known["lifetime_epsilon"] = min(LARGEST, epsilon + whole("epsilon", self.spent))
            if self.total is not None:
                known["lifetime_epsilon"] = max(epsilon, whole("epsilon", self.total))
        return known

    @property
    def look(self) -> str:
        """What the dataset's name looks like; rules that forbid go by it."""
        return folded(self.dataset)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not known is left out, an infinite number is the word ``infinite``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: "infinite" if isinstance(value, float) and math.isinf(value) else value
            for name, value in values.items()
            if value is not None
        }

    def __str__(self) -> str:
        return f"{self.role} to {self.action} on {self.dataset} for {self.purpose}"


def _kind(value: object) -> str:
    kinds = {type(None): "missing", bool: "true or false", int: "a number", float: "a number", str: "text"}
    return kinds.get(type(value), f"a {type(value).__name__}")


__all__ = ["ANY", "Request"]
