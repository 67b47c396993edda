"""Bundles: what goes in, what must not, and that verification sees every change."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pandas as pd
import pytest

from synthkit.data import encoding
from synthkit.data.constraints import Never
from synthkit.data.schema import Boolean, Categorical, Continuous, Datetime, Identifier, Integer, Schema, Unit
from synthkit.documents import json_schema
from synthkit.errors import BudgetExceeded, DataError, JobError, UnreviewedSchema, VerificationFailed
from synthkit.evidence import Evidence
from synthkit.privacy import events
from synthkit.privacy.accounting import epsilon
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.session import Session
from synthkit.release import bundle, report
from synthkit.release.bundle import UNREVIEWED, Facts, Part, verify, write
from synthkit.release.charts import MarginalFigure
from tests.release.forging import refresh

SCHEMA = Schema(
    name="census-income",
    columns={
        "person": Identifier(),
        "record": Identifier(release="regenerate"),
        "workclass": Categorical(
            categories=("Private", "Self-employed", "Government", "NA", 'say "no", or\nnothing'), nullable=True
        ),
        "education_years": Integer(min=1, max=16),
        "age": Integer(min=17, max=90, nullable=True, unknown="clamp"),
        "hours": Continuous(min=0, max=99, decimals=1, nullable=True),
        "score": Continuous(min=-1, max=1),
        "surveyed": Datetime(min="1994-01-01", max="1995-12-31", nullable=True),
        "changed": Datetime(min="1994-01-01", max="1995-12-31", resolution="second"),
        "code": Categorical(categories=(10, 20, 30), nullable=True),
        "income_above_50k": Boolean(nullable=True),
    },
    rows=32_000,
    target="income_above_50k",
    reviewed=True,
)
BUDGET = Budget(1.0, 1e-6)
ROWS = 60
PAIRS = [f"{a} x {b}" for a in ("age", "hours", "workclass", "surveyed", "code") for b in "abcdef"]


def trace(charges: Sequence[Charge], budget: Budget = BUDGET) -> tuple[Charge, ...]:
    """The charges as a session records them."""
    session = Session(
        Plan(budget, events.compose([charge.event for charge in charges])), noise=NoiseSource(test_seed=1)
    )
    for charge in charges:
        session.charge(charge)
    return session.trace


@cache
def training() -> tuple[Charge, ...]:
    """30 noisy marginals and 200 steps of DP-SGD."""
    source = "Canonne, Kamath and Steinke 2020 (arXiv:2004.00010), theorem 4"
    counts = [
        Charge(events.DiscreteGaussianDpEvent(36.0), "noisy counts", 1.0, source, f"marginal of {pair}")
        for pair in PAIRS
    ]
    step = dp_accounting.PoissonSampledDpEvent(0.01, dp_accounting.GaussianDpEvent(1.6))
    steps = [
        Charge(step, "DP-SGD", 1.0, "Abadi et al. 2016 (arXiv:1607.00133)", f"critic, step {i} of 200")
        for i in range(1, 201)
    ]
    return trace(counts + steps)


@cache
def holdout() -> tuple[Charge, ...]:
    """Four means with Gaussian noise."""
    event = dp_accounting.GaussianDpEvent(14.0)
    source = "Balle and Wang 2018 (arXiv:1805.06530)"
    questions = ("accuracy of TSTR", "mean 1-way distance", "mean 2-way distance", "accuracy of TRTR")
    return trace([Charge(event, "noisy mean", 1.0, source, what) for what in questions])


def facts(**changes: Any) -> Facts:
    """A made-up release of a census extract."""
    made = Facts(
        dataset="Census income 1994",
        schema=SCHEMA,
        budget=BUDGET,
        parts=(Part("training", 0.8, training()), Part("holdout", 0.2, holdout())),
        method="tabular_gan",
        settings={"steps": 200, "rate": 0.01, "layers": (64, 64), "clip": None, "adjacency": Adjacency.ADD_OR_REMOVE},
        rows=ROWS,
        evidence=(
            Evidence("fidelity.tvd_1way", 0.021, (0.018, 0.024), "mean distance of one-way marginals", "free"),
            Evidence("fidelity.tvd_2way", 0.052, (0.044, 0.060), "mean distance of two-way marginals", "charged"),
            Evidence("fidelity.tvd_2way.floor", 0.029, None, "the same between two real samples", "free"),
            Evidence("utility.auc_tstr", 0.871, (0.85, 0.89), "train on synthetic, test on holdout", "charged"),
            Evidence("utility.gap", math.nan, (-math.inf, 0.2), "TRTR minus TSTR", "free"),
        ),
        randomness="AES-256-CTR, fresh key from the operating system",
        seeded=False,
        not_covered=("The survey's own weights were published before.",),
        unreviewed_allowed=False,
    )
    return replace(made, **changes)


def frame(rows: int = ROWS, schema: Schema = SCHEMA) -> pd.DataFrame:
    """Any synthetic table of the schema's domain, nulls and awkward categories included."""
    rng = np.random.default_rng(7)
    strict = bundle._strict(schema)
    codes = np.stack([rng.integers(0, size, rows) for size in strict.domain.values()], axis=1)
    table = encoding.undiscretize(codes, strict, rng)
    return encoding.to_frame(encoding.Table(table.columns, None, rows), schema)


