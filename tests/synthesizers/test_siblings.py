"""Siblings: what is counted of them, what that costs, and that children change places and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthkit.audit.linked import fitting, pairs
from synthkit.audit.replay import replay
from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Integer
from synthkit.errors import MethodError
from synthkit.privacy import links
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.session import Session
from synthkit.synthesizers import siblings
from synthkit.synthesizers.linked import Linked, LinkedModel, load_linked
from synthkit.synthesizers.siblings import Siblings
from tests.linked import frames, linked, private

PUBLIC = linked(parents=1_500)
RECIPE = Linked(parents="independent", child_settings={"iterations": 20, "marginals": 6})


def faithful(parents: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Patients keep to a ward, mostly, and to a cost."""
    patients, visits = frames(parents, seed=seed)
    first = visits.groupby("patient")[["ward", "cost"]].transform("first")
    stays = np.random.default_rng(seed + 1).random(len(visits)) < 0.8
    return patients, visits.assign(**{name: first[name].where(stays, visits[name]) for name in first})


def fitted(recipe: Linked = RECIPE, epsilon: float = 8.0, public: LinkedSchema = PUBLIC) -> tuple[LinkedModel, Session]:
    budget = Budget(epsilon, 1e-5, unit=public.unit)
    session = Session(recipe.plan(public, budget), noise=NoiseSource(test_seed=3))
    return recipe.fit(private(*faithful(1_500), public), session), session


@pytest.fixture(scope="module")
def both() -> tuple[LinkedModel, Session]:
    return fitted()


@pytest.fixture(scope="module")
def model(both: tuple[LinkedModel, Session]) -> LinkedModel:
    return both[0]


def same(children: pd.DataFrame, column: str = "ward") -> float:
    """How often a visit is like the one before it of the same patient."""
    of, values = children["patient"].to_numpy(), children[column].astype(str).to_numpy()
    return float((values[1:] == values[:-1])[of[1:] == of[:-1]].mean())


# What is counted


def test_where_noise_is_small_all_pairs_are_counted_and_else_how_they_lie() -> None:
    sharp, blurred = ({r.name: r for r in siblings.relations(PUBLIC, sigma)} for sigma in (0.1, 1e4))
    sizes, chained = PUBLIC.widened.domain, PUBLIC.chained.domain
    for name, called in PUBLIC.previous.items():
        assert sharp[name].count == sizes[name] * chained[called]
        assert len(np.unique(sharp[name].cells)) == sharp[name].count
        for relation in (sharp[name], blurred[name]):
            assert relation.cells.shape == (chained[called], sizes[name])
            assert set(np.unique(relation.cells)) == set(range(relation.count))
    # ward, of four categories and without null: the same, another, none before
    np.testing.assert_array_equal(blurred["ward"].cells[:4], 1 - np.eye(4, dtype=int))
    assert set(blurred["ward"].cells[4]) == {2}
    # days, four bins and null: far below to far above; none before; no value now
    np.testing.assert_array_equal(blurred["days"].cells[0], [2, 3, 4, 4, 6])
    np.testing.assert_array_equal(blurred["days"].cells[3], [0, 0, 1, 2, 6])
    assert set(blurred["days"].cells[4]) == {5}


def test_the_first_columns_are_asked_about() -> None:
    columns = {f"c{k}": Integer(min=0, max=3) for k in range(30)}
    many = LinkedSchema(PUBLIC.parent, replace(PUBLIC.child, columns={**PUBLIC.child.columns, **columns}))
    assert siblings.columns(many) == list(many.child.modelled)[:8]


@pytest.mark.parametrize(
    ("share", "adjacency"),
    [(0.0, Adjacency.ADD_OR_REMOVE), (0.05, Adjacency.REPLACE_ONE), (0.9, Adjacency.ADD_OR_REMOVE)],
)
def test_siblings_are_part_of_the_price(adjacency: Adjacency, share: float) -> None:
    plan = replace(RECIPE, siblings=share).plan(PUBLIC, Budget(2.0, 1e-5, adjacency, PUBLIC.unit))
    assert 0.99 * 2 < plan.epsilon <= 2 and ("siblings" in plan.children.noise) == (share > 0)


