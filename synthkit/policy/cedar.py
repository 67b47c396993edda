"""A policy as Cedar evaluates it (https://www.cedarpolicy.com), and the question asked so that an error is a no.

Cedar denies by default, and a rule that forbids outweighs all that allow. Three of its habits would open
doors, and are closed here: a rule that forbids is *skipped* where its evaluation fails, so any error is a
no, and every condition is guarded by ``has``; a request that does not fit the schema has no decision,
which is no yes; an attribute that is missing makes a condition of ours fail where it would allow, and hold
where it would forbid.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from synthkit.errors import PolicyError
from synthkit.policy.document import Policy, Rule
from synthkit.policy.facts import ACTIONS, KINDS, PRICED, Condition, Number
from synthkit.policy.names import folded
from synthkit.policy.request import Request

if TYPE_CHECKING:
    import cedarpy


@dataclass(frozen=True)
class Answer:
    """What Cedar said.

    Attributes:
        allowed: it decided to allow, met no error, and named a rule.
        rules: positions of the rules that decided.
        errors: what went wrong; never empty without a decision.
    """

    allowed: bool
    rules: tuple[int, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Compiled:
    """A policy in Cedar's own form, parsed once and asked many times.

    Attributes:
        policies, entities, schema: Cedar's handles.
        of: the policy, so that a question is put to its rules about this role and action alone; others cannot match
            it. None: all rules are always asked.
    """

    policies: cedarpy.PolicySet
    entities: cedarpy.Entities
    schema: cedarpy.Schema
    of: Policy | None = None

    def ask(self, request: Request) -> Answer:
        """Whether the request is allowed. Never raises: what cannot be evaluated is not allowed."""
        import cedarpy

        try:
            policies = _about(self.of, request.role, request.action) if self.of else self.policies
            result = cedarpy.is_authorized(_asked(request), policies, self.entities, self.schema)
            errors = tuple(result.diagnostics.errors)
            rules = tuple(sorted(int(name) for name in result.diagnostics.id_annotations_by_reason.values()))
            decision = result.decision
        except Exception as problem:  # whatever it is: no decision is a no
            return Answer(False, (), (f"{type(problem).__name__}: {problem}",))
        if decision is cedarpy.Decision.NoDecision and not errors:
            errors = ("no decision",)
        return Answer(decision is cedarpy.Decision.Allow and not errors and bool(rules), rules, errors)


@lru_cache(maxsize=32)
def compiled(policy: Policy) -> Compiled:
    """The policy, compiled and held against its schema; kept for the next question.

    Raises:
        PolicyError: Cedar does not accept it (a defect of this module).
    """
    return replace(assemble(policies_of(policy), policy), of=policy)


@lru_cache(maxsize=256)
def _about(policy: Policy, role: str, action: str) -> cedarpy.PolicySet:
    """The rules that name this role and this action. Their numbers are those of the whole policy."""
    import cedarpy

    rules = enumerate(policy.rules)
    texts = [_policy(rule, k, policy) for k, rule in rules if role in rule.roles and action in rule.actions]
    return cedarpy.PolicySet.from_str("\n".join(texts))


def assemble(policies: str, policy: Policy) -> Compiled:
    """Cedar's handles for policies in its own language, under the names that ``policy`` declares."""
    import cedarpy

    schema = cedarpy.Schema.from_str(schema_of(policy))
    checked = cedarpy.validate_policies(policies, schema)
    if not checked.validation_passed:
        raise PolicyError(f"{policy.source}: does not compile, a defect of synthkit: {checked.errors[0]}")
    purposes = [
        {"uid": {"type": "Purpose", "id": name}, "attrs": {}, "parents": _parents(upper)}
        for name, upper in policy.parents.items()
    ]
    entities = cedarpy.Entities.from_json_str(json.dumps(purposes), schema)
    return Compiled(cedarpy.PolicySet.from_str(policies), entities, schema)