def figures() -> list[MarginalFigure]:
    return [
        MarginalFigure(
            "workclass", ("Private", "Self-employed", "Government"), (700.0, 120.0, 181.0), 36.0, (690, 130, 180)
        ),
        MarginalFigure("education_years", ("1", "2", "3"), (10.0, -4.0, 990.0), 36.0, (5.0, 1.0, 990.0), ordered=True),
    ]


def save_model(folder: Path) -> None:
    (folder / "weights").mkdir()
    (folder / "weights" / "critic.safetensors").write_bytes(bytes(range(256)) * 4)
    (folder / "settings.json").write_text("{}")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("releases") / "census"
    write(folder, facts(), frame(), figures=figures(), model=save_model)
    return folder


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())  # type: ignore[no-any-return]


def forge(folder: Path, change: Callable[[dict[str, Any]], object], *, page: bool = True) -> None:
    """Change the manifest and make every digest fit again, as a careful forger would."""
    manifest = manifest_of(folder)
    change(manifest)
    if page:
        for name in ("data.parquet", "data.csv"):
            manifest["files"][name] = bundle._describe(folder / name)
        refresh(folder, manifest)
        (folder / "report.html").write_text(report.render(manifest, figures()))
        manifest["files"]["report.html"] = bundle._describe(folder / "report.html")
    manifest["manifest_sha256"] = bundle._digest(manifest)
    (folder / "manifest.json").write_bytes(bundle._serialise(manifest))


# What is written --------------------------------------------------------------------------------


def test_a_bundle_verifies_and_says_what_it_is(original: Path) -> None:
    found = verify(original)
    assert found.private and found.dataset == "Census income 1994" and found.rows == ROWS
    assert 0.5 < found.epsilon <= BUDGET.epsilon and found.delta == BUDGET.delta
    assert found.columns == tuple(n for n in SCHEMA.columns if n != "person")
    assert set(found.files) == {
        "manifest.json", "data.parquet", "data.csv", "report.html", "label.json", "croissant.json", "datasheet.md",
        "model/settings.json", "model/weights/critic.safetensors",
    }  # fmt: skip
    assert found.bytes == sum(path.stat().st_size for path in original.rglob("*") if path.is_file())


def test_the_price_is_recomputed_from_the_parallel_event(original: Path) -> None:
    manifest = manifest_of(original)
    parts = [events.compose([charge.event for charge in trace]) for trace in (training(), holdout())]
    each = [epsilon(part, BUDGET.delta, BUDGET.adjacency) for part in parts]
    total = epsilon(events.ParallelDpEvent((0.8, 0.2), tuple(parts)), BUDGET.delta, BUDGET.adjacency)
    assert [part["epsilon"] for part in manifest["parts"]] == pytest.approx(each, rel=1e-6)
    assert manifest["guarantee"]["epsilon"] == pytest.approx(total, rel=1e-6)
    assert total <= max(each) < sum(each)
    assert manifest["guarantee"]["accountant"] == "PLD"


