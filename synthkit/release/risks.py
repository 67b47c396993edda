"""Attacks on a synthetic table with the knowledge of its original: exact figures, for the steward's eyes alone.

Nothing of it enters a bundle or feeds a gate, and the policy's action ``assess-internal`` must allow it before real rows are
opened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthkit.assess.reidentification import rows_of
from synthkit.audit.risks import Attacked, attack_all
from synthkit.data import vault
from synthkit.data.schema import Identifier, Schema
from synthkit.data.tables import FileSource, Source, read
from synthkit.errors import InputError
from synthkit.policy.decide import decide
from synthkit.policy.request import Request
from synthkit.privacy.internal import internal_table
from synthkit.release.permission import Asker

if TYPE_CHECKING:
    from synthkit.data.encoding import Table

_WARNING = "INTERNAL. Exact figures of real rows; they carry no guarantee and must not be shared."


def risks(
    synthetic: Path,
    original: Source,
    control: Source,
    schema: Schema,
    *,
    dataset: str,
    asker: Asker = Asker(),
    auxiliary: Sequence[str] | None = None,
    secrets: Sequence[str] = (),
    attacks: int = 500,
    seed: int = 0,
) -> list[Attacked]:
    """Singling out, linkability and inference; see :mod:`synthkit.audit.risks`.

    Args:
        synthetic: a table, or a bundle of one.
        original: real rows that it was made of.
        control: real rows of the same population that it was not made of.
        schema: of all three.
        dataset: the ledger's name for the real rows.
        asker: who asks, under which policy.
        auxiliary, secrets, attacks, seed: as :func:`attack_all` takes them; by default the schema's target is the secret.

    Raises:
        PolicyDenied: the asker may not see exact figures.
        DataError: a table cannot be read, or does not fit the schema.
        InputError: too few rows, or columns that are not there.
    """
    request = Request(
        role=asker.role,
        action="assess-internal",
        dataset=dataset,
        purpose=asker.purpose,
        rows=schema.rows,
        schema="reviewed" if schema.reviewed else "allowed",
    )
    allowed = decide(asker.applied, request).enforce().allowed
    if unknown := [name for name in (*(auxiliary or ()), *secrets) if name not in schema.modelled]:
        raise InputError(
            f"column {unknown[0]!r} is not modelled; columns to attack by are {', '.join(schema.modelled)}"
        )
    made = rows_of(_synthetic(synthetic, schema), schema)
    known, others = (
        rows_of(internal_table(read(source, schema, dataset=dataset), allowed=allowed), schema)
        for source in (original, control)
    )
    after = secrets or ((schema.target,) if schema.target else ())
    return attack_all(known, others, made, auxiliary=auxiliary, secrets=after, attacks=attacks, seed=seed)


def write(path: Path, found: Sequence[Attacked]) -> Path:
    """Write the figures for their owner alone (:func:`vault.put`). Returns where they are."""
    return vault.put(path, (json.dumps(document(found), indent=1) + "\n").encode())


def document(found: Sequence[Attacked]) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "warning": _WARNING,
        "attacks": [
            {
                "attack": one.name,
                "verdict": one.verdict,
                "risk": one.risk,
                "interval": list(one.interval),
                **{
                    name: {"successes": rate.successes, "attacks": rate.attacks, "interval": list(rate.between())}
                    for name, rate in (("main", one.main), ("control", one.control), ("baseline", one.baseline))
                },
            }
            for one in found
        ],
    }


def _synthetic(path: Path, schema: Schema) -> Table:
    """The synthetic table. It is released: nothing about it is secret."""
    source = FileSource(path / "data.parquet" if path.is_dir() else path)
    given = source.columns()
    columns = {
        name: column for name, column in schema.columns.items() if not isinstance(column, Identifier) or name in given
    }
    plain = Schema(schema.name, columns, schema.rows)
    return internal_table(read(source, plain, dataset="synthetic"), allowed=True)


__all__ = ["document", "risks", "write"]
