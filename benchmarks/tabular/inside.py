"""Runs inside a method's own virtual environment: one fit on codes, and synthetic codes in the same folder.

    python -P inside.py peers/dpmm.py folder

It knows the standard library and numpy, and the adapter that it is given by path. The folder holds
`task.json` (see `Task` in run.py), `schema.json` and `train.npz`; what comes of it is `synthetic.npz` and
`facts.json`. An adapter has

    PACKAGE                       the distribution
    fit(task, codes, folder)  ->  (draw, facts)

where `draw(n)` gives n rows of codes, and facts are what is worth noting beside the figures.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import runpy
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()

    task = json.loads((options.folder / "task.json").read_text())
    limit = int(task["gigabytes"] * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with np.load(options.folder / "train.npz") as stored:
        codes = stored["codes"]
    random.seed(task["seed"])
    np.random.seed(task["seed"])
    with suppress(ImportError):
        import torch

        torch.manual_seed(task["seed"])
    adapter = runpy.run_path(str(options.adapter))

    start = time.perf_counter()
    draw, facts = adapter["fit"](task, codes, options.folder)
    fitted = time.perf_counter()
    drawn = np.asarray(draw(len(codes)))
    sampled = time.perf_counter()

    sizes = np.array(list(task["domain"].values()))
    if drawn.shape != codes.shape or (drawn < 0).any() or (drawn >= sizes).any():
        raise SystemExit(f"not {len(codes)} rows of codes within the domain: shape {drawn.shape}")
    np.savez_compressed(options.folder / "synthetic.npz", codes=drawn.astype(np.int32))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    facts |= {"version": version(adapter["PACKAGE"]), "peak_MB": max(one.ru_maxrss for one in used) / 1000}
    facts |= {"cpu_seconds": sum(one.ru_utime + one.ru_stime for one in used)}
    facts |= {"fit_seconds": fitted - start, "sample_seconds": sampled - fitted}
    (options.folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