def test_the_manifest_follows_its_schema_and_keeps_the_columns_order(original: Path) -> None:
    manifest = manifest_of(original)
    form = json_schema("release/manifest.v1.json")
    assert {*form["required"], *form["else"]["required"]} == set(manifest)
    assert list(manifest["schema"]["columns"]) == list(SCHEMA.columns)
    assert Schema.from_dict(manifest["schema"]) == SCHEMA
    assert manifest["method"]["settings"]["layers"] == [64, 64]
    assert manifest["evidence"][4]["value"] is None and manifest["evidence"][4]["interval"] == [None, 0.2]


def test_steps_are_grouped_and_questions_are_not(original: Path) -> None:
    charges = manifest_of(original)["parts"][0]["charges"]
    assert [charge["count"] for charge in charges] == [1] * 30 + [200]
    assert charges[-1]["what"] == "critic, steps 1 to 200 of 200"
    assert charges[0]["what"] == "marginal of age x a"


def test_grouping_stops_where_steps_do_not_follow_each_other() -> None:
    charge = Charge(dp_accounting.GaussianDpEvent(9.0), "m", 1.0, "s")
    whats = ["step 1", "step 2", "step 4", "column 1", "column 2", "same", "same"]
    groups = bundle._grouped([replace(charge, what=what) for what in whats])
    assert [(group["count"], group["what"]) for group in groups] == [
        (2, "steps 1 to 2"), (1, "step 4"), (1, "column 1"), (1, "column 2"), (2, "same"),
    ]  # fmt: skip


def test_data_come_back_as_they_went_in(original: Path) -> None:
    wanted = frame()
    back = pd.read_parquet(original / "data.parquet")
    assert list(back.columns) == list(wanted.columns)
    assert back["code"].astype("Int64").equals(wanted["code"])
    assert list(back["workclass"].fillna("<null>")) == list(wanted["workclass"].fillna("<null>"))
    np.testing.assert_array_equal(back["score"], wanted["score"])
    text = (original / "data.csv").read_text()
    assert text.startswith('"record","workclass",') and "person" not in text
    assert re.search(r",1994-\d\d-\d\d,", text) and re.search(r",1994-\d\d-\d\d \d\d:\d\d:\d\d,", text)


def test_nothing_private_is_named(original: Path) -> None:
    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {name for item in value.values() for name in names(item)}
        return {name for item in value for name in names(item)} if isinstance(value, list) else set()

    manifest = manifest_of(original)
    assert {name for name in names(manifest) if "sha256" in name} == {"sha256", "manifest_sha256"}
    digests = [entry["sha256"] for entry in manifest["files"].values()] + [manifest["code"]["sha256"]]
    assert json.dumps(manifest).count('"sha256"') == len(digests)
    assert all("rows" not in part for part in manifest["parts"])


