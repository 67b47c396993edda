"""The first decision: may this be done? With the rules that decide, what they demand, and what would be needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from synthkit.errors import PolicyDenied
from synthkit.policy.cedar import compiled
from synthkit.policy.demands import Demand
from synthkit.policy.document import Policy, Rule, lineage
from synthkit.policy.facts import ACTIONS, Condition, Facts, told
from synthkit.policy.names import LONGEST, folded, trouble
from synthkit.policy.request import Request

_CLOSEST = 5  # rules that are shown where none allows


@dataclass(frozen=True)
class Obligation:
    """What one rule demands of the release that it allows."""

    rule: Rule
    demand: Demand

    def __str__(self) -> str:
        return f"{self.demand}, by {self.rule}"


@dataclass(frozen=True)
class Decision:
    """Whether a request is allowed, and why.

    Attributes:
        allowed: False on any doubt.
        request: what was asked.
        policy: the policy's name.
        digest: the policy's digest; ``gate`` notices by it that the file was edited since.
        rules: those that decided: all that allow it, or all that forbid it; empty where no rule speaks for it.
        obligations: what these rules demand before anything leaves. Each rule that allows stands for itself:
            it is enough that one has all that it demands.
        reasons: in plain words.
        needed: what would have to change, in plain words; empty where it is allowed.
    """

    allowed: bool
    request: Request
    policy: str
    digest: str
    rules: tuple[Rule, ...]
    obligations: tuple[Obligation, ...]
    reasons: tuple[str, ...]
    needed: tuple[str, ...]

    def enforce(self) -> Decision:
        """This decision, if it allows.

        Raises:
            PolicyDenied: it does not; the message says why, and what would be needed.
        """
        if not self.allowed:
            raise PolicyDenied(str(self))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "allowed": self.allowed,
            "request": self.request.to_dict(),
            "policy": {"name": self.policy, "sha256": self.digest},
            "rules": [str(rule) for rule in self.rules],
            "obligations": [{"demand": str(entry.demand), "rule": str(entry.rule)} for entry in self.obligations],
            "reasons": list(self.reasons),
            "needed": list(self.needed),
        }

    def __str__(self) -> str:
        lines = [f"{'Allowed' if self.allowed else 'Denied'} by policy {self.policy}: {self.request}"]
        lines += [f"  {reason}" for reason in self.reasons]
        if self.obligations:
            several = ", all that one of these rules demands" if len(self.rules) > 1 else ""
            lines += [f"Before anything leaves{several}:", *(f"  {entry}" for entry in self.obligations)]
        if self.needed:
            lines += ["What would be needed:", *(f"  {need}" for need in self.needed)]
        return "\n".join(lines)


def decide(policy: Policy, request: Request) -> Decision:
    """Whether ``policy`` allows ``request``.

    It does where Cedar decides to allow, without any error, and the rules as they are read here say the
    same. Everything else is a no.
    """
    if malformed := list(_malformed(policy, request)):
        return _denied(policy, request, *zip(*malformed, strict=True))
    answer = compiled(policy).ask(request)
    if answer.errors:
        return _denied(policy, request, [f"the policy could not be evaluated: {error}" for error in answer.errors])
    facts = request.facts()
    allow, forbid = ([rule for rule in policy.rules if rule.effect == e] for e in ("allow", "forbid"))
    forbidding = [rule for rule in forbid if _speaks(rule, request, policy) and not _spared(rule, facts)]
    allowing = [rule for rule in allow if _speaks(rule, request, policy) and not _unmet(rule, facts)]
    decisive = forbidding or allowing
    if answer.allowed != bool(allowing and not forbidding) or [policy.rules[k] for k in answer.rules] != decisive:
        return _denied(policy, request, ["two evaluations of the policy disagree, a defect of synthkit: report it"])
    if forbidding or not allowing:
        against = [_forbidden(rule, request, facts, policy) for rule in forbidding]
        if not allowing:
            against += _unallowed(allow, request, facts, policy)
        whys, ways = zip(*against, strict=True)
        return _denied(policy, request, whys, [way for some in ways for way in some], forbidding)
    return Decision(
        allowed=True,
        request=request,
        policy=policy.name,
        digest=policy.digest,
        rules=tuple(allowing),
        obligations=tuple(Obligation(rule, demand) for rule in allowing for demand in rule.require),
        reasons=tuple(f"allowed by {rule}" + (f": {rule.because}" if rule.because else "") for rule in allowing),
        needed=(),
    )


def covers(policy: Policy, dataset: str) -> list[str]:
    """The names under which a policy declares a dataset of the ledger."""
    return [
        name for name, patterns in policy.datasets.items() if any(matches(pattern, dataset) for pattern in patterns)
    ]


def _denied(
    policy: Policy, request: Request, reasons: Iterable[str], needed: Iterable[str] = (), rules: Iterable[Rule] = ()
) -> Decision:
    return Decision(False, request, policy.name, policy.digest, tuple(rules), (), tuple(reasons), tuple(needed))


def _malformed(policy: Policy, request: Request) -> Iterable[tuple[str, str]]:
    """What is asked in words that the policy does not know, and the words that it knows."""
    for what, name, known in (
        ("role", request.role, tuple(policy.roles)),
        ("action", request.action, ACTIONS),
        ("purpose", request.purpose, tuple(policy.parents)),
    ):
        if name not in known:
            name = name[:LONGEST]  # whatever it was, it is shown
            alike = [word for word in known if folded(word) == folded(name)]
            close = alike or get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            yield f"unknown {what} {name!r}", f"a declared {what}; {hint}"
    if wrong := trouble(request.dataset, symbols=None):
        yield f"dataset {request.dataset!r} {wrong}", "the dataset's name as the ledger has it"
    elif not covers(policy, request.dataset):
        patterns = ", ".join(pattern for group in policy.datasets.values() for pattern in group)
        yield f"the policy declares no dataset {request.dataset!r}", f"a declared dataset; known are {patterns}"


# Which rules speak about a request -------------------------------------------------------------


def _speaks(rule: Rule, request: Request, policy: Policy) -> bool:
    """Whether a rule is about this role, action, dataset and purpose; conditions aside."""
    return (
        request.role in rule.roles
        and request.action in rule.actions
        and request.purpose in rule.reach
        and _names_dataset(rule, request, policy)
    )


def _names_dataset(rule: Rule, request: Request, policy: Policy) -> bool:
    groups = policy.datasets if rule.datasets is None else rule.datasets
    patterns = [pattern for group in groups for pattern in policy.datasets[group]]
    if rule.effect == "allow":
        return any(matches(pattern, request.dataset) for pattern in patterns)
    return rule.datasets is None or any(matches(folded(pattern), request.look) for pattern in patterns)


def _unmet(rule: Rule, facts: Facts) -> list[Condition]:
    """Conditions that are not known to hold: they keep a rule from allowing."""
    return [condition for condition in rule.when if condition.holds(facts) is not True]


def _spared(rule: Rule, facts: Facts) -> bool:
    """Whether a condition is known not to hold, which keeps a rule from forbidding."""
    return any(condition.holds(facts) is False for condition in rule.when)


def matches(pattern: str, name: str) -> bool:
    """Whether ``name`` is the pattern, letter by letter, where ``*`` stands for any characters. Linear in both."""
    first, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, last = rest
    position, end = len(first), len(name) - len(last)
    if position > end or not (name.startswith(first) and name.endswith(last)):
        return False
    for part in middle:
        if (position := name.find(part, position, end)) < 0:
            return False
        position += len(part)
    return True


# In plain words --------------------------------------------------------------------------------


def _forbidden(rule: Rule, request: Request, facts: Facts, policy: Policy) -> tuple[str, list[str]]:
    """That a rule forbids it, and how it would not."""
    reason = f"forbidden by {rule}" + (f": {rule.because}" if rule.because else "")
    if set(rule.purposes).isdisjoint(lineage(request.purpose, policy.parents)):
        parts = [purpose for purpose in rule.purposes if request.purpose in lineage(purpose, policy.parents)]
        reason += f"; purpose {request.purpose} includes {', '.join(parts)}"
    if rule.when:
        reason += "; " + "; ".join(_compared(condition, facts) for condition in rule.when)
        return reason, [f"not {' or not '.join(map(str, rule.when))}, for {rule}"]
    return reason, [f"something else than it forbids: nothing outweighs {rule}"]


def _unallowed(rules: list[Rule], request: Request, facts: Facts, policy: Policy) -> list[tuple[str, list[str]]]:
    """That no rule allows it, and how the nearest ones would."""
    near = sorted((rule for rule in rules if _speaks(rule, request, policy)), key=lambda rule: len(_unmet(rule, facts)))
    if near:
        needed = [
            f"{'; '.join(_compared(condition, facts) for condition in _unmet(rule, facts))}, for {rule}"
            for rule in near
        ]
        return [(f"no rule that would allow {request} has its conditions met", needed[:_CLOSEST])]
    missed = {rule: _missed(rule, request, policy) for rule in rules}
    fewest = min(map(len, missed.values()), default=0)
    needed = [f"{'; '.join(words)}, for {rule}" for rule, words in missed.items() if len(words) == fewest]
    return [(f"no rule allows {request}", needed[:_CLOSEST] or ["a rule that allows something; the policy has none"])]


def _missed(rule: Rule, request: Request, policy: Policy) -> list[str]:
    """In what a rule that allows is about something else, and what it is about."""
    missed = []
    if request.role not in rule.roles:
        missed.append(f"role {' or '.join(rule.roles)}")
    if request.action not in rule.actions:
        missed.append(f"action {' or '.join(rule.actions)}")
    if not _names_dataset(rule, request, policy):
        missed.append(f"dataset {' or '.join(rule.datasets or policy.datasets)}")
    if request.purpose not in rule.reach:
        missed.append(f"purpose {' or '.join(rule.purposes)}")
    return missed


def _compared(condition: Condition, facts: Facts) -> str:
    return f"{condition} (asked: {told(condition.fact, facts)})"


__all__ = ["Decision", "Obligation", "covers", "decide", "matches"]
