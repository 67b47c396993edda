"""Rules map one value at a time, into what is declared, before anything else; whatever looks around is refused."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from synthkit.data import rules
from synthkit.data.encoding import to_frame
from synthkit.data.private import reveal
from synthkit.data.schema import Schema
from synthkit.data.tables import FrameSource, read
from synthkit.errors import DataError, JobError, SchemaError
from synthkit.privacy.ledger import Ledger
from synthkit.release.bundle import Verification
from synthkit.release.job import Job
from synthkit.release.run import run
from synthkit.release.seals import verify
from synthkit.secret_files import write_secret

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "people",
    "rows": 100,
    "unit": {"column": "person", "max_rows": 2},
    "columns": {
        "person": {"kind": "identifier"},
        "age": {"kind": "integer", "min": 0, "max": 90},
        "cost": {"kind": "continuous", "min": 0, "max": 1000, "decimals": 1},
        "zip": {"kind": "categorical", "categories": ["537", "021", "other"], "unknown": "other"},
        "seen": {"kind": "datetime", "min": "2024-01-15", "max": "2024-12-31"},
        "job": {"kind": "categorical", "categories": ["care", "craft", "clerk"]},
        "note": {"kind": "categorical", "categories": ["a", "b"], "nullable": True},
    },
    "rules": {
        "person": {"pseudonym": True},
        "age": {"top": 89, "width": 10},
        "cost": {"bottom": 10.0, "top": 500.0},
        "zip": {"prefix": 3},
        "seen": {"date": "month"},
        "job": {"tree": {"care": ["nurse", "doctor"], "craft": ["smith"]}},
        "note": {"suppress": ["b"]},
    },
}
RAW = pd.DataFrame(
    {
        "person": ["ann", "bob", "ann"],
        "age": [93, 41, 7],
        "cost": [3.21, 999.99, 77.77],
        "zip": ["53711", "02138", "99999"],
        "seen": ["2024-01-20", "2024-03-17T12:00", "2024-12-31"],
        "job": ["nurse", "smith", "clerk"],
        "note": ["a", "b", None],
    }
)


def schema(**changes: Any) -> Schema:
    return Schema.from_dict({**DOCUMENT, "rules": {**DOCUMENT["rules"], **changes}})


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_secret(tmp_path / "key", bytes(range(32)).hex().encode())
    monkeypatch.setenv(rules.KEY, str(tmp_path / "key"))
    return tmp_path / "key"


def became(frame: pd.DataFrame, public: Schema) -> pd.DataFrame:
    """What is behind the lock; tests may look."""
    return to_frame(reveal(read(FrameSource(frame), public, dataset="people")), public)


def test_each_value_becomes_what_its_rule_says() -> None:
    got = became(RAW, schema())
    assert got["age"].tolist() == [80, 40, 0]
    assert got["cost"].tolist() == [10.0, 500.0, 77.8]
    assert got["zip"].tolist() == ["537", "021", "other"]
    assert [f"{day:%Y-%m-%d}" for day in got["seen"]] == ["2024-01-15", "2024-03-01", "2024-12-01"]
    assert got["job"].tolist() == ["care", "craft", "clerk"]
    assert got["note"].tolist()[0] == "a" and got["note"].isna().tolist() == [False, True, True]
    assert "person" not in got


def test_a_row_becomes_the_same_whoever_else_is_there() -> None:
    rng = np.random.default_rng(0)
    many = RAW.iloc[rng.integers(0, 3, 50)].reset_index(drop=True).assign(age=rng.integers(0, 120, 50))
    together = rules.applied(many, schema(), source="many")
    alone = pd.concat([rules.applied(many.iloc[[n]], schema(), source="one") for n in range(50)])
    pd.testing.assert_frame_equal(together, alone)


def test_units_are_named_by_a_key(key: Path) -> None:
    named = rules.applied(RAW, schema(), source="raw")["person"]
    assert named[0] == hmac.new(bytes(range(32)), b'["person","ann"]', hashlib.sha256).hexdigest()
    units = reveal(read(FrameSource(RAW), schema(), dataset="people")).units
    assert units is not None and units[0] == units[2] != units[1]
    plain = Schema.from_dict({**DOCUMENT, "rules": {k: v for k, v in DOCUMENT["rules"].items() if k != "person"}})
    assert reveal(read(FrameSource(RAW), plain, dataset="people")).units[0] != units[0]  # type: ignore[index]


def test_a_key_must_be_there_be_long_and_be_nobody_elses(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key.chmod(0o644)
    with pytest.raises(JobError, match="others may read"):
        became(RAW, schema())
    key.chmod(0o600)
    key.write_text("00" * 15)
    with pytest.raises(JobError, match="128 bits or more"):
        became(RAW, schema())
    monkeypatch.delenv(rules.KEY)
    with pytest.raises(JobError, match="SYNTHKIT_PSEUDONYM_KEY"):
        became(RAW, schema())


def test_a_schema_with_rules_is_written_and_read_back() -> None:
    public = schema()
    assert Schema.from_dict(public.to_dict()) == public
    assert public.to_dict()["rules"] == DOCUMENT["rules"]


@pytest.mark.parametrize("name", ["k", "k_anonymity", "l_diversity", "t_closeness", "microaggregate", "quantile"])
def test_what_looks_at_other_rows_is_refused(name: str) -> None:
    with pytest.raises(SchemaError, match=f"rules.age: '{name}' looks at other rows.*no price would be right"):
        schema(age={name: 5})
    with pytest.raises(SchemaError, match="looks at other rows"):
        schema(**{name: 5})
    columns = {**DOCUMENT["columns"], "k": {"kind": "integer", "min": 0, "max": 9}}
    assert Schema.from_dict({**DOCUMENT, "columns": columns, "rules": {"k": {"top": 5}}})  # a column's name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ages": {"top": 5}}, "rules.ages: no such column"),
        ({"age": {"top": 95}}, r"between the declared min \(0\) and max \(90\)"),
        ({"age": {"width": 2.5}}, "widths are whole"),
        ({"zip": {"top": 5}}, "bounds and widths are for numbers"),
        ({"age": {"prefix": 1}}, "'prefix' is for categories"),
        ({"job": {"date": "month"}}, "of kind datetime"),
        ({"job": {"tree": {"cares": ["nurse"]}}}, "leads to 'cares'"),
        ({"job": {"tree": {"care": ["nurse"], "craft": ["nurse"]}}}, "lists a value twice"),
        ({"job": {"suppress": True}}, "declare 'nullable: true'"),
        ({"job": {"pseudonym": True}}, "pseudonyms are for identifiers"),
        ({"person": {"prefix": 1}}, "an identifier is never modelled"),
        ({"zip": {"prefix": 3, "suppress": ["x"]}}, "one kind of rule"),
        ({"zip": {"hash": True}}, "rules.zip"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        schema(**changes)


def test_values_that_cannot_be_read_are_counted_not_quoted() -> None:
    with pytest.raises(DataError, match="column age: 1 row with a value of the wrong type") as raised:
        became(RAW.astype({"age": object}).assign(age=["secretive", 4, 5]), schema())
    assert "secretive" not in str(raised.value)
    with pytest.raises(DataError, match="column job: holds values that its rule cannot read") as raised:
        became(RAW.assign(job=[["secretive"], "smith", "smith"]), schema())
    assert "secretive" not in str(raised.value) and raised.value.__context__ is None


def test_rules_go_before_an_anonymization_too() -> None:
    from synthkit.release.anonymizing import records

    unique = RAW.assign(person=["ann", "bob", "cid"])
    assert records(FrameSource(unique), schema())["age"].tolist() == [80, 40, 0]


def test_a_release_follows_rules_and_verifies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    many = RAW.iloc[rng.integers(0, 3, 400)].assign(
        person=[f"p{n}" for n in range(400)], age=rng.integers(0, 120, 400), note="b"
    )
    many.to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump({**schema().to_dict(), "reviewed": True}, sort_keys=False))
    job = {
        "version": 1, "dataset": "people", "data": {"path": "people.csv"}, "schema": "schema.yaml", "rows": 200,
        "budget": {"epsilon": 20.0, "delta": 1e-3}, "method": {"name": "independent"}, "holdout": 0, "output": "out",
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    made = run(Job.read(tmp_path / "job.yaml"), Ledger(tmp_path / "ledger.sqlite"))
    found = verify(made.folder)
    assert isinstance(found, Verification) and found.rows == 200
    assert made.manifest["schema"]["rules"] == DOCUMENT["rules"]
    drawn = pd.read_parquet(made.folder / "data.parquet")
    assert (drawn["note"] == "b").mean() < 0.2  # all of them were suppressed
    assert str(tmp_path / "key") not in (made.folder / "manifest.json").read_text()
