"""Linked tables from Python: priced, booked, refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from synthkit.cli import main
from synthkit.data.linked import LinkedSchema
from synthkit.data.tables import FileSource, write_csv
from synthkit.errors import BudgetExceeded, DataError, JobError, UnreviewedSchema
from synthkit.privacy.budget import Budget
from synthkit.privacy.ledger import Ledger
from synthkit.release.linked import fit_linked, price_linked
from tests.linked import frames, linked

QUICK: dict[str, Any] = {"parents": "independent", "child_settings": {"iterations": 5}}
PUBLIC = linked()
BUDGET = Budget(2.0, 1e-5, unit=PUBLIC.unit)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_it_is_booked_as_it_was_priced(ledger: Ledger) -> None:
    model = fit_linked(*frames(), PUBLIC, BUDGET, dataset="hospital", settings=QUICK, ledger=ledger)
    assert len(model.sample(10).parents) == 10
    assert ledger.spent("hospital").epsilon == pytest.approx(price_linked(PUBLIC, BUDGET, QUICK).epsilon)


def test_files_are_read_and_the_model_is_no_model_of_one_table(ledger: Ledger, tmp_path: Path) -> None:
    sources = []
    for name, data in zip(("patients", "visits"), frames(), strict=True):
        write_csv(data, tmp_path / f"{name}.csv")
        sources.append(FileSource(tmp_path / f"{name}.csv"))
    model = fit_linked(*sources, PUBLIC, BUDGET, dataset="hospital", settings=QUICK, ledger=ledger)
    model.save(tmp_path / "model")
    done = CliRunner().invoke(main, ["sample", str(tmp_path / "model"), "--rows", "5", "-o", str(tmp_path / "x.csv")])
    assert done.exit_code == 2 and "linked tables" in done.output and not (tmp_path / "x.csv").exists()
    done = CliRunner().invoke(main, ["sample", str(tmp_path / "model"), "--rows", "5", "-o", str(tmp_path / "x")])
    assert done.exit_code == 0 and {path.name for path in (tmp_path / "x").iterdir()} == {
        f"{name}.{ending}" for name in ("patients", "visits") for ending in ("csv", "parquet")
    }


def test_what_is_refused_costs_nothing(ledger: Ledger) -> None:
    patients, visits = frames()
    unreviewed = LinkedSchema(PUBLIC.parent, replace(PUBLIC.child, reviewed=False))

    def fit(kind: type[Exception], words: str, **changes: Any) -> None:
        given = {"parents": patients, "children": visits, "schema": PUBLIC, "budget": BUDGET, "settings": QUICK}
        with pytest.raises(kind, match=words):
            fit_linked(**{**given, **changes}, dataset="hospital", ledger=ledger)

    fit(UnreviewedSchema, "schema visits is not reviewed", schema=unreviewed)
    fit(JobError, "budget's unit is row", budget=Budget(1.0, 1e-5))
    fit(JobError, "above 1/rows", budget=replace(BUDGET, delta=0.1))
    fit(JobError, "setting", settings={"epsilon": 3})
    fit(DataError, "not in the data", children=visits.drop(columns="ward"))
    fit(DataError, "without a parent", parents=patients.iloc[1:].iloc[:-50])
    fit(DataError, "an earlier row", parents=patients.iloc[[0, *range(len(patients))]])
    assert ledger.spent("hospital").epsilon == 0
    ledger.cap("hospital", epsilon=1.0, delta=1e-5)
    fit(BudgetExceeded, "cap")
