"""What a pack's rules may look at: released values, declared facts, recomputed prices, statements. Nothing else.

Exact figures of real data (``internal``) have no place here: whether a requirement is met would tell something of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from synthkit.errors import PolicyError
from synthkit.evidence import Evidence
from synthkit.policy.gate import Attestation, State

What = Literal["table", "images", "records"]  # synthetic tables, synthetic images, true records that were anonymized


@dataclass(frozen=True)
class Found:
    """The state of one thing that was looked at, and what was found, in plain words.

    Attributes:
        looked: at which evidence.
    """

    state: State
    found: str
    looked: str


@dataclass(frozen=True)
class Column:
    """One released column.

    Attributes:
        table: of which table.
        name: its name.
        kind: as the schema declares it: ``categorical``, ``integer``, ..., ``image``.
        holds: what its schema says that it holds (``meanings.py``); None: it does not say.
        values: distinct released values as texts, nulls left out; of images, none.
        declared: further values as texts that the schema names, such as categories that were not drawn.
        largest: of numbers, the largest that was released, or that a released model can draw.
        ceiling: of numbers, the largest that the schema allows.
        rows: how many values there are.
        keyed: of pseudonyms in true records, under which key they were made; None: under none that is described.
    """

    table: str
    name: str
    kind: str
    holds: str | None
    values: frozenset[str] = frozenset()
    declared: frozenset[str] = frozenset()
    largest: float | None = None
    ceiling: float | None = None
    rows: int = 0
    keyed: str | None = None

    @property
    def known(self) -> bool:
        """Whether it is known what it holds: it says so, it is true or false, a running number, or a keyed pseudonym."""
        return self.holds is not None or self.keyed is not None or self.kind in ("boolean", "identifier")

    @property
    def text(self) -> bool:
        """Whether its values are words that somebody may have written."""
        return self.kind == "categorical"

    @property
    def spellings(self) -> frozenset[str]:
        """Every value of it that leaves, drawn or declared."""
        return self.values | self.declared

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True)
class Carried:
    """The labels of one file, or of many alike.

    Attributes:
        file: its name.
        able: whether its format can carry a label at all (a CSV file cannot).
        aigc: the fields of GB 45438 that it carries; None: none, or none that can be read.
        marks: the marks that it carries; None: none.
        provenance: how it carries provenance inside, e.g. ``C2PA``; empty where it does not.
    """

    file: str
    able: bool
    aigc: Mapping[str, str] | None = None
    marks: tuple[str, ...] | None = None
    provenance: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """Everything about one release that rules may look at.

    Attributes:
        what: of what it is.
        bundle: SHA-256 of the manifest that statements are about, in hexadecimal.
        facts: the manifest, plain JSON values; it was verified. Of true records, with their ``description``.
        epsilon: recomputed from the list of reads; infinity where nothing is guaranteed; None where it was not recomputed.
        figures: free or charged ones; internal ones are refused.
        columns: every released column.
        labels: of each file with data, and of what stands beside them.
        statements: what people state about it.
        believed: whether a statement is signed by the person whom it names, in a role that their key has; None where
            no keys are trusted, so that nobody can say.
        now: the time.
    """

    what: What
    bundle: str
    facts: Mapping[str, Any]
    epsilon: float | None
    figures: tuple[Evidence, ...] = ()
    columns: tuple[Column, ...] = ()
    labels: tuple[Carried, ...] = ()
    statements: tuple[Attestation, ...] = ()
    believed: Callable[[Attestation], bool] | None = field(default=None, repr=False)
    now: datetime

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.bundle):
            raise PolicyError("dossier: bundle must be the SHA-256 digest of a manifest, 64 digits of 0-9 and a-f")
        if self.now.tzinfo is None:
            raise PolicyError("dossier: the time needs its zone")
        if internal := [figure.name for figure in self.figures if figure.payment not in ("free", "charged")]:
            raise PolicyError(
                f"dossier: {', '.join(internal)}: internal figures are no evidence; leave them in the internal folder"
            )

    def figure(self, name: str) -> Evidence | None:
        """The figure of that name, or None."""
        return next((figure for figure in self.figures if figure.name == name), None)


__all__ = ["Carried", "Column", "Dossier", "Found", "What"]