def test_what_is_measured_was_priced_with_all_children_of_a_parent(both: tuple[LinkedModel, Session]) -> None:
    found, session = both
    charged = [charge for charge in session.trace if "of the sibling before" in charge.what]
    assert len(charged) == len(found.siblings) == 5 and {charge.norm_bound for charge in charged} == {3}
    assert session.spent == pytest.approx(session.plan.epsilon)


def test_an_only_child_has_no_siblings() -> None:
    found, session = fitted(public=linked(max_children=1, parents=1_500))
    assert found.siblings == () and session.spent == pytest.approx(session.plan.epsilon)
    assert len(found.sample(20).parents) == 20


@pytest.mark.parametrize("share", [-0.1, 0.95, "much"])
def test_shares_are_checked(share: object) -> None:
    with pytest.raises(MethodError, match="siblings"):
        Linked(siblings=share)  # type: ignore[arg-type]


# Who goes where


def test_siblings_are_alike_as_real_ones_are(model: LinkedModel) -> None:
    _, visits = faithful(1_500)
    real = same(visits.sort_values(["patient", "seen"]))
    torn = replace(model, siblings=()).sample(1_500, seed=1)
    drawn = model.sample(1_500, seed=1)
    assert real > same(torn.children) + 0.2
    assert same(drawn.children) == pytest.approx(real, abs=0.08)


def test_only_siblings_change(model: LinkedModel) -> None:
    """The same parents, the same children, and as many of each kind with each kind of parent that matters."""
    torn, drawn = replace(model, siblings=()).sample(1_500, seed=1), model.sample(1_500, seed=1)
    pd.testing.assert_frame_equal(torn.parents, drawn.parents)
    np.testing.assert_array_equal(torn.owner, drawn.owner)
    names, own = list(PUBLIC.widened.modelled), list(PUBLIC.child.modelled)
    asked = {name for m in model.children.marginals for name in m.columns} | set(own)
    kept = [names.index(name) for name in names if name in asked]
    assert len(kept) > len(own)
    for made in (torn, drawn):  # beside each child stand its own parent's columns
        beside = made.child_codes[:, [names.index(called) for called in PUBLIC.brought.values()]]
        np.testing.assert_array_equal(beside, made.parent_codes[made.owner])
    rows = [sorted(map(tuple, made.child_codes[:, kept].tolist())) for made in (torn, drawn)]
    assert rows[0] == rows[1]
    values = [sorted(map(str, made.children.drop(columns="patient").to_numpy().tolist())) for made in (torn, drawn)]
    assert values[0] == values[1]


def test_children_change_places_among_their_like_alone() -> None:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(500), 3)
    codes = np.zeros((1_500, len(PUBLIC.widened.modelled)), dtype=np.int32)
    codes[:, 0] = rng.integers(0, 4, 1_500)
    alike = rng.integers(0, 3, 500)[owner]
    (relation,) = (r for r in siblings.relations(PUBLIC, 1e4) if r.name == "ward")
    table = Siblings(relation, np.array([950.0, 50.0, 500.0]), 1.0)
    places = siblings.arranged(codes, owner, alike, PUBLIC, [table], rng)
    np.testing.assert_array_equal(np.sort(places), np.arange(1_500))
    np.testing.assert_array_equal(alike[places], alike)
    wards = codes[places, 0].reshape(500, 3)
    assert (wards[:, 1:] == wards[:, :-1]).mean() == pytest.approx(0.95, abs=0.04)
    np.testing.assert_array_equal(np.bincount(wards.ravel()), np.bincount(codes[:, 0]))


def test_children_that_must_not_be_alike_are_taken_apart() -> None:
    owner = np.repeat(np.arange(400), 2)
    codes = np.zeros((800, len(PUBLIC.widened.modelled)), dtype=np.int32)
    codes[:, 0] = np.repeat(np.arange(400) % 4, 2)  # twins
    (relation,) = (r for r in siblings.relations(PUBLIC, 1e4) if r.name == "ward")
    table = Siblings(relation, np.array([0.0, 400.0, 400.0]), 1.0)
    places = siblings.arranged(codes, owner, np.zeros(800, np.int64), PUBLIC, [table], np.random.default_rng(0))
    pairs_of = codes[places, 0].reshape(400, 2)
    assert (pairs_of[:, 0] == pairs_of[:, 1]).mean() < 0.1


