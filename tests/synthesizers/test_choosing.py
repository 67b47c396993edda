from __future__ import annotations

import math

from synthkit.privacy.budget import Budget
from synthkit.synthesizers.choosing import apart, for_gradients, how_many, within_room
from synthkit.synthesizers.graphical import Clique, tree_cells
from synthkit.synthesizers.marginals import target_position
from tests.tables import schema

SIZES = (4, 4, 5, 6, 6)
MEASURED: list[Clique] = [(2, 4), (0, 1), (3, 4), (1, 2)]
AMONG: list[Clique] = [(1, 3), (1, 4)]
ROOM = 300


def test_one_clique_more_can_make_a_tree_smaller() -> None:
    """Columns are eliminated greedily: that is why what had no room may have some later."""
    first, both = tree_cells(SIZES, [*MEASURED, AMONG[0]]), tree_cells(SIZES, [*MEASURED, *AMONG])
    assert both <= ROOM < first


def test_whether_there_is_room_does_not_depend_on_what_was_asked_before() -> None:
    """Which candidates are asked about depends on private scores, and a rule must be public."""
    asked, _ = within_room(SIZES, AMONG, MEASURED, ROOM)
    unasked, _ = within_room(SIZES, AMONG, MEASURED, ROOM)
    assert not asked((), 0)
    assert asked((1,), 0) and unasked((1,), 0)


def test_what_is_measured_or_chosen_is_not_new_but_held() -> None:
    fits, held = within_room(SIZES, [*AMONG, MEASURED[0]], MEASURED, ROOM)
    assert not fits((), 2) and held((), 2)
    assert not fits((1,), 1) and held((1,), 1)
    assert not held((), 1)


def test_nested_candidates_are_not_apart() -> None:
    among: list[Clique] = [(0, 1), (0, 1, 2), (2, 3)]
    assert not apart(among, (0,), 1) and not apart(among, (1,), 0) and not apart(among, (0,), 0)
    assert apart(among, (0, 1), 2)


def test_never_more_are_chosen_than_there_are_pairs() -> None:
    narrow = schema(rows=10_000_000)
    pairs = math.comb(len(narrow.modelled) - 1, 2)
    assert how_many(narrow, Budget(10.0, 1e-6), target_position(narrow)) == pairs
    assert how_many(narrow, Budget(10.0, 1e-6), target_position(narrow), asked=pairs + 3) == pairs + 3


def test_gradients_get_less_where_rows_are_few_for_the_noise() -> None:
    shares = [for_gradients(0.4, schema(rows=rows), Budget(1.0, 1e-6)) for rows in (10, 1_000, 1_000_000)]
    assert 0 < shares[0] < shares[1] < shares[2] == 0.4
