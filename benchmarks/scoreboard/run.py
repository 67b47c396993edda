"""A scoreboard: published synthesizers, each in its own environment, attacked with the same few checks.

    python benchmarks/scoreboard/run.py --peer dpmm
    python benchmarks/scoreboard/run.py --all -o scoreboard.json

For every peer a virtual environment is made from the pins in `peers/<name>.txt`, outside the repository.
Every fit is a process of its own there, with a limit on its time. See README.md for what is checked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from checks import CHECKS, FORENSIC, Finding, Run
from inside import write
from tables import KINDS, Tables, tables

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from environments import bounded, environment, install  # noqa: E402

SEED = 7


@dataclass(frozen=True)
class Peer:
    """A peer.

    Attributes:
        package: its distribution.
        methods: what of it is attacked.
        declares: its adapter can hand it a public domain.
        private: it claims differential privacy; where it does not, forensics and copies are all that is asked.
    """

    package: str
    methods: tuple[str, ...]
    declares: bool = True
    private: bool = True


PEERS: Mapping[str, Peer] = {
    "dpmm": Peer("dpmm", ("mst", "privbayes")),
    "sdv": Peer("sdv", ("gaussian_copula", "ctgan"), declares=False, private=False),
    "smartnoise": Peer("smartnoise-synth", ("mst", "aim", "dpctgan", "patectgan")),
    "mostlyai": Peer("mostlyai-engine", ("argn",), declares=False),
    "synthcity": Peer("synthcity", ("privbayes", "aim", "dpgan", "pategan"), declares=False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--peer", choices=sorted(PEERS))
    which.add_argument("--all", action="store_true")
    parser.add_argument("--method", help="only this one of the peer's methods")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "scoreboard", help="environments and runs"
    )
    parser.add_argument("--install-timeout", type=float, default=1200, metavar="SECONDS")
    parser.add_argument("--fit-timeout", type=float, default=300, metavar="SECONDS")
    parser.add_argument(
        "--reuse", action="store_true", help="check again what earlier fits left; fit only what is missing"
    )
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    cache = options.cache.expanduser().resolve()
    if cache.is_relative_to(HERE.parents[1].resolve()):
        parser.error(f"--cache must lie outside the repository, not at {options.cache}")
    rows: list[dict[str, Any]] = []
    for name in PEERS if options.all else [options.peer]:
        if options.method and options.method not in PEERS[name].methods:
            parser.error(f"{name} has no method {options.method!r}; there are: {', '.join(PEERS[name].methods)}")
        rows += attack(name, cache, options.method, options.install_timeout, options.fit_timeout, options.reuse)
    show(rows)
    if options.output:
        facts = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "python": sys.version.split()[0]}
        write(options.output, json.dumps({"scoreboard": facts, "rows": rows}, indent=1) + "\n")


def attack(
    name: str, cache: Path, method: str | None, install_timeout: float, fit_timeout: float, reuse: bool
) -> list[dict[str, Any]]:
    """Every method of one peer: its fits, then the checks on what they left."""
    peer = PEERS[name]
    methods = [method] if method else list(peer.methods)
    print(f"{name}: environment", file=sys.stderr, flush=True)
    python, failure = install(HERE / "peers" / f"{name}.txt", cache / name, install_timeout)
    if failure:
        return [
            row(peer, m, "", {c: Finding("did not run", f"did not install: {failure}") for c in CHECKS})
            for m in methods
        ]
    data = tables()
    rows = []
    for one in methods:
        folder = cache / "runs" / name / one
        if not reuse:
            shutil.rmtree(folder, ignore_errors=True)
        start = time.perf_counter()
        runs = fits(name, one, python, data, folder, fit_timeout)
        findings = {}
        for check, ask in CHECKS.items():
            if not peer.private and check not in FORENSIC:
                findings[check] = Finding("not applicable", "it claims no differential privacy")
                continue
            try:
                findings[check] = ask(runs, data)
            except Exception as error:  # one check that fails must not hide the others
                findings[check] = Finding("did not run", f"the check failed: {type(error).__name__}: {error}")
        version = next((run.facts["version"] for run in runs.values() if not run.failure), "")
        rows.append(row(peer, one, version, findings, round(time.perf_counter() - start)))
    return rows


def row(peer: Peer, method: str, version: str, findings: Mapping[str, Finding], seconds: int = 0) -> dict[str, Any]:
    named = {check: asdict(finding) for check, finding in findings.items()}
    return {"peer": peer.package, "version": version, "method": method, "findings": named, "seconds": seconds}


def fits(name: str, method: str, python: Path, data: Tables, folder: Path, timeout: float) -> dict[str, Run]:
    """Every fit that the checks need."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "kinds.json", json.dumps(KINDS))
    write(folder / "public.json", json.dumps(data.public))
    for table in ("base", "ordinary", "category", "outlier"):
        getattr(data, table).to_csv(folder / f"{table}.csv", index=False)
    wanted: dict[str, tuple[str, bool, bool]] = {  # table, seeded, domain declared
        "base": ("base", True, False),
        "category": ("category", True, False),
        "outlier": ("outlier", True, False),
        "unseeded 1": ("base", False, False),
        "unseeded 2": ("base", False, False),
    }
    if PEERS[name].declares:
        wanted |= {"declared": ("base", True, True), "declared ordinary": ("ordinary", True, True)}
    runs: dict[str, Run] = {}
    for label, (table, seeded, declared) in wanted.items():
        out = folder / label.replace(" ", "-")
        if (out / "log.txt").exists():
            runs[label] = collected(out)
            continue
        if runs and "ran out of time" in runs["base"].failure:  # the others are as large
            runs[label] = runs["base"]
            continue
        print(f"{name} {method}: {label}", file=sys.stderr, flush=True)
        out.mkdir(exist_ok=True)
        command = [
            str(python),
            "-P",
            "-B",
            str(HERE / "inside.py"),
            str(HERE / "peers" / f"{name}.py"),
            "--method",
            method,
        ]
        command += ["--table", str(folder / f"{table}.csv"), "--kinds", str(folder / "kinds.json"), "--out", str(out)]
        command += ["--seed", str(SEED)] if seeded else []
        command += ["--public", str(folder / "public.json")] if declared else []
        code, said = bounded(command, timeout, environment(), cwd=out)
        write(out / "log.txt", said if code is not None else f"{said}\nran out of time: {timeout:g} seconds")
        runs[label] = collected(out)
    return runs


