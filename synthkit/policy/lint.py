"""What a policy says without effect: rules that can never match, demands that never bind, names nobody uses."""

from __future__ import annotations

from collections.abc import Iterator

from synthkit.policy.demands import Signatures, Statement
from synthkit.policy.document import Policy, Rule
from synthkit.policy.facts import LEAVING, Condition

_MOST_ROWS = 2**52  # no schema may declare more


def warnings(policy: Policy) -> tuple[str, ...]:
    """What its author probably did not mean; one sentence each. A policy with warnings is valid."""
    return (*_unmatched(policy), *_outdone(policy), *_unused(policy))


def _unmatched(policy: Policy) -> Iterator[str]:
    """Rules that can never match. A pair of rules is looked at, not what several forbid together."""
    allow, forbid = ([rule for rule in policy.rules if rule.effect == effect] for effect in ("allow", "forbid"))
    for rule in allow:
        for condition in rule.when:
            if _unmeetable(condition):
                yield f"{rule} can never allow anything: no release has {condition}"
        blocking = [_blocker(rule, purpose, forbid) for purpose in rule.reach]
        if all(blocking):
            blockers = ", ".join(dict.fromkeys(map(str, blocking)))
            yield f"{rule} can never allow anything: all of it is forbidden by {blockers}"


def _unmeetable(condition: Condition) -> bool:
    if condition.relation == "at most":
        return condition.limit == 0
    return condition.relation == "at least" and condition.limit >= _MOST_ROWS


def _blocker(rule: Rule, purpose: str, forbid: list[Rule]) -> Rule | None:
    """A rule that forbids all that ``rule`` allows for this purpose."""
    for other in forbid:
        given = all(_implied(condition, rule.when) for condition in other.when)
        if purpose in other.reach and _within(rule, other) and given:
            return other
    return None


def _outdone(policy: Policy) -> Iterator[str]:
    """Demands that never bind, since another rule allows the same without any."""
    allow = [rule for rule in policy.rules if rule.effect == "allow"]
    for rule in allow:
        for other in allow:
            easier = rule.require and not other.require and LEAVING & set(rule.actions) <= set(other.actions)
            if easier and rule.reach <= other.reach and _within(rule, other, leaving=True) and _looser(other, rule):
                yield f"what {rule} requires never binds: {other} allows the same and requires nothing"


def _unused(policy: Policy) -> Iterator[str]:
    demands = [demand for rule in policy.rules for demand in rule.require]
    roles = {role for rule in policy.rules for role in rule.roles}
    roles |= {role for demand in demands if isinstance(demand, Signatures) for role in demand.of}
    roles |= {demand.by for demand in demands if isinstance(demand, Statement)}
    yield from (f"no rule names the role {role}" for role in policy.roles if role not in roles)
    groups = {group for rule in policy.rules for group in (policy.datasets if rule.datasets is None else rule.datasets)}
    yield from (f"no rule names the dataset {group}" for group in policy.datasets if group not in groups)


def _within(rule: Rule, other: Rule, *, leaving: bool = False) -> bool:
    """Whether all roles, actions (that let something out) and datasets of ``rule`` are ``other``'s, too."""
    actions = set(rule.actions) & LEAVING if leaving else set(rule.actions)
    groups = other.datasets is None or (rule.datasets is not None and set(rule.datasets) <= set(other.datasets))
    return set(rule.roles) <= set(other.roles) and actions <= set(other.actions) and groups


def _implied(condition: Condition, given: tuple[Condition, ...]) -> bool:
    """Whether a word that is asked for holds wherever the given conditions do."""
    return condition.relation == "is" and any(
        other.fact == condition.fact and other.words <= condition.words for other in given
    )


def _looser(other: Rule, rule: Rule) -> bool:
    """Whether ``other`` holds wherever ``rule`` does."""
    return all(
        _implied(condition, rule.when)
        or any(
            mine.fact == condition.fact
            and (
                (mine.relation == "at most" and mine.limit <= condition.limit)
                or (mine.relation == "at least" and mine.limit >= condition.limit)
            )
            for mine in rule.when
        )
        for condition in other.when
    )


__all__ = ["warnings"]