def test_noise_alone_ties_nobody() -> None:
    """What does not stand out of the noise is not followed."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(500), 3)
    codes = np.zeros((1_500, len(PUBLIC.widened.modelled)), dtype=np.int32)
    codes[:, 0] = rng.integers(0, 4, 1_500)
    (relation,) = (r for r in siblings.relations(PUBLIC, 1e4) if r.name == "ward")
    shares, even = [], np.array([250.0, 750.0, 500.0])
    for seed in range(20):
        noise = np.random.default_rng(seed)
        table = Siblings(relation, even + noise.normal(0, 400, 3), 400.0)
        places = siblings.arranged(codes, owner, np.zeros(1_500, np.int64), PUBLIC, [table], noise)
        wards = codes[places, 0].reshape(500, 3)
        shares.append((wards[:, 1:] == wards[:, :-1]).mean())
    assert np.median(shares) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("counts", [[0.0, 0.0, 0.0], [-500.0, -20.0, -300.0]])
def test_tables_that_say_nothing_are_not_followed(counts: list[float]) -> None:
    (relation,) = (r for r in siblings.relations(PUBLIC, 1e4) if r.name == "ward")
    independent = np.array([0.2, 0.5, 0.3])
    wanted = siblings._wanted(Siblings(relation, np.array(counts), 100.0), independent)
    np.testing.assert_array_equal(wanted, independent)


@pytest.mark.parametrize("parents", [0, 1, 5, 299, 301])
def test_few_parents_are_taken_from_more(model: LinkedModel, parents: int) -> None:
    drawn = model.sample(parents, seed=4)
    assert len(drawn.parents) == len(drawn.parent_codes) == parents
    numbers = np.bincount(drawn.owner, minlength=parents)
    np.testing.assert_array_equal(numbers, drawn.parent_codes[:, -1])
    assert set(drawn.children["patient"]) <= set(drawn.parents["patient"])


def test_a_saved_model_keeps_its_siblings(model: LinkedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    again = load_linked(tmp_path / "model")
    assert len(again.siblings) == len(model.siblings)
    pd.testing.assert_frame_equal(again.sample(300, seed=3).children, model.sample(300, seed=3).children)
    replace(model, siblings=()).save(tmp_path / "alone")
    assert load_linked(tmp_path / "alone").siblings == ()


# Under attack


ALONE = replace(RECIPE, child_settings={"iterations": 2, "marginals": 1}, siblings=0.5)


def broken(public: LinkedSchema) -> bool:
    """Whether replay on neighbours sees more of siblings than was priced."""
    program = fitting(ALONE, public, Budget(2.0, 1e-5, unit=public.unit))
    chosen = [
        pair for pair in pairs(public, Adjacency.ADD_OR_REMOVE) if "all children" in pair.name or "many" in pair.name
    ]
    return not all(replay(program, pair.left, pair.right).passed for pair in chosen)


def test_replay_finds_nothing() -> None:
    assert not broken(linked(parents=60, max_children=2))


def test_replay_finds_chains_that_are_not_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """All visits of a patient are chained, and as few priced as are used of it elsewhere."""
    from synthkit.data.private import Private, reveal

    link = links.link

    def unclipped(parents, children, schema, noise):  # type: ignore[no-untyped-def]
        joined = link(parents, children, schema, noise)
        rows = reveal(children)
        names = list(schema.chained.modelled)
        columns = {name: rows.columns[name] for name in names if name in rows.columns}
        for name in names:
            if name not in columns:
                column = schema.chained.modelled[name]
                null = np.nan if isinstance(column, Integer) else 0
                columns[name] = np.full(rows.rows, null)
        for name, called in schema.previous.items():
            columns[called] = rows.columns[name]
        table = replace(rows, columns=columns)
        box = Private(table, dataset=children.dataset, schema=schema.chained, bounded=True)
        return replace(joined, chained=box)

    monkeypatch.setattr(links, "link", unclipped)
    assert broken(linked(parents=60, max_children=2))