def collected(out: Path) -> Run:
    """What one fit left. The facts are written last: where they are, the fit is complete."""
    if (out / "facts.json").exists():
        facts, walk = (json.loads((out / f"{name}.json").read_text()) for name in ("facts", "walk"))
        return Run(out, facts, walk)
    log = (out / "log.txt").read_text() if (out / "log.txt").exists() else "it was never started"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return Run(out, {}, {}, lines[-1][:300] if lines else "it ended without a word")


def show(rows: list[dict[str, Any]]) -> None:
    """The table, then the evidence, as Markdown."""
    names = [f"{row['peer']} {row['version']} {row['method']}".replace("  ", " ") for row in rows]
    print("| peer and method | " + " | ".join(CHECKS) + " |")
    print("| --- |" + " --- |" * len(CHECKS))
    for row, name in zip(rows, names, strict=True):
        cells = [row["findings"][check]["status"] for check in CHECKS]
        print(f"| {name} | " + " | ".join(f"**{cell}**" if cell == "found" else cell for cell in cells) + " |")
    for row, name in zip(rows, names, strict=True):
        print(f"\n{name} ({row['seconds']} s)")
        for check, finding in row["findings"].items():
            print(f"- {check}: {finding['status']}" + (f": {finding['evidence']}" if finding["evidence"] else ""))


if __name__ == "__main__":
    main()