def test_one_part_is_priced_by_itself(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b", facts(parts=(Part("training", 1.0, holdout()),)), frame(), figures=())
    assert manifest["guarantee"]["epsilon"] == manifest["parts"][0]["epsilon"]
    assert verify(tmp_path / "b").epsilon == pytest.approx(manifest["guarantee"]["epsilon"])


def test_units_with_several_rows(tmp_path: Path) -> None:
    """The unit's column is an identifier: in the schema, and fresh or absent in the table."""
    unit = Unit("record", 3)
    grouped = facts(schema=replace(SCHEMA, unit=unit), budget=Budget(1.0, 1e-6, unit=unit))
    manifest = write(tmp_path / "b", grouped, frame(), figures=figures())
    assert manifest["guarantee"]["unit"] == "record (at most 3 rows)"
    assert "one record (at most 3 rows)" in manifest["guarantee"]["statement"]
    assert verify(tmp_path / "b").unit == "record (at most 3 rows)"


def test_a_model_folder_is_copied(original: Path, tmp_path: Path) -> None:
    write(tmp_path / "b", facts(), frame(), figures=(), model=original / "model")
    assert "model/weights/critic.safetensors" in verify(tmp_path / "b").files


# What is refused --------------------------------------------------------------------------------


def test_internal_evidence_never_enters(tmp_path: Path) -> None:
    figure = Evidence("similarity.dcr", 0.3, None, "exact", "internal")
    with pytest.raises(ValueError, match=r"similarity\.dcr"):
        write(tmp_path / "b", facts(evidence=(figure,)), frame(), figures=())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"parts": (Part("a", 0.8, holdout()), Part("b", 0.1, holdout()))}, JobError, "sum to 0.9"),
        ({"parts": (Part("a", 0.5, holdout()), Part("a", 0.5, holdout()))}, JobError, "listed twice"),
        ({"parts": ()}, JobError, "no parts"),
        ({"parts": (Part("a", 1.5, holdout()),)}, JobError, "weight"),
        ({"budget": Budget(0.1, 1e-6)}, BudgetExceeded, "above the budget"),
        ({"budget": Budget(1.0, 1e-6, unit=Unit("person", 2))}, JobError, "must be the same"),
        ({"settings": {"rate": math.inf}}, ValueError, r"manifest\.method\.settings\.rate"),
        ({"settings": {"made": {1, 2}}}, ValueError, "a set has no place"),
        ({"rows": ROWS + 1}, DataError, "announced"),
        ({"randomness": "FIXED SEED: NON-PRIVATE"}, JobError, "not to be seeded"),
        ({"schema": replace(SCHEMA, reviewed=False)}, UnreviewedSchema, "nobody has vouched"),
    ],
)
def test_contradictions_are_refused(
    changes: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        write(tmp_path / "b", facts(**changes), frame(), figures=())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [("age", 91), ("age", 16), ("workclass", "Astronaut"), ("code", 40), ("education_years", None), ("record", 9)],
)
def test_values_outside_the_domain_are_refused(column: str, value: Any, tmp_path: Path) -> None:
    wrong = frame().astype({column: object})
    wrong.loc[3, column] = value
    with pytest.raises(DataError, match=column):
        write(tmp_path / "b", facts(), wrong, figures=())
    assert list(tmp_path.iterdir()) == []


def test_rows_that_break_a_constraint_are_refused(tmp_path: Path) -> None:
    never = Never(where={"education_years": (1, 8), "code": 30}, repair=True)
    public = replace(SCHEMA, constraints=(never,))
    good = frame().assign(education_years=12)
    write(tmp_path / "good", facts(schema=public), good, figures=())
    verify(tmp_path / "good")
    assert Schema.from_dict(manifest_of(tmp_path / "good")["schema"]).constraints == (never,)
    wrong = good.copy()
    wrong.loc[3, ["education_years", "code"]] = [8, 30]
    with pytest.raises(DataError, match="1 row with values that break the constraint 'never education_years"):
        write(tmp_path / "wrong", facts(schema=public), wrong, figures=())
    assert not (tmp_path / "wrong").exists()


def test_other_columns_are_refused(tmp_path: Path) -> None:
    for wrong in (frame().assign(person=1), frame().drop(columns="age"), frame()[list(frame().columns)[::-1]]):
        with pytest.raises(DataError, match="columns are"):
            write(tmp_path / "b", facts(), wrong, figures=())


def test_an_existing_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    def explode(folder: Path) -> None:
        raise AssertionError("work was done")

    for make in (lambda p: p.mkdir(), lambda p: p.write_text(""), lambda p: p.symlink_to("nowhere")):
        target = tmp_path / f"b{len(list(tmp_path.iterdir()))}"
        make(target)
        with pytest.raises(JobError, match="already exists"):
            write(target, facts(), frame(), figures=(), model=explode)
    with pytest.raises(JobError, match="no such folder"):
        write(tmp_path / "nowhere" / "b", facts(), frame(), figures=())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, MemoryError])
