"""Linking looks at one unit at a time, refuses what has no parent, and opens nothing to anybody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synthkit.audit.linked import pairs, stacked
from synthkit.data.encoding import Table, discretize
from synthkit.data.private import reveal
from synthkit.data.tables import FrameSource
from synthkit.errors import BudgetExceeded, DataError, MethodError
from synthkit.privacy.budget import Adjacency, Budget, Unit
from synthkit.privacy.events import compose
from synthkit.privacy.links import Linked, read_linked
from synthkit.privacy.mechanisms.counts import counts_event, noisy_marginals
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from tests.linked import frames, linked, private

PUBLIC = linked(max_children=3)


def rows_by_unit(table: Table) -> dict[int, list[tuple[object, ...]]]:
    """Every unit's rows, in an order of their own."""
    assert table.units is not None
    found: dict[int, list[tuple[object, ...]]] = {}
    for k, unit in enumerate(table.units.tolist()):
        found.setdefault(unit, []).append(tuple(str(values[k]) for values in table.columns.values()))
    return {unit: sorted(rows, key=str) for unit, rows in found.items()}


def test_a_parent_knows_its_number_of_children_and_a_child_its_parent() -> None:
    patients, visits = frames(200)
    joined = private(patients, visits, PUBLIC)
    counted, wide = reveal(joined.parents), reveal(joined.children)
    wanted = visits.groupby("patient").size().reindex(patients["patient"]).fillna(0).clip(upper=3)
    np.testing.assert_array_equal(counted.columns["number of visits"], wanted)
    assert counted.units is not None and wide.units is not None
    place = {unit: k for k, unit in enumerate(counted.units.tolist())}
    of = [place[unit] for unit in wide.units.tolist()]
    for name, called in PUBLIC.brought.items():
        np.testing.assert_array_equal(wide.columns[called], counted.columns[name][of])
    assert np.bincount(of).max() == 3 and joined.parents.bounded and joined.children.bounded


@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_a_neighbouring_change_moves_rows_of_its_own_unit_alone(adjacency: Adjacency) -> None:
    for pair in pairs(PUBLIC, adjacency, parents=30):
        sides = [coupled(both) for both in (pair.left, pair.right)]
        for box, most in (("parents", 1), ("children", 3), ("chained", 3)):
            left, right = (rows_by_unit(reveal(getattr(side, box))) for side in sides)
            moved = {unit for unit in left.keys() | right.keys() if left.get(unit) != right.get(unit)}
            assert len(moved) <= 1, pair.name
            assert all(len(rows) <= most for rows in (*left.values(), *right.values()))


class Coupled(NoiseSource):
    """Every draw has a stream of its own: the first words do not depend on how many more are drawn."""

    draws = 0

    def words(self, size: int) -> np.ndarray:
        self.draws += 1
        return NoiseSource(test_seed=self.draws).words(size)


def coupled(both: pd.DataFrame) -> Linked:
    above, below = (FrameSource(part) for part in apart(both))
    return read_linked(above, below, PUBLIC, dataset="hospital", noise=Coupled(test_seed=0))


def test_a_child_knows_the_sibling_before_it_in_time() -> None:
    patients, visits = frames(200)
    table, names = reveal(private(patients, visits, PUBLIC).chained), list(PUBLIC.chained.modelled)
    assert PUBLIC.order == "seen" and table.units is not None
    for unit in np.unique(table.units):
        mine = np.flatnonzero(table.units == unit)
        mine = mine[np.argsort(table.columns["seen"][mine], kind="stable")]
        for name, called in PUBLIC.previous.items():
            values, before = table.columns[name][mine], table.columns[called][mine]
            np.testing.assert_array_equal(before[1:], values[:-1])
            codes = discretize(table.take(mine[:1]), PUBLIC.chained)
            assert codes[0, names.index(called)] == PUBLIC.chained.domain[called] - 1


def test_where_nothing_puts_siblings_in_order_they_stand_by_lot() -> None:
    columns = {name: column for name, column in PUBLIC.child.columns.items() if name != "seen"}
    public = replace(PUBLIC, child=replace(PUBLIC.child, columns=columns))
    patients, visits = frames(300)
    visits = visits.drop(columns="seen").assign(cost=visits.groupby("patient").cumcount() * 10.0)
    table = reveal(private(patients, visits, public).chained)
    now, before = (table.columns[name] for name in ("cost", public.previous["cost"]))
    later = (now > before)[~np.isnan(before)]
    assert public.order is None and len(later) > 150 and 0.3 < later.mean() < 0.7


