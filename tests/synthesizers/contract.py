"""What every method promises. A test class inherits the suite and says which method it is."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthkit.audit.neighbours import pairs, table
from synthkit.audit.programs import fitting
from synthkit.audit.replay import deterministic, replay
from synthkit.data import vault
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Schema, Unit
from synthkit.errors import InputError, JobError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import METHODS, Method, Model, load, method, method_class, settings_of
from synthkit.synthesizers.locked import write_locked
from tests.tables import frame, private, schema, shaped

BUDGET = Budget(2.0, 1e-5)


def fitted(
    recipe: Method,
    public: Schema | None = None,
    data: pd.DataFrame | None = None,
    budget: Budget = BUDGET,
    seed: int | None = None,
) -> tuple[Model, Session]:
    """A model and the session that paid for it."""
    public = public or schema()
    rows = private(frame() if data is None else data, public)
    noise = None if seed is None else NoiseSource(test_seed=seed)
    session = Session(recipe.plan(public, budget), noise=noise)
    return recipe.fit(rows, session), session


def files(folder: Path) -> list[Path]:
    """All files of a saved model."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


written: list[str] = []  # files that were opened for writing, while somebody watches
watching: list[bool] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        path = str(arguments[0])
        if not isinstance(arguments[0], int) and "__pycache__" not in path:  # of a number the name was seen before
            written.append(path)


sys.addaudithook(_watch)


