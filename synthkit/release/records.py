"""What packs may look at in a folder of anonymized true records: its columns as they leave, and figures that anybody can count.

The description says what each column held in the source. What is left of it is judged by the values: of a date of which only
years are left, a year; of a ZIP code of which three digits are left, these; of a value of which nothing is said, nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from synthkit.anonymize.hierarchies import ANY
from synthkit.anonymize.models import AlphaK
from synthkit.anonymize.recipe import Limits
from synthkit.anonymize.route import measured
from synthkit.errors import VerificationFailed
from synthkit.evidence import Evidence
from synthkit.policy.packs.dossier import Column
from synthkit.policy.packs.identifiers import OLDEST
from synthkit.release.anonymized import PARQUET, Checked
from synthkit.release.anonymizing import evidence

_YEARS = re.compile(r"\d{4}s?")
_THREE_DIGITS = re.compile(r"(\d{3})\*{0,2}")
_ZIP = re.compile(r"(?:^|[\W_])zip(?:$|[\W_]|code)", re.IGNORECASE)
_INTERVAL_OF_OLDEST = re.compile(rf"\[{OLDEST + 1}, \d+\)")


def columns(folder: Path, description: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[Column]:
    """Every column that leaves, with its distinct values.

    Raises:
        VerificationFailed: the data are not those of the manifest any more.
    """
    frame = _frame(folder, manifest)
    for told in description["columns"]:
        if told["role"] != "dropped":
            yield _column(manifest["dataset"], told, frame[told["name"]])


def figures(folder: Path, checked: Checked, manifest: Mapping[str, Any]) -> Iterator[Evidence]:
    """What anybody can count, and by sensitive column how sure its commonest value is in the class where it is surest."""
    yield from evidence(checked)
    described = checked.description["columns"]
    quasi = tuple(c["name"] for c in described if c["role"] in ("quasi-identifier", "microaggregated"))
    models = tuple(AlphaK(sensitive=c["name"], alpha=1.0) for c in described if c["role"] == "sensitive")
    if models:
        counted = measured(_frame(folder, manifest), quasi, models, Limits())
        for model, share in zip(models, counted.attained, strict=True):
            name = f"anonymity.confidence.{model.sensitive}"
            yield Evidence(name, share, None, "counted in the records as they leave", "free")


def _frame(folder: Path, manifest: Mapping[str, Any]) -> pd.DataFrame:
    content = (folder / PARQUET).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["files"][PARQUET]["sha256"]:
        raise VerificationFailed(f"{folder}: {PARQUET} changed while it was read")
    return pd.read_parquet(BytesIO(content), dtype_backend="numpy_nullable")


def _column(table: str, told: Mapping[str, Any], values: pd.Series[Any]) -> Column:
    kind, holds = _kind(values), told.get("holds")
    if told["role"] == "redacted":
        holds = None  # nobody knows what free text holds, whatever is declared
    texts = frozenset[str]()
    if kind in ("categorical", "integer"):
        texts = frozenset(str(value) for value in values.dropna().unique()) - {ANY}
    if kind == "categorical" and not texts:
        holds = "other"  # nothing is said of anybody
    elif holds == "date" and all(map(_YEARS.fullmatch, texts)) and kind == "categorical":
        holds = "year"
    elif holds == "place" and _ZIP.search(told["name"]) and all(map(_THREE_DIGITS.fullmatch, texts)) and texts:
        holds = "zip3"
    if holds == "zip3":
        texts = frozenset(_THREE_DIGITS.sub(r"\1", text) if _THREE_DIGITS.fullmatch(text) else text for text in texts)
    top = told.get("coding", {}).get("top")
    if top == OLDEST + 1:
        texts = frozenset(f"{OLDEST + 1}+" if _INTERVAL_OF_OLDEST.fullmatch(text) else text for text in texts)
    largest = None
    if kind in ("integer", "continuous") and values.notna().any():
        largest = float(values.max())
    coded = top is not None and (largest is None or largest <= top)  # the data decide, whatever is described
    key = told.get("key") if told["role"] == "pseudonym" else None
    return Column(
        table=table,
        name=told["name"],
        kind=kind if key is None else "pseudonym",
        holds=holds if key is None else None,
        values=texts,
        largest=largest,
        ceiling=float(top) if coded else None,
        rows=len(values),
        keyed=None
        if key is None
        else f"{key['method']} under key {key['version']} of {key['purpose']} for {key['recipient']}",
    )


def _kind(values: pd.Series[Any]) -> str:
    if pd.api.types.is_bool_dtype(values):
        return "boolean"
    if pd.api.types.is_integer_dtype(values):
        return "integer"
    if pd.api.types.is_float_dtype(values):
        return "continuous"
    return "datetime" if pd.api.types.is_datetime64_any_dtype(values) else "categorical"


__all__ = ["columns", "figures"]
