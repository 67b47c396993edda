"""The steward's release file: what is accepted, and how what is not is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from synthkit.data.tables import FileSource, SampleSource, SqlSource
from synthkit.errors import InputError, JobError, SchemaError
from synthkit.privacy.budget import Adjacency
from synthkit.release.job import Job
from synthkit.release.run import price
from tests.tables import schema


def write(folder: Path, text: str | None = None, **changes: object) -> Path:
    """A release file beside its schema; ``changes`` replace top-level keys (None removes one)."""
    document: dict[str, object] = {
        "version": 1,
        "dataset": "people",
        "data": {"path": "people.csv"},
        "schema": "people.schema.yaml",
        "budget": {"epsilon": 1.0, "delta": 1e-6, "adjacency": "add-or-remove"},
        "method": {"name": "independent"},
        "rows": 100,
        "holdout": 0.2,
        "output": "release",
    }
    document.update(changes)
    document = {key: value for key, value in document.items() if value is not None}
    (folder / "people.schema.yaml").write_text(yaml.safe_dump(schema().to_dict(), sort_keys=False))
    file = folder / "release.yaml"
    file.write_text(text if text is not None else yaml.safe_dump(document, sort_keys=False))
    return file


def test_a_complete_file(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path, method={"name": "tabular_gan", "iterations": 7}, internal="allow", model=True))
    assert job.source == FileSource(tmp_path / "people.csv")
    assert (job.dataset, job.rows, job.output, job.holdout) == ("people", 100, tmp_path / "release", 0.2)
    assert job.settings == {"iterations": 7} and job.internal and job.model
    assert job.budget.adjacency is Adjacency.ADD_OR_REMOVE
    assert job.schema == schema()


def test_numbers_in_scientific_notation(tmp_path: Path) -> None:
    text = write(tmp_path).read_text().replace("1.0e-06", "1e-6")
    assert Job.read(write(tmp_path, text)).budget.delta == 1e-6


def test_samples_bring_their_schema(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path, data={"sample": "adult"}, schema=None))
    assert job.source == SampleSource("adult") and job.schema.name == "adult"


def test_database_urls_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, data={"sql": "$PEOPLE_URL", "query": "SELECT * FROM people"})
    with pytest.raises(JobError, match="PEOPLE_URL, which is not set"):
        Job.read(file)
    monkeypatch.setenv("PEOPLE_URL", "sqlite:///people.db")
    assert Job.read(file).source == SqlSource("sqlite:///people.db", "SELECT * FROM people")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version is 2; this synthkit reads version 1"),
        ({"version": None}, "version is None"),
        ({"budget": {"epsilon": 0, "delta": 1e-6}}, "epsilon is 0.0; it must be a finite number above 0"),
        ({"budget": {"epsilon": -1, "delta": 1e-6}}, "epsilon is -1.0"),
        ({"budget": {"epsilon": float("inf"), "delta": 1e-6}}, "epsilon is inf"),
        ({"budget": {"epsilon": float("nan"), "delta": 1e-6}}, "epsilon is nan"),
        ({"budget": {"epsilon": 1.0}}, "'delta' is a required property"),
        ({"budget": {"epsilon": 1.0, "delta": 0}}, "delta is 0.0; it must lie between 0 and 1"),
        ({"budget": {"epsilon": 1.0, "delta": 1.5}}, "delta is 1.5"),
        ({"budget": {"epsilon": 1.0, "delta": 1e-6, "adjacency": "swap"}}, "use add-or-remove or replace-one"),
        ({"budget": {"epsilon": "1", "delta": 1e-6}}, "is not of type 'number'"),
        ({"rows": 0}, "less than the minimum of 1"),
        ({"rows": 1.5}, "not of type 'integer'"),
        ({"holdout": 1.0}, "holdout"),
        ({"outputs": "x"}, "'outputs' was unexpected"),
        ({"dataset": None}, "'dataset' is a required property"),
        ({"data": {"path": "a", "sql": "b"}}, "data"),
        ({"schema": None}, "no schema"),
        ({"internal": True}, "internal"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(JobError) as caught:
        Job.read(write(tmp_path, **changes))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_duplicate_keys_name_both_lines(tmp_path: Path) -> None:
    text = write(tmp_path).read_text() + "rows: 200\n"
    with pytest.raises(JobError, match=r"'rows' appears twice \(first on line"):
        Job.read(write(tmp_path, text))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"nowhere\.yaml: no such file"):
        Job.read(tmp_path / "nowhere.yaml")
    with pytest.raises(SchemaError, match=r"other\.yaml: no such file"):
        Job.read(write(tmp_path, schema="other.yaml"))


def test_delta_above_one_in_rows_is_refused(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path, budget={"epsilon": 1.0, "delta": 0.01}))
    with pytest.raises(JobError, match=r"above 1/rows = 0\.0025"):
        price(job)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"name": "gan"}, "there is no method 'gan'; there are aim, auto, image_gan"),
        ({"name": "independent", "epochs": 3}, "method independent has no setting epochs"),
        ({"name": "tabular_gan", "batch": "many"}, "batch is 'many'"),
    ],
)
def test_bad_methods_are_refused(tmp_path: Path, method: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        price(Job.read(write(tmp_path, method=method)))


@pytest.mark.parametrize("holdout", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_a_price_needs_no_data_and_spends_the_budget(tmp_path: Path, holdout: float, adjacency: Adjacency) -> None:
    budget = {"epsilon": 1.0, "delta": 1e-6, "adjacency": adjacency.value}
    priced = price(Job.read(write(tmp_path, holdout=holdout, budget=budget)))
    assert not (tmp_path / "people.csv").exists()
    assert 0.99 < priced.epsilon <= 1.0
    assert (priced.holdout is None) == (holdout == 0.0)
