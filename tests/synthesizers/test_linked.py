"""Two linked tables: what is paid, what is kept, and that neighbours cannot be told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthkit.audit.linked import fitting, pairs, stacked
from synthkit.audit.neighbours import table
from synthkit.audit.replay import deterministic, replay
from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Categorical, Identifier, Integer, Quantiles, Schema, Unit
from synthkit.errors import InputError, JobError, MethodError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.session import Session
from synthkit.synthesizers import base
from synthkit.synthesizers.linked import Linked, LinkedModel, load_linked
from tests.linked import frames, linked, private
from tests.synthesizers.contract import check_encrypted

QUICK = Linked(
    parent_settings={"iterations": 5, "marginals": 2}, child_settings={"iterations": 5, "marginals": 4, "rounds": 2}
)


def budget(public: LinkedSchema, epsilon: float = 2.0, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE) -> Budget:
    return Budget(epsilon, 1e-5, adjacency, public.unit)


def fitted(
    public: LinkedSchema,
    data: tuple[pd.DataFrame, pd.DataFrame],
    recipe: Linked = QUICK,
    epsilon: float = 2.0,
    seed: int | None = None,
) -> tuple[LinkedModel, Session]:
    noise = None if seed is None else NoiseSource(test_seed=seed)
    session = Session(recipe.plan(public, budget(public, epsilon)), noise=noise)
    return recipe.fit(private(*data, public), session), session


@pytest.fixture(scope="module")
def model() -> LinkedModel:
    return fitted(linked(), frames())[0]


# Price


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize(("epsilon", "most"), [(0.1, 8), (1.0, 1), (10.0, 8)])
def test_plan_spends_99_to_100_percent(epsilon: float, adjacency: Adjacency, most: int) -> None:
    public = linked(max_children=most)
    plan = QUICK.plan(public, budget(public, epsilon, adjacency))
    assert 0.99 * epsilon < plan.epsilon <= epsilon
    assert plan.parents.budget.unit == Unit("patient", 1) and plan.children.budget.unit == Unit("patient", most)


def test_fit_runs_what_was_priced_with_each_tables_sensitivity() -> None:
    public = linked(max_children=3)
    _, session = fitted(public, frames())
    assert session.spent == pytest.approx(session.plan.epsilon, rel=1e-9)
    assert {charge.norm_bound for charge in session.trace} == {1, 3}


def test_the_share_is_the_parents() -> None:
    public = linked()
    few, many = (replace(QUICK, share=share).plan(public, budget(public)) for share in (0.2, 0.8))
    assert few.parents.epsilon < many.parents.epsilon and few.children.epsilon > many.children.epsilon


def test_shapes_are_priced_in_both_tables() -> None:
    public = shaped_linked()
    plan = QUICK.plan(public, budget(public))
    assert {"parents.shapes", "children.shapes"} <= set(plan.noise)
    assert 0.99 * 2 < plan.epsilon <= 2


def test_another_unit_is_refused() -> None:
    public = linked()
    with pytest.raises(MethodError, match="one parent with its children is patient"):
        QUICK.plan(public, Budget(1.0, 1e-5, unit=public.child.unit))
    with pytest.raises(MethodError, match="plan is not one of linked tables"):
        QUICK.fit(private(*frames(20), public), Session(QUICK.plan(public, budget(public)).parents))


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"share": 1.5}, MethodError),
        ({"parents": "nobody"}, JobError),
        ({"parent_settings": {"x": 1}}, JobError),
        ({"child_settings": {"given": ()}}, JobError),
        ({"child_settings": {"rounds": 0}}, MethodError),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Linked(**settings)


def test_any_method_makes_the_parents() -> None:
    public = linked()
    for name in ("independent", "mst"):
        model, session = fitted(public, frames(), replace(QUICK, parents=name, parent_settings={}))
        assert session.spent == pytest.approx(session.plan.epsilon)
        assert len(model.sample(30).parents) == 30


# Synthetic tables


def test_keys_are_valid_and_new(model: LinkedModel) -> None:
    drawn = model.sample(500, seed=1)
    assert list(drawn.parents["patient"]) == list(range(1, 501))
    assert set(drawn.children["patient"]) <= set(drawn.parents["patient"])
    assert drawn.children.groupby("patient").size().max() <= 3
    assert list(drawn.parents.columns) == ["patient", "age", "sex", "chronic"]
    assert list(drawn.children.columns) == ["patient", "ward", "days", "cost", "seen", "readmitted"]


@pytest.mark.parametrize("parents", [0, 1, 700])
def test_draws_as_many_parents_as_asked(model: LinkedModel, parents: int) -> None:
    drawn = model.sample(parents)
    assert len(drawn.parents) == parents and len(drawn.children) <= 3 * parents


def test_synthetic_tables_are_legal_linked_tables(model: LinkedModel) -> None:
    drawn = model.sample(300, seed=2)
    children = drawn.children.assign(visit=np.arange(len(drawn.children)))
    private(drawn.parents, children, model.schema)


def test_a_condition_on_parents_holds_for_their_children(model: LinkedModel) -> None:
    drawn = model.sample(100, where={"chronic": True, "age": 37}, seed=3)
    assert drawn.parents["chronic"].all() and set(drawn.parents["age"]) == {37}


def test_seed_repeats_and_none_does_not(model: LinkedModel) -> None:
    one, two, three = model.sample(100, seed=5), model.sample(100, seed=5), model.sample(100)
    pd.testing.assert_frame_equal(one.parents, two.parents)
    pd.testing.assert_frame_equal(one.children, two.children)
    assert not one.children.equals(three.children)


def test_the_number_of_children_and_what_they_owe_their_parents() -> None:
    patients, visits = frames(6000)
    public = linked(max_children=5, parents=6000)
    recipe = Linked(parent_settings={"marginals": 6}, child_settings={"marginals": 12})
    model, _ = fitted(public, (patients, visits), recipe, epsilon=30.0, seed=1)
    drawn = model.sample(6000, seed=1)

    def numbers(parents: pd.DataFrame, children: pd.DataFrame, chronic: bool) -> Any:
        some = parents[parents["chronic"].fillna(False).astype(bool) == chronic]["patient"]
        sizes = children.groupby("patient").size().reindex(some).fillna(0).astype(int)
        return np.bincount(sizes, minlength=6)[:6] / len(some)

    def rates(parents: pd.DataFrame, children: pd.DataFrame) -> tuple[float, float, float, float]:
        both = children.merge(parents, on="patient").astype(object)
        chronic, women = both["chronic"].eq(True), both["sex"].eq("f")
        readmitted, maternity = both["readmitted"].eq(True), both["ward"].eq("maternity")
        return (
            float(readmitted[chronic].mean()),
            float(readmitted[~chronic].mean()),
            float(maternity[women].mean()),
            float(maternity[~women].mean()),
        )

    for chronic in (False, True):
        real = numbers(patients, visits, chronic)
        np.testing.assert_allclose(numbers(drawn.parents, drawn.children, chronic), real, atol=0.03)
    np.testing.assert_allclose(rates(drawn.parents, drawn.children), rates(patients, visits), atol=0.06)
    tied = drawn.children.dropna(subset=["days", "cost"])
    assert tied["days"].astype(float).corr(tied["cost"].astype(float)) > 0.5


def test_two_parents_columns_that_say_the_same_are_not_counted_twice() -> None:
    """A naive Bayes model of the child given its parent would: its rates would be far too sure."""
    rng = np.random.default_rng(0)
    parents = 4000
    group = rng.integers(0, 2, parents)
    both = {name: Categorical(categories=("no", "yes")) for name in ("one", "two", "three")}
    public = LinkedSchema(
        Schema("parents", {"key": Identifier(), **both}, parents, Unit("key", 1), reviewed=True),
        Schema("children", {"key": Identifier(), "sick": both["one"]}, 2 * parents, Unit("key", 2), reviewed=True),
    )
    words = np.where(group == 1, "yes", "no")
    above = pd.DataFrame({"key": np.arange(parents), "one": words, "two": words, "three": words})
    owner = np.repeat(np.arange(parents), 2)
    sick = rng.random(2 * parents) < np.where(group[owner] == 1, 0.7, 0.3)
    below = pd.DataFrame({"key": owner, "sick": np.where(sick, "yes", "no")})
    model, _ = fitted(public, (above, below), Linked(), epsilon=20.0, seed=3)
    drawn = model.sample(4000, seed=0)
    joined = drawn.children.merge(drawn.parents, on="key")
    rate = joined["sick"].eq("yes").groupby(joined["one"].astype(str)).mean()
    np.testing.assert_allclose([rate["no"], rate["yes"]], [0.3, 0.7], atol=0.05)


def test_constraints_hold_in_both_tables() -> None:
    from synthkit.data.constraints import Never

    public = linked()
    child = replace(public.child, constraints=(Never(where={"ward": "surgery", "readmitted": True}, repair=True),))
    drawn = fitted(LinkedSchema(public.parent, child), frames())[0].sample(500, seed=0).children
    assert not (drawn["ward"].eq("surgery") & drawn["readmitted"].fillna(False)).any()


# Legal and small


@pytest.mark.parametrize("parents", [0, 1])
@pytest.mark.parametrize("children", [0, 1])
def test_tiny_tables_are_legal(parents: int, children: int) -> None:
    patients, visits = frames(20)
    visits = visits.assign(patient=patients["patient"].iloc[0]).iloc[: min(parents, children)]
    model, session = fitted(linked(), (patients.iloc[:parents], visits))
    assert session.spent == pytest.approx(session.plan.epsilon)
    assert len(model.sample(20).parents) == 20


@pytest.mark.parametrize("target", [None, "ward", "days"])
def test_any_target_of_the_child(target: str | None) -> None:
    assert len(fitted(linked(target=target), frames())[0].sample(50).parents) == 50


@pytest.mark.parametrize("target", [None, "x"])
def test_one_column_each(target: str | None) -> None:
    public = LinkedSchema(
        Schema("a", {"key": Identifier(), "x": Integer(min=0, max=3)}, 50, Unit("key", 1)),
        Schema("b", {"key": Identifier(), "x": Integer(min=0, max=3)}, 50, Unit("key", 1), target=target),
    )
    rows = pd.DataFrame({"key": np.arange(50), "x": np.arange(50) % 4})
    model, session = fitted(public, (rows, rows))
    assert session.spent == pytest.approx(session.plan.epsilon)
    assert list(model.sample(5).children.columns) == ["key", "x"]


# Saving


def test_save_and_load(model: LinkedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    again = load_linked(tmp_path / "model")
    one, two = model.sample(100, seed=3), again.sample(100, seed=3)
    pd.testing.assert_frame_equal(one.parents, two.parents)
    pd.testing.assert_frame_equal(one.children, two.children)
    assert again.schema == model.schema


def test_encrypted_it_is_opened_in_memory(model: LinkedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_encrypted(model, tmp_path, monkeypatch).schema == model.schema


def test_parts_of_another_model_are_refused(model: LinkedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    other, _ = fitted(linked(max_children=2), frames(50))
    other.save(tmp_path / "other")
    for part in ("parents", "children"):
        moved = tmp_path / "model" / part
        moved.rename(tmp_path / "kept")
        (tmp_path / "other" / part).rename(moved)
        with pytest.raises(InputError, match="belong to another model"):
            load_linked(tmp_path / "model")
        moved.rename(tmp_path / "other" / part)
        (tmp_path / "kept").rename(moved)
    with pytest.raises(InputError, match="a model of one table"):
        load_linked(tmp_path / "model" / "parents")


def shaped_linked() -> LinkedSchema:
    public = linked()
    age = Integer(min=0, max=99, bins=Quantiles(4), unknown="clamp")
    cost = replace(public.child.columns["cost"], bins=Quantiles(4))  # type: ignore[arg-type]
    return LinkedSchema(
        replace(public.parent, columns={**public.parent.columns, "age": age}),
        replace(public.child, columns={**public.child.columns, "cost": cost}),
    )


def test_shapes_are_kept_in_both_tables(tmp_path: Path) -> None:
    patients, visits = frames(3000)
    visits["cost"] = np.where(np.arange(len(visits)) % 2, 0.0, visits["cost"])
    model, session = fitted(shaped_linked(), (patients, visits), epsilon=20.0)
    assert session.spent == pytest.approx(session.plan.epsilon)
    drawn = model.sample(2000, seed=0)
    assert 0.4 < drawn.children["cost"].eq(0).mean() < 0.6
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(load_linked(tmp_path / "model").sample(2000, seed=0).children, drawn.children)
    assert isinstance(base.load(tmp_path / "model"), LinkedModel)


# Under attack


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("target", [None, "readmitted"])
def test_replay_on_neighbours_finds_nothing(adjacency: Adjacency, target: str | None) -> None:
    public = linked(target=target, parents=60)
    program = fitting(QUICK, public, budget(public, adjacency=adjacency))
    whole = next(iter(pairs(public, adjacency))).right
    assert not deterministic(program, whole)
    tight = []
    for pair in pairs(public, adjacency):
        found = replay(program, pair.left, pair.right)
        assert found.passed, f"{pair.name}: {'; '.join(map(str, found.divergences[:3]))}"
        tight += [
            (move.distance / move.sensitivity, move.sensitivity)
            for move in found.moved
            if move.mechanism[:5] == "noisy"
        ]
    for sensitivity in {at for _, at in tight}:  # bounds are reached in both tables: the pairs are hard ones
        reached = max(share for share, at in tight if at == sensitivity)
        assert reached > 0.7


def _mutated(monkeypatch: pytest.MonkeyPatch) -> LinkedSchema:
    """Children are priced as if a parent had one, and bounded to as many as it may have."""
    true = LinkedSchema.widened.fget  # type: ignore[attr-defined]
    wrong = property(lambda self: replace(true(self), unit=Unit(self.key, 1)))
    monkeypatch.setattr(LinkedSchema, "widened", wrong)
    return linked(parents=60)


def test_replay_finds_children_that_are_priced_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    public = _mutated(monkeypatch)
    program = fitting(QUICK, public, budget(public))
    found = {pair.name: replay(program, pair.left, pair.right) for pair in pairs(public, Adjacency.ADD_OR_REMOVE)}
    assert found["added: ordinary, one child"].passed
    broken = found["added: last, all children"]
    assert not broken.passed
    assert any("is declared at most" in str(divergence) for divergence in broken.divergences)


def test_replay_finds_a_number_of_children_that_is_not_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bounding, one parent moves as many rows as it likes."""
    from synthkit.privacy import links

    monkeypatch.setattr(links, "bound_contributions", _unbounded)
    public = linked(max_children=1, parents=60)
    program = fitting(QUICK, public, budget(public))
    found = [replay(program, pair.left, pair.right) for pair in pairs(public, Adjacency.ADD_OR_REMOVE)]
    assert not all(one.passed for one in found)


def _unbounded(data: Any, _: NoiseSource) -> Any:
    from synthkit.data.private import Private, reveal

    return Private(reveal(data), dataset=data.dataset, schema=data.schema, bounded=True)


def test_neighbours_differ_and_are_legal() -> None:
    public = linked(parents=60)
    assert len(table(public.parent, 3)) == 3
    names = []
    for pair in pairs(public, Adjacency.ADD_OR_REMOVE, parents=20):
        names.append(pair.name)
        assert not pair.left.equals(pair.right)
    assert len(set(names)) == len(names) == 15
    assert stacked(*frames(5)).index.get_level_values(0).nunique() == 2
