"""Speed of what every user waits for: start-up, and encoding and decoding a million rows.

python benchmarks/speed.py -o speed.json
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import peak_megabytes, report

from synthkit.data import samples
from synthkit.data.encoding import discretize, from_frame, to_frame, undiscretize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for label, command in (
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("import synthkit", [sys.executable, "-c", "import synthkit"]),
        ("synthkit --help", [sys.executable, "-m", "synthkit.cli", "--help"]),
    ):
        rows.append({"what": label, "seconds": statistics.median(timed(command) for _ in range(7))})

    schema = samples.schema("adult")
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, size, options.rows) for size in schema.domain.values()], axis=1)
    start = time.perf_counter()
    frame = to_frame(undiscretize(codes, schema, rng), schema)
    decoded = time.perf_counter() - start
    start = time.perf_counter()
    again = discretize(from_frame(frame, schema), schema)
    encoded = time.perf_counter() - start
    assert np.array_equal(codes, again)
    rows.append({"what": f"decode {options.rows:,} rows x {codes.shape[1]}", "seconds": decoded})
    rows.append(
        {"what": f"encode {options.rows:,} rows x {codes.shape[1]}", "seconds": encoded, "peak_MB": peak_megabytes()}
    )
    report("speed", rows, options.output)


def timed(command: list[str]) -> float:
    """Seconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
