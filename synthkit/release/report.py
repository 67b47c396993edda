"""The report: one HTML file that says what a bundle is, what it cost and how good it is.

Made from the manifest and from released marginals alone, so it costs nothing and can hold nothing
that was not released. One file, no script, no request to anywhere: a content security policy with
the digest of its own style sheet forbids them. Category labels and names come from outside;
everything is escaped.

Figures are rounded so that the guarantee never looks better than it is: epsilon and what follows
from it are rounded up.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from synthkit.documents import canonical_json
from synthkit.release import charts
from synthkit.release.charts import MarginalFigure

EMBEDDED = "manifest-digest"  # id of the element that ties the page to its manifest
_CERTAIN = 0.95  # above this share of right guesses, the page says that the bound is weak
_FALSE_ALARMS = (0.01, 0.05, 0.10)


def render(
    manifest: Mapping[str, Any], figures: Sequence[MarginalFigure], strips: Sequence[tuple[str, bytes]] = ()
) -> str:
    """The report as one self-contained HTML page.

    Args:
        manifest: as :mod:`synthkit.release.bundle` writes it; the entries that the report cannot
            know (its own digest, the manifest's) are not looked at.
        figures: released noisy marginals beside the synthetic ones.
        strips: of synthetic images, every class's label and some images side by side, a PNG file.
    """
    guarantee, tables = manifest["guarantee"], tables_of(manifest)
    images = "tables" not in manifest and "columns" not in manifest["schema"]
    page: str = (
        environment()
        .get_template("report.html.j2")
        .render(
            m=manifest,
            tables=tables,
            private=guarantee["private"],
            images=images,
            unit=_unit(manifest["budget"]["unit"], list(tables), "image" if images else "row"),
            strips=[(label, base64.b64encode(content).decode()) for label, content in strips],
            epsilon=_epsilon(guarantee["epsilon"]),
            bound=_bound(guarantee) if guarantee["private"] else None,
            one_in=_one_in(guarantee["delta"]),
            parts=[_part(part) for part in manifest["parts"]],
            reviewed=all(table["schema"].get("reviewed", False) for table in tables.values()),
            evidence=_evidence(manifest["evidence"]),
            figures=_by_table(figures),
            files={
                name: entry
                for name, entry in sorted(manifest.get("files", {}).items())
                if name != "report.html" and not name.startswith("images/")
            },
            pictures=sum(name.startswith("images/") for name in manifest.get("files", {})),
            embedded_id=EMBEDDED,
            embedded=_script_safe(embedded(manifest)),
        )
    )
    return page


def tables_of(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a manifest says of each table (its schema, rows and columns), by the schema's name, parents first."""
    tables = list(manifest["tables"].values()) if "tables" in manifest else [manifest]
    return {table["schema"]["name"]: table for table in tables}


def columns_of(table: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a manifest says of each column of one of its tables; images have an image and a label."""
    schema = table["schema"]
    if "columns" not in schema:
        return {"image": {"kind": "image"}, "label": {"kind": "categorical", "categories": schema["classes"]}}
    return {name: schema["columns"][name] for name in table["columns"]}


def embedded(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says about its manifest, for machines: a digest, and the figures people quote.

    The digest leaves out what cannot be in it: the manifest's digest of this very page, and the
    manifest's digest of itself.
    """
    facts = {name: value for name, value in manifest.items() if name not in ("manifest_sha256", "files")}
    facts["files"] = {name: entry for name, entry in manifest.get("files", {}).items() if name != "report.html"}
    return {
        "created": manifest["created"],
        "dataset": manifest["dataset"],
        "delta": manifest["guarantee"]["delta"],
        "epsilon": manifest["guarantee"]["epsilon"],
        "facts_sha256": hashlib.sha256(canonical_json(facts).encode()).hexdigest(),
        "private": manifest["guarantee"]["private"],
        "rows": manifest["rows"] if "rows" in manifest else {n: t["rows"] for n, t in tables_of(manifest).items()},
    }


def _bound(guarantee: Mapping[str, Any]) -> dict[str, Any]:
    """What an attacker can do at most (Kairouz, Oh and Viswanath 2015, arXiv:1311.0776, theorem 2.1).

    Of all tests between two neighbouring datasets, one with false alarm rate a detects at most
    min(e^eps a + delta, 1 - e^-eps (1 - delta - a)); guessing after a fair coin is right at most
    (e^eps + delta) / (1 + e^eps) of the time.
    """
    epsilon, delta = guarantee["epsilon"], guarantee["delta"]
    factor = math.exp(min(epsilon, 700.0))
    accuracy = (1 + delta / factor) / (1 + 1 / factor)
    detections = [
        (alarms, min(1.0, factor * alarms + delta, 1 - (1 - delta - alarms) / factor)) for alarms in _FALSE_ALARMS
    ]
    return {
        "factor": _up(factor, 2) if factor < 1e6 else f"{factor:.1e}",
        "accuracy": accuracy,
        "weak": accuracy > _CERTAIN,
        "detections": detections,
        "chart": charts.attacker(accuracy),
    }


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    """One part's reads; those that differ only in what was asked share a line."""
    lines: list[dict[str, Any]] = []
    for charge in part["charges"]:
        same = {field: charge[field] for field in ("mechanism", "event", "norm_bound", "norm", "source")}
        line = next((line for line in lines if line["same"] == same), None)
        if line is None:
            line = {"same": same, "count": 0, "what": [], "noise": _noise(charge["event"])}
            lines.append(line)
        line["count"] += charge["count"]
        line["what"].append(charge["what"] or "no details")
    return {
        "name": part["name"],
        "weight": part["weight"],
        "epsilon": _epsilon(part["epsilon"]),
        "reads": sum(line["count"] for line in lines),
        "lines": [{**line, **line["same"]} for line in lines],
    }


def _noise(event: Mapping[str, Any]) -> str:
    match event["kind"]:
        case "none":
            return "reads nothing"
        case "non-private":
            return "NO NOISE"
        case "gaussian":
            return f"Gaussian, {event['noise_multiplier']:.4g} × bound"
        case "laplace":
            return f"Laplace, {event['noise_multiplier']:.4g} × bound"
        case "zcdp":
            return f"zCDP, ρ = {event['rho']:.3g}" + (f", ξ = {event['xi']:.3g}" if event["xi"] else "")
        case "discrete-gaussian":
            cells = "" if event["cells"] == 1 else f", {event['cells']} cells"
            return f"discrete Gaussian, σ\u00a0=\u00a0{event['sigma']:.4g}{cells}"
        case "exponential-mechanism":
            return f"exponential mechanism, ε = {event['epsilon']:.3g}"
        case "poisson-sampled":
            return f"{_noise(event['event'])}, on a random {_share(event['sampling_probability'])} of units"
        case "self-composed":
            return f"{event['count']:,} × ({_noise(event['event'])})"
        case _:
            return "; ".join(_noise(part) for part in event["events"])


def _evidence(figures: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures by kind (their name but for its last word), each with its sampling floor beside it.

    The floor of ``a.b`` is the figure named ``a.b.floor`` or ``a.b_floor``: what the same figure
    would be between two samples of the real population, by chance alone.
    """
    floors: dict[str, Mapping[str, Any]] = {}
    shown: list[Mapping[str, Any]] = []
    names = {figure["name"] for figure in figures}
    for figure in figures:
        of = figure["name"].removesuffix("floor")[:-1] if figure["name"].endswith((".floor", "_floor")) else ""
        if of in names:
            floors[of] = figure
        else:
            shown.append(figure)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for figure in shown:
        groups.setdefault(figure["name"].rpartition(".")[0] or figure["name"], []).append(figure)
    return [_evidence_group(kind, members, floors) for kind, members in groups.items()]


def _evidence_group(
    kind: str, figures: Sequence[Mapping[str, Any]], floors: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    values = [v for f in figures for v in (f["value"], *(f["interval"] or ())) if v is not None]
    values += [floors[f["name"]]["value"] for f in figures if f["name"] in floors and floors[f["name"]]["value"]]
    scale = charts.scale_for(values)
    if values and min(values) >= 0 and 0.5 < max(values) <= 1:
        scale = (0.5, 1.0) if min(values) >= 0.5 else (0.0, 1.0)
    rows = []
    for figure in figures:
        floor = floors.get(figure["name"])
        at = None if floor is None else floor["value"]
        words = f"{figure['name']}: {_figure(figure['value'])}"
        if figure["interval"]:
            words += f", 95% interval {_interval(figure['interval'])}"
        if at is not None:
            words += f", sampling floor {_figure(at)}"
        rows.append(
            {
                **figure,
                "shown": _figure(figure["value"]),
                "range": _interval(figure["interval"]),
                "floor": None if floor is None else {"shown": _figure(at), "how": floor["how"]},
                "chart": charts.interval(figure["value"], figure["interval"], at, scale, label=words),
            }
        )
    title = kind.replace("_", " ").replace(".", ": ")
    return {
        "title": title[0].upper() + title[1:],
        "rows": rows,
        "scale": [_tick(end) for end in scale],
        "floors": any(row["floor"] for row in rows),
    }


def _interval(bounds: Sequence[float | None] | None) -> str:
    if bounds is None:
        return "not known"
    low, high = bounds
    return f"{'−∞' if low is None else _figure(low)} to {'∞' if high is None else _figure(high)}"


def _figure(value: float | None) -> str:
    if value is None:
        return "not available"
    size = abs(value)
    text = f"{value:,.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.4f}"
    if 0 < size < 5e-4:
        text = f"{value:.1e}"
    return text.replace("-", "−")


def _tick(value: float) -> str:
    return f"{value:,g}".replace("-", "−")


def _epsilon(value: float | None) -> str:
    return "∞" if value is None else _up(value, 3)


def _up(value: float, decimals: int) -> str:
    """Rounded up: what is printed is never below what holds."""
    while 0 < value < 10.0**-decimals and decimals < 12:
        decimals += 1
    # The tiny allowance keeps 0.3 from becoming 0.301; it is far below the accountant's own step.
    return f"{math.ceil(value * 10**decimals - 1e-7) / 10**decimals:,.{decimals}f}"


def _share(value: float) -> str:
    return f"{value * 100:.4g}%"


def _power(value: float) -> str:
    """A small number as a power of ten, as people write it."""
    digits, _, exponent = f"{value:.2e}".partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    digits = digits.rstrip("0").rstrip(".")
    return f"10{raised}" if digits == "1" else f"{digits} × 10{raised}"


def _one_in(delta: float) -> str:
    return f"{math.floor(1 / delta + 1e-6):,}" if delta > 1e-15 else f"{1 / delta:.0e}"


def _unit(unit: Mapping[str, Any], tables: Sequence[str], row: str) -> dict[str, str]:
    """The unit of privacy, in words that fit into sentences; ``row`` is what a row is called."""
    if unit["column"] is None:
        whole = "one single row of the table" if row == "row" else f"one single {row} with its label"
        return {"one": row, "data": f"one {row}", "whole": whole, "rows": f"{row}s"}
    rows, name = unit["max_rows"], unit["column"]
    most = f"the one {row}" if rows == 1 else f"all {row}s, at most {rows:,},"
    whole = f"{most} that belong to one {name}"
    if len(tables) == 2:
        whole = f"one {name}: the row in {tables[0]} and all rows in {tables[1]}, at most {rows - 1:,}"
    return {"one": name, "data": f"the {row}s of one {name}", "whole": whole, "rows": f"{row}s"}


def _by_table(figures: Sequence[MarginalFigure]) -> dict[str, list[MarginalFigure]]:
    """The figures of each table, in their order."""
    groups: dict[str, list[MarginalFigure]] = {}
    for figure in figures:
        groups.setdefault(figure.table, []).append(figure)
    return groups


def _thousands(value: float) -> str:
    return f"{value:,.0f}".replace("-", "−")


def _bytes(size: int) -> str:
    for limit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= limit:
            return f"{size / limit:.1f} {name}"
    return f"{size} bytes"


def _script_safe(value: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    text = canonical_json(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)  # noqa: S704  no character of it means anything in HTML


def _csp_hash(style: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(str(style).encode()).digest()).decode() + "'"


def _template(name: str) -> str:
    return resources.files("synthkit").joinpath("release", "templates", name).read_text("utf-8")


@cache
def environment() -> Environment:
    """Jinja's environment for the packaged pages: strict, escaping, with the filters that they use."""
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": _bytes,
        "csp_hash": _csp_hash,
        "marginal": charts.marginal,
        "percent": charts.percent,
        "share": _share,
        "power": _power,
        "thousands": _thousands,
        "json": canonical_json,
    }
    return environment


__all__ = ["columns_of", "EMBEDDED", "MarginalFigure", "embedded", "environment", "render", "tables_of"]
