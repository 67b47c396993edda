"""The mark that says of data that they were generated, for machines: in Parquet's metadata, and beside the CSV.

The fields are those of GB 45438-2025 (the implicit label of generated content), under its key ``AIGC``. They also
serve what the AI Act asks of providers in article 50(2), a machine-readable mark; whether they are bound by
either, people decide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from synthkit.documents import canonical_json

AIGC = "AIGC"
MARKS = "synthkit.labels"
_GENERATED = "1"  # 2: possibly, 3: suspected


def aigc(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The label's fields. What is not stated is an empty text; nobody has propagated it yet."""
    made = [manifest["dataset"], manifest["created"], manifest["code"]["sha256"]]
    return {
        "Label": _GENERATED,
        "ContentProducer": manifest["handling"].get("producer", ""),
        "ProduceID": hashlib.sha256(canonical_json(made).encode()).hexdigest()[:32],
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }


def metadata(manifest: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Key-value metadata for a Parquet file."""
    marks = manifest["handling"]["labels"]
    return {
        AIGC.encode(): canonical_json(aigc(manifest)).encode(),
        MARKS.encode(): canonical_json(marks).encode(),
    }


def sidecar(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a file of its own."""
    return {AIGC: aigc(manifest), "labels": manifest["handling"]["labels"]}


__all__ = ["AIGC", "MARKS", "aigc", "metadata", "sidecar"]
