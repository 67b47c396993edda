"""What is asked of a peer's artefacts. Every answer is one of four words, with one line of evidence."""

from __future__ import annotations

import itertools
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from tables import AGE, KINDS, TEXT, WEIGHT, Tables

from synthkit.audit import forensics

Status = Literal["found", "not found", "not applicable", "did not run"]
_SAMPLED_ROWS = 100
_SLACK = 1e-9
_WEIGHTS_ONLY = frozenset({"collections", "torch", "torch._utils"})


@dataclass(frozen=True)
class Finding:
    """One cell of the table."""

    status: Status
    evidence: str = ""


@dataclass(frozen=True)
class Run:
    """One fit in the peer's environment, and where its artefacts are; or why there are none."""

    folder: Path
    facts: Mapping[str, Any]
    walk: Mapping[str, Any]
    failure: str = ""

    @property
    def model(self) -> Path:
        """What was saved, or the dump of the fitted object where the peer cannot save."""
        return self.folder / "model" if self.facts.get("saves", True) else self.folder / "object.bin"

    @property
    def kept_as(self) -> str:
        return str(self.facts.get("kept_as", "saved model"))

    def synthetic(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "synthetic.csv")


Runs = Mapping[str, Run]
Check = Callable[[Runs, Tables], Finding]


def unseen_category(runs: Runs, tables: Tables) -> Finding:
    """One row with an occupation that nobody else has: does its name come out?"""
    run = runs["category"]
    if run.failure:
        return Finding("did not run", run.failure)
    places = {"model": run.model, "synthetic rows": run.folder / "synthetic.csv", "log": run.folder / "log.txt"}
    found = forensics.search(places, {"occupation": TEXT})
    where = sorted({item.where.removeprefix("model/") for item in found})
    rows = int((run.synthetic()["occupation"].astype(str) == TEXT).sum())
    before, after = (_categories(runs[name]) for name in ("base", "category"))
    grew = f"; categories {before} -> {after}" if before and after and before != after else ""
    told = [runs[name].facts.get("distinct", {}).get("occupation") for name in ("base", "category")]
    if not found and told == [tables.base["occupation"].nunique(), tables.category["occupation"].nunique()]:
        return Finding(
            "found", f"not by name, but the model tells how many occupations the rows have: {told[0]} -> {told[1]}"
        )
    if not found:
        return Finding("not found", f"domain of occupation: {before} -> {after} categories" if before else "")
    return Finding("found", f"the one row's text is in: {_few(where)}; in {rows} synthetic rows{grew}")


def outlier_bound(runs: Runs, tables: Tables) -> Finding:
    """One row older and heavier than all: does a bound move to exactly it?"""
    left, right = runs["base"], runs["outlier"]
    if left.failure or right.failure:
        return Finding("did not run", left.failure or right.failure)
    shown = []
    for name, value in (("age", AGE), ("weight", WEIGHT)):
        top = float(tables.base[name].max())
        bounds = [run.facts.get("domain", {}).get(name, {}).get("upper") for run in (left, right)]
        # float32 keeps 24 bits
        if None not in bounds and np.allclose(bounds, [top, value], rtol=1e-6, atol=0):
            shown.append(f"{name}: upper bound in the model {_number(bounds[0])} -> {_number(bounds[1])}")
        high = float(right.synthetic()[name].max())
        if np.isclose(high, value, rtol=1e-6, atol=0):
            shown.append(f"{name}: largest synthetic value {_number(high)}")
    return Finding("found", "; ".join(shown)) if shown else Finding("not found")


def raw_values(runs: Runs, tables: Tables) -> Finding:
    """How many rows' unique numbers are in what was saved?"""
    return _worst(runs, tables, _raw_values)


def _raw_values(run: Run, pair: Run, tables: Tables) -> Finding:
    chosen = np.random.default_rng(0).choice(len(tables.base), _SAMPLED_ROWS, replace=False)
    weights = {str(k): float(tables.base["weight"].iloc[k]) for k in chosen}
    kept = [w for w in weights.values() if len(repr(w).replace(".", "").rstrip("0")) >= 6]
    planted = {f"row {k}": w for k, w in enumerate(kept)}
    found = forensics.search({"model": run.model}, planted)
    rows = {item.planted for item in found}
    places = sorted({item.where.removeprefix("model/") for item in found})
    for name, content in _files(run.model):  # pickle writes Python's floats with the high byte first
        held = {row for row, weight in planted.items() if struct.pack(">d", weight) in content}
        rows |= held
        places += [name] if held and name not in places else []
    if not rows:
        return Finding("not found", f"0 of {len(planted)} sampled rows' weights are in the {run.kept_as}")
    return Finding(
        "found", f"weights of {len(rows)} of {len(planted)} sampled rows are in the {run.kept_as}: {_few(places)}"
    )


