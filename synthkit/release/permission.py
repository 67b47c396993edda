"""Asking the policy about a job: the same question before data open, once the price is reserved, and at the gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthkit.documents import read_text
from synthkit.errors import PolicyError
from synthkit.policy.decide import Decision, decide
from synthkit.policy.document import Policy, lineage
from synthkit.policy.request import ANY, Request
from synthkit.privacy import accounting

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from synthkit.privacy.ledger import Spent
    from synthkit.release.job import Job

STEWARD = "steward"  # the one role that the packaged policy knows


@dataclass(frozen=True)
class Asker:
    """Who asks: in which role, for which purpose, under which policy.

    Attributes:
        policy: None: the packaged one.
        role, purpose: as the policy declares them.
    """

    policy: Policy | None = None
    role: str = STEWARD
    purpose: str = ANY

    @classmethod
    def under(cls, policy: str | Path, *, role: str, purpose: str) -> Asker:
        """Somebody who asks under the policy file ``policy``. Messages and bundles name it without its folder.

        Raises:
            PolicyError: as :meth:`Policy.read`.
        """
        path = Path(policy)
        return cls(Policy.parse(read_text(path, error=PolicyError), source=path.name, path=path), role, purpose)

    @property
    def applied(self) -> Policy:
        """The policy that is asked."""
        return self.policy or Policy.default()

    def may(self, action: str, dataset: str) -> Decision:
        """The policy's answer to an action that has no price.

        Args:
            action: ``draft``, ``sample``, ``explain`` or ``anonymize``.
            dataset: the ledger's name for the private data.

        Raises:
            PolicyDenied: it is not allowed.
        """
        return decide(self.applied, self.request(action, dataset)).enforce()

    def request(self, action: str, dataset: str) -> Request:
        """What is asked about an action that has no price."""
        return Request(role=self.role, action=action, dataset=dataset, purpose=self.purpose)


def request(job: Job, event: DpEvent, action: str, *, total: float | None, unreviewed: bool) -> Request:
    """What is asked about ``job``.

    Args:
        job: whose budget, schema and asker it is about.
        event: everything that it will run, or ran.
        action: one of ``policy.facts.ACTIONS``.
        total: epsilon of the dataset's releases with this one; None: not known.
        unreviewed: somebody went on although nobody vouched for the schema.
    """
    return Request.under(
        job.budget,
        role=job.asker.role,
        action=action,
        dataset=job.dataset,
        purpose=job.asker.purpose,
        private=accounting.is_private(event),
        rows=job.schema.rows,
        total=total,
        schema="reviewed" if job.schema.reviewed else "allowed" if unreviewed else "unreviewed",
    )


def permit(
    job: Job, event: DpEvent, actions: Iterable[str], *, total: float | None = None, unreviewed: bool = False
) -> tuple[Decision, ...]:
    """The policy's answers where it allows all of ``actions``; arguments as for :func:`request`.

    Raises:
        PolicyDenied: it does not; the message says why, and what would be needed.
    """
    policy = job.asker.applied
    return tuple(
        decide(policy, request(job, event, action, total=total, unreviewed=unreviewed)).enforce() for action in actions
    )


def attempts(asker: Asker, spent: Spent) -> int:
    """How many fits and releases were paid for with this purpose, with a part of it, or with what it is a part of.

    Those whose purpose nobody stated, or that the policy does not know, count: the best of many tries is no better
    for having been made under another name.
    """
    parents = asker.applied.parents
    related = set(lineage(asker.purpose, parents))
    return sum(use not in parents or use in related or asker.purpose in lineage(use, parents) for use in spent.uses)


def record(decision: Decision, asker: Asker) -> dict[str, Any]:
    """What a manifest says of the first decision; plain JSON values."""
    return {
        "name": decision.policy,
        "sha256": decision.digest,
        "packaged": asker.policy is None,
        "as": asker.role,
        "for": asker.purpose,
        "allowed_by": [rule.name for rule in decision.rules],
        "request": decision.request.to_dict(),
    }


def recorded(record: Mapping[str, Any]) -> Decision:
    """The decision that a manifest tells of; without its rules, which only the policy has."""
    return Decision(
        allowed=True,
        request=Request(**record["request"]),
        policy=record["name"],
        digest=record["sha256"],
        rules=(),
        obligations=(),
        reasons=(),
        needed=(),
    )


__all__ = ["STEWARD", "Asker", "attempts", "permit", "record", "recorded", "request"]
