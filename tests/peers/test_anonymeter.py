"""The three risks are Anonymeter's on Adult: each within the other's confidence interval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synthkit.audit.risks import Attacked
from synthkit.data.tables import FrameSource
from synthkit.release import risks
from tests.audit.test_risks import ADULT, KNOWN, adult
from tests.peers.environments import asked

ATTACKS = 1_500
SECRET = "occupation"


def ours(parts: dict[str, Any], folder: Path) -> dict[str, Attacked]:
    parts["synthetic"].to_parquet(folder / "synthetic.parquet", index=False)
    original, control = FrameSource(parts["original"]), FrameSource(parts["control"])
    found = risks.risks(
        folder / "synthetic.parquet", original, control, ADULT, dataset="adult",
        auxiliary=KNOWN, secrets=[SECRET], attacks=ATTACKS,
    )  # fmt: skip
    return dict(zip(("singling out", "several columns", "linkability", "inference"), found, strict=True))


@pytest.mark.slow
def test_each_risk_is_within_the_others_interval(tmp_path: Path) -> None:
    found = {}
    for name, leak in (("independent", 0.0), ("leaking", 0.3)):
        folder = tmp_path / "question" / name
        folder.mkdir(parents=True)
        parts = adult(leak)
        found[name] = ours(parts, tmp_path)
        for part, table in parts.items():
            table[list(ADULT.modelled)].to_csv(folder / f"{part}.csv", index=False)
        singling = found[name]["singling out"].main.attacks  # so many predicates isolate a synthetic row
        document = {"attacks": ATTACKS, "singling": singling, "known": KNOWN, "secret": SECRET}
        (folder / "asked.json").write_text(json.dumps(document))
    theirs = asked("anonymeter", tmp_path / "question")
    for name, attacks in found.items():
        for attack, expected in theirs[name].items():
            mine = attacks[attack]
            assert mine.interval[0] <= expected["risk"] <= mine.interval[1], (name, attack, expected, mine)
            assert expected["low"] <= mine.risk <= expected["high"], (name, attack, expected, mine)
    assert found["leaking"]["inference"].verdict == found["leaking"]["linkability"].verdict == "risk found"
    assert all(one.interval[0] == 0 for one in found["independent"].values())
