"""The README's tables and the plot, from what run.py wrote. No figure there is typed by hand.

    python benchmarks/tabular/show.py benchmarks/tabular/results/quick.json benchmarks/tabular/results/full.json

Of several files the first gives its name to the summary and the plot. Needs the extra `benchmarks` (matplotlib).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from run import DELTA, ENTRIES, doubts

HERE = Path(__file__).parent
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
FIGURES = {
    "auc_logistic": "AUC, logistic",
    "auc_boosting": "AUC, boosting",
    "tvd_1way": "1-way TVD",
    "tvd_2way": "2-way TVD",
    "seconds": "seconds",
    "cpu_seconds": "CPU s",
    "peak_MB": "peak MB",
}
PLOTTED = {"auc_logistic": "AUC on test rows, logistic regression", "tvd_2way": "mean 2-way TVD to training rows"}
_T95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t, by number of runs

Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    options = parser.parse_args()
    first, documents = options.results[0], [json.loads(path.read_text()) for path in options.results]
    rows = [row for document in documents for row in document["rows"]]
    summaries = summarised(rows)
    picture = first.with_suffix(".svg")
    drawn = plot(summaries, picture)
    text = markdown(summaries, rows, documents[0]["machine"])
    if drawn:
        text += f"\n![Quality against epsilon]({picture.resolve().relative_to(HERE.resolve())})\n"
    first.with_name(f"{first.stem}.summary.json").write_text(json.dumps(summaries, indent=1) + "\n")
    readme = HERE / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{text}{END}{rest.partition(END)[2]}")


def summarised(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry for a table, a method and an epsilon: mean, standard deviation and 95% interval over the seeds."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        settings = tuple(sorted(row["settings"].items()))
        groups.setdefault((row["table"], row["method"], row["epsilon"], settings), []).append(row)
    found = []
    for (table, method, epsilon, settings), of in groups.items():
        good = [row for row in of if "failure" not in row]
        one: dict[str, Any] = {"table": table, "method": method, "epsilon": epsilon, "settings": dict(settings)}
        one |= {key: good[-1][key] for key in ("version", "rows", "columns") if good and key in good[-1]}
        one |= {"runs": len(good), "failures": sorted({row["failure"] for row in of if "failure" in row})}
        one |= {"failed": len(of) - len(good), "one_class": sum("one_class" in row for row in good)}
        for key in FIGURES:
            values = [float(row[key]) for row in good if key in row]
            if values:
                one[key] = spread(values)
        found.append(one)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean and, where there are two runs or more, standard deviation and half the 95% interval of the mean."""
    n = len(values)
    found = {"mean": float(np.mean(values))}
    if n > 1:
        found["sd"] = float(np.std(values, ddof=1))
        found["half_95"] = _T95.get(n, 1.96 + 2.5 / (n - 1)) * found["sd"] / math.sqrt(n)
    return found


def markdown(summaries: Sequence[Row], rows: Sequence[Row], machine: Row) -> str:
    """A section for every table: all figures at epsilon 1 and, where there are more epsilons, two figures by epsilon."""
    packages = machine["packages"]
    text = (
        f"{machine['when'][:10]}, {machine['processor']}, {machine['cores']} cores (one used), Python "
        f"{machine['python']}, synthkit {packages['synthkit']}, torch {packages['torch']}. Delta {DELTA:g}.\n"
    )
    versions = {row["method"].partition(" ")[0]: row["version"] for row in summaries if "version" in row}
    text += "Peers: " + ", ".join(f"{peer} {v}" for peer, v in versions.items() if peer != "synthkit") + ".\n"
    if loads := [row["load"] for row in rows if "load" in row]:
        text += (
            f"The machine's load while fits ran was {np.median(loads):.1f} in the median, {max(loads):.1f} at most.\n"
        )
    for table in dict.fromkeys(row["table"] for row in summaries):
        of = [row for row in summaries if row["table"] == table]
        facts = next(row for row in of if row["method"] == "real rows")
        text += f"\n### {table}: {facts['rows']:,} training rows, {facts['columns']} columns\n"
        epsilons = sorted({row["epsilon"] for row in of} - {None})
        full = 1.0 if 1.0 in epsilons else epsilons[-1]
        text += f"\nEpsilon {full:g}\n\n" + one_table([row for row in of if row["epsilon"] in (full, None)])
        if len(epsilons) > 1:
            for key in PLOTTED:
                text += f"\n{FIGURES[key]}, by epsilon\n\n" + by_epsilon(of, key, epsilons)
    present = {row["method"] for row in summaries}
    for number, (label, why) in enumerate(doubts([entry.label for entry in ENTRIES]).items(), 1):
        text += f"\n[^{number}]: {label} {why}.\n" if label in present else ""
    return text