def check_encrypted(model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of any kind as one encrypted file: written and opened without a plaintext file. Returns what was opened."""
    monkeypatch.setenv(vault.IDENTITY, str(folder / "identity"))
    public = vault.new_identity(folder / "identity")
    model.save(folder / "open")
    written.clear()
    watching.append(True)
    try:
        write_locked(folder / "model.age", model.save, (public,))
        again = load(folder / "model.age")
    finally:
        watching.clear()
    assert written == [str(folder / "model.age")], written
    locked = (folder / "model.age").read_bytes()
    assert locked.startswith(b"age-encryption.org/v1") and (folder / "model.age").stat().st_mode & 0o077 == 0
    again.save(folder / "again")
    same = [[path.read_bytes() for path in files(folder / name)] for name in ("open", "again")]
    assert same[0] == same[1] and not any(content[:200] in locked for content in same[0])
    return again


class MethodContract:
    """Inherit, and set ``name`` and ``settings`` (fast ones); ``schema`` and ``frame`` for other tables."""

    name: str
    settings: dict[str, Any] = {}  # noqa: RUF012
    schema = staticmethod(schema)
    frame = staticmethod(frame)

    def fitted(
        self, recipe: Method, public: Schema | None = None, data: pd.DataFrame | None = None, *more: Any, **others: Any
    ) -> tuple[Model, Session]:
        """:func:`fitted`, on these tables."""
        public = self.schema() if public is None else public
        return fitted(recipe, public, self.frame() if data is None else data, *more, **others)

    @pytest.fixture(scope="class")
    def recipe(self) -> Method:
        return method(self.name, self.settings)

    @pytest.fixture(scope="class")
    def model(self, recipe: Method) -> Model:
        return self.fitted(recipe)[0]

    def test_is_registered_under_its_name(self, recipe: Method) -> None:
        assert recipe.name == self.name in METHODS
        assert type(recipe) is method_class(self.name)
        assert dataclasses.is_dataclass(recipe) and recipe.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert method(self.name, settings_of(recipe)) == recipe

    def test_refuses_unknown_settings(self) -> None:
        with pytest.raises(JobError, match="no setting epsilonn"):
            method(self.name, {"epsilonn": 1})

    @pytest.mark.parametrize("adjacency", list(Adjacency))
    @pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
    def test_plan_spends_99_to_100_percent(self, recipe: Method, adjacency: Adjacency, epsilon: float) -> None:
        plan = recipe.plan(self.schema(), Budget(epsilon, 1e-6, adjacency))
        assert 0.99 * epsilon < plan.epsilon <= epsilon

    def test_is_priced_with_shapes(self, recipe: Method) -> None:
        """Decorated by ``shaped``: numbers in quantiles and rare categories have their price, within the whole."""
        plan = recipe.plan(shaped(), BUDGET)
        assert plan.noise["shapes"] > 0 and 0.99 * BUDGET.epsilon < plan.epsilon <= BUDGET.epsilon

    def test_fit_runs_what_was_priced(self, recipe: Method) -> None:
        _, session = self.fitted(recipe)
        assert session.spent == pytest.approx(session.plan.epsilon, rel=1e-9)
        assert all(charge.norm_bound > 0 and charge.source for charge in session.trace)

    def test_rows_lie_in_the_domain(self, model: Model) -> None:
        drawn = model.sample(500, seed=1)
        assert list(drawn.frame.columns) == list(self.schema().modelled)
        again = discretize(from_frame(drawn.frame, self.schema()), self.schema())
        np.testing.assert_array_equal(again, drawn.codes)

    @pytest.mark.parametrize("rows", [0, 1, 3000])
    def test_draws_as_many_as_asked(self, model: Model, rows: int) -> None:
        drawn = model.sample(rows)
        assert len(drawn.frame) == len(drawn.codes) == rows

    def test_seed_repeats_and_none_does_not(self, model: Model) -> None:
        pd.testing.assert_frame_equal(model.sample(50, seed=5).frame, model.sample(50, seed=5).frame)
        assert not model.sample(50, seed=5).frame.equals(model.sample(50, seed=6).frame)
        assert not model.sample(50).frame.equals(model.sample(50).frame)

    def test_conditions_are_met_exactly(self, model: Model) -> None:
        drawn = model.sample(40, where={"ill": "yes", "sex": "f", "age": 37}).frame
        assert len(drawn) == 40
        assert set(drawn["ill"]) == {"yes"} and set(drawn["sex"]) == {"f"} and set(drawn["age"]) == {37}

    @pytest.mark.parametrize("where", [{"nobody": 1}, {"sex": "x"}, {"income": "much"}])
    def test_impossible_conditions_are_refused(self, model: Model, where: dict[str, Any]) -> None:
        with pytest.raises(JobError, match="where"):
            model.sample(10, where=where)

    def test_save_and_load(self, model: Model, tmp_path: Path) -> None:
        model.save(tmp_path / "model")
        assert {path.suffix for path in files(tmp_path / "model")} == {".json", ".safetensors"}
        again = load(tmp_path / "model")
        pd.testing.assert_frame_equal(again.sample(100, seed=3).frame, model.sample(100, seed=3).frame)
        assert [m.columns for m in again.marginals] == [m.columns for m in model.marginals]

    def test_encrypted_it_is_opened_in_memory(
        self, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        check_encrypted(model, tmp_path, monkeypatch)

    def test_any_flipped_byte_is_found(self, model: Model, tmp_path: Path) -> None:
        model.save(tmp_path / "model")
        rng = np.random.default_rng(0)
        for path in files(tmp_path / "model"):
            whole = path.read_bytes()
            for position in rng.integers(0, len(whole), 40):
                broken = bytearray(whole)
                broken[position] ^= 1 << int(rng.integers(8))
                path.write_bytes(bytes(broken))
                with pytest.raises(InputError):
                    load(tmp_path / "model")
            path.write_bytes(whole)
        load(tmp_path / "model")

    @pytest.mark.parametrize("rows", [0, 1])
    def test_tiny_tables_are_legal(self, recipe: Method, rows: int) -> None:
        model, session = self.fitted(recipe, data=self.frame(400).iloc[:rows])
        assert session.spent == pytest.approx(session.plan.epsilon)
        assert len(model.sample(20).frame) == 20

    def test_outliers_and_nulls_are_legal(self, recipe: Method) -> None:
        data = self.frame(50).astype({"age": object, "income": object, "smoker": object})
        data.loc[0, ["age", "region", "seen", "smoker"]] = None
        data.loc[1, "income"] = 1e30
        data.loc[2, "income"] = float("inf")
        data.loc[3, "region"] = "atlantis"
        assert len(self.fitted(recipe, data=data)[0].sample(20).frame) == 20

    @pytest.mark.parametrize("target", [None, "age", "smoker", "region"])
    def test_any_target(self, recipe: Method, target: str | None) -> None:
        assert len(self.fitted(recipe, self.schema(target=target))[0].sample(20).frame) == 20

    def test_one_column(self, recipe: Method) -> None:
        public = Schema(name="one", columns={"sex": self.schema().columns["sex"]}, rows=100, reviewed=True)
        model, session = self.fitted(recipe, public, self.frame(100)[["sex"]])
        assert session.spent == pytest.approx(session.plan.epsilon)
        assert set(model.sample(50).frame["sex"]) <= {"f", "m"}

    def test_units_of_several_rows(self, recipe: Method) -> None:
        public = self.schema(unit=Unit("person", 3))
        budget = Budget(2.0, 1e-5, unit=public.unit)
        model, session = self.fitted(recipe, public, self.frame(400, people=150), budget)
        assert 0.99 * 2 < session.spent <= 2
        assert "person" not in model.sample(10).frame.columns

    @pytest.mark.parametrize("adjacency", list(Adjacency))
    @pytest.mark.parametrize("unit", [Unit(), Unit("person", 3)], ids=["row", "person"])
    def test_replay_on_neighbours_finds_nothing(self, recipe: Method, unit: Unit, adjacency: Adjacency) -> None:
        public = self.schema(unit=unit, rows=200)
        program = fitting(recipe, public, Budget(2.0, 1e-5, adjacency, unit))
        assert not deterministic(program, table(public, 200))
        for pair in pairs(public, adjacency, rows=200):
            found = replay(program, pair.left, pair.right)
            assert found.passed, f"{pair.name}: {'; '.join(map(str, found.divergences[:3]))}"

    def test_two_fits_differ_unless_seeded(self, recipe: Method) -> None:
        one, two = (self.fitted(recipe)[0].sample(200, seed=1).frame for _ in range(2))
        assert not one.equals(two)
        one, two = (self.fitted(recipe, seed=7)[0].sample(200, seed=1).frame for _ in range(2))
        pd.testing.assert_frame_equal(one, two)