def row_count(runs: Runs, tables: Tables) -> Finding:
    """Is there a number in the model that is n, and n + 1 with one more row?"""
    return _worst(runs, tables, _row_count)


def _row_count(run: Run, pair: Run, tables: Tables) -> Finding:
    n = len(tables.base)
    paths = [
        path for path, value in run.walk["numbers"].items() if value == n and pair.walk["numbers"].get(path) == n + 1
    ]
    paths += [
        f"{path} (length)"
        for path, shape in run.walk["shapes"].items()
        if n in shape and n + 1 in pair.walk["shapes"].get(path, [])
    ]
    paths += [
        f"{left} + {right}"
        for left, right in _siblings(run.walk["numbers"])
        if run.walk["numbers"][left] + run.walk["numbers"][right] == n
        and pair.walk["numbers"].get(left, 0) + pair.walk["numbers"].get(right, 0) == n + 1
    ]
    if not paths:
        return Finding("not found")
    return Finding("found", f"{n} -> {n + 1} at {len(paths)} places of the {run.kept_as}, e.g. {min(paths, key=len)}")


def _siblings(numbers: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Pairs of sizeable whole numbers that stand beside each other, as the sizes of two parts of the rows do."""
    beside: dict[str, list[str]] = {}
    for path, value in numbers.items():
        if value >= 100 and value.is_integer():
            beside.setdefault(path[: max(path.rfind("["), path.rfind("."))], []).append(path)
    for paths in beside.values():
        yield from itertools.combinations(paths[:50], 2)


def frequencies(runs: Runs, tables: Tables) -> Finding:
    """Is there a vector in the model that holds a column's exact counts?"""
    return _worst(runs, tables, _frequencies)


def _frequencies(run: Run, pair: Run, tables: Tables) -> Finding:
    shown = []
    for name in (name for name, kind in KINDS.items() if kind == "categorical"):
        counts = np.sort(tables.base[name].value_counts().to_numpy().astype(float))
        if len(counts) < 4:
            continue
        logs = np.log(counts + 1)
        forms = {"counts": counts, "shares": counts / counts.sum(), "shares of logarithms": logs / logs.sum()}
        for path, vector in run.walk["vectors"].items():
            values = np.asarray(vector)
            values = np.sort(values[values != 0])
            for form, exact in forms.items():
                if len(values) == len(exact) and np.allclose(values, exact, rtol=1e-6, atol=0):
                    shown.append(f"{name}: exact {form} at {path}")
    if not shown:
        return Finding("not found")
    return Finding("found", f"{len(shown)} vectors of the {run.kept_as}, e.g. {min(shown, key=len)}")


def fixed_seed(runs: Runs, tables: Tables) -> Finding:
    """Two processes, no seed given: are the synthetic rows the same, byte for byte?"""
    left, right = runs["unseeded 1"], runs["unseeded 2"]
    if left.failure or right.failure:
        return Finding("did not run", left.failure or right.failure)
    same = (left.folder / "synthetic.csv").read_bytes() == (right.folder / "synthetic.csv").read_bytes()
    if same:
        return Finding("found", "two fits in two processes without a seed gave byte-identical synthetic rows")
    return Finding("not found", "two processes without a seed gave different rows")


def budget(runs: Runs, tables: Tables) -> Finding:
    """Does the peer itself report more epsilon than was asked for?"""
    run = runs["base"]
    if run.failure:
        return Finding("did not run", run.failure)
    asked, reported = run.facts.get("asked"), run.facts.get("reported")
    if asked is None:
        return Finding("not applicable", "no differential privacy is claimed")
    if reported is None:
        return Finding("not applicable", "it reports no spending after a fit")
    shown = f"asked {asked:g}, reports {reported:.4g} ({run.facts.get('how', '')})"
    return Finding("found" if reported > asked * (1 + _SLACK) else "not found", shown)


def pickled(runs: Runs, tables: Tables) -> Finding:
    """Is anything in the saved model a pickle that can run code when it is loaded?"""
    run = runs["base"]
    if run.failure:
        return Finding("did not run", run.failure)
    if not run.facts.get("saves", True):
        return Finding("not applicable", "neither save nor pickle works")
    named = {name: called for name, content in _files(run.model) if (called := _imported(content))}
    if not named:
        return Finding("not found")
    packages = sorted({module.split(".")[0] for called in named.values() for module in called})
    return Finding("found", f"{_few(sorted(named))}: loading it imports and calls into {_few(packages, 6)}")


def copies(runs: Runs, tables: Tables) -> Finding:
    """How many synthetic rows carry a training row's unique number?"""
    return _worst(runs, tables, _copies)


def _copies(run: Run, pair: Run, tables: Tables) -> Finding:
    real = set(tables.base["weight"].round(3))
    synthetic = run.synthetic()["weight"]
    hits = int(synthetic.round(3).isin(real).sum())
    carried = {float(value) for value in synthetic.round(3) if value in real}
    shown = (
        f"{hits} of {len(synthetic)} synthetic rows carry the weight of a training row ({len(carried)} different ones"
    )
    shown += ", the lightest or the heaviest)" if carried and carried <= {min(real), max(real)} else ")"
    # By chance: fewer than one (2,000 in 2,000 in some 10^9 values); whole numbers cannot match.
    return Finding("found" if hits >= 5 else "not found", shown)


def rebuilt(runs: Runs, tables: Tables) -> Finding:
    """Where an adapter knows how: training rows put together again from the saved model."""
    run = runs["base"]
    if run.failure:
        return Finding("did not run", run.failure)
    path = run.folder / "rebuilt.csv"
    if not path.exists():
        return Finding("not applicable", "no reconstruction is written for it")
    got = pd.read_csv(path)
    if len(got) != len(tables.base):
        return Finding("not found", f"{len(got)} rows were put together, not {len(tables.base)}")
    discrete = [name for name in got if KINDS[name] == "categorical"]
    same = (got[discrete].astype(str).to_numpy() == tables.base[discrete].astype(str).to_numpy()).all(axis=1)
    shown = f"{same.sum()} of {len(got)} training rows from the model alone, in order: {len(discrete)} discrete columns"
    if "weight" in got:
        close = same & np.isclose(got["weight"], tables.base["weight"], rtol=0, atol=0.01)
        shown += f", and for {close.sum()} of them the weight to within 0.01"
    return Finding("found" if same.any() else "not found", shown)


CHECKS: Mapping[str, Check] = {
    "unseen category": unseen_category,
    "outlier bound": outlier_bound,
    "raw values": raw_values,
    "row count": row_count,
    "frequencies": frequencies,
    "rows rebuilt": rebuilt,
    "copies": copies,
    "fixed seed": fixed_seed,
    "over budget": budget,
    "pickle": pickled,
}

FORENSIC = frozenset({"unseen category", "raw values", "rows rebuilt", "copies", "pickle"})  # need no claim of privacy


def _worst(runs: Runs, tables: Tables, check: Callable[[Run, Run, Tables], Finding]) -> Finding:
    """Where the domain was declared, and where it was not; a finding under a declared domain weighs more."""
    answers: dict[str, Finding] = {}
    for how, left, right in (("domain declared", "declared", "declared ordinary"), ("no domain", "base", "category")):
        if left not in runs:
            continue
        failure = runs[left].failure or runs[right].failure
        answers[how] = Finding("did not run", failure) if failure else check(runs[left], runs[right], tables)
    for status in ("found", "not found", "did not run"):
        if hows := [how for how, answer in answers.items() if answer.status == status]:
            answer = answers[hows[0]]
            return Finding(answer.status, f"{' and '.join(hows)}: {answer.evidence}".removesuffix(": "))
    return Finding("not applicable")


def _categories(run: Run) -> int:
    return len(run.facts.get("domain", {}).get("occupation", {}).get("categories", ()))


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if not path.is_file():
            continue
        yield path.name, path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path.name}/{name}", archive.read(name)) for name in archive.namelist())


def _imported(content: bytes) -> set[str]:
    """Modules that loading a pickle imports, beyond what torch's weights-only loader allows; empty for other bytes."""
    if content[:1] != b"\x80":
        return set()
    modules: set[str] = set()
    memo: dict[Any, str] = {}
    pushed: list[str] = ["", ""]  # the last texts on the stack: STACK_GLOBAL takes a module and a name
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "GLOBAL":
                modules.add(str(argument).split(" ")[0])
            elif opcode.name == "STACK_GLOBAL":
                modules.add(pushed[-2])
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = pushed[-1]
            elif opcode.name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = pushed[-1]
            elif opcode.name in ("BINGET", "LONG_BINGET"):
                pushed.append(memo.get(argument, ""))
            else:
                pushed.append(argument if isinstance(argument, str) else "")
    except Exception:  # raw arrays stand between the opcodes of some formats: what came before them counts
        return {module for module in modules if module and module not in _WEIGHTS_ONLY}
    return {module for module in modules if module and module not in _WEIGHTS_ONLY}


def _few(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _number(value: float) -> str:
    return f"{value:.10g}"


__all__ = ["CHECKS", "FORENSIC", "Finding", "Run", "Runs", "Status"]
