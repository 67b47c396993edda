"""The second decision: may this leave? Every rule with its evidence, and what is missing never passes.

Each rule that allows stands for itself: a release may leave if one of them has all that it asks for. So a
rule can only ever allow what it says, and to pay more never makes less evidence enough.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from synthkit.errors import PolicyDenied, PolicyError
from synthkit.evidence import Evidence
from synthkit.policy.decide import Decision, decide
from synthkit.policy.demands import (
    APPROVES,
    Attempts,
    Check,
    Demand,
    Labels,
    Recipients,
    Retention,
    Signatures,
    Statement,
)
from synthkit.policy.document import Policy
from synthkit.policy.facts import told
from synthkit.policy.request import Request

State = Literal["pass", "fail", "not evaluated", "attested"]
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Attestation:
    """What somebody states about one bundle, for a while.

    Attributes:
        who: the person, as the keys know them.
        role: in which role.
        statement: ``approves``, or the name of a statement that the policy asks for.
        bundle: SHA-256 of the bundle's manifest, in hexadecimal: it is about no other bundle.
        expires: it does not count from then on.
        signature: whatever the verifier needs.
    """

    who: str
    role: str
    statement: str
    bundle: str
    expires: datetime
    signature: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What is about to leave. What is None is not known, and what depends on it is not evaluated.

    Attributes:
        bundle: SHA-256 of the bundle's manifest, in hexadecimal.
        attempts: how many releases were made of this dataset for this purpose, this one included.
        recipients: who gets it.
        labels: the marks that it carries.
        retention: days that it says it is kept.
    """

    bundle: str
    attempts: int | None = None
    recipients: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    retention: int | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.bundle, str) and _DIGEST.fullmatch(self.bundle)):
            raise PolicyError("parcel: bundle must be the SHA-256 digest of a manifest, 64 digits of 0-9 and a-f")
        for name in ("recipients", "labels"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, tuple) and all(isinstance(word, str) for word in value)):
                raise PolicyError(f"parcel: {name} must be a tuple of names")
        for name in ("attempts", "retention"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise PolicyError(f"parcel: {name} is {value!r}; it must be a whole number of 1 or more")


@dataclass(frozen=True)
class Item:
    """One line of the gate.

    Attributes:
        what: what is asked for.
        rule: by which rule; empty for what always holds.
        state: ``pass``; ``fail``; ``not evaluated``: nothing is known; ``attested``: people answer for it.
        found: what was found, in plain words.
        people: whether somebody can still bring it about, by a signature.
    """

    what: str
    rule: str
    state: State
    found: str
    people: bool = False

    @property
    def met(self) -> bool:
        """Whether it is as asked for."""
        return self.state in ("pass", "attested")


@dataclass(frozen=True)
class Gate:
    """The second decision.

    Attributes:
        decision: the policy's answer at the price that was really paid.
        items: everything that was asked for.
        attempts: how many releases were made, this one included; None: not counted.
    """

    decision: Decision
    items: tuple[Item, ...]
    attempts: int | None

    @property
    def allowed(self) -> bool:
        """Whether it may leave: what always holds is met, and so is all that one rule asks for."""
        always = [item.met for item in self.items if not item.rule]
        return self.decision.allowed and bool(always) and all(always) and bool(self.opened_by)

    @property
    def opened_by(self) -> tuple[str, ...]:
        """The rules that have all that they ask for."""
        missing = {item.rule for item in self.items if not item.met}
        return tuple(str(rule) for rule in self.decision.rules if self.decision.allowed and str(rule) not in missing)

    @property
    def waits_for_people(self) -> bool:
        """Whether a rule lacks nothing but what people can still sign."""
        if self.allowed or not self.decision.allowed or not all(item.met for item in self.items if not item.rule):
            return False
        hopeless = {item.rule for item in self.items if not item.met and not item.people}
        return any(str(rule) not in hopeless for rule in self.decision.rules)

    def enforce(self) -> Gate:
        """This gate, if it is open.

        Raises:
            PolicyDenied: it is shut; the message lists why.
        """
        if not self.allowed:
            raise PolicyDenied(str(self))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "allowed": self.allowed,
            "decision": self.decision.to_dict(),
            "attempts": self.attempts,
            "opened_by": list(self.opened_by),
            "items": [
                {"what": item.what, "rule": item.rule, "state": item.state, "found": item.found} for item in self.items
            ],
        }

    def __str__(self) -> str:
        counted = "not counted" if self.attempts is None else str(self.attempts)
        lines = [f"{'May leave' if self.allowed else 'Must not leave'}: {self.decision.request} (attempts: {counted})"]
        for item in self.items:
            by = f", by {item.rule}" if item.rule else ""
            lines.append(f"  {item.state:13} {item.what}{by}" + (f": {item.found}" if item.found else ""))
        if not self.decision.allowed:
            lines += [f"  needed        {need}" for need in self.decision.needed]
        return "\n".join(lines)


def nobody(attestation: Attestation) -> bool:
    """The verifier where there are no keys: no signature is known to be good."""
    return False


