"""Exact figures on real rows, for the steward's eyes: a folder beside the bundle, never in it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthkit.assess import fidelity, similarity, utility
from synthkit.data import vault
from synthkit.data.encoding import to_frame, undiscretize
from synthkit.data.schema import Schema
from synthkit.evidence import Evidence
from synthkit.synthesizers.base import Synthetic

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WARNING = (
    "INTERNAL. These are exact figures of real rows. They carry no privacy guarantee and must not be shared, "
    "published, or used to decide whether a release may leave."
)


@dataclass(frozen=True)
class Compared:
    """Real and synthetic rows of one table, as codes (n, d).

    Attributes:
        training, synthetic: the rows.
        schema: theirs.
        name: the table's, where there are several.
    """

    training: NDArray[np.int32]
    synthetic: NDArray[np.int32]
    schema: Schema
    name: str = ""


def assess(
    training: NDArray[np.int32], holdout: NDArray[np.int32], synthetic: Synthetic, schema: Schema
) -> tuple[Evidence, ...]:
    """Exact distances up to 3-way, TSTR beside TRTR, similarity, and SDMetrics' score where installed.

    Args:
        training, holdout: codes (n, d) of real rows.
        synthetic: the table that is to be released.
        schema: the public schema.
    """
    codes = synthetic.codes
    found = [*fidelity.exact(training, codes, schema, against="training")]
    if len(holdout):
        found += fidelity.exact(holdout, codes, schema, against="holdout")
        found += utility.exact(codes, holdout, schema, "tstr")
        found += utility.exact(training, holdout, schema, "trtr")
        found += similarity.exact(training, holdout, codes, schema)
    gap = np.abs(fidelity.associations(training, schema) - fidelity.associations(codes, schema))
    found.append(
        Evidence(
            "fidelity.exact_association_gap",
            float(gap.mean()),
            None,
            "mean gap of Cramer's V over all pairs of columns",
            "internal",
        )
    )
    return (*found, *_sdmetrics(training, synthetic, schema))


def write(folder: Path, evidence: tuple[Evidence, ...], tables: Sequence[Compared]) -> None:
    """Write the figures and association matrices of all tables into ``folder``, for its owner alone (``vault.put``)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=False)
    document = {"warning": _WARNING, "evidence": [figure.to_dict() for figure in evidence]}
    vault.put(folder / "internal.json", (json.dumps(document, indent=1) + "\n").encode())
    for table in tables:
        names, before = list(table.schema.modelled), f"{table.name}." if table.name else ""
        for name, codes in (("real", table.training), ("synthetic", table.synthetic)):
            matrix = pd.DataFrame(fidelity.associations(codes, table.schema), index=names, columns=names)
            vault.put(folder / f"{before}associations_{name}.csv", matrix.to_csv(float_format="%.4f").encode())


def _sdmetrics(training: NDArray[np.int32], synthetic: Synthetic, schema: Schema) -> list[Evidence]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SDMetrics' advice to its own callers, from the import on
        return _sdmetrics_quality(training, synthetic, schema)


def _sdmetrics_quality(training: NDArray[np.int32], synthetic: Synthetic, schema: Schema) -> list[Evidence]:
    try:
        from sdmetrics.reports.single_table.quality_report import QualityReport
    except ImportError:
        return []
    from synthkit.data.sdv_metadata import to_sdv

    real = to_frame(undiscretize(training, schema, np.random.default_rng(0)), schema)
    metadata = to_sdv(schema)
    table = metadata["tables"][next(iter(metadata["tables"]))] if "tables" in metadata else metadata
    report = QualityReport()
    report.generate(_plain(real), _plain(synthetic.frame), table, verbose=False)
    score = float(report.get_score())
    return [
        Evidence(
            "fidelity.exact_sdmetrics_quality",
            score,
            None,
            "SDMetrics' quality score, binned real rows",
            "internal",
        )
    ]


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({name: object for name in frame.columns if str(frame[name].dtype) in ("string", "boolean")})


__all__ = ["Compared", "assess", "write"]
