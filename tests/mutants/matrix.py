"""The kill matrix: every mutant against every test of its bench.

    python -m tests.mutants.matrix                 the whole matrix (some twenty minutes on two cores)
    python -m tests.mutants.matrix --first         stops at the first test that kills (a few minutes)
    python -m tests.mutants.matrix "noise x0.7"    some mutants alone

Prints one row a mutant, writes JSON on request, and exits 1 where a mutant survives or the unbroken
code fails a test.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.loader import VARIABLE

ROOT = Path(__file__).parents[2]
BENCH = "tests/audit/test_bench.py"
LIMIT = 600  # seconds a mutant may take; one that hangs is killed, too
CLEAN = "(unbroken)"


def run(name: str, *, first: bool = False) -> dict[str, bool]:
    """Which tests of its bench pass on a mutant (or on the code as it is): test to True or False."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop(VARIABLE, None)
    if name != CLEAN:
        environment[VARIABLE] = name
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            MUTANTS[name].bench if name != CLEAN else BENCH,
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
        ]
        command += ["-x"] if first else []
        try:
            subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=LIMIT, check=False)
        except subprocess.TimeoutExpired:
            return {"(time limit)": False}
        if not report.exists():
            return {"(import)": False}
        cases = ElementTree.parse(report).getroot().iter("testcase")
        return {
            str(case.get("name")): not any(child.tag in ("failure", "error") for child in case)
            for case in cases
            if not any(child.tag == "skipped" for child in case)
        }


def killers(results: dict[str, bool]) -> list[str]:
    """The tests that fail."""
    return [test for test, passed in results.items() if not passed]


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mutants", nargs="*", help="names; default: all")
    parser.add_argument("--first", action="store_true", help="stop at the first test that kills")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    names = options.mutants or [CLEAN, *MUTANTS]
    extras = {name: MUTANTS[name].needs for name in names if name != CLEAN}
    for name in [name for name, needs in extras.items() if needs and importlib.util.find_spec(needs) is None]:
        print(f"NOT TRIED: {name}: {extras[name]} is not installed")
        names = [other for other in names if other != name]

    def one(name: str) -> dict[str, bool]:
        result = run(name, first=options.first)
        print(f"{name}: {len(killers(result))} of {len(result)} tests fail", file=sys.stderr, flush=True)
        return result

    with ThreadPoolExecutor(options.jobs) as pool:
        results = dict(zip(names, pool.map(one, names), strict=True))
    columns = sorted({test for result in results.values() for test in result})
    print("\n".join(f"{k:3} {test}" for k, test in enumerate(columns)), "\n")
    for name, result in results.items():
        cells = "".join("." if result.get(test, True) else "x" for test in columns)
        print(f"{name:42} {cells}  {len(killers(result))} of {len(result)}")
    survivors = [name for name, result in results.items() if name != CLEAN and not killers(result)]
    alarms = killers(results.get(CLEAN, {}))
    broken = len([name for name in results if name != CLEAN])
    print(f"\n{broken - len(survivors)} of {broken} mutants killed; false alarms on the unbroken code: {len(alarms)}")
    print("".join(f"SURVIVES: {name}\n" for name in survivors), end="")
    if options.output:
        document = {"tests": columns, "killed_by": {name: killers(result) for name, result in results.items()}}
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if survivors or alarms else 0


if __name__ == "__main__":
    sys.exit(main())