def test_codes_in_a_chain_are_those_of_the_rows() -> None:
    patients, visits = frames(200)
    joined = private(patients, visits, PUBLIC)
    table = reveal(joined.chained)
    assert table.units is not None
    order = np.lexsort((table.columns["seen"], table.units))
    codes = discretize(table.take(order), PUBLIC.chained)
    _, owner = np.unique(table.units[order], return_inverse=True)
    width = len(PUBLIC.widened.modelled)
    np.testing.assert_array_equal(PUBLIC.in_chain(codes[:, :width], owner), codes)
    assert PUBLIC.in_chain(codes[:0, :width], owner[:0]).shape == (0, codes.shape[1])


def apart(both: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    parent, child = (
        both.loc[both.index.get_level_values(0) == k, list(part.columns)].reset_index(drop=True)
        for k, part in enumerate((PUBLIC.parent, PUBLIC.child))
    )
    return parent, child


def test_stacking_loses_nothing() -> None:
    patients, visits = frames(20)
    parent, child = apart(stacked(patients, visits))
    for again, given in ((parent, patients), (child, visits)):
        pd.testing.assert_frame_equal(again, given.astype(object), check_dtype=False)


def test_children_without_a_parent_are_refused() -> None:
    patients, visits = frames(100)
    orphans = int((visits["patient"] == visits["patient"].iloc[0]).sum())
    with pytest.raises(DataError, match=rf"visits: column patient: {orphans} rows? without a parent in patients"):
        private(patients[patients["patient"] != visits["patient"].iloc[0]], visits, PUBLIC)


def test_parents_of_several_rows_are_refused() -> None:
    patients, visits = frames(100)
    twice = pd.concat([patients, patients.iloc[:2]])
    with pytest.raises(DataError, match="patients: column patient: 2 rows with a key that an earlier row has"):
        private(twice, visits, PUBLIC)


@pytest.mark.parametrize("parents", [0, 1])
def test_tables_without_rows_are_legal(parents: int) -> None:
    patients, visits = frames(10)
    joined = private(patients.iloc[:parents], visits.iloc[:0], PUBLIC)
    assert reveal(joined.parents).rows == parents and reveal(joined.children).rows == 0


# A session's parts


def budget(unit: Unit, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE) -> Budget:
    return Budget(5.0, 1e-6, adjacency, unit)


def parts() -> tuple[Plan, Plan, Plan]:
    """Of the whole, the parents, the children."""
    above, below = budget(PUBLIC.counted.unit), budget(PUBLIC.widened.unit)
    one, other = counts_event(20.0, above), counts_event(20.0, below)
    return Plan(budget(PUBLIC.unit), compose([one, other])), Plan(above, one), Plan(below, other)


def test_a_part_has_its_tables_sensitivity_and_the_wholes_books() -> None:
    whole, above, below = parts()
    session, joined = Session(whole), private(*frames(50), PUBLIC)
    noisy_marginals(joined.parents, session.part(above, "patients"), [("sex",)], 20.0)
    noisy_marginals(joined.children, session.part(below, "visits"), [("ward",)], 20.0)
    assert [charge.norm_bound for charge in session.trace] == [1, 3]
    assert [charge.what for charge in session.trace] == ["patients: sex", "visits: ward"]
    assert session.spent == whole.epsilon == pytest.approx(session.part(above, "patients").spent)
    for plan, box in ((above, joined.parents), (below, joined.children)):
        with pytest.raises(BudgetExceeded):
            noisy_marginals(box, session.part(plan, box.schema.name), [(next(iter(box.schema.modelled)),)], 20.0)


def test_a_table_is_read_under_its_own_unit_alone() -> None:
    whole, above, below = parts()
    session, joined = Session(whole), private(*frames(50), PUBLIC)
    for seen in (session, session.part(above, "patients")):
        with pytest.raises(MethodError, match="unit"):
            noisy_marginals(joined.children, seen, [("ward",)], 20.0)
    for seen in (session, session.part(below, "visits")):
        with pytest.raises(MethodError, match="unit"):
            noisy_marginals(joined.parents, seen, [("sex",)], 20.0)
    assert not session.trace


@pytest.mark.parametrize(
    "other", [budget(Unit("person", 1)), budget(Unit("patient", 1), Adjacency.REPLACE_ONE), Budget(5.0, 1e-7)]
)
def test_a_part_protects_the_same_unit_in_the_same_way(other: Budget) -> None:
    whole, above, _ = parts()
    with pytest.raises(MethodError, match="a part protects"):
        Session(whole).part(Plan(other, above.event), "patients")