def test_a_failure_leaves_nothing(failure: type[BaseException], tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        assert next(path.name for path in tmp_path.iterdir()).startswith(".b.partial-")
        raise failure

    with pytest.raises(failure):
        write(tmp_path / "b", facts(), frame(), figures=(), model=fail)
    assert list(tmp_path.iterdir()) == []


def test_links_and_odd_names_in_a_model_are_refused(tmp_path: Path) -> None:
    def link(folder: Path) -> None:
        (folder / "weights").symlink_to("/etc/hostname")

    def odd(folder: Path) -> None:
        (folder / "we ights").write_text("")

    def empty(folder: Path) -> None:
        (folder / "nothing").mkdir()

    for model in (link, odd, empty):
        with pytest.raises(VerificationFailed):
            write(tmp_path / "b", facts(), frame(), figures=(), model=model)
    with pytest.raises(JobError, match="empty"):
        write(tmp_path / "b", facts(), frame(), figures=(), model=lambda folder: None)
    with pytest.raises(JobError, match="no such folder"):
        write(tmp_path / "b", facts(), frame(), figures=(), model=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


# Without privacy --------------------------------------------------------------------------------


def test_a_fixed_seed_is_not_private(tmp_path: Path) -> None:
    seeded = facts(seeded=True, randomness="FIXED SEED: NON-PRIVATE")
    manifest = write(tmp_path / "b", seeded, frame(), figures=())
    assert manifest["guarantee"]["private"] is False and manifest["guarantee"]["epsilon"] is None
    assert manifest["guarantee"]["statement"].startswith("NON-PRIVATE")
    found = verify(tmp_path / "b")
    assert not found.private and found.epsilon == math.inf


def test_a_read_without_noise_is_not_private(tmp_path: Path) -> None:
    copied = Charge(dp_accounting.NonPrivateDpEvent(), "copy", math.inf, "none", "everything")
    silent = Charge(dp_accounting.GaussianDpEvent(0.0), "sum", 1.0, "none")
    for bare in (copied, silent):
        folder = tmp_path / bare.mechanism
        manifest = write(folder, facts(parts=(Part("all", 1.0, (bare,)),)), frame(), figures=())
        assert manifest["guarantee"]["epsilon"] is None and manifest["parts"][0]["epsilon"] is None
        assert manifest["guarantee"]["statement"].startswith("NON-PRIVATE")
        assert manifest["guarantee"]["accountant"] == "none"
        assert not verify(folder).private


def test_an_unreviewed_schema_is_owned_up_to(tmp_path: Path) -> None:
    drafted = facts(schema=replace(SCHEMA, reviewed=False), unreviewed_allowed=True)
    manifest = write(tmp_path / "b", drafted, frame(), figures=())
    assert manifest["not_covered"][0] == UNREVIEWED
    assert "Nobody has vouched for the schema" in (tmp_path / "b" / "report.html").read_text()
    forge(tmp_path / "b", lambda m: m["not_covered"].remove(UNREVIEWED))
    with pytest.raises(VerificationFailed, match="unreviewed"):
        verify(tmp_path / "b")


# Changes to files -------------------------------------------------------------------------------


def test_every_flipped_byte_is_found(copy: Path) -> None:
    rng = random.Random(20)
    paths = sorted(path for path in copy.rglob("*") if path.is_file())
    # An even share for every file, so that the large report does not draw all of them.
    for n in range(204):
        path = paths[n % len(paths)]
        before = path.read_bytes()
        at, bit = rng.randrange(len(before)), 1 << rng.randrange(8)
        path.write_bytes(before[:at] + bytes([before[at] ^ bit]) + before[at + 1 :])
        with pytest.raises(VerificationFailed):
            verify(copy)
        path.write_bytes(before)
    verify(copy)


@pytest.mark.parametrize("name", ["manifest.json", "data.parquet", "data.csv", "report.html", "model/settings.json"])
@pytest.mark.parametrize("change", ["remove", "rename", "truncate", "append", "link", "folder"])
def test_every_change_of_a_file_is_found(name: str, change: str, copy: Path) -> None:
    path = copy / name
    content = path.read_bytes()
    if change in ("truncate", "append"):
        path.write_bytes(content[:-1] if change == "truncate" else content + b"\n")
    elif change == "rename":
        path.rename(path.with_name("other"))
    else:
        path.unlink()
    if change == "link":
        (copy.parent / "elsewhere").write_bytes(content)
        path.symlink_to(copy.parent / "elsewhere")
    elif change == "folder":
        path.mkdir()
    with pytest.raises(VerificationFailed):
        verify(copy)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "model/extra.bin", "data.csv.bak", "empty/", "model/empty/"])
