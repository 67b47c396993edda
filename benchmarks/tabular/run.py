"""Quality of synthetic tables: synthkit's methods and published ones, on the same codes, at the same epsilon and delta.

    python benchmarks/tabular/run.py --quick     # three tables: about two hours on two cores
    python benchmarks/tabular/run.py --full      # seven tables, five epsilons, three seeds: days

Every fit is a process of its own, with a limit on its time and memory; what has been run is kept and not run
again. See README.md for what is compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from adult import figures  # noqa: E402
from common import report  # noqa: E402
from environments import bounded, environment, install  # noqa: E402
from tables import NAMES, Split, split  # noqa: E402

from synthkit.assess import fidelity, utility  # noqa: E402
from synthkit.synthesizers.base import METHODS  # noqa: E402

DELTA = 1e-6
EPSILONS = (0.1, 0.3, 1.0, 3.0, 10.0)
GIGABYTES = 8.0


@dataclass(frozen=True)
class Entry:
    """One method of one package.

    Attributes:
        package: what is installed: synthkit itself, or a peer.
        adapter: the file in `peers`.
        method: its name there.
        private: it claims differential privacy.
        quick: settings for the quick comparison, where the defaults take longer than its limit.
        doubt: why its figure cannot be taken at its word.
    """

    package: str
    adapter: str
    method: str
    private: bool = True
    quick: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    doubt: str = ""

    @property
    def label(self) -> str:
        return f"{self.package} {self.method}"


_LEAKS = "reads the domain from the rows"
ENTRIES = (
    Entry("synthkit", "ours", "independent"),
    Entry("synthkit", "ours", "mst"),
    Entry("synthkit", "ours", "aim"),
    Entry("synthkit", "ours", "tabular_gan"),
    Entry("synthkit", "ours", "tabular_vae"),
    Entry("smartnoise-synth", "smartnoise", "mst"),
    Entry("dpmm", "dpmm", "mst"),
    Entry(
        "synthcity",
        "synthcity",
        "privbayes",
        doubt="scales its noise by 1/n though it is added to counts, so that there is next to none; " + _LEAKS,
    ),
    Entry(
        "mostlyai-engine",
        "mostlyai",
        "argn",
        quick={"max_training_time": 2},  # minutes
        doubt=_LEAKS + "; chooses its weights by an unpriced validation loss",
    ),
    Entry(
        "synthcity",
        "synthcity",
        "dpgan",
        quick={"n_iter": 100},
        doubt="encodes and stops early on exact values; " + _LEAKS,
    ),
    Entry("sdv", "sdv", "tvae", private=False, quick={"epochs": 50}),
    Entry("sdv", "sdv", "ctgan", private=False, quick={"epochs": 20}),
    Entry("dpmm", "dpmm", "aim"),
    Entry("smartnoise-synth", "smartnoise", "aim"),
)


@dataclass(frozen=True)
class Task:
    """One fit: a method on a table at an epsilon, and the seed of split and sampling."""

    entry: Entry
    table: str
    epsilon: float
    seed: int
    seconds: float
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The folder of its run, which the limit on time is no part of."""
        text = json.dumps([DELTA, sorted(self.settings.items())])
        digest = sha256(text.encode()).hexdigest()[:8]
        return f"{self.table}/{self.entry.label.replace(' ', '-')}-{self.epsilon:g}-{self.seed}-{digest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--quick", action="store_true")
    which.add_argument("--full", action="store_true")
    parser.add_argument("--tables", nargs="+", choices=NAMES, help="these alone")
    parser.add_argument("--methods", nargs="+", choices=[entry.label for entry in ENTRIES], help="these alone")
    parser.add_argument("--epsilons", nargs="+", type=float, choices=EPSILONS, help="these alone")
    parser.add_argument("--seeds", nargs="+", type=int, help="these alone")
    parser.add_argument("--fresh", nargs="+", default=[], metavar="METHOD", help="run these again")
    parser.add_argument("--seconds", type=float, help="limit of one fit, on a slow or busy machine")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start nothing after so long")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "synthkit-benchmarks")
    parser.add_argument(
        "--environments", type=Path, default=Path.home() / ".cache" / "scoreboard", help="shared with the scoreboard"
    )
    parser.add_argument("-o", "--output", type=Path, help="default: results/quick.json or full.json beside this file")
    options = parser.parse_args()
    cache = options.cache.expanduser().resolve()
    if cache.is_relative_to(HERE.parents[1].resolve()):
        parser.error(f"--cache must lie outside the repository, not at {options.cache}")

    until = time.monotonic() + 60 * options.minutes
    rows: list[dict[str, Any]] = []
    pythons: dict[str, tuple[str, str]] = {}
    for task in {task.key: task for task in (quick() if options.quick else full())}.values():
        if options.tables and task.table not in options.tables:
            continue
        if options.methods and task.entry.label not in options.methods:
            continue
        if options.epsilons and task.entry.private and task.epsilon not in options.epsilons:
            continue
        if options.seeds and task.seed not in options.seeds:
            continue
        if options.seconds:
            task = dataclasses.replace(task, seconds=options.seconds)
        again = task.entry.label in options.fresh
        row = kept(task, cache) if not again else None
        if row is None and time.monotonic() < until:
            adapter = task.entry.adapter
            if adapter not in pythons:
                pythons[adapter] = python_of(adapter, options.environments.expanduser().resolve())
            row = run(task, cache, *pythons[adapter])
        if row is not None:
            rows.append(row)
    for name, seed in dict.fromkeys((row["table"], row["seed"]) for row in rows):
        rows.append(real(name, seed, cache))
    path = options.output or HERE / "results" / ("quick.json" if options.quick else "full.json")
    path.parent.mkdir(exist_ok=True)
    rows.sort(key=lambda row: (NAMES.index(row["table"]), row["epsilon"] or 0, row["method"], row["seed"]))
    report(f"tabular, {'quick' if options.quick else 'full'}, delta {DELTA:g}", rows, path)
    print(f"{path} is written; python {HERE / 'show.py'} {path} puts it into the README and draws it")


