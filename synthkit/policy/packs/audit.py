"""Every requirement of a pack with its evidence and its state: pass, fail, not evaluated, or attested. What is missing never passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from synthkit.policy.gate import Attestation, State
from synthkit.policy.packs.document import Human, Pack, Rule
from synthkit.policy.packs.dossier import Dossier, Found

MISSING = "nobody states it"
STATES: tuple[State, ...] = ("fail", "not evaluated", "attested", "pass")  # the worst first


@dataclass(frozen=True)
class Answer:
    """Somebody who answers for a requirement.

    Attributes:
        who, role: the person, as the trusted keys name them.
        until: when the statement ends.
    """

    who: str
    role: str
    until: datetime


@dataclass(frozen=True)
class Requirement:
    """One requirement of a pack, as it stands.

    Attributes:
        evidence: what each check found, and what people state.
        answers: who answers for it.
    """

    rule: Rule
    state: State
    evidence: tuple[Found, ...]
    answers: tuple[Answer, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rule = self.rule
        return {
            "id": rule.name,
            "text": rule.text,
            "source": rule.source,
            "law_edition": rule.law.edition,
            "citation": rule.citation,
            "checked_by": rule.by,
            "state": self.state,
            "evidence": [{"state": e.state, "found": e.found, "looked_at": e.looked} for e in self.evidence],
            "attested_by": [
                {"who": a.who, "as": a.role, "until": a.until.strftime("%Y-%m-%dT%H:%M:%SZ")} for a in self.answers
            ],
        }


@dataclass(frozen=True)
class Audit:
    """A pack, as it stands for one release.

    Attributes:
        requirements: those that apply, in the pack's order.
        elsewhere: rules that are about something else, such as images.
    """

    pack: Pack
    requirements: tuple[Requirement, ...]
    elsewhere: tuple[Rule, ...]

    @property
    def counts(self) -> dict[State, int]:
        """How many requirements are in each state."""
        found = Counter(requirement.state for requirement in self.requirements)
        return {state: found[state] for state in STATES}

    @property
    def failed(self) -> bool:
        """Whether a requirement is not met."""
        return self.counts["fail"] > 0

    @property
    def complete(self) -> bool:
        """Whether every requirement was evaluated."""
        return self.counts["not evaluated"] == 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pack": self.pack.name,
            "title": self.pack.title,
            "about": self.pack.about,
            "advice": self.pack.advice,
            "laws": [
                {"title": law.title, "edition": law.edition, "status": law.status} for law in self.pack.laws.values()
            ],
            "counts": {str(state): number for state, number in self.counts.items()},
            "requirements": [requirement.to_dict() for requirement in self.requirements],
            "does_not_apply": [
                {"id": rule.name, "text": rule.text, "source": rule.source, "applies_to": list(rule.applies)}
                for rule in self.elsewhere
            ],
        }


def audit(pack: Pack, dossier: Dossier) -> Audit:
    """How a release stands to a pack."""
    here = [rule for rule in pack.rules if dossier.what in rule.applies]
    return Audit(
        pack=pack,
        requirements=tuple(_weigh(rule, dossier) for rule in here),
        elsewhere=tuple(rule for rule in pack.rules if dossier.what not in rule.applies),
    )


def _weigh(rule: Rule, dossier: Dossier) -> Requirement:
    """A rule's state. What a machine found to fail stands; people answer for what it cannot know, or beside it."""
    evidence = [check(dossier) for check in rule.machine]
    machine = _together(evidence, rule.need)
    human = rule.human
    if human is None or machine == "fail" or (machine == "pass" and human.when == "unknown"):
        return Requirement(rule, machine, tuple(evidence))
    stated, answers = _stated(human, dossier)
    state = stated.state
    if rule.machine and machine == "not evaluated" and human.when == "always" and state == "attested":
        state = "not evaluated"  # people answer beside the machine, not in its place
    return Requirement(rule, state, (*evidence, stated), answers)


def _together(evidence: Sequence[Found], need: str) -> State:
    """The state of several checks: one that fails decides, and nothing passes where nothing was checked."""
    states = [found.state for found in evidence]
    if "fail" in states:
        return "fail"
    enough = any if need == "any" else all
    return "pass" if states and enough(state == "pass" for state in states) else "not evaluated"


def _stated(human: Human, dossier: Dossier) -> tuple[Found, tuple[Answer, ...]]:
    """What people state. A statement that is there and does not count fails; one that is missing is not evaluated."""
    named = [statement for statement in dossier.statements if statement.statement == human.states]
    about = [statement for statement in named if statement.role in human.roles]
    reasons = [_why_not(statement, dossier) for statement in about]
    good = {s.who: s for s, reason in zip(about, reasons, strict=True) if reason is None and dossier.believed}
    answers = tuple(Answer(who, good[who].role, good[who].expires) for who in sorted(good))
    told = [f"{answer.who}, as {answer.role}, until {answer.until:%Y-%m-%d}" for answer in answers]
    doubts = [f"not counted: {reason}" for reason in dict.fromkeys(reasons) if reason is not None]
    elsewhere = sorted({s.role for s in named} - set(human.roles))
    others = [f"stated as {', '.join(elsewhere)}, who is not asked"] if elsewhere else []
    short = [f"{len(good)} of {human.at_least}"] if human.at_least > 1 and about else []
    found = "; ".join([*short, *told, *doubts, *others])
    if len(good) >= human.at_least:
        return Found("attested", found, str(human)), answers
    if doubts:
        return Found("fail", found, str(human)), answers
    if about and dossier.believed is None:
        found = "stated, and there are no keys to hold it against (--trust)"
    return Found("not evaluated", found or MISSING, str(human)), answers


def _why_not(statement: Attestation, dossier: Dossier) -> str | None:
    """Why a statement does not count; None where nothing speaks against it. Without keys, nobody can say whose it is."""
    by = f"by {statement.who}" if statement.who else f"as {statement.role}"
    if statement.bundle != dossier.bundle:
        return f"{by}, about another bundle ({statement.bundle[:12]})"
    if statement.expires <= dossier.now:
        return f"{by}, expired on {statement.expires:%Y-%m-%d}"
    if dossier.believed is not None and not (statement.who and dossier.believed(statement) is True):
        return f"{by}, not signed by a key that is trusted in that role"
    return None


__all__ = ["MISSING", "STATES", "Answer", "Audit", "Requirement", "audit"]
