"""How near synthetic rows lie to real ones. Internal, and called similarity, never privacy.

Closeness to training rows says nothing about what an adversary learns: releases that pass such
tests have been attacked with success (arXiv:2505.01524), and the figures themselves leak
(arXiv:2312.05114). They are useful to find a copying bug, beside the same figures for the holdout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.schema import Schema
from synthkit.evidence import Evidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PROBES = 2_000  # synthetic rows compared with all real ones
_CHUNK = 50_000


def exact(
    training: NDArray[np.int32], holdout: NDArray[np.int32], synthetic: NDArray[np.int32], schema: Schema
) -> list[Evidence]:
    """Exact copies and nearest distances, against training and, as a control, against the holdout.

    Args:
        training, holdout, synthetic: codes (n, d).
        schema: their schema.

    Returns:
        internal evidence: share of synthetic rows that equal a real row in every code, and the
        median share of columns that differ from the nearest real row.
    """
    rng = np.random.default_rng(0)
    probes = (
        synthetic[rng.choice(len(synthetic), min(_PROBES, len(synthetic)), replace=False)]
        if len(synthetic)
        else synthetic
    )
    found = []
    # A control of equal size: the nearest of more rows is nearer.
    size = min(len(training), len(holdout))
    for name, real in (("training", training[rng.permutation(len(training))[:size]]), ("holdout", holdout[:size])):
        if not len(real) or not len(probes):
            continue
        known = {row.tobytes() for row in np.ascontiguousarray(real)}
        copies = float(np.mean([row.tobytes() in known for row in np.ascontiguousarray(synthetic)]))
        nearest = np.full(len(probes), len(schema.modelled))
        for start in range(0, len(real), _CHUNK):
            chunk = real[start : start + _CHUNK]
            for i, probe in enumerate(probes):
                nearest[i] = min(nearest[i], int((chunk != probe).sum(axis=1).min()))
        text = f"{name} rows ({size} of them); similarity, not privacy"
        found.append(
            Evidence(
                f"similarity.copies_{name}",
                copies,
                None,
                f"share of synthetic rows whose codes equal one of the {text}",
                "internal",
            )
        )
        found.append(
            Evidence(
                f"similarity.nearest_{name}",
                float(np.median(nearest) / len(schema.modelled)),
                None,
                f"median share of columns that differ from the nearest of the {text}",
                "internal",
            )
        )
    return found


__all__ = ["exact"]