def quick() -> Iterator[Task]:
    """Every method on Adult once, on a narrow and on a small, wide table twice; then the epsilons on the narrow one."""
    for table, seeds, epsilons in (
        ("adult", (0,), (1.0,)),
        ("default", (0, 1), (1.0,)),
        ("breast_cancer", (0, 1), (1.0,)),
        ("default", (0,), EPSILONS),
    ):
        for entry in ENTRIES:
            for epsilon in epsilons if entry.private else (math.inf,):
                for seed in seeds:
                    yield Task(entry, table, epsilon, seed, 240.0, entry.quick)


def full() -> Iterator[Task]:
    """Everything: the quick ones' tables first, so that whoever stops it has something."""
    for table in ("default", "adult", "breast_cancer", "diabetes", "randhie", "digits", "caravan"):
        for seed in range(3):
            for entry in ENTRIES:
                for epsilon in EPSILONS if entry.private else (math.inf,):
                    yield Task(entry, table, epsilon, seed, 3600.0, {})


def python_of(adapter: str, environments: Path) -> tuple[str, str]:
    """The Python that an adapter runs in, and why there is none."""
    if adapter == "ours":
        return sys.executable, ""
    print(f"{adapter}: environment", file=sys.stderr, flush=True)
    pins = HERE.parent / "scoreboard" / "peers" / f"{adapter}.txt"
    python, failure = install(pins, environments / adapter, 1200)
    return str(python), f"not installed: {failure}" if failure else ""


def kept(task: Task, cache: Path) -> dict[str, Any] | None:
    """What an earlier run came to, unless it ended at a shorter limit."""
    path = cache / "runs" / task.key / "row.json"
    if not path.exists():
        return None
    row: dict[str, Any] = json.loads(path.read_text())
    return None if row.get("limit", task.seconds) < task.seconds else row


