"""What the benchmark scripts share: the machine, a table on the screen, a JSON file beside it."""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("synthkit", "torch", "opacus", "dp-accounting", "numpy", "pandas", "scikit-learn")


def machine() -> dict[str, Any]:
    """What ran, on what."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "packages": {name: version(name) for name in PACKAGES},
    }


def peak_megabytes() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def report(name: str, rows: Sequence[Mapping[str, Any]], output: Path | None) -> None:
    """Print rows as a table and write them, with the machine, as JSON."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    shown = [[_text(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in shown)) for i, column in enumerate(columns)]
    print("  ".join(column.ljust(width) for column, width in zip(columns, widths, strict=True)))
    for line in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    facts = machine()
    print(
        f"{facts['processor']}, {facts['cores']} cores, load {facts['load']:.1f}; Python {facts['python']}; {facts['when']}"
    )
    if output:
        output.write_text(json.dumps({"benchmark": name, "machine": facts, "rows": list(rows)}, indent=1) + "\n")


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
