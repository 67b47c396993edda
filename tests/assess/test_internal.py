"""Exact figures stay in the house: who may ask, where they go, and that they are right."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthkit.assess import fidelity, internal, similarity, utility
from synthkit.data.encoding import discretize, from_frame, to_frame, undiscretize
from synthkit.data.schema import Schema
from synthkit.errors import BudgetExceeded, Refused
from synthkit.evidence import Evidence
from synthkit.privacy import internal as doors
from synthkit.privacy.budget import Budget
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Synthetic
from tests.tables import frame, private, schema

PUBLIC = schema()
BUDGET = Budget(1.0, 1e-5)


def codes(rows: int, seed: int, public: Schema = PUBLIC) -> np.ndarray:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, size, rows) for size in public.domain.values()]
    return np.stack(columns, axis=1).astype(np.int32)


def synthetic(rows: int = 60, seed: int = 3) -> Synthetic:
    drawn = codes(rows, seed)
    return Synthetic(to_frame(undiscretize(drawn, PUBLIC, np.random.default_rng(0)), PUBLIC), drawn)


# --- the two doors -----------------------------------------------------------------------------------


def test_exact_codes_need_the_stewards_word(monkeypatch: pytest.MonkeyPatch) -> None:
    data = private(frame(30), PUBLIC)
    np.testing.assert_array_equal(
        doors.internal_codes(data, allowed=True), discretize(from_frame(frame(30), PUBLIC), PUBLIC)
    )
    monkeypatch.setattr(doors, "reveal", lambda _: pytest.fail("private rows were opened"))
    with pytest.raises(Refused, match="internal: allow"):
        doors.internal_codes(data, allowed=False)


def test_unprotected_rows_cost_infinity_and_are_charged_first(monkeypatch: pytest.MonkeyPatch) -> None:
    data = private(frame(5), PUBLIC)
    session = Session(Plan(BUDGET, dp_accounting.NonPrivateDpEvent()))
    assert len(doors.unprotected_frame(data, session)) == 5
    assert session.spent == math.inf
    assert session.trace[0].norm_bound == math.inf
    monkeypatch.setattr(doors, "reveal", lambda _: pytest.fail("private rows were opened"))
    for planned in (dp_accounting.NoOpDpEvent(), dp_accounting.GaussianDpEvent(10.0)):
        with pytest.raises(BudgetExceeded):
            doors.unprotected_frame(data, Session(Plan(BUDGET, planned)))


# --- the report --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report() -> tuple[Evidence, ...]:
    return internal.assess(codes(90, 1), codes(40, 2), synthetic(), PUBLIC)


def test_every_figure_is_internal(report: tuple[Evidence, ...]) -> None:
    assert {figure.payment for figure in report} == {"internal"}
    assert len({figure.name for figure in report}) == len(report)
    assert all(math.isfinite(figure.value) and figure.interval is None for figure in report)


def test_the_report_holds_all_parts(report: tuple[Evidence, ...]) -> None:
    real, control, drawn = codes(90, 1), codes(40, 2), synthetic().codes
    expected = [
        *fidelity.exact(real, drawn, PUBLIC, against="training"),
        *fidelity.exact(control, drawn, PUBLIC, against="holdout"),
        *utility.exact(drawn, control, PUBLIC, "tstr"),
        *utility.exact(real, control, PUBLIC, "trtr"),
        *similarity.exact(real, control, drawn, PUBLIC),
    ]
    assert list(report[: len(expected)]) == expected
    rest = {figure.name: figure.value for figure in report[len(expected) :]}
    gap = np.abs(fidelity.associations(real, PUBLIC) - fidelity.associations(drawn, PUBLIC)).mean()
    assert rest.pop("fidelity.exact_association_gap") == pytest.approx(gap)
    assert all(name == "fidelity.exact_sdmetrics_quality" and 0 <= value <= 1 for name, value in rest.items())


def test_without_a_holdout_nothing_is_tested_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal, "_sdmetrics", lambda *_: [])
    found = internal.assess(codes(50, 1), codes(0, 2), synthetic(), PUBLIC)
    assert {figure.name for figure in found} == {
        *(f"fidelity.exact_tvd_{order}way_training" for order in (1, 2, 3)),
        "fidelity.exact_association_gap",
    }


# --- the folder --------------------------------------------------------------------------------------


def write(folder: Path, figures: tuple[Evidence, ...] = ()) -> None:
    internal.write(folder, figures, [internal.Compared(codes(50, 1), synthetic().codes, PUBLIC)])


def test_the_folder_is_its_owners_alone(tmp_path: Path, report: tuple[Evidence, ...]) -> None:
    folder = tmp_path / "deep" / "release.internal"
    write(folder, report)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {"internal.json", "associations_real.csv", "associations_synthetic.csv"}
    assert {path.name for path in folder.iterdir()} == names
    document = json.loads((folder / "internal.json").read_text())
    assert list(document) == ["warning", "evidence"]
    assert "INTERNAL" in document["warning"] and "must not be shared" in document["warning"]
    assert document["evidence"] == [figure.to_dict() for figure in report]


def test_the_association_matrices_are_written(tmp_path: Path) -> None:
    write(tmp_path / "internal")
    for name, table in (("real", codes(50, 1)), ("synthetic", synthetic().codes)):
        lines = (tmp_path / "internal" / f"associations_{name}.csv").read_text().splitlines()
        assert lines[0].split(",")[1:] == [line.split(",")[0] for line in lines[1:]] == list(PUBLIC.domain)
        found = np.array([[float(value) for value in line.split(",")[1:]] for line in lines[1:]])
        np.testing.assert_allclose(found, fidelity.associations(table, PUBLIC), atol=6e-5)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "internal"
    folder.mkdir()
    (folder / "kept").write_text("as it was")
    with pytest.raises(FileExistsError):
        write(folder)
    assert [path.name for path in folder.iterdir()] == ["kept"]
    write(tmp_path / "other")
    before = (tmp_path / "other" / "internal.json").read_bytes()
    with pytest.raises(FileExistsError):
        write(tmp_path / "other", internal.assess(codes(9, 1), codes(0, 2), synthetic(), PUBLIC)[:1])
    assert (tmp_path / "other" / "internal.json").read_bytes() == before


# --- similarity --------------------------------------------------------------------------------------


def brute_similarity(real: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    rows = [tuple(row) for row in real.tolist()]
    gaps = [min(sum(a != b for a, b in zip(row, known, strict=True)) for known in rows) for row in drawn.tolist()]
    return sum(gap == 0 for gap in gaps) / len(gaps), float(np.median(gaps)) / real.shape[1]


@given(
    rows=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 999),
    columns=st.integers(1, 7),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_similarity_by_brute_force(rows: tuple[int, int, int], seed: int, columns: int) -> None:
    public = Schema("some", dict(list(PUBLIC.columns.items())[:columns]), 10)
    training, control, drawn = (codes(size, seed + i, public) for i, size in enumerate(rows))
    # As many of one as of the other: where training is larger, a part of it by lot.
    size = min(rows[:2])
    order = _training_order(len(training), len(drawn))
    found = {figure.name: figure.value for figure in similarity.exact(training, control, drawn, public)}
    for name, real in (("training", training[order[:size]]), ("holdout", control[:size])):
        copies, nearest = brute_similarity(real, drawn)
        assert found[f"similarity.copies_{name}"] == pytest.approx(copies)
        assert found[f"similarity.nearest_{name}"] == pytest.approx(nearest)


def _training_order(training: int, drawn: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    rng.choice(drawn, drawn, replace=False)
    return rng.permutation(training)


def test_copies_are_seen_against_training_alone() -> None:
    wide = Schema("wide", {f"c{i}": PUBLIC.columns["age"] for i in range(12)}, 10)
    training, control = codes(50, 1, wide), codes(50, 2, wide)
    found = {e.name: e for e in similarity.exact(training, control, training[::2].copy(), wide)}
    assert found["similarity.copies_training"].value == 1 and found["similarity.nearest_training"].value == 0
    assert found["similarity.copies_holdout"].value == 0 and found["similarity.nearest_holdout"].value > 0.3
    for figure in found.values():
        assert figure.payment == "internal" and "similarity, not privacy" in figure.how
        assert "50 of them" in figure.how


def test_chunks_and_probes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    training, control, drawn = codes(40, 1), codes(40, 2), codes(30, 3)
    whole = similarity.exact(training, control, drawn, PUBLIC)
    monkeypatch.setattr(similarity, "_CHUNK", 7)
    assert similarity.exact(training, control, drawn, PUBLIC) == whole
    monkeypatch.setattr(similarity, "_PROBES", 5)
    fewer = similarity.exact(training, control, drawn, PUBLIC)
    assert [e.value for e in fewer if "copies" in e.name] == [e.value for e in whole if "copies" in e.name]


@pytest.mark.parametrize("sizes", [(0, 5, 5), (5, 0, 5), (5, 5, 0), (0, 0, 0)])
def test_nothing_to_compare_gives_no_figure(sizes: tuple[int, int, int]) -> None:
    training, control, drawn = (codes(size, i) for i, size in enumerate(sizes))
    assert similarity.exact(training, control, drawn, PUBLIC) == []