def run(task: Task, cache: Path, python: str, failure: str) -> dict[str, Any] | None:
    """One fit in its own process, and its figures; None where synthkit has no such method."""
    entry = task.entry
    if entry.adapter == "ours" and entry.method not in METHODS:
        print(f"synthkit has no method {entry.method}: skipped", file=sys.stderr, flush=True)
        return None
    row: dict[str, Any] = {
        "table": task.table,
        "method": entry.label,
        "epsilon": task.epsilon if entry.private else None,
        "seed": task.seed,
        "settings": dict(task.settings),
    }
    if failure:
        return row | {"failure": failure}
    data = split(task.table, task.seed, cache)
    folder = cache / "runs" / task.key
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    hand_over(task, data, folder)
    command = [python, "-P", "-B", str(HERE / "inside.py"), str(HERE / "peers" / f"{entry.adapter}.py"), str(folder)]
    start = time.perf_counter()
    code, said = bounded(command, task.seconds, environment(), cwd=folder)
    row |= {"seconds": round(time.perf_counter() - start, 1), "load": round(os.getloadavg()[0], 1)}
    (folder / "log.txt").write_text(said)
    if code is None:
        row |= {"failure": f"no result in {task.seconds:g} s", "limit": task.seconds}
    elif code:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        row |= {"failure": lines[-1][:200] if lines else f"exit code {code}"}
    else:
        with np.load(folder / "synthetic.npz") as stored:
            row |= scored(stored["codes"], data)
        row |= json.loads((folder / "facts.json").read_text())
    shutil.rmtree(folder / "workspace", ignore_errors=True)
    (folder / "row.json").write_text(json.dumps(row))
    print(" ".join(f"{key}={value}" for key, value in row.items()), file=sys.stderr, flush=True)
    return row


def hand_over(task: Task, data: Split, folder: Path) -> None:
    """What a method may know: codes of the training rows and, as public, the domain and the schema."""
    document = {
        "method": task.entry.method,
        "epsilon": task.epsilon if task.entry.private else None,
        "delta": DELTA,
        "seed": task.seed,
        "gigabytes": GIGABYTES,
        "settings": dict(task.settings),
        "domain": data.schema.domain,
    }
    (folder / "task.json").write_text(json.dumps(document))
    (folder / "schema.json").write_text(json.dumps(data.schema.to_dict()))
    np.savez_compressed(folder / "train.npz", codes=data.train)


def scored(codes: np.ndarray, data: Split) -> dict[str, Any]:
    """Exact figures. Where the synthetic target has one class there is no model to train: its AUC counts as 0.5."""
    found: dict[str, Any] = figures(codes, data.train, data.test, data.schema)
    missing = [f"auc_{name}" for name in utility.MODELS if f"auc_{name}" not in found]
    return found | dict.fromkeys(missing, 0.5) | ({"one_class": True} if missing else {})


def real(name: str, seed: int, cache: Path) -> dict[str, Any]:
    """The training rows themselves: what models learn from them, and the distance of the test rows (the floor)."""
    path = cache / "runs" / name / f"real-{seed}.json"
    if path.exists():
        row: dict[str, Any] = json.loads(path.read_text())
        return row
    data = split(name, seed, cache)
    row = {"table": name, "method": "real rows", "epsilon": None, "seed": seed, "settings": {}}
    row |= scored(data.train, data)
    for order in (1, 2):
        asked = fidelity.queries(data.schema, order)
        row[f"tvd_{order}way"] = fidelity.mean_distance(data.train, data.test, data.schema, asked)
    row |= {"rows": len(data.train), "columns": len(data.schema.domain)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row))
    return row


def doubts(labels: Sequence[str]) -> dict[str, str]:
    """Why some figures cannot be taken at their word, by label."""
    return {entry.label: entry.doubt for entry in ENTRIES if entry.doubt and entry.label in labels}


if __name__ == "__main__":
    main()
