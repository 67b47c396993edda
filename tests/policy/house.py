"""A policy, a request that it allows, and the table of what it must decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthkit.errors import PolicyError
from synthkit.policy.decide import decide
from synthkit.policy.document import Policy
from synthkit.policy.facts import ACTIONS
from synthkit.policy.request import Request

ROOT = Path(__file__).parents[2]
HOSPITAL = Policy.read(ROOT / "policies/hospital.yaml")
OFFICE = Policy.read(ROOT / "policies/statistics-office.yaml")
DEFAULT = Policy.default()

GOOD: dict[str, Any] = {
    "role": "steward",
    "action": "release",
    "dataset": "hospital-visits-2025",
    "purpose": "research",
    "epsilon": 1.0,
    "delta": 1e-6,
    "adjacency": "add-or-remove",
    "unit": "person",
    "unit_column": "person_id",
    "rows": 5000,
    "spent": 0.0,
    "schema": "reviewed",
}

# By role and purpose, on visits: draft, plan, train, sample, assess-internal, explain, release, export, anonymize.
VISITS = {
    "steward": {
        "quality-of-care": "+++-+-+--",
        "readmissions": "+++-+-+--",
        "research": "+++---+--",
        "registered-study": "+++---+--",
        "teaching": "+++---+--",
        "commercial": "---------",
        "marketing": "---------",
        "any": "---------",
    },
    "researcher": {
        "quality-of-care": "---+-+---",
        "readmissions": "---+-+---",
        "research": "---+-+---",
        "registered-study": "---+-+---",
        "teaching": "---+-+---",
        "commercial": "---------",
        "marketing": "---------",
        "any": "---------",
    },
    "data-protection-officer": {
        "quality-of-care": "----+----",
        "readmissions": "----+----",
        "research": "---------",
        "registered-study": "---------",
        "teaching": "---------",
        "commercial": "---------",
        "marketing": "---------",
        "any": "---------",
    },
    "ethics-board": {
        "quality-of-care": "---------",
        "research": "---------",
        "registered-study": "---------",
        "commercial": "---------",
    },
}
TUMOURS = {
    "steward": {"quality-of-care": "++-------", "research": "++-------", "marketing": "---------", "any": "---------"},
    "researcher": {"research": "---------", "teaching": "---------"},
}
CELLS = [
    (dataset, role, purpose, action, sign == "+")
    for dataset, table in (("hospital-visits-2025", VISITS), ("tumour-registry", TUMOURS))
    for role, rows in table.items()
    for purpose, signs in rows.items()
    for action, sign in zip(ACTIONS, signs, strict=True)
]


def allowed(policy: Policy = HOSPITAL, **changes: Any) -> bool:
    """Whether the good request, changed, is allowed; a request that cannot be made is not."""
    try:
        request = Request(**{**GOOD, **changes})
    except PolicyError:
        return False
    return decide(policy, request).allowed