def gate(
    policy: Policy,
    first: Decision,
    request: Request,
    parcel: Parcel,
    evidence: Sequence[Evidence] = (),
    attestations: Sequence[Attestation] = (),
    *,
    verify: Callable[[Attestation], bool] = nobody,
    now: datetime | None = None,
) -> Gate:
    """Whether a release may leave.

    Args:
        policy: read again (:meth:`Policy.reread`), so that an edit since the first decision is noticed.
        first: the decision that was made before the data were opened.
        request: the same, at the price that was really paid.
        parcel: what is about to leave.
        evidence: its figures; internal ones are never looked at.
        attestations: what people state about it.
        verify: whether a signature is good, and its key is this person's in this role.
        now: the time; default: the clock's.
    """
    now = now or datetime.now(UTC)
    decision = decide(policy, request)
    items = [*_always(policy, first, decision)]
    facts = request.facts()
    for rule in decision.rules if decision.allowed else ():
        for condition in rule.when:
            held = condition.holds(facts)
            state: State = "not evaluated" if held is None else "pass" if held else "fail"
            items.append(Item(str(condition), str(rule), state, told(condition.fact, facts)))
    good = [attestation for attestation in attestations if _counts(attestation, parcel, verify, now)]
    for obligation in decision.obligations:
        state, found = _met(obligation.demand, parcel, evidence, good, len(attestations))
        people = isinstance(obligation.demand, Signatures | Statement)
        items.append(Item(str(obligation.demand), str(obligation.rule), state, found, people))
    return Gate(decision, tuple(items), parcel.attempts)


def _always(policy: Policy, first: Decision, second: Decision) -> Iterator[Item]:
    """What holds for every release, whatever its policy says."""
    same = first.digest == policy.digest
    yield Item(
        "the policy is the one of the first decision",
        "",
        "pass" if same else "fail",
        f"sha256 {policy.digest[:12]}" if same else f"it was edited: {first.digest[:12]} became {policy.digest[:12]}",
    )
    yield Item("the first decision allowed it", "", "pass" if first.allowed else "fail", str(first.request))
    asked, now = first.request, second.request
    changed = [
        name
        for name in ("role", "action", "dataset", "purpose", "adjacency", "unit", "unit_column", "rows", "schema")
        if getattr(asked, name) != getattr(now, name)
    ]
    facts, paid = asked.facts(), now.facts()
    for name in ("epsilon", "delta"):
        before, after = facts.get(name), paid.get(name)
        if before != after and not (isinstance(before, int) and isinstance(after, int) and after < before):
            changed.append(name)
    yield Item(
        "what was done is what was decided on",
        "",
        "fail" if changed else "pass",
        f"changed, or above what was asked: {', '.join(changed)}" if changed else "",
    )
    told_by = "; ".join(second.reasons)
    yield Item("the policy allows it at the price that was paid", "", "pass" if second.allowed else "fail", told_by)


def _counts(attestation: Attestation, parcel: Parcel, verify: Callable[[Attestation], bool], now: datetime) -> bool:
    """Whether an attestation is about this bundle, still holds, and is signed."""
    try:
        return (
            attestation.bundle == parcel.bundle
            and now < attestation.expires  # raises where it has no time zone
            and bool(attestation.who.strip())
            and verify(attestation) is True
        )
    except Exception:  # whatever is wrong with it: it does not count
        return False


def _met(
    demand: Demand, parcel: Parcel, evidence: Sequence[Evidence], good: Sequence[Attestation], shown: int
) -> tuple[State, str]:
    """The state of one demand, and what was found."""
    match demand:
        case Check():
            return _checked(demand, evidence)
        case Signatures(at_least, of):
            people = sorted({a.who.strip() for a in good if a.statement == APPROVES and a.role in of})
            found = f"{len(people)} of {at_least}: {', '.join(people) or 'nobody'}{_ignored(good, shown)}"
            return ("attested" if len(people) >= at_least else "not evaluated"), found
        case Statement(statement, by):
            people = sorted({a.who.strip() for a in good if a.statement == statement and a.role == by})
            return ("attested" if people else "not evaluated"), (", ".join(people) or "nobody") + _ignored(good, shown)
        case Retention(days):
            return _compared(parcel.retention, lambda kept: kept <= days, "days")
        case Attempts(most):
            return _compared(parcel.attempts, lambda made: made <= most, "attempts")
        case Recipients(names):
            return _compared(parcel.recipients, lambda to: bool(to) and set(to) <= set(names))
        case Labels(names):
            return _compared(parcel.labels, lambda carried: set(names) <= set(carried))


def _ignored(good: Sequence[Attestation], shown: int) -> str:
    ignored = shown - len(good)
    return f" ({ignored} not counted: expired, about another bundle, or not signed as they say)" if ignored else ""


def _compared(value: Any, holds: Callable[[Any], bool], unit: str = "") -> tuple[State, str]:
    if value is None:
        return "not evaluated", "not stated"
    found = ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else f"{value} {unit}"
    return ("pass" if holds(value) else "fail"), found


def _checked(check: Check, evidence: Sequence[Evidence]) -> tuple[State, str]:
    """The worst of all figures of that name that may be looked at, at the worse end of its interval."""
    named = [figure for figure in evidence if figure.name == check.evidence]
    figures = [figure for figure in named if figure.payment in ("free", "charged")]
    if not figures:
        found = "internal: exact values of real data feed no gate" if named else "there is no such figure"
        return "not evaluated", found
    ends = [end for figure in figures for end in (figure.value, *(figure.interval or ()))]
    if any(isinstance(end, bool) or not isinstance(end, int | float) or math.isnan(end) for end in ends):
        return "not evaluated", "the figure is not a number"
    if check.relation == "present" or check.limit is None:
        return "pass", ", ".join(f"{figure.value:.6g}" for figure in figures)
    worst = max(ends) if check.relation == "at most" else min(ends)
    keeps = worst <= check.limit if check.relation == "at most" else worst >= check.limit
    return ("pass" if keeps else "fail"), f"{worst:.6g} (the worse end of its interval)"


__all__ = ["Attestation", "Gate", "Item", "Parcel", "State", "gate", "nobody"]
