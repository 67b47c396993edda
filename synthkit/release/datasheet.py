"""A datasheet for a release (Gebru et al. 2018, arXiv:1803.09010), from the facts of its manifest alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synthkit.release.report import columns_of, tables_of


def datasheet(manifest: Mapping[str, Any]) -> str:
    """The datasheet as Markdown. What a manifest cannot know says that it is not stated."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Mapping[str, Any]) -> Iterator[str]:
    guarantee, handling, policy = manifest["guarantee"], manifest["handling"], manifest.get("policy")
    yield from (f"# Datasheet: {_code(manifest['dataset'])}, synthetic", "")
    yield from ("Made from `manifest.json`, which says all of this to machines.", "", "## Motivation", "")
    yield f"- Purpose: {_code(policy['for']) if policy else 'not stated'}"
    yield f"- Produced by: {handling.get('producer', 'not stated')}"
    yield from ("", "## Composition", "", "Synthetic rows; none belongs to a person.", "")
    for name, table in tables_of(manifest).items():
        yield from (
            f"Table {_code(name)}: {table['rows']} rows.",
            "",
            "| column | type | values |",
            "| --- | --- | --- |",
        )
        yield from (_column(column, described) for column, described in columns_of(table).items())
        yield ""
    yield from ("## Collection", "", f"- Method: {_code(manifest['method']['name'])}")
    yield f"- Guarantee: {guarantee['statement']}"
    yield f"- Protected unit: {guarantee['unit']}; neighbours: {guarantee['adjacency']}; accountant: {guarantee['accountant']}"
    reads = sum(charge["count"] for part in manifest["parts"] for charge in part["charges"])
    yield f"- Reads of private data: {reads}, each listed in the manifest"
    yield from ("", "## Quality", "", "| figure | value | 95% interval | paid |", "| --- | --- | --- | --- |")
    for figure in manifest["evidence"]:
        ends = figure["interval"] or ["not known"]
        shown = " to ".join("unbounded" if end is None else _number(end) for end in ends)
        yield f"| {_code(figure['name'])} | {_number(figure['value'])} | {shown} | {figure['payment']} |"
    yield from ("", "## Uses that the guarantee does not cover", "")
    yield from (f"- {sentence}" for sentence in manifest["not_covered"])
    yield from ("", "## Distribution", "")
    yield f"- Labels: {', '.join(map(_code, handling['labels']))}"
    yield f"- Recipients: {', '.join(map(_code, handling.get('recipients', ()))) or 'not stated'}"
    yield _kept(handling.get("retention_days"), manifest)
    yield (
        f"- Policy: {_code(policy['name'])}, sha256 {_code(policy['sha256'])}" if policy else "- Policy: none was asked"
    )


def _kept(days: int | None, manifest: Mapping[str, Any]) -> str:
    return (
        "- Kept for: not stated" if days is None else f"- Kept for: at most {days} days from {manifest['created'][:10]}"
    )


def _column(name: str, column: Mapping[str, Any]) -> str:
    if "categories" in column:
        values = f"{len(column['categories'])} categories"
    elif "min" in column:
        values = f"{column['min']} to {column['max']}"
    else:
        values = ""
    return f"| {_code(name)} | {column['kind']} | {values} |"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "not available" if value is None else str(value)


def _code(text: str) -> str:
    """A name from outside, so that nothing in it is taken for markup."""
    return "`" + text.replace("`", "'").replace("|", "/").replace("\n", " ") + "`"


__all__ = ["datasheet"]
