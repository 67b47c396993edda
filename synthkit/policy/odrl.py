"""A policy in ODRL 2.2 (https://www.w3.org/TR/odrl-model/), for other people's tools. It is never read back.

ODRL has no word for a synthetic release: actions, facts and demands are named in a profile of our own.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, assert_never

from synthkit.policy.demands import (
    Attempts,
    Check,
    Demand,
    Labels,
    Recipients,
    Retention,
    Signatures,
    Statement,
)
from synthkit.policy.document import Policy, Rule
from synthkit.policy.facts import Condition

PROFILE = "urn:synthkit:odrl:1"
_OPERATORS = {"at most": "lteq", "above": "gt", "at least": "gteq", "below": "lt"}


def export_odrl(policy: Policy) -> dict[str, Any]:
    """The policy as a JSON-LD document: an ODRL set of permissions and prohibitions."""
    return {
        "@context": ["http://www.w3.org/ns/odrl.jsonld", {"synthkit": f"{PROFILE}:"}],
        "@type": "Set",
        "uid": f"urn:sha256:{policy.digest}",
        "profile": PROFILE,
        "conflict": "prohibit",
        "synthkit:name": policy.name,
        "synthkit:purposes": {name: upper for name, upper in policy.parents.items() if upper is not None},
        "permission": [_rule(rule, policy) for rule in policy.rules if rule.effect == "allow"],
        "prohibition": [_rule(rule, policy) for rule in policy.rules if rule.effect == "forbid"],
    }


def _rule(rule: Rule, policy: Policy) -> dict[str, Any]:
    groups = policy.datasets if rule.datasets is None else rule.datasets
    constraints = [
        {
            "leftOperand": "purpose",
            "operator": "isAnyOf",
            "rightOperand": [f"synthkit:{name}" for name in sorted(rule.reach)],
        },
        *map(_constraint, rule.when),
    ]
    document: dict[str, Any] = {
        "uid": f"urn:sha256:{policy.digest}#{policy.rules.index(rule) + 1}",
        "synthkit:name": rule.name,
        "assignee": [_party(role) for role in rule.roles],
        "action": [f"synthkit:{action}" for action in rule.actions],
        "target": [
            {
                "@type": "AssetCollection",
                "uid": f"synthkit:dataset:{group}",
                "synthkit:names": list(policy.datasets[group]),
            }
            for group in groups
        ],
        "constraint": constraints,
    }
    if rule.because:
        document["synthkit:because"] = rule.because
    if rule.require:
        document["duty"] = [_duty(demand) for demand in rule.require]
    return document


def _constraint(condition: Condition) -> dict[str, Any]:
    if condition.relation == "is":
        operator, operand = "isAnyOf", sorted(condition.words)
        return {"leftOperand": f"synthkit:{condition.fact}", "operator": operator, "rightOperand": operand}
    number = condition.written.removeprefix(condition.relation).strip()
    number = f"{Decimal(number):f}"  # XML's decimal has no exponent
    return _number(f"synthkit:{condition.fact}", condition.relation, number)


def _number(what: str, relation: str, number: str) -> dict[str, Any]:
    return {
        "leftOperand": what,
        "operator": _OPERATORS[relation],
        "rightOperand": {"@value": number, "@type": "xsd:decimal"},
    }


def _duty(demand: Demand) -> dict[str, Any]:
    match demand:
        case Check(evidence, relation, limit):
            figure = f"synthkit:evidence:{evidence}"
            limits = [] if limit is None else [_number(figure, relation, f"{Decimal(str(limit)):f}")]
            return {"action": "synthkit:check", "synthkit:evidence": evidence, "constraint": limits}
        case Signatures(at_least, of):
            people = _number("synthkit:people", "at least", str(at_least))
            return {"action": "synthkit:approve", "assignee": [_party(role) for role in of], "constraint": [people]}
        case Statement(statement, by):
            return {"action": "synthkit:attest", "synthkit:statement": statement, "assignee": [_party(by)]}
        case Retention(days):
            age = {"leftOperand": "elapsedTime", "operator": "lteq"}
            return {
                "action": "delete",
                "constraint": [{**age, "rightOperand": {"@value": f"P{days}D", "@type": "xsd:duration"}}],
            }
        case Recipients(names):
            to = {"leftOperand": "recipient", "operator": "isAnyOf", "rightOperand": list(names)}
            return {"action": "synthkit:restrict", "constraint": [to]}
        case Labels(names):
            return {"action": "synthkit:label", "synthkit:labels": list(names)}
        case Attempts(most):
            return {"action": "synthkit:count", "constraint": [_number("count", "at most", str(most))]}
    assert_never(demand)


def _party(role: str) -> dict[str, str]:
    return {"@type": "Party", "uid": f"synthkit:role:{role}"}


__all__ = ["PROFILE", "export_odrl"]
