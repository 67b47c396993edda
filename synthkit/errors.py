"""What can go wrong, as a tree.

    SynthkitError
    ├── InputError            the caller's files, settings or data must change   (exit 2)
    │   ├── SchemaError
    │   ├── JobError
    │   ├── MethodError
    │   ├── PolicyError
    │   ├── ExplanationError
    │   └── DataError
    ├── Refused               the request is understood and denied               (exit 1)
    │   ├── BudgetExceeded
    │   ├── UnreviewedSchema
    │   ├── NotReleasable
    │   ├── PolicyDenied
    │   └── VerificationFailed
    ├── PrivateAccess         private values were reached for outside a mechanism
    └── LedgerError           the ledger cannot be read or written

Every message names the thing, what was expected, what came, and the remedy. None carries a value
of a private record: at most a column and how many rows are concerned, which only the steward at
the keyboard sees (see docs/laws.md, "What the steward sees").
"""

from __future__ import annotations


class SynthkitError(Exception):
    """Root of every error that synthkit raises on purpose."""

    exit_code = 1


class InputError(SynthkitError):
    """A file, a setting or the data must change before the work can start."""

    exit_code = 2


class SchemaError(InputError):
    """The schema contradicts itself, or is of a version that this release does not read."""


class JobError(InputError):
    """The release file (or the arguments standing for it) cannot be carried out as written."""


class MethodError(InputError):
    """A network or a setting that a method cannot keep private, or cannot run."""


class PolicyError(InputError):
    """A policy, a table of cases or a request contradicts itself, or names what is not declared."""


class ExplanationError(InputError):
    """Something that cannot be explained as asked, or an explanation that does not add up: it is not shown."""


class DataError(InputError):
    """The data do not fit the schema. Names file, column and row count, never a value."""


class Refused(SynthkitError):
    """The request is well-formed, and the answer is no."""


class BudgetExceeded(Refused):
    """A mechanism, or a whole release, would cost more than was agreed. Raised before any read."""


class UnreviewedSchema(Refused):
    """The schema was drafted from data and nobody has vouched for it."""


class NotReleasable(Refused):
    """The method has no privacy guarantee (its epsilon is infinite)."""


class PolicyDenied(Refused):
    """The policy does not allow it, or a release lacks evidence that the policy requires."""


class VerificationFailed(Refused):
    """A bundle is not what its manifest says."""


class PrivateAccess(SynthkitError):
    """Something other than a mechanism tried to look into private values."""


class LedgerError(SynthkitError):
    """The ledger is locked, read-only, damaged, or was tampered with."""


__all__ = [
    "BudgetExceeded",
    "DataError",
    "ExplanationError",
    "InputError",
    "JobError",
    "LedgerError",
    "MethodError",
    "NotReleasable",
    "PolicyDenied",
    "PolicyError",
    "PrivateAccess",
    "Refused",
    "SchemaError",
    "SynthkitError",
    "UnreviewedSchema",
    "VerificationFailed",
]
