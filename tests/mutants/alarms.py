"""False alarms: every statistical check of the bench on the unbroken code, over many seeds.

    python -m tests.mutants.alarms --seeds 1000

Each check's chance of an alarm is below 1e-6 a seed by design; a thousand seeds should show none.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.audit.checks import STATISTICAL


def alarm(index: int, seed: int) -> str | None:
    """What the check says of the unbroken code, or None."""
    try:
        STATISTICAL[index](seed)
    except AssertionError as problem:
        return f"{STATISTICAL[index].__name__}, seed {seed}: {problem}"
    return None


def main() -> int:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    total = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for index, check in enumerate(STATISTICAL):
            start = time.perf_counter()
            seeds = range(options.seeds)
            found = [text for text in pool.map(alarm, [index] * len(seeds), seeds, chunksize=20) if text]
            total += len(found)
            seconds = time.perf_counter() - start
            print(f"{check.__name__:36} {len(found)} alarms in {options.seeds} seeds, {seconds:.0f} s", flush=True)
            print("".join(f"  {text}\n" for text in found[:5]), end="")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
