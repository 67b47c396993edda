"""Two linked tables from file to bundle: priced, split by parents, assessed, written, verified, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner, Result

import synthkit as sk
from synthkit.assess import linked as linked_report
from synthkit.audit import linked as neighbours
from synthkit.audit.replay import replay
from synthkit.cli import main
from synthkit.data.linked import LinkedSchema, LinkedSource
from synthkit.data.schema import Boolean, Schema
from synthkit.data.tables import FileSource, FrameSource
from synthkit.errors import (
    BudgetExceeded,
    DataError,
    InputError,
    JobError,
    SchemaError,
    UnreviewedSchema,
    VerificationFailed,
)
from synthkit.privacy import links
from synthkit.privacy.budget import Adjacency
from synthkit.privacy.noise import NoiseSource
from synthkit.release import attack, bundle, compliance, report
from synthkit.release.job import Job
from synthkit.release.run import Release, price, run
from synthkit.synthesizers.linked import LinkedModel, LinkedSynthetic
from tests.linked import frames, linked
from tests.release.forging import refresh

_LINKED = linked()
PUBLIC = LinkedSchema(  # two classes to predict, both of which every synthetic table shows
    _LINKED.parent, replace(_LINKED.child, columns={**_LINKED.child.columns, "readmitted": Boolean()})
)
METHOD: dict[str, Any] = {"name": "linked", "parents": "independent", "child_settings": {"iterations": 5}}
SECRET = "zq-secret-771"


def write(folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame] | None = None, **changes: Any) -> Path:
    """A release file beside its schemas and tables; ``changes`` replace top-level keys (None removes one)."""
    for part, table in zip((PUBLIC.parent, PUBLIC.child), rows or frames(), strict=True):
        text = yaml.safe_dump(part.to_dict(), sort_keys=False)
        (folder / f"{part.name}.schema.yaml").write_text(text)
        table.to_csv(folder / f"{part.name}.csv", index=False)
    tables = {
        role: {"schema": f"{name}.schema.yaml", "data": {"path": f"{name}.csv"}}
        for role, name in (("parent", "patients"), ("child", "visits"))
    }
    document = {
        "version": 1,
        "dataset": "hospital",
        "tables": tables,
        "budget": {"epsilon": 2.0, "delta": 1e-5},
        "method": METHOD,
        "rows": 150,
        "holdout": 0.3,
        "output": "release",
    }
    document = {key: value for key, value in {**document, **changes}.items() if value is not None}
    file = folder / "release.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


@pytest.fixture
def ledger(tmp_path: Path) -> sk.Ledger:
    return sk.Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("linked")


@pytest.fixture(scope="module")
def made(folder: Path) -> Release:
    """A release that holds its model."""
    return run(Job.read(write(folder, model=True)), sk.Ledger(folder / "ledger.sqlite"))


@pytest.fixture
def copy(made: Release, tmp_path: Path) -> Path:
    shutil.copytree(made.folder, tmp_path / "copy")
    return tmp_path / "copy"


# The file


def test_a_release_file_of_two_tables(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path))
    assert job.source == LinkedSource(FileSource(tmp_path / "patients.csv"), FileSource(tmp_path / "visits.csv"))
    assert job.schema == PUBLIC and job.budget.unit == PUBLIC.unit
    assert (job.method, job.settings["parents"], job.rows) == ("linked", "independent", 150)


def test_the_method_may_be_left_out(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path, method=None))
    assert (job.method, job.settings) == ("linked", {})


BAD_FILES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "tables and data": ({"data": {"path": "patients.csv"}}, ("'tables' is for two linked tables", "'data' for one")),
    "tables and schema": ({"schema": "patients.schema.yaml"}, ("'schema' for one", "keep one of the two")),
    "neither": ({"tables": None}, ("'data' is a required property",)),
    "a method for one table": ({"method": {"name": "aim"}}, ("method.name is 'aim'", "write 'name: linked'")),
    "no guarantee": ({"method": {"name": "sdv_baseline"}}, ("a method for one table",)),
    "parents without a guarantee": ({"method": {**METHOD, "parents": "sdv_baseline"}}, ("no privacy guarantee",)),
    "an unknown setting": ({"method": {**METHOD, "depth": 3}}, ("method linked has no setting depth", "share")),
    "a share of everything": ({"method": {**METHOD, "share": 1.0}}, ("share is 1.0", "0.01 to 0.99")),
    "settings that are none": ({"method": {**METHOD, "child_settings": "few"}}, ("child_settings is 'few'",)),
    "a holdout of everything": ({"holdout": 1}, ("holdout",)),
    "one table": ({"tables": {"parent": {"schema": "a", "data": {"path": "b"}}}}, ("'child' is a required property",)),
    "three tables": (
        {"tables": {role: {"schema": "a", "data": {"path": "b"}} for role in ("parent", "child", "grandchild")}},
        ("'grandchild' was unexpected", "known are parent, child"),
    ),
    "no schema of a table": (
        {"tables": {role: {"data": {"path": "b"}} for role in ("parent", "child")}},
        ("tables.child: 'schema' is a required property",),
    ),
    "a holdout of a table": (
        {"tables": {r: {"schema": "a", "data": {"path": "b"}, "holdout": 0.1} for r in ("parent", "child")}},
        ("'holdout' was unexpected", "known are schema, data"),
    ),
    "parent and child swapped": (
        {
            "tables": {
                role: {"schema": f"{name}.schema.yaml", "data": {"path": f"{name}.csv"}}
                for role, name in (("parent", "visits"), ("child", "patients"))
            }
        },
        ("tables", "the parent's unit is patient (at most 3 rows)"),
    ),
    "the same file twice": (
        {
            "tables": {
                role: {"schema": "patients.schema.yaml", "data": {"path": "patients.csv"}}
                for role in ("parent", "child")
            }
        },
        ("have the same name",),
    ),
    "delta above one in parents": ({"budget": {"epsilon": 1.0, "delta": 0.01}}, ("above 1/rows = 0.0025",)),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_contradictions_say_where_and_what_to_do(tmp_path: Path, ledger: sk.Ledger, case: str) -> None:
    changes, words = BAD_FILES[case]
    file = write(tmp_path, **changes)
    for verb in (lambda: price(Job.read(file)), lambda: run(Job.read(file), ledger)):
        with pytest.raises(InputError) as caught:
            verb()
        assert all(word in str(caught.value) for word in words), str(caught.value)
    assert ledger.entries() == [] and not (tmp_path / "release").exists()


def test_linked_is_no_method_of_one_table(tmp_path: Path) -> None:
    one = {"tables": None, "data": {"path": "patients.csv"}, "schema": "patients.schema.yaml"}
    with pytest.raises(JobError, match="name them by 'tables'"):
        Job.read(write(tmp_path, **one))


def test_jobs_that_contradict_themselves_in_python(tmp_path: Path) -> None:
    job = Job.read(write(tmp_path))
    assert isinstance(job.source, LinkedSource)
    for changes in ({"source": job.source.parents}, {"method": "aim", "settings": {}}):
        with pytest.raises(JobError, match="linked tables need two sources"):
            price(replace(job, **changes))
    with pytest.raises(JobError, match="two sources need a LinkedSchema"):
        price(replace(job, schema=PUBLIC.parent))


def test_tables_are_named_as_files_may_be() -> None:
    for name in ("visits/2024", "", "..", "besuche ä", "Patients"):
        with pytest.raises(SchemaError, match=r"same name|name of a file"):
            LinkedSchema(PUBLIC.parent, replace(PUBLIC.child, name=name))


# The price


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("holdout", [0.0, 0.3])
def test_a_price_needs_no_data_and_spends_the_budget(tmp_path: Path, adjacency: Adjacency, holdout: float) -> None:
    budget = {"epsilon": 2.0, "delta": 1e-5, "adjacency": adjacency.value}
    file = write(tmp_path, budget=budget, holdout=holdout)
    for name in ("patients.csv", "visits.csv"):
        (tmp_path / name).unlink()
    priced = price(Job.read(file))
    assert 1.98 < priced.epsilon <= 2.0
    assert (priced.holdout is None) == (holdout == 0.0)


def test_what_runs_is_what_was_priced(made: Release, folder: Path) -> None:
    priced = price(Job.read(folder / "release.yaml"))
    assert made.epsilon == pytest.approx(priced.epsilon, rel=1e-6)
    assert sk.Ledger(folder / "ledger.sqlite").spent("hospital").epsilon == pytest.approx(priced.epsilon, rel=1e-6)
    assert priced.holdout is not None
    for part, plan in zip(made.manifest["parts"], (priced.training, priced.holdout), strict=True):
        assert part["epsilon"] == pytest.approx(plan.epsilon, rel=1e-6)


# The bundle


def test_a_bundle_holds_both_tables_and_verifies(made: Release) -> None:
    names = {f"{name}.{ending}" for name in ("patients", "visits") for ending in ("csv", "parquet", "schema.yaml")}
    assert {path.name for path in made.folder.iterdir()} == {
        *names,
        "manifest.json",
        "report.html",
        "gate.json",
        "log.json",
        "label.json",
        "croissant.json",
        "datasheet.md",
        "model",
    }
    found = sk.verify(made.folder)
    assert found.private and found.epsilon == pytest.approx(made.epsilon) and found.rows == 150
    patients, visits = (pd.read_csv(made.folder / f"{name}.csv") for name in ("patients", "visits"))
    assert [(table.name, table.rows) for table in found.tables] == [("patients", 150), ("visits", len(visits))]
    assert list(patients["patient"]) == list(range(1, 151)) and "visit" not in visits
    assert set(visits["patient"]) <= set(patients["patient"]) and visits["patient"].value_counts().max() <= 3
    assert LinkedSchema.read(*(made.folder / f"{name}.schema.yaml" for name in ("patients", "visits"))) == PUBLIC


def test_the_manifest_says_of_both_tables_what_it_says_of_one(made: Release) -> None:
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert not {"schema", "rows", "columns"} & set(manifest)
    for table, public in zip(manifest["tables"].values(), (PUBLIC.parent, PUBLIC.child), strict=True):
        assert Schema.from_dict(table["schema"]) == public
        assert len(pd.read_parquet(made.folder / f"{public.name}.parquet")) == table["rows"]
        assert {f"{public.name}.csv", f"{public.name}.parquet"} <= set(manifest["files"])
    assert manifest["guarantee"]["unit"] == "patient (at most 4 rows)" == str(PUBLIC.unit)
    assert [part["name"] for part in manifest["parts"]] == ["training", "holdout"]
    assert manifest["method"]["settings"]["parents"] == "independent"
    for part in manifest["parts"]:  # a parent is one row of its table, and three of the children's
        bounds = {"patients": set(), "visits": set()}
        for charge in part["charges"]:
            bounds[charge["what"].partition(":")[0]].add(round(charge["norm_bound"], 6))
        assert bounds["patients"] == {1.0}
        assert bounds["visits"] >= {3.0} and min(bounds["visits"]) == 3.0


def test_a_compliance_report_of_both_tables(made: Release) -> None:
    found = compliance.report(made.folder, ["hipaa-safe-harbor", "nist-sp-800-226"])
    assert {column.table for column in found.dossier.columns} == {part.name for part in (PUBLIC.parent, PUBLIC.child)}
    states = {r.rule.name: r for entry in found.audits for r in entry.requirements}
    assert states["unit"].state == states["composition"].state == "pass"
    told = states["names"].evidence[0].found
    assert f"{PUBLIC.parent.name}." in told and f"{PUBLIC.child.name}." in told
    assert not any(f".{made.manifest['budget']['unit']['column']}" in entry.found for entry in states["names"].evidence)


def test_figures_are_of_both_tables_and_of_the_link(made: Release) -> None:
    names = {figure.name for figure in made.evidence}
    assert {
        "patients.fidelity.tvd_1way",
        "patients.fidelity.tvd_2way_floor",
        "visits.fidelity.tvd_2way",
        "visits.utility.tstr_auc_logistic",
        "link.tvd_number",
        "link.tvd_number_floor",
        "link.tvd_2way",
    } <= names
    assert not any(name.startswith("patients.utility") for name in names), "patients have no target"
    for figure in made.evidence:
        assert figure.payment == ("free" if figure.name.endswith("_floor") else "charged")
        assert figure.interval is not None and figure.interval[0] <= figure.value <= figure.interval[1]


def test_nothing_internal_and_no_private_number_is_in_the_bundle(made: Release) -> None:
    manifest = made.manifest
    assert {figure["payment"] for figure in manifest["evidence"]} == {"free", "charged"}
    text = (made.folder / "manifest.json").read_text() + (made.folder / "report.html").read_text()
    assert "internal" not in text.replace("internal figures", "") and "exact_" not in text
    assert "patient 7" not in text and made.internal is None
    assert all("rows" not in part for part in manifest["parts"])


def test_the_report_speaks_of_both_tables(made: Release) -> None:
    page = (made.folder / "report.html").read_text()
    rows = made.manifest["tables"]["child"]["rows"]
    assert f"patients (150 rows, 4 columns) and visits ({rows} rows, 6 columns)" in page
    assert "one patient: the row in patients and all rows in visits, at most 3" in page
    for title in ("Patients: fidelity", "Visits: fidelity", "Visits: utility", "Link"):
        assert f"<h3>{title}</h3>" in page
    assert '<h3 class="table">patients</h3>' in page and page.count("<h3>number of visits</h3>") == 1
    assert "<h3>patients.age</h3>" not in page, "columns of the parent stand in its own table"


def test_without_a_holdout_there_is_no_report(tmp_path: Path, ledger: sk.Ledger) -> None:
    made = run(Job.read(write(tmp_path, holdout=0)), ledger)
    assert made.evidence == () and sk.verify(made.folder).private


def test_a_seed_marks_everything_non_private(tmp_path: Path, ledger: sk.Ledger) -> None:
    made = run(Job.read(write(tmp_path)), ledger, noise=NoiseSource(test_seed=1))
    assert not sk.verify(made.folder).private and "NON-PRIVATE" in (made.folder / "report.html").read_text()


@pytest.mark.parametrize("parents", [0, 1])
def test_tiny_tables_release(tmp_path: Path, ledger: sk.Ledger, parents: int) -> None:
    patients, visits = frames(20)
    made = run(Job.read(write(tmp_path, (patients.iloc[:parents], visits.iloc[:0]))), ledger)
    assert sk.verify(made.folder).rows == 150


def test_no_synthetic_child_is_legal(tmp_path: Path, ledger: sk.Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = LinkedModel.sample

    def childless(self: LinkedModel, n: int, **more: Any) -> LinkedSynthetic:
        full = drawn(self, n, **more)
        return LinkedSynthetic(
            full.parents, full.children.iloc[:0], full.parent_codes, full.child_codes[:0], full.owner[:0]
        )

    monkeypatch.setattr(LinkedModel, "sample", childless)
    made = run(Job.read(write(tmp_path)), ledger)
    assert [table.rows for table in sk.verify(made.folder).tables] == [150, 0]
    assert not any(figure.name.startswith("visits") for figure in made.evidence)


# Tampering


@pytest.mark.parametrize(
    "name", [f"{n}.{e}" for n in ("patients", "visits") for e in ("csv", "parquet", "schema.yaml")] + ["report.html"]
)
def test_a_changed_a_missing_and_an_added_file_are_found(copy: Path, name: str) -> None:
    kept = (copy / name).read_bytes()
    (copy / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(VerificationFailed, match="was changed"):
        sk.verify(copy)
    (copy / name).unlink()
    with pytest.raises(VerificationFailed, match="missing"):
        sk.verify(copy)
    (copy / name).write_bytes(kept)
    (copy / "visits.tsv").write_text("1")
    with pytest.raises(VerificationFailed, match="not in the manifest"):
        sk.verify(copy)


def forge(folder: Path, change: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """Change the manifest and make every digest fit again, as a careful forger would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    described = {name: bundle._describe(folder / name) for name in manifest["files"] if (folder / name).exists()}
    manifest["files"] = described
    refresh(folder, manifest)
    (folder / "report.html").write_text(report.render(manifest, ()))
    manifest["files"]["report.html"] = bundle._describe(folder / "report.html")
    manifest["manifest_sha256"] = bundle._digest(manifest)
    (folder / "manifest.json").write_bytes(bundle._serialise(manifest))