def one_table(shown: Sequence[Row]) -> str:
    order = ["real rows", *(entry.label for entry in ENTRIES)]
    private = {entry.label: entry.private for entry in ENTRIES}
    notes = {label: f"[^{number}]" for number, label in enumerate(doubts(order), 1)}
    text = "| method | runs | " + " | ".join(FIGURES.values()) + " |\n| --- | --- |" + " --- |" * len(FIGURES) + "\n"
    for row in sorted(shown, key=lambda row: order.index(row["method"])):
        name = row["method"] + notes.get(row["method"], "")
        name += "" if private.get(row["method"], True) else " (**no privacy**)"
        name += f" ({', '.join(f'{key}={value}' for key, value in row['settings'].items())})" if row["settings"] else ""
        cells = [str(row["runs"]), *(cell(row, key) for key in FIGURES)]
        if not row["runs"]:
            cells = ["0", "; ".join(row["failures"]).replace("|", "/"), *[""] * (len(FIGURES) - 1)]
        elif row["failed"]:
            cells[0] += f" of {row['runs'] + row['failed']}"
        text += f"| {name} | " + " | ".join(cells) + " |\n"
    return text


def by_epsilon(rows: Sequence[Row], key: str, epsilons: Sequence[float]) -> str:
    """One figure, a column for every epsilon."""
    found = {(row["method"], row["epsilon"]): row for row in rows}
    text = "| method | " + " | ".join(f"{epsilon:g}" for epsilon in epsilons) + " |\n"
    text += "| --- |" + " --- |" * len(epsilons) + "\n"
    for label in (entry.label for entry in ENTRIES):
        cells = [cell(found.get((label, epsilon), {}), key) for epsilon in epsilons]
        if sum(map(bool, cells)) > 1:
            text += f"| {label} | " + " | ".join(cells) + " |\n"
    return text


def cell(row: Row, key: str) -> str:
    """A mean and its standard deviation over the seeds."""
    if key not in row:
        return ""
    value = row[key]
    digits = 0 if key in ("seconds", "cpu_seconds", "peak_MB") else 4 if key.startswith("tvd") else 3
    mark = "†" if key.startswith("auc") and row["one_class"] else ""
    return f"{value['mean']:.{digits}f}" + (f" ± {value['sd']:.{digits}f}" if "sd" in value else "") + mark


def plot(summaries: Sequence[Row], path: Path) -> bool:
    """Quality against epsilon, one row of panels for every table that has more than two epsilons."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tables = [
        table
        for table in dict.fromkeys(row["table"] for row in summaries)
        if len({row["epsilon"] for row in summaries if row["table"] == table} - {None}) > 2
    ]
    if not tables:
        return False
    plt.rcParams |= {"svg.hashsalt": "tabular", "font.size": 9}
    figure, axes = plt.subplots(len(tables), 2, figsize=(10, 3.6 * len(tables)), squeeze=False)
    for table, line in zip(tables, axes, strict=True):
        of = [row for row in summaries if row["table"] == table]
        for axis, (key, words) in zip(line, PLOTTED.items(), strict=True):
            for number, entry in enumerate(ENTRIES):
                points = [row for row in of if row["method"] == entry.label and row["epsilon"] and key in row]
                points.sort(key=lambda row: row["epsilon"])
                if points:
                    ours, marks = entry.package == "synthkit", "os^vDPX*<>"
                    axis.errorbar(
                        [row["epsilon"] for row in points],
                        [row[key]["mean"] for row in points],
                        [row[key].get("sd", 0.0) for row in points],
                        label=entry.label + (" (doubtful)" if entry.doubt else ""),
                        color=f"C{number % 10}",
                        marker=marks[number % len(marks)],
                        linestyle="-" if ours else "--",
                        linewidth=1.6 if ours else 1.0,
                        markersize=4,
                    )
            real = next(row for row in of if row["method"] == "real rows")[key]["mean"]
            axis.axhline(
                real, color="0.5", linewidth=0.8, label="real rows" if key.startswith("auc") else "floor: test rows"
            )
            axis.set(xscale="log", xlabel="epsilon", ylabel=words, title=table)
            axis.set_yscale("log" if key.startswith("tvd") else "linear")
        line[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    return True


if __name__ == "__main__":
    main()
