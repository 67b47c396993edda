"""A release that copies people is caught, one that knows nobody is not, and a bad attack is no evidence."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from synthkit.assess.reidentification import rows_of
from synthkit.audit.risks import Attacked, Rate, Rows, attack_all, inference, linkability, singling_out
from synthkit.cli import main
from synthkit.data import samples
from synthkit.data.encoding import from_frame, to_frame
from synthkit.data.tables import FrameSource
from synthkit.errors import InputError, PolicyDenied
from synthkit.privacy.budget import Budget
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.noise import NoiseSource
from synthkit.release import internal
from synthkit.release import risks as attacked
from synthkit.release.job import Job
from synthkit.release.permission import Asker
from synthkit.release.run import run
from tests.tables import frame, schema

ADULT = samples.schema("adult")
KNOWN = ["age", "education", "marital_status", "occupation", "relationship", "race", "sex", "hours_per_week"]


def adult(leak: float, rows: int = 2_000) -> dict[str, Any]:
    """Adult in three parts, of which the third stands for a synthetic table; a share of it is copied from the first."""
    people = pd.read_parquet(samples.path("adult")).sample(3 * rows, random_state=0)
    original, control, synthetic = (people.iloc[k * rows : (k + 1) * rows] for k in range(3))
    copied = int(leak * rows)
    return {
        "original": original,
        "control": control,
        "synthetic": pd.concat([original.iloc[:copied], synthetic.iloc[copied:]]),
    }


def attack(parts: dict[str, Any], folder: Path, **settings: Any) -> dict[str, Attacked]:
    parts["synthetic"].to_parquet(folder / "synthetic.parquet", index=False)
    found = attacked.risks(
        folder / "synthetic.parquet",
        FrameSource(parts["original"]),
        FrameSource(parts["control"]),
        ADULT,
        dataset="adult",
        **{"auxiliary": KNOWN, "secrets": ["occupation"], "attacks": 300, **settings},
    )
    return {one.name.partition(" by")[0].partition(" of")[0] + one.name[-9:] * ("by" in one.name): one for one in found}


def test_a_release_with_three_tenths_of_copies_is_caught(tmp_path: Path) -> None:
    found = attack(adult(0.3), tmp_path)
    assert found["singling out 1 column"].verdict == "risk found"
    assert found["linkability"].verdict == "risk found"
    assert found["inference"].verdict == "risk found"
    assert found["linkability"].interval[0] > 0


def test_independent_people_are_not_a_risk(tmp_path: Path) -> None:
    for name, one in attack(adult(0.0), tmp_path).items():
        assert one.verdict in ("no evidence", "no risk found"), name
        assert one.interval[0] == 0


def test_what_is_copied_whole_is_found_in_full(tmp_path: Path) -> None:
    found = attack(adult(1.0), tmp_path, attacks=200)
    assert found["singling out 1 column"].main.successes == found["singling out 1 column"].main.attacks
    assert found["inference"].main.successes > 170  # some have doubles
    assert found["linkability"].risk > 0.1


def test_an_attack_that_does_not_beat_guessing_is_no_evidence() -> None:
    rng = np.random.default_rng(0)
    tables = [Rows(rng.integers(0, 5, (400, 4)).astype(float), (False,) * 4, ("a", "b", "c", "d")) for _ in range(3)]
    found = inference(*tables, ["a", "b", "c"], "d", attacks=200, rng=rng)
    assert found.verdict == "no evidence"
    found = linkability(*tables, ["a", "b"], ["c", "d"], attacks=200, rng=rng)
    assert found.verdict == "no evidence"


def test_where_nothing_isolates_a_row_there_is_no_evidence() -> None:
    rng = np.random.default_rng(0)
    doubled = Rows(np.repeat(rng.integers(0, 3, (50, 3)), 2, axis=0).astype(float), (False,) * 3, ("a", "b", "c"))
    found = singling_out(doubled, doubled, doubled, columns=3, attacks=50, rng=rng)
    assert found.verdict == "no evidence" and found.main.successes == 0


@pytest.mark.parametrize(("successes", "attacks"), [(0, 10), (3, 10), (10, 10), (250, 500)])
def test_the_interval_is_wilsons(successes: int, attacks: int) -> None:
    low, high = Rate(successes, attacks).between()
    z, share = 1.959964, successes / attacks
    for end in (low, high):  # the ends solve (p - share)^2 = z^2 p (1 - p) / n
        assert (end - share) ** 2 == pytest.approx(z**2 * end * (1 - end) / attacks, abs=1e-9)
    assert low <= share <= high


def test_the_risk_is_what_the_control_left_open() -> None:
    found = Attacked("x", Rate(600, 1000), Rate(200, 1000), Rate(10, 1000))
    assert found.risk == pytest.approx((0.6 - 0.2) / 0.8, abs=2e-3)
    (main, by_main), (control, by_control) = found.main.wilson(), found.control.wilson()
    half = math.hypot(by_main / (1 - control), by_control * (main - 1) / (1 - control) ** 2)
    assert found.interval == pytest.approx((found.risk - half, found.risk + half))
    assert Attacked("x", Rate(5, 100), Rate(50, 100), Rate(0, 100)).risk == 0


def test_many_attacks_ask_for_more_each() -> None:
    close = Attacked("x", Rate(22, 100), Rate(11, 100), Rate(3, 100))
    assert close.interval[0] > 0 and close.verdict == "risk found"
    rng = np.random.default_rng(0)
    tables = [Rows(rng.integers(0, 5, (60, 3)).astype(float), (True,) * 3, ("a", "b", "c")) for _ in range(3)]
    found = attack_all(*tables, attacks=20, secrets=["a", "b"])
    assert len(found) == 5 and found[0].strict == pytest.approx(2.5758, abs=1e-3)
    assert Attacked(close.name, close.main, close.control, close.baseline, found[0].strict).verdict == "no risk found"


def test_nulls_are_values_and_numbers_are_near() -> None:
    nan = math.nan
    synthetic = Rows(
        np.array([[0.0, 0.0, 7.0], [100.0, 1.0, 8.0], [nan, 2.0, 9.0]]), (True, False, True), ("n", "l", "s")
    )
    people = Rows(np.array([[9.0, 0.0, 7.1], [90.0, 1.0, 8.9], [nan, 2.0, 9.0]]), (True, False, True), ("n", "l", "s"))
    found = inference(people, people, synthetic, ["n", "l"], "s", attacks=9, rng=np.random.default_rng(0))
    assert (found.main.successes, found.main.attacks) == (2, 3)  # 7 is within 5% of 7.1, 8 is not of 8.9


def test_it_is_the_same_again_and_what_makes_no_sense_is_refused() -> None:
    rng = np.random.default_rng(0)
    tables = [Rows(rng.integers(0, 5, (60, 3)).astype(float), (True,) * 3, ("a", "b", "c")) for _ in range(3)]
    assert attack_all(*tables, attacks=20) == attack_all(*tables, attacks=20)
    with pytest.raises(InputError, match="too few rows"):
        attack_all(*tables[:2], Rows(np.zeros((1, 3)), (True,) * 3, ("a", "b", "c")))
    with pytest.raises(InputError, match="same columns"):
        attack_all(*tables[:2], Rows(np.zeros((9, 3)), (True,) * 3, ("a", "b", "x")))
    with pytest.raises(InputError, match="no column 'x'"):
        attack_all(*tables, auxiliary=["a", "b", "x"], attacks=5)


# The command


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def tables(tmp_path: Path) -> list[str | Path]:
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema().to_dict(), sort_keys=False))
    for seed, name in enumerate(("original", "control", "synthetic")):
        frame(300, seed=seed).to_csv(tmp_path / f"{name}.csv", index=False)
    given = ["--original", "original.csv", "--control", "control.csv", "--schema", "schema.yaml"]
    paths = [tmp_path / word if "." in word else word for word in given]
    return ["audit", "risks", tmp_path / "synthetic.csv", *paths, "--on", "people", "--attacks", "100"]


def test_the_command_tells_the_steward_alone(tables: list[str | Path], tmp_path: Path) -> None:
    shown = call(*tables, "-o", tmp_path / "risks.json")
    assert shown.exit_code == 0, shown.output
    assert "INTERNAL" in shown.output and "inference of ill" in shown.output
    assert (tmp_path / "risks.json").stat().st_mode & 0o777 == 0o600
    written = json.loads((tmp_path / "risks.json").read_text())
    assert written["warning"].startswith("INTERNAL") and len(written["attacks"]) == 4
    assert call(*tables, "-o", tmp_path / "risks.json").exit_code == 2
    leaking = [tmp_path / "original.csv" if word == tmp_path / "synthetic.csv" else word for word in tables]
    found = call(*leaking, "--json", "--knows", "age", "--knows", "income", "--secret", "region")
    assert found.exit_code == 0  # internal figures decide nothing
    assert any(one["verdict"] == "risk found" for one in json.loads(found.output)["attacks"])
    assert "is not modelled" in call(*tables, "--secret", "nobody").output


def test_the_policy_is_asked_before_real_rows_are_opened(tables: list[str | Path], tmp_path: Path) -> None:
    with pytest.raises(PolicyDenied):
        missing = FrameSource(pd.DataFrame())
        attacked.risks(
            tmp_path / "none.csv", missing, missing, schema(), dataset="people", asker=Asker(None, "researcher", "any")
        )
    assert call(*tables, "--as", "researcher").exit_code == 1


# Of a bundle whose internal folder kept the rows


@pytest.fixture
def bundled(tmp_path: Path) -> Path:
    return release(tmp_path)


def release(folder: Path, **changes: Any) -> Path:
    public = schema(rows=500)
    asked = Job("people", FrameSource(frame(500)), public, Budget(2.0, 1e-5), "independent", 400, folder / "out")
    asked = replace(asked, **{"holdout": 0.4, "internal": True, **changes})
    return run(asked, Ledger(folder / "ledger.sqlite"), noise=NoiseSource(test_seed=1)).folder


def test_the_internal_folder_has_what_the_attack_needs(bundled: Path) -> None:
    shown = call("audit", "risks", bundled, "--attacks", "100")
    assert shown.exit_code == 0, shown.output
    assert "INTERNAL" in shown.output and "inference of ill" in shown.output
    written = bundled.with_name("out.internal") / "risks.json"
    assert written.stat().st_mode & 0o777 == 0o600 and str(written) in shown.output
    told = json.loads(written.read_text())
    assert told["warning"].startswith("INTERNAL") and len(told["bundle"]) == 64 and len(told["attacks"]) == 4
    membership = call("audit", "release", bundled, "--against", "holdout")
    assert membership.exit_code == 0 and "membership.json" in membership.output + str(list(written.parent.iterdir()))


def test_rows_are_those_of_the_release(bundled: Path) -> None:
    """Every real row is in one of the two parts, exactly as it was; of a table that copies, the attack finds it."""
    rows = internal.kept(bundled)
    both = [to_frame(part, rows.schema) for part in (rows.training, rows.held)]
    assert len(both[0]) + len(both[1]) == 500 and 120 < len(both[1]) < 280
    real = to_frame(from_frame(frame(500), schema()), schema())
    key = ["age", "income", "region"]
    assert sorted(pd.concat(both)[key].astype(str).agg("|".join, axis=1)) == sorted(
        real[key].astype(str).agg("|".join, axis=1)
    )
    copied = replace(rows, synthetic=rows.training)
    made = [rows_of(table, rows.schema) for table in (copied.training, copied.held, copied.synthetic)]
    assert all(one.verdict == "risk found" for one in attack_all(*made, attacks=150))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--original", "o.csv"], "--control, --schema, --on missing: name all of --original"),
        (["--secret", "nobody"], "column 'nobody' is not modelled"),
        (["--knows", "nobody"], "column 'nobody' is not modelled"),
        (["--as", "nobody"], "nobody"),
    ],
)
def test_what_does_not_fit_is_said(bundled: Path, words: list[str], told: str) -> None:
    shown = call("audit", "risks", bundled, *words)
    assert shown.exit_code in (1, 2) and told in shown.output, shown.output
    assert not (bundled.with_name("out.internal") / "risks.json").exists()


def test_without_the_internal_folder_it_says_where_rows_may_come_from(tmp_path: Path) -> None:
    shown = call("audit", "risks", release(tmp_path, internal=False))
    assert shown.exit_code == 2 and "'internal: allow'" in shown.output and "--original" in shown.output
    none = call("audit", "risks", tmp_path / "synthetic.csv")
    assert none.exit_code == 2 and "is no bundle; name the rows" in none.output


def test_without_a_holdout_there_is_no_control(tmp_path: Path) -> None:
    shown = call("audit", "risks", release(tmp_path, holdout=0.0))
    assert shown.exit_code == 2 and "too few rows on one side" in shown.output


def test_a_changed_bundle_is_not_attacked(bundled: Path) -> None:
    (bundled / "data.csv").write_bytes((bundled / "data.csv").read_bytes() + b"\n")
    shown = call("audit", "risks", bundled)
    assert shown.exit_code == 1 and "data.csv" in shown.output