def test_every_added_file_is_found(name: str, copy: Path) -> None:
    (copy / name).mkdir() if name.endswith("/") else (copy / name).write_text("")
    with pytest.raises(VerificationFailed):
        verify(copy)


def test_a_file_that_the_caller_checks_itself_may_lie_beside(copy: Path) -> None:
    (copy / "signature.json").write_text("{}")
    with pytest.raises(VerificationFailed, match=r"not in the manifest: signature\.json"):
        verify(copy)
    verify(copy, beside=["signature.json"])
    with pytest.raises(VerificationFailed, match="missing"):
        verify(copy, beside=["signature.json", "data.csv"])


def test_swapped_manifests_are_found(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, facts(not_covered=("Something else.",)), frame(), figures=figures(), model=save_model)
    mine, theirs = (copy / "manifest.json").read_bytes(), (other / "manifest.json").read_bytes()
    (copy / "manifest.json").write_bytes(theirs)
    (other / "manifest.json").write_bytes(mine)
    for folder in (copy, other):
        with pytest.raises(VerificationFailed):
            verify(folder)


def test_a_report_of_another_release_is_found(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, facts(not_covered=("Something else.",)), frame(), figures=figures())
    shutil.copy(other / "report.html", copy / "report.html")
    described = bundle._describe(copy / "report.html")
    forge(copy, lambda m: m["files"].__setitem__("report.html", described), page=False)
    with pytest.raises(VerificationFailed, match="another manifest"):
        verify(copy)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"rows": 60', '"rows":  60'),
        lambda text: text.replace('"rows": 60', '"rows": 60,\n  "rows": 60'),
        lambda text: text.replace('"rows": 60', '"rows": 6e1'),
        lambda text: text.replace('"rows": 60', '"rows": Infinity'),
        lambda text: text.replace("census-income", "census\\u002dincome"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: "[" * 100_000,
        lambda text: "[]\n",
        lambda text: "",
    ],
)
def test_a_manifest_in_another_form_is_refused(damage: Callable[[str], str], copy: Path) -> None:
    path = copy / "manifest.json"
    before = path.read_text()
    path.write_text(damage(before))
    assert path.read_text() != before
    with pytest.raises(VerificationFailed, match=r"manifest\.json"):
        verify(copy)


# Claims that do not hold, with every digest made to fit -----------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["guarantee"].update(epsilon=0.5), "it states 0.5"),
        (lambda m: m["parts"][1].update(epsilon=0.01), "part holdout"),
        (lambda m: m["parts"][0]["charges"].pop(), "part training"),
        (lambda m: m["parts"][0]["charges"][-1].update(count=100), "part training"),
        (lambda m: m["parts"][0].update(weight=0.5), "sum to 0.7"),
        (lambda m: m["parts"][1].update(name="training"), "same name"),
        (lambda m: m["budget"].update(epsilon=0.2), "above the budget"),
        (lambda m: m["guarantee"].update(delta=1e-9), "delta"),
        (lambda m: m["guarantee"].update(adjacency="replace-one"), "adjacency"),
        (lambda m: m["guarantee"].update(unit="person"), "unit"),
        (lambda m: m["guarantee"].update(accountant="RDP"), "accountant"),
        (lambda m: m["randomness"].update(seeded=True), "reads and randomness say otherwise"),
        (lambda m: m["randomness"].update(description="FIXED SEED: NON-PRIVATE"), "not to be seeded"),
        (lambda m: m["guarantee"].update(private=False), "epsilon"),
        (lambda m: m["guarantee"].update(statement="NON-PRIVATE: really"), "statement"),
        (lambda m: m["evidence"][0].update(payment="internal"), "payment"),
        (lambda m: m["columns"].reverse(), "columns"),
        (lambda m: m["schema"]["columns"]["age"].update(min=40), "column age"),
        (lambda m: m["schema"]["columns"].pop("age"), "columns"),
        (lambda m: m["schema"].update(target="shoe"), "schema contradicts itself"),
        (lambda m: m.update(rows=59), "stated rows"),
        (lambda m: m.update(private_rows=32_561), "private_rows"),
        (lambda m: m["parts"][0]["charges"][0].update(rows=4), "rows"),
        (lambda m: m["parts"][0]["charges"][0]["event"].update(rows=4), "rows"),
        (lambda m: m.update(synthkit_manifest=2), "version 2"),
        (lambda m: m["files"].__setitem__("../escape", {"sha256": "0" * 64, "bytes": 0}), "escape"),
    ],
)
def test_false_claims_are_found(change: Callable[[dict[str, Any]], object], words: str, copy: Path) -> None:
    forge(copy, change)
    with pytest.raises(VerificationFailed, match=words):
        verify(copy)


