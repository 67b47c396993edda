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
from synthkit.release import internal
from synthkit.release.permission import Asker

if TYPE_CHECKING:
    from synthkit.data.encoding import Table

FIGURES = "risks.json"  # in the internal folder of a bundle
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
    _refuse_unknown(auxiliary, secrets, schema)
    made = rows_of(_synthetic(synthetic, schema), schema)
    known, others = (
        rows_of(internal_table(read(source, schema, dataset=dataset), allowed=allowed), schema)
        for source in (original, control)
    )
    after = secrets or ((schema.target,) if schema.target else ())
    return attack_all(known, others, made, auxiliary=auxiliary, secrets=after, attacks=attacks, seed=seed)


def of_bundle(
    released: Path,
    *,
    asker: Asker = Asker(),
    auxiliary: Sequence[str] | None = None,
    secrets: Sequence[str] = (),
    attacks: int = 500,
    seed: int = 0,
) -> tuple[list[Attacked], Path]:
    """The same, of a bundle whose internal folder kept the rows: training rows are the original, held-out ones the control.

    Args:
        released: the bundle.
        asker, auxiliary, secrets, attacks, seed: as for :func:`risks`.

    Returns:
        what was found, and where it was written: into the internal folder.

    Raises:
        PolicyDenied, VerificationFailed, InputError: as :func:`synthkit.release.internal.kept`, and :func:`risks`.
    """
    rows = internal.kept(released, asker)
    _refuse_unknown(auxiliary, secrets, rows.schema)
    known, others, made = (rows_of(table, rows.schema) for table in (rows.training, rows.held, rows.synthetic))
    after = secrets or ((rows.schema.target,) if rows.schema.target else ())
    found = attack_all(known, others, made, auxiliary=auxiliary, secrets=after, attacks=attacks, seed=seed)
    return found, internal.write_figures(rows.folder, rows.digest, FIGURES, document(found)["attacks"])


def _refuse_unknown(auxiliary: Sequence[str] | None, secrets: Sequence[str], schema: Schema) -> None:
    if unknown := [name for name in (*(auxiliary or ()), *secrets) if name not in schema.modelled]:
        raise InputError(
            f"column {unknown[0]!r} is not modelled; columns to attack by are {', '.join(schema.modelled)}"
        )


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


__all__ = ["document", "of_bundle", "risks", "write"]
