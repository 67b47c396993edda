"""Other people's packages, each in a virtual environment of its own, as oracles. Slow tests alone need them, and a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))

from environments import environment, install  # noqa: E402  (the benchmarks share it)

HOME = Path(os.environ.get("SYNTHKIT_PEERS", Path(tempfile.gettempdir()) / "synthkit-peers"))


def asked(peer: str, question: Path) -> Any:
    """What ``PEER_inside.py`` answers, in the environment that ``PEER.txt`` pins. Skips where it cannot be installed."""
    python, failure = install(HERE / f"{peer}.txt", HOME / peer, 900)
    if failure:
        pytest.skip(f"{peer} cannot be installed here: {failure}")
    command = [str(python), str(HERE / f"{peer}_inside.py"), str(question)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


__all__ = ["asked"]