def rewrite(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a table in both of its files."""
    table = pa.parquet.read_table(folder / f"{name}.parquet")
    frame = change(table.to_pandas(ignore_metadata=True))
    table = pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)
    pa.parquet.write_table(table, folder / f"{name}.parquet")
    pa.csv.write_csv(table, folder / f"{name}.csv")


def shifted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(patient=frame["patient"].where(frame.index > 0, frame["patient"].max()))


TAMPERED: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "a child of nobody": (
        "visits",
        lambda frame: frame.assign(patient=frame["patient"].where(frame.index < len(frame) - 1, 151)),
        "keys of parents",
    ),
    "a child of parent 0": (
        "visits",
        lambda frame: frame.assign(patient=frame["patient"].where(frame.index > 0, 0)),
        "keys of parents",
    ),
    "children out of order": ("visits", shifted, "keys of parents, in their order"),
    "too many children": ("visits", lambda frame: frame.assign(patient=1), "more than 3 children"),
    "a parent's real key": ("patients", lambda frame: frame.assign(patient=frame["patient"] + 7), "running number"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_broken_link_is_found_although_every_digest_fits(copy: Path, case: str) -> None:
    name, change, words = TAMPERED[case]
    forge(copy)
    bundle.verify(copy)
    rewrite(copy, name, change)
    forge(copy)
    with pytest.raises(VerificationFailed, match=words):
        sk.verify(copy)


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "fewer rows": (lambda m: m["tables"]["child"].update(rows=3), "stated rows"),
    "other columns": (lambda m: m["tables"]["parent"].update(columns=["age"]), "columns is not"),
    "a milder schema": (lambda m: m["tables"]["parent"]["schema"].update(rows=17), r"schema\.yaml is not"),
    "one row a parent": (
        lambda m: m["tables"]["child"]["schema"]["unit"].update(max_rows=1),
        "unit of privacy is not the schema's",
    ),
    "one table": (lambda m: m["tables"].pop("child"), "'child' is a required property"),
    "a schema too many": (lambda m: m.update(schema=m["tables"]["parent"]["schema"]), "manifest"),
    "a charge less": (lambda m: m["parts"][1]["charges"].pop(), "its reads cost"),
    "another unit": (lambda m: m["budget"]["unit"].update(max_rows=1), "unit"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_manifest_is_found(copy: Path, case: str) -> None:
    change, words = FORGED[case]

    def applied(manifest: dict[str, Any]) -> None:
        change(manifest)

    try:
        forge(copy, applied)
    except KeyError:  # no report of half a manifest
        pytest.skip("the report cannot be made for it")
    with pytest.raises(VerificationFailed, match=words):
        sk.verify(copy)


# The holdout


def units(part: links.Linked) -> tuple[set[int], set[int]]:
    return tuple(set(links._units(box).tolist()) for box in (part.parents, part.children))  # type: ignore[return-value]


def joined(data: tuple[pd.DataFrame, pd.DataFrame], seed: int = 0) -> links.Linked:
    above, below = map(FrameSource, data)
    return links.read_linked(above, below, PUBLIC, dataset="hospital", noise=NoiseSource(test_seed=seed))


def test_no_unit_of_the_holdout_is_in_training() -> None:
    whole = joined(frames(1000))
    training, held = links.split_linked(whole, 0.3, NoiseSource(test_seed=3))
    (parents, children), (others, theirs) = units(training), units(held)
    assert not parents & others and parents | others == units(whole)[0]
    assert children <= parents and theirs <= others, "children go where their parent goes"
    assert children | theirs == units(whole)[1]
    assert 0.25 < len(others) / 1000 < 0.35
    assert training.schema == PUBLIC.with_rows(280) and held.schema == PUBLIC.with_rows(120)
    for part in (training, held):
        assert part.parents.schema == part.schema.counted and part.children.schema == part.schema.widened
        assert part.parents.bounded and part.children.bounded


def test_a_parents_coin_is_its_own() -> None:
    """Who else is there, and how many children anybody has, changes nobody's part."""
    patients, visits = frames(300)
    fewer = patients.iloc[::2], visits[visits["patient"].isin(patients["patient"].iloc[::4])]

    def held(data: tuple[pd.DataFrame, pd.DataFrame]) -> set[int]:
        return units(links.split_linked(joined(data), 0.5, NoiseSource(test_seed=5))[1])[0]

    assert held(fewer) == held((patients, visits)) & units(joined(fewer))[0]


@pytest.fixture
def brief(tmp_path: Path) -> Job:
    """A job whose replay is quick."""
    job = Job.read(write(tmp_path))
    return replace(job, schema=linked(target=None, parents=60), rows=30)


@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_replay_of_the_whole_way_finds_nothing(brief: Job, adjacency: Adjacency) -> None:
    job = replace(brief, budget=replace(brief.budget, adjacency=adjacency))
    moved = []
    for pair in neighbours.pairs(linked(target=None, parents=60), adjacency):
        found = replay(attack.releasing(job), pair.left, pair.right)
        assert found.passed, f"{pair.name}: {'; '.join(map(str, found.divergences[:3]))}"
        moved.append(found.parts)
    assert any(any(parts) for parts in moved) and all(sum(parts) <= 1 for parts in moved)


def test_replay_finds_a_holdout_that_meets_training(brief: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: parents are split, and children stay in both parts."""
    monkeypatch.setattr(links, "_with_children", lambda parents, whole: replace(whole, parents=parents))
    assert seen_in_both(brief)


def test_replay_finds_children_with_a_coin_of_their_own(brief: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: children are split by other coins than their parents."""
    coins = iter(range(1, 100_000))

    def apart(parents: Any, whole: links.Linked) -> links.Linked:
        seed = next(coins) // 2  # the same for both parts of one split
        children, chained = (
            links.split(box, 0.3, NoiseSource(test_seed=seed))[seed % 2] for box in (whole.children, whole.chained)
        )
        return links.Linked(whole.schema, parents, children, chained)

    monkeypatch.setattr(links, "_with_children", apart)
    assert seen_in_both(brief)


def seen_in_both(job: Job) -> bool:
    """Whether some pair of neighbours moves answers of both parts, or differs outside mechanisms."""
    for pair in neighbours.pairs(linked(target=None, parents=60), job.budget.adjacency):
        for seed in range(3):
            if not replay(attack.releasing(job), pair.left, pair.right, seed=seed).passed:
                return True
    return False


# The ledger


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda patients, visits: (patients.iloc[1:].iloc[:-50], visits), "without a parent"),
        (lambda patients, visits: (patients.iloc[[0, *range(len(patients))]], visits), "an earlier row"),
        (lambda patients, visits: (patients.assign(sex=SECRET), visits), "patients.*column sex"),
        (lambda patients, visits: (patients, visits.assign(readmitted=SECRET)), "visits.*column readmitted"),
        (lambda patients, visits: (patients, visits.drop(columns="ward")), "column ward"),
    ],
)
def test_bad_rows_cost_nothing_and_show_nothing(
    tmp_path: Path, ledger: sk.Ledger, change: Callable[..., tuple[pd.DataFrame, pd.DataFrame]], words: str
) -> None:
    file = write(tmp_path, change(*frames()))
    with pytest.raises(DataError, match=words) as caught:
        run(Job.read(file), ledger)
    assert SECRET not in str(caught.value)
    assert ledger.spent("hospital").epsilon == 0
    assert [entry.kind for entry in ledger.entries()] in ([], ["reserve", "cancel"])
    assert not (tmp_path / "release").exists()


