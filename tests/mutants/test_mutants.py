"""The mutants stay applicable, and a broken copy is what a test gets. ``make mutants`` lets the bench kill them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.loader import VARIABLE, patched

ROOT = Path(__file__).parents[2]


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 24
    assert all(mutant.why for mutant in MUTANTS.values())


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_the_patch_applies(name: str) -> None:
    """Each patch names a place that exists just once, and what comes of it is Python."""
    for file, patches in MUTANTS[name].files.items():
        compile(patched((ROOT / file).read_text("utf-8"), patches), file, "exec")


def test_a_mutant_is_what_gets_imported() -> None:
    code = "import tests.mutants.loader as l; l.install(); import inspect, synthkit.privacy.session as s; print(l.__name__)"
    code += (
        "; from synthkit.privacy.noise import NoiseSource as N; print(N().words(2).tolist() == N().words(2).tolist())"
    )
    seen = []
    for name in ("fixed seed", "noise x0.7"):
        environment = {**os.environ, VARIABLE: name}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        seen.append(done.stdout.split()[-1])
    assert seen == ["True", "False"]
