"""Our junction-tree inference against mbi (Private-PGM): same measurements, same answer, time of each.

    pip install mbi==2.0.0           # in an environment of its own
    python benchmarks/inference_mbi.py cases cases.npz
    python-with-mbi benchmarks/inference_mbi.py mbi cases.npz theirs.npz
    python benchmarks/inference_mbi.py compare cases.npz theirs.npz

``reference`` instead of ``compare`` writes the small case and mbi's answer to it, which a test holds.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SMALL = ((4, 3, 5, 2, 3), [(0, 1), (1, 2), (2, 3), (0, 3, 4), (1,)])
LARGE = (
    (16, 9, 16, 16, 7, 15, 6, 5, 2, 16, 16, 16, 40, 2),
    [*((j, 13) for j in range(13)), (0, 4), (3, 5), (4, 6, 13), (5, 11), (0, 11), (1, 5), (6, 8), (0, 3), (7, 12)],
)
ITERATIONS = {"small": (3_000, 200_000), "large": (300, 2_000)}  # ours, mbi's
SIGMA, ROWS = 30.0, 20_000


def cases() -> dict[str, Any]:
    """Noisy marginals of random rows."""
    made: dict[str, Any] = {}
    for name, (sizes, cliques) in (("small", SMALL), ("large", LARGE)):
        rng = np.random.default_rng(0)
        codes = np.stack([rng.choice(size, ROWS, p=rng.dirichlet(np.ones(size))) for size in sizes], axis=1)
        for left, right in itertools.pairwise(range(len(sizes))):  # neighbours depend
            follow = rng.random(ROWS) < 0.5
            codes[follow, right] = codes[follow, left] % sizes[right]
        for k, clique in enumerate(cliques):
            shape = [sizes[j] for j in clique]
            flat = np.ravel_multi_index([codes[:, j] for j in clique], shape)
            counts = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape) + rng.normal(0, SIGMA, shape)
            made[f"{name}.{k}"] = counts
    return made


def theirs(made: Any) -> dict[str, Any]:
    """mbi's marginals of every measured clique, in float64."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from mbi import Domain, LinearMeasurement, estimation

    found: dict[str, Any] = {}
    for name, (sizes, cliques) in (("small", SMALL), ("large", LARGE)):
        domain = Domain([str(j) for j in range(len(sizes))], list(sizes))
        measured = [
            LinearMeasurement(made[f"{name}.{k}"].ravel(), tuple(map(str, clique)), stddev=SIGMA)
            for k, clique in enumerate(cliques)
        ]
        for repeat in range(2):  # the first compiles
            start = time.perf_counter()
            model = estimation.MirrorDescent().estimate(
                domain, measured, known_total=float(ROWS), iters=ITERATIONS[name][1]
            )
            answers = [
                np.asarray(model.project(tuple(map(str, clique))).datavector(flatten=False)) for clique in cliques
            ]
            found[f"{name}.seconds.{repeat}"] = time.perf_counter() - start
        for k, answer in enumerate(answers):
            found[f"{name}.{k}"] = answer / ROWS
    return found


def ours(made: Any, name: str) -> tuple[list[np.ndarray], float]:
    """Our marginals of every measured clique, and seconds."""
    from synthkit.synthesizers.descent import Target, fit
    from synthkit.synthesizers.graphical import Graphical, junction_tree

    sizes, cliques = SMALL if name == "small" else LARGE
    targets = [Target(c, made[f"{name}.{k}"] / ROWS, (ROWS / SIGMA) ** 2) for k, c in enumerate(cliques)]
    start = time.perf_counter()
    tree = junction_tree(sizes, cliques)
    model = fit(Graphical(tree), targets, ITERATIONS[name][0])
    return [model.marginal(c).numpy() for c in cliques], time.perf_counter() - start


def main() -> None:
    task, path = sys.argv[1], Path(sys.argv[2])
    if task == "cases":
        np.savez(path, **cases())
        return
    made = np.load(path)
    if task == "mbi":
        np.savez(sys.argv[3], **theirs(made))
        return
    answers = np.load(sys.argv[3])
    if task == "reference":
        _write_reference(made, answers)
        return
    for name in ("small", "large"):
        mine, seconds = ours(made, name)
        other = [answers[f"{name}.{k}"] for k in range(len(mine))]
        worst = max(float(np.abs(left - right).max()) for left, right in zip(mine, other, strict=True))
        first, second = (float(answers[f"{name}.seconds.{repeat}"]) for repeat in range(2))
        own, its = ITERATIONS[name]
        print(
            f"{name}: largest difference of a probability {worst:.1e}\n"
            f"  ours: {own} iterations, loss {loss(made, name, mine):.4f}, {seconds:.2f} s\n"
            f"  mbi:  {its} iterations, loss {loss(made, name, other):.4f}, {first:.2f} s; compiled before: {second:.2f} s"
        )


def loss(made: Any, name: str, answers: list[np.ndarray]) -> float:
    """Half the sum of squared gaps, in variances of the noise."""
    gaps = [((answer * ROWS - made[f"{name}.{k}"]) / SIGMA).ravel() for k, answer in enumerate(answers)]
    return 0.5 * float((np.concatenate(gaps) ** 2).sum())


def _write_reference(made: Any, answers: Any) -> None:
    sizes, cliques = SMALL
    case = {
        "sizes": sizes,
        "targets": [
            {"columns": clique, "shares": (made[f"small.{k}"] / ROWS).tolist(), "weight": (ROWS / SIGMA) ** 2}
            for k, clique in enumerate(cliques)
        ],
        "marginals": [
            {"columns": clique, "shares": answers[f"small.{k}"].tolist()} for k, clique in enumerate(cliques)
        ],
    }
    home = Path(__file__).parents[1] / "tests" / "synthesizers" / "mbi.json"
    home.write_text(json.dumps(case, indent=None) + "\n")


if __name__ == "__main__":
    main()
