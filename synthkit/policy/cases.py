"""A table of decisions that a policy must make: the test that its authors run whenever they change it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthkit.documents import json_schema, parse_yaml, read_text, validate, yaml_lines
from synthkit.errors import PolicyError
from synthkit.policy.decide import decide
from synthkit.policy.document import Policy
from synthkit.policy.request import Request

_FIELDS = {"as": "role", "do": "action", "on": "dataset", "for": "purpose"}
_NUMBERS = {"epsilon": float, "delta": float, "spent": float, "total": float, "rows": int}


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        values: what is asked, under the table's names; not yet checked.
        allow: whether it must be allowed.
        where: ``file:line``.
        note: for people.
    """

    values: Mapping[str, Any]
    allow: bool
    where: str
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a policy says to a case.

    Attributes:
        case: the case.
        allowed: what was decided; False where the request is malformed.
        why: the reasons.
    """

    case: Case
    allowed: bool
    why: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it is as expected."""
        return self.allowed == self.case.allow

    def __str__(self) -> str:
        asked = " ".join(f"{name}={value}" for name, value in self.case.values.items())
        expected, found = ("allow" if allowed else "deny" for allowed in (self.case.allow, self.allowed))
        return f"{self.case.where}: expected {expected}, got {found}: {asked}; {'; '.join(self.why)}"


def read_cases(path: str | Path) -> tuple[Case, ...]:
    """Read a table of cases: YAML, or CSV where the name ends so. In CSV an empty cell is left out.

    Raises:
        PolicyError: it is not such a table.
    """
    path = Path(path)
    text = read_text(path, error=PolicyError)
    if path.suffix.lower() == ".csv":
        return _from_csv(text, str(path))
    document = parse_yaml(text, source=str(path), error=PolicyError)
    validate(document, "policy/cases.v1.json", source=str(path), error=PolicyError)
    lines, defaults = yaml_lines(text), document.get("defaults", {})
    return tuple(
        _case({**defaults, **values}, f"{path}:{lines['cases', position]}")
        for position, values in enumerate(document["cases"])
    )


def check_cases(policy: Policy, cases: Sequence[Case]) -> tuple[Outcome, ...]:
    """What ``policy`` says to each case. A request that is malformed is denied."""
    return tuple(_outcome(policy, case) for case in cases)


def _outcome(policy: Policy, case: Case) -> Outcome:
    values = {_FIELDS.get(name, name): value for name, value in case.values.items()}
    if "unit_column" in values:
        values.setdefault("unit", "person")
    try:
        request = Request(**values)
    except (PolicyError, TypeError) as problem:  # TypeError: nobody asks, or for nothing
        return Outcome(case, False, (str(problem),))
    decision = decide(policy, request)
    return Outcome(case, decision.allowed, decision.reasons)


def _from_csv(text: str, source: str) -> tuple[Case, ...]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as problem:
        raise PolicyError(f"{source}:{reader.line_num}: not CSV: {problem}") from None
    names = rows[0][1] if rows else []
    known = json_schema("policy/cases.v1.json")["$defs"]["request"]["properties"]
    if unknown := [name for name in names if name not in known]:
        raise PolicyError(f"{source}: unknown column {unknown[0]!r}; known are {', '.join(known)}")
    if len(set(names)) < len(names) or "expect" not in names or len(rows) < 2:
        raise PolicyError(
            f"{source}: a table has a header with each name once, 'expect' among them, and a case or more"
        )
    cases = []
    for line, row in rows[1:]:
        where = f"{source}:{line}"
        if len(row) != len(names):
            raise PolicyError(f"{where}: {len(row)} cells; the header has {len(names)}")
        values = {name: _cell(name, cell) for name, cell in zip(names, row, strict=True) if cell != ""}
        if values.get("expect") not in ("allow", "deny"):
            raise PolicyError(f"{where}: expect is {values.get('expect')!r}; write allow or deny")
        cases.append(_case(values, where))
    return tuple(cases)


def _cell(name: str, cell: str) -> Any:
    """A number where one is expected; any other text stays, for the request to refuse."""
    try:
        return _NUMBERS[name](cell) if name in _NUMBERS else cell
    except ValueError:
        return cell


def _case(values: Mapping[str, Any], where: str) -> Case:
    asked = {name: value for name, value in values.items() if name not in ("expect", "note")}
    return Case(asked, values["expect"] == "allow", where, values.get("note", ""))


__all__ = ["Case", "Outcome", "check_cases", "read_cases"]