def test_the_ledger_is_asked_before_the_data_open(tmp_path: Path, ledger: sk.Ledger) -> None:
    ledger.cap("hospital", 1.0, 1e-5)
    file = write(tmp_path)
    for name in ("patients", "visits"):
        header = (tmp_path / f"{name}.csv").read_text().partition("\n")[0]
        (tmp_path / f"{name}.csv").write_text(f"{header}\n{SECRET}\n")  # would not parse
    with pytest.raises(BudgetExceeded, match="hospital"):
        run(Job.read(file), ledger)


def test_a_crash_in_the_report_keeps_the_model_and_the_price(
    tmp_path: Path, ledger: sk.Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("after the fit")

    monkeypatch.setattr(linked_report, "assess", fails)
    with pytest.raises(RuntimeError, match="after the fit") as caught:
        run(Job.read(write(tmp_path)), ledger)
    kept = next(tmp_path.glob("release.model-*"))
    assert any(str(kept) in note for note in caught.value.__notes__)
    assert len(sk.load_linked(kept).sample(5).parents) == 5
    spent = ledger.spent("hospital")
    assert 1.98 < spent.epsilon <= 2.0 and spent.reserved == 1, "not committed: its whole reservation counts"


def test_unreviewed_schemas_need_a_word_and_leave_a_mark(tmp_path: Path, ledger: sk.Ledger) -> None:
    job = Job.read(write(tmp_path, holdout=0))
    unreviewed = replace(job, schema=LinkedSchema(PUBLIC.parent, replace(PUBLIC.child, reviewed=False)))
    with pytest.raises(UnreviewedSchema, match="schema visits is not reviewed"):
        run(unreviewed, ledger)
    assert ledger.entries() == []
    made = run(unreviewed, ledger, allow_unreviewed=True)
    assert bundle.UNREVIEWED in made.manifest["not_covered"]
    sk.verify(made.folder)


# The command line


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_plan_release_verify_sample(tmp_path: Path) -> None:
    file, ledger = write(tmp_path, model=True), tmp_path / "ledger.sqlite"
    planned = json.loads(call("plan", file, "--json").output)
    assert planned["unit"] == "patient (at most 4 rows)" and {"parents.holdout", "children.holdout"} == set(
        planned["parts"][1]["noise"]
    )
    made = call("release", file, "--ledger", ledger)
    assert made.exit_code == 0, made.output
    assert "150 synthetic rows of patients" in made.output and "link.tvd_2way" in made.output
    checked = call("verify", tmp_path / "release", "--json")
    assert checked.exit_code == 0 and set(json.loads(checked.output)["tables"]) == {"patients", "visits"}
    again = json.loads(call("release", write(tmp_path, output="second"), "--ledger", ledger, "--json").output)
    assert 1.98 < again["epsilon"] <= 2.0
    assert json.loads(call("ledger", "show", "--ledger", ledger, "--json").output)["datasets"][0]["releases"] == 2


def test_sample_writes_both_tables_into_a_folder(made: Release, tmp_path: Path) -> None:
    drawn = call("sample", made.folder, "--rows", "40", "--where", "sex=f", "--seed", "3", "-o", tmp_path / "women")
    assert drawn.exit_code == 0, drawn.output
    patients, visits = (pd.read_csv(tmp_path / "women" / f"{name}.csv") for name in ("patients", "visits"))
    assert len(patients) == 40 and set(patients["sex"]) == {"f"} and set(visits["patient"]) <= set(patients["patient"])
    assert len(pd.read_parquet(tmp_path / "women" / "visits.parquet")) == len(visits)
    for output, words in (("women", "exists"), ("women.csv", "name a folder")):
        refused = call("sample", made.folder, "--rows", "4", "-o", tmp_path / output)
        assert refused.exit_code == 2 and words in refused.output
    refused = call("sample", made.folder, "--rows", "4", "--where", "ward=surgery", "-o", tmp_path / "x")
    assert refused.exit_code == 2 and "no such modelled column" in refused.output and not (tmp_path / "x").exists()


def test_membership_is_not_attacked_without_an_internal_folder(made: Release) -> None:
    refused = call("audit", "release", made.folder, "--against", "holdout")
    assert refused.exit_code == 2 and "parts.parquet: no such file" in refused.output
    assert "'internal: allow'" in refused.output


def test_internal_figures_go_with_an_explanation_of_both_tables(tmp_path: Path, ledger: sk.Ledger) -> None:
    done = run(Job.read(write(tmp_path, internal="allow", explain=True)), ledger)
    assert (done.folder / "explanation.html").is_file() and done.internal is not None
    assert not (done.internal / "explanation.html").exists()  # compares one table's rows


def test_an_audit_opens_no_data_and_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from synthkit.audit.canaries import with_and_without

    monkeypatch.setattr(attack, "with_and_without", lambda *calls, trials: with_and_without(*calls, trials=500))
    job = Job.read(write(tmp_path))
    for name in ("patients.csv", "visits.csv"):
        (tmp_path / name).unlink()
    found = attack.audit(replace(job, schema=linked(target=None)), rows=30)
    assert {finding.attack: finding.outcome for finding in found.findings} == {
        "replay": "no violation found",
        "guessing through the noise": "no violation found",
        "gradient canaries": "not attempted",
        "two runs": "no violation found",
        "planted values": "no violation found",
    }
    planted = found.findings[-1].detail
    assert "patients.patient" in planted and "visits.ward" in planted
    attack.write(tmp_path / "audit", found)
    assert json.loads((tmp_path / "audit" / "audit.json").read_text())["schema"]["child"]["name"] == "visits"


def test_what_is_planted_keeps_the_link() -> None:
    frame, planted = attack._planted(PUBLIC, 50)
    patients, visits = neighbours.unstacked(frame, PUBLIC)
    assert set(visits["patient"]) <= set(patients["patient"])
    assert patients.loc[0, "patient"] == visits.loc[0, "patient"] == planted["patients.patient"]
    assert np.isfinite(list(visits["days"].dropna().astype(float))).all()
