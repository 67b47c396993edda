"""Virtual environments for other people's packages, and processes in them that end in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def install(pins: Path, home: Path, timeout: float) -> tuple[Path, str]:
    """An environment in ``home``, made anew where its pins changed: its Python, and why it failed if it did.

    The pins are complete, so pip is told to resolve nothing: `--no-deps`.
    """
    python, stamp = home / "bin" / "python", home / "pins.txt"
    if python.exists() and stamp.exists() and stamp.read_text() == pins.read_text():
        return python, ""
    home.parent.mkdir(parents=True, exist_ok=True)
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "-q", "--no-deps", "-r", str(pins)],
    ]
    for command in commands:
        code, said = bounded(command, timeout, dict(os.environ))
        if code:
            lines = [line for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
            return python, lines[-1][:300] if lines else f"exit code {code}"
    stamp.write_text(pins.read_text())  # last: without it the environment is made again
    return python, ""


def environment() -> dict[str, str]:
    """One thread, no accelerator, no network for model hubs, nothing of our own on the path."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    return kept | threads | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "default"}


def bounded(
    command: list[str], timeout: float, variables: Mapping[str, str], cwd: Path | None = None
) -> tuple[int | None, str]:
    """Exit code (None: out of time) and all that was said. Out of time, the whole process group ends."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=dict(variables),
        cwd=cwd,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return None, said
    return process.returncode, said


__all__ = ["bounded", "environment", "install"]
