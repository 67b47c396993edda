"""What a rule may ask about: the facts of a request, counted in whole units so that no rounding can favour it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import Literal

Effect = Literal["allow", "forbid"]
Relation = Literal["at most", "above", "at least", "below", "is"]
Facts = Mapping[str, int | str]  # by name: a number in the fact's units, or a word; what is not known is not in it

ACTIONS = ("draft", "plan", "train", "sample", "assess-internal", "explain", "release", "export", "anonymize")
PRICED = frozenset({"plan", "train", "assess-internal", "release", "export"})  # the others have no price to ask about
LEAVING = frozenset({"release", "export", "anonymize"})  # after these, something is outside

LARGEST = 2**63 - 1  # the policy engine's integers; stands for everything that is as large or larger, infinity included
EXACT = Context(prec=400)  # digits; enough for every float and every integer that is read


@dataclass(frozen=True)
class Number:
    """A number that a rule limits.

    Attributes:
        words: what people call it.
        units: so many units are one; requests are rounded up to whole units, limits must be whole.
        good: what a rule may ask for to allow; ``at most`` where more is worse.
    """

    words: str
    units: int
    good: Literal["at most", "at least"]

    @property
    def bad(self) -> Literal["above", "below"]:
        """What a rule may ask for to forbid."""
        return "above" if self.good == "at most" else "below"


@dataclass(frozen=True)
class Word:
    """A fact that is one of a few words.

    Attributes:
        words: what people call it.
        good, bad: what a rule that allows (that forbids) may ask for, and the facts that fulfil it;
            None: any name.
    """

    words: str
    good: Mapping[str, frozenset[str]] | None
    bad: Mapping[str, frozenset[str]] | None


_ADJACENCY = {name: frozenset({name}) for name in ("add-or-remove", "replace-one")}

KINDS: Mapping[str, Number | Word] = {
    "epsilon": Number("epsilon of this release", 1_000, "at most"),
    "lifetime_epsilon": Number("epsilon over the dataset's life, this release included", 1_000, "at most"),
    "delta": Number("delta", 10**18, "at most"),
    "rows": Number("declared number of rows", 1, "at least"),
    "unit": Word("unit of privacy", {"person": frozenset({"person"})}, {"row": frozenset({"row"})}),
    "unit_column": Word("column that names the unit", None, {}),
    "adjacency": Word("adjacency", _ADJACENCY, _ADJACENCY),
    "schema": Word(
        "schema",
        {"reviewed": frozenset({"reviewed"}), "reviewed or allowed": frozenset({"reviewed", "allowed"})},
        {"unreviewed": frozenset({"unreviewed", "allowed"})},
    ),
    "method": Word("method", {"private": frozenset({"private"})}, {"non-private": frozenset({"non-private"})}),
}


@dataclass(frozen=True)
class Condition:
    """One thing that a rule asks about a request.

    Attributes:
        fact: a key of :data:`KINDS`.
        relation: how the fact must stand to the operand.
        limit: of a number, in its units.
        words: of a word, those that fulfil it.
        written: as the policy says it.
    """

    fact: str
    relation: Relation
    limit: int
    words: frozenset[str]
    written: str

    def holds(self, facts: Facts) -> bool | None:
        """Whether it is fulfilled; None where the fact is not known."""
        if self.fact not in facts:
            return None
        found = facts[self.fact]
        if isinstance(found, str):
            return found in self.words
        return found <= self.limit if self.relation in ("at most", "below") else found > self.limit

    def __str__(self) -> str:
        return f"{KINDS[self.fact].words}: {self.written}"


def whole(fact: str, value: float) -> int:
    """``value`` in the fact's units, rounded up: 0.9991 is 1000 thousandths. Decimal, so that 0.1 is a tenth.

    Args:
        fact: a number's key in :data:`KINDS`.
        value: 0 or more; infinity is :data:`LARGEST`.
    """
    kind = KINDS[fact]
    assert isinstance(kind, Number)
    if value >= LARGEST:
        return LARGEST
    exact = EXACT.multiply(Decimal(repr(float(value))), Decimal(kind.units))
    return min(LARGEST, int(exact.to_integral_value(rounding=ROUND_CEILING, context=EXACT)))


def told(fact: str, facts: Facts) -> str:
    """The fact as people write it, e.g. ``2.5``; ``not stated`` where it is not known."""
    found, kind = facts.get(fact), KINDS[fact]
    if found is None:
        return "not stated"
    if isinstance(found, str) or not isinstance(kind, Number):
        return str(found)
    if found == LARGEST:
        return "infinite, or too large to count"
    return f"{found / kind.units:.10g}"


__all__ = [
    "ACTIONS",
    "EXACT",
    "KINDS",
    "LARGEST",
    "LEAVING",
    "PRICED",
    "Condition",
    "Effect",
    "Facts",
    "Number",
    "Relation",
    "Word",
    "told",
    "whole",
]