def schema_of(policy: Policy) -> str:
    """Which questions make sense: declared roles, known actions, facts of the right type."""
    facts = ", ".join(f"{name}?: {'Long' if isinstance(kind, Number) else 'String'}" for name, kind in KINDS.items())
    always = "purpose: Purpose, dataset: String, look: String"
    lines = [
        f"entity Role enum [{', '.join(map(_quoted, policy.roles))}];",
        "entity Purpose in [Purpose];",
        "entity Dataset;",
    ]
    for action in ACTIONS:
        context = f"{always}, {facts}" if action in PRICED else always
        lines.append(
            f"action {_quoted(action)} appliesTo {{ principal: [Role], resource: [Dataset], context: {{{context}}} }};"
        )
    return "\n".join(lines)


def policies_of(policy: Policy) -> str:
    """The rules in Cedar's language, one policy each, in order."""
    return "\n".join(_policy(rule, position, policy) for position, rule in enumerate(policy.rules))


def _policy(rule: Rule, position: int, policy: Policy) -> str:
    allows = rule.effect == "allow"
    actions = ", ".join(f"Action::{_quoted(action)}" for action in rule.actions)
    asked = [
        _any(f"principal == Role::{_quoted(role)}" for role in rule.roles),
        *_datasets(rule, policy),
        _purposes(rule),
        *(_condition(condition, unknown=not allows) for condition in rule.when),
    ]
    return (
        f'@id("{position}") {"permit" if allows else "forbid"} (principal, action in [{actions}], resource)\n'
        f"when {{ {' && '.join(asked)} }};"
    )


def _datasets(rule: Rule, policy: Policy) -> Iterable[str]:
    """To allow: declared names, letter by letter. To forbid: all that look like them."""
    if rule.effect == "allow":
        groups = policy.datasets if rule.datasets is None else rule.datasets
        yield _any(f"context.dataset like {_quoted(p)}" for group in groups for p in policy.datasets[group])
    elif rule.datasets is not None:
        patterns = (folded(pattern) for group in rule.datasets for pattern in policy.datasets[group])
        yield _any(f"context.look like {_quoted(pattern)}" for pattern in patterns)


def _purposes(rule: Rule) -> str:
    """To allow: the purpose, or a part of it. To forbid: also whatever it is a part of (Byun and Li, 2008)."""
    purposes = [f"Purpose::{_quoted(purpose)}" for purpose in rule.purposes]
    within = f"context.purpose in [{', '.join(purposes)}]"
    if rule.effect == "allow":
        return within
    return _any([within, *(f"{purpose} in context.purpose" for purpose in purposes)])


def _condition(condition: Condition, *, unknown: bool) -> str:
    """``unknown``: what it is worth where the fact is not known."""
    fact = f"context.{condition.fact}"
    if isinstance(KINDS[condition.fact], Number):
        sign = "<=" if condition.relation in ("at most", "below") else ">"
        holds = f"{fact} {sign} {condition.limit}"
    else:
        holds = _any(f"{fact} == {_quoted(word)}" for word in sorted(condition.words))
    return f"(if context has {condition.fact} then {holds} else {str(unknown).lower()})"


def _asked(request: Request) -> dict[str, Any]:
    context: Mapping[str, Any] = {
        **request.facts(),
        "purpose": {"__entity": _uid("Purpose", request.purpose)},
        "dataset": request.dataset,
        "look": request.look,
    }
    return {
        "principal": _uid("Role", request.role),
        "action": _uid("Action", request.action),
        "resource": _uid("Dataset", request.dataset),
        "context": context,
    }


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _parents(upper: str | None) -> list[dict[str, str]]:
    return [] if upper is None else [_uid("Purpose", upper)]


def _any(terms: Iterable[str]) -> str:
    return f"({' || '.join(terms)})"


def _quoted(text: str) -> str:
    """A text in Cedar's quotes; names hold no control characters, so two escapes are enough."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


__all__ = ["Answer", "Compiled", "assemble", "compiled", "policies_of", "schema_of"]
