"""Schemas from and to the metadata of SDV (JSON, version 1), without SDV itself.

SDV's metadata name columns and kinds ("sdtypes"), but neither bounds nor, as a rule, categories. So
what comes in is a draft for the steward to finish: every missing figure stands as ``FILL-IN``, which
no schema accepts, or is learnt from data where data are given, and marked as in
:mod:`synthkit.data.drafts`. What goes out loses bounds, categories and bins.

    categorical                       <-> categorical (``order``, where given, lists the categories)
    boolean                           <-> boolean
    numerical, Int8 ... UInt64        <-> integer
    numerical, Float or unsaid        <-> continuous
    datetime                          <-> datetime; the format tells the resolution
    id, unknown, email, phone_number  <-> identifier (every sdtype not listed above is one)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pandas as pd

from synthkit.data.drafts import LEARNT, UNIT, Kind, Resolution, Seen, domain, header, observe, rounded, scalar
from synthkit.data.encoding import check_names
from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Datetime, Identifier, Integer, Schema, Text
from synthkit.data.tables import FrameSource, Source
from synthkit.errors import InputError, SchemaError

FILL_IN = "FILL-IN"
Spec = Literal["V1", "SINGLE_TABLE_V1"]

_FORMATS: Mapping[str, str] = {
    "day": "%Y-%m-%d",
    "hour": "%Y-%m-%dT%H:%M:%S",
    "minute": "%Y-%m-%dT%H:%M:%S",
    "second": "%Y-%m-%dT%H:%M:%S",
}
_INTEGERS = {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}


def from_sdv(metadata: Mapping[str, Any], *, name: str | None = None, data: pd.DataFrame | Source | None = None) -> str:
    """Turn SDV metadata into the YAML text of a schema file, marked ``reviewed: false``.

    Args:
        metadata: the parsed JSON: a single table (``SINGLE_TABLE_V1``), or ``V1`` or
            ``MULTI_TABLE_V1`` with exactly one table.
        name: the schema's name; None takes the table's.
        data: where given, bounds, categories and nulls are learnt from it, and each such line is
            marked; where None, the lines say FILL-IN, and the text is no valid schema until the
            steward has filled them in.

    Raises:
        SchemaError: the metadata are of another version or shape, or have several tables.
        DataError: the data cannot be read, or have other columns than the metadata.
    """
    table, columns = _single_table(metadata)
    seen: Mapping[str, Seen] = {}
    if data is not None:
        source = FrameSource(data) if isinstance(data, pd.DataFrame) else data
        check_names(source.columns(), list(columns), declared_in="the SDV metadata", source=source.label)
        seen = observe(source)
    rows = f"{rounded(next(iter(seen.values())).rows)}  # {LEARNT}" if seen else f"{FILL_IN}  # about how many rows"
    lines = [*header(name or table, learnt=bool(seen)), f"rows: {rows}", UNIT, "columns:"]
    for column, entry in columns.items():
        kind, remark = _kind(column, entry)
        lines += [f"  {scalar(column)}:", f"    kind: {kind}{remark}"]
        lines += [f"    {line}" for line in _domain(kind, entry, seen.get(column))]
    return "\n".join(lines) + "\n"


def to_sdv(schema: Schema, *, spec: Spec = "V1") -> dict[str, Any]:
    """SDV's metadata of the schema's columns, ready for ``json.dump``.

    Args:
        schema: any schema; identifiers become ``id``. There is no primary key: a unit of privacy
            may have several rows.
        spec: ``V1`` for SDV's ``Metadata``, ``SINGLE_TABLE_V1`` for ``SingleTableMetadata``.
    """
    columns = {name: _sdtype(column) for name, column in schema.columns.items()}
    if spec == "SINGLE_TABLE_V1":
        return {"METADATA_SPEC_VERSION": spec, "columns": columns}
    if spec != "V1":
        raise InputError(f"spec is {spec!r}; expected V1 or SINGLE_TABLE_V1")
    return {"METADATA_SPEC_VERSION": spec, "tables": {schema.name: {"columns": columns}}, "relationships": []}


def _single_table(metadata: Mapping[str, Any]) -> tuple[str, Mapping[str, Mapping[str, Any]]]:
    given: object = metadata  # JSON may hold anything
    version = given.get("METADATA_SPEC_VERSION") if isinstance(given, Mapping) else None
    if version == "SINGLE_TABLE_V1":
        name, table = "table", metadata
    elif version in ("V1", "MULTI_TABLE_V1"):
        tables = metadata.get("tables")
        if not isinstance(tables, Mapping) or len(tables) != 1:
            count = len(tables) if isinstance(tables, Mapping) else 0
            raise SchemaError(f"the SDV metadata describe {count} tables; synthkit handles one: keep one, or join them")
        name, table = next(iter(tables.items()))
    else:
        raise SchemaError(
            f"METADATA_SPEC_VERSION is {version!r}; synthkit reads V1, SINGLE_TABLE_V1 and MULTI_TABLE_V1 (as SDV 1 "
            "writes them; for others, draft a schema from the data)"
        )
    columns = table.get("columns") if isinstance(table, Mapping) else None
    if not isinstance(columns, Mapping) or not columns:
        raise SchemaError(f"the SDV metadata list no columns for table {name}")
    for column, entry in columns.items():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("sdtype"), str):
            raise SchemaError(f"the SDV metadata give column {column} no sdtype")
    return str(name), columns


def _kind(column: str, entry: Mapping[str, Any]) -> tuple[Kind, str]:
    sdtype = entry["sdtype"]
    if sdtype == "categorical":
        return "categorical", ""
    if sdtype == "boolean":
        return "boolean", ""
    if sdtype == "numerical":
        representation = entry.get("computer_representation")
        if representation in _INTEGERS:
            return "integer", ""
        unsaid = "" if representation == "Float" else "  # SDV does not say whether whole; write integer if so"
        return "continuous", unsaid
    if sdtype == "datetime":
        form = entry.get("datetime_format")
        plain = form is None or str(form).startswith("%Y-%m-%d")
        return "datetime", "" if plain else "  # the metadata name a format that is not ISO 8601: convert the data"
    return "identifier", f"  # sdtype {scalar(sdtype)}"


def _domain(kind: Kind, entry: Mapping[str, Any], seen: Seen | None) -> Iterator[str]:
    if kind == "categorical" and isinstance(order := entry.get("order"), list) and order:
        yield "categories:  # the order that the SDV metadata list"
        yield from (f"  - {value if type(value) is int else scalar(str(value))}" for value in order)
        if seen is not None and seen.nulls:
            yield f"nullable: true  # {LEARNT}"
    elif seen is not None and seen.fits(kind):
        yield from domain(kind, seen)
    elif kind == "categorical":
        yield f"categories: {FILL_IN}  # list the values that may occur"
    elif kind in ("integer", "continuous", "datetime"):
        yield f"min: {FILL_IN}  # the lowest value that may occur, from public knowledge"
        yield f"max: {FILL_IN}  # the highest"
        if kind == "datetime":
            yield f"resolution: {_resolution(entry.get('datetime_format'))}"


def _resolution(form: object) -> Resolution:
    text = str(form)
    if any(directive in text for directive in ("%S", "%T", "%X", "%c", "%s", "%f")):
        return "second"
    if any(directive in text for directive in ("%M", "%R")):
        return "minute"
    return "hour" if any(directive in text for directive in ("%H", "%I")) else "day"


def _sdtype(column: Column) -> dict[str, Any]:
    match column:
        case Categorical():
            return {"sdtype": "categorical"}
        case Boolean():
            return {"sdtype": "boolean"}
        case Integer():
            return {"sdtype": "numerical", "computer_representation": "Int64"}
        case Continuous():
            return {"sdtype": "numerical", "computer_representation": "Float"}
        case Datetime():
            return {"sdtype": "datetime", "datetime_format": _FORMATS[column.resolution]}
        case Text():
            return {"sdtype": "unknown", "pii": True}
        case Identifier():
            return {"sdtype": "id"}


__all__ = ["FILL_IN", "from_sdv", "to_sdv"]