def test_a_forger_who_keeps_to_the_rules_is_not_found(copy: Path) -> None:
    """The docstring says so; if this changes, the docstring must."""
    forge(copy, lambda m: m.update(dataset="Something else"))
    assert verify(copy).dataset == "Something else"


def test_data_files_that_differ_are_found(copy: Path) -> None:
    path = copy / "data.csv"
    text = path.read_text()
    swapped = {"true": "false", "false": "true"}[text.rstrip().rpartition(",")[2] or "true"]
    path.write_text(text.rstrip().rpartition(",")[0] + f",{swapped}\n")
    forge(copy, lambda m: None)
    with pytest.raises(VerificationFailed, match="different values"):
        verify(copy)


def test_data_files_beyond_the_domain_are_found(copy: Path) -> None:
    """Both files agree with each other and with every digest, and hold what the schema cannot."""
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(copy / "data.parquet")
    for name, value in (("age", 130), ("hours", 1.23), ("workclass", "Astronaut"), ("record", 5)):
        values = table[name].to_pylist()
        values[0] = value
        at = table.column_names.index(name)
        changed = table.set_column(at, table.schema.field(at), [pyarrow.array(values, table.schema.field(at).type)])
        pyarrow.parquet.write_table(changed, copy / "data.parquet")
        pyarrow.csv.write_csv(changed, copy / "data.csv")
        forge(copy, lambda m: None)
        with pytest.raises(VerificationFailed, match=r"data\.parquet|data files"):
            verify(copy)


def test_every_event_that_has_a_price_has_a_place_in_the_manifest() -> None:
    gaussian = dp_accounting.GaussianDpEvent(3.0)
    every: list[dp_accounting.DpEvent] = [
        dp_accounting.NoOpDpEvent(),
        dp_accounting.NonPrivateDpEvent(),
        gaussian,
        dp_accounting.LaplaceDpEvent(3.0),
        dp_accounting.dp_event.ZCDpEvent(0.1, 0.0),
        events.DiscreteGaussianDpEvent(3.0, 2),
        events.ExponentialMechanismDpEvent(0.1),
        dp_accounting.PoissonSampledDpEvent(0.1, gaussian),
        dp_accounting.SelfComposedDpEvent(gaussian, 3),
        dp_accounting.ComposedDpEvent([gaussian, gaussian]),
        events.ParallelDpEvent((0.5, 0.5), (gaussian, gaussian)),
    ]
    assert {type(event) for event in every} == set(events._NAMES)
    import jsonschema

    document = json_schema("release/manifest.v1.json")
    check = jsonschema.Draft202012Validator({"$ref": "#/$defs/event", "$defs": document["$defs"]})
    for event in every:
        assert check.is_valid(events.to_json(event))
        assert not check.is_valid({**events.to_json(event), "more": 1})
        assert report._noise(events.to_json(event))
    assert not check.is_valid({"kind": "magic"})
