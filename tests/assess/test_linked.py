"""The charged report on linked tables: its price, and that its figures mean what they say."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from synthkit.assess import fidelity
from synthkit.assess import linked as report
from synthkit.data.encoding import discretize
from synthkit.data.private import reveal
from synthkit.evidence import Evidence
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.links import Linked
from synthkit.privacy.session import Session
from tests.linked import frames, linked, private


@dataclass(frozen=True)
class Codes:
    """Two tables as codes; as synthetic ones they are fresh parents of the same law."""

    parent_codes: np.ndarray
    child_codes: np.ndarray
    owner: np.ndarray


def codes(rows: Linked) -> Codes:
    parents, children = reveal(rows.parents), reveal(rows.children)
    assert parents.units is not None and children.units is not None
    place = {unit: k for k, unit in enumerate(parents.units.tolist())}
    owner = np.array([place[unit] for unit in children.units.tolist()], dtype=np.int64)
    order = np.argsort(owner, kind="stable")
    below = discretize(children, rows.children.schema)[order]
    return Codes(discretize(parents, rows.parents.schema), below, owner[order])


def assessed(
    parents: int = 2000, *, epsilon: float = 30.0, most: int = 3, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE
) -> tuple[dict[str, Evidence], Session, Codes, Codes]:
    public = linked(max_children=most, parents=parents)
    held, drawn = private(*frames(parents, seed=5), public), codes(private(*frames(3000, seed=9), public))
    session = Session(report.plan(public, Budget(epsilon, 1e-6, adjacency, public.unit)))
    found = report.assess(held, session, drawn)
    assert len({figure.name for figure in found}) == len(found)
    return {figure.name: figure for figure in found}, session, codes(held), drawn


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("most", [1, 5])
def test_it_runs_what_was_priced_with_each_tables_sensitivity(adjacency: Adjacency, most: int) -> None:
    _, session, _, _ = assessed(300, epsilon=1.0, most=most, adjacency=adjacency)
    # The target may be null, and no synthetic row's is: a class that is not there is not asked about.
    assert 0.99 < session.plan.epsilon <= 1.0 and 0.9 < session.spent <= session.plan.epsilon
    half = 2 if adjacency is Adjacency.REPLACE_ONE else 1
    distances = [charge for charge in session.trace if charge.mechanism == "noisy mean distance"]
    siblings = most > 1
    assert [charge.norm_bound for charge in distances] == [1 / half] * 3 + [most / half] * (3 + siblings)
    assert {charge.what.partition(":")[0] for charge in session.trace} == {"patients", "visits"}


def test_figures_match_exact_ones() -> None:
    found, _, real, drawn = assessed()
    public = linked()
    held = private(*frames(2000, seed=5), public)  # the same again: lots come from a seed
    pairs = list(itertools.product(public.brought.values(), public.child.modelled))
    exact = {
        "patients.fidelity.tvd_2way": fidelity.mean_distance(
            real.parent_codes, drawn.parent_codes, public.counted, fidelity.queries(public.counted, 2)
        ),
        "visits.fidelity.tvd_1way": fidelity.mean_distance(
            real.child_codes, drawn.child_codes, public.widened, fidelity.queries(public.child, 1)
        ),
        "link.tvd_number": fidelity.mean_distance(
            real.parent_codes, drawn.parent_codes, public.counted, [(public.count,)]
        ),
        "link.tvd_siblings": fidelity.mean_distance(
            discretize(reveal(held.chained), public.chained),
            public.in_chain(drawn.child_codes, drawn.owner),
            public.chained,
            [(called, name) for name, called in public.previous.items()],
        ),
        "link.tvd_2way": fidelity.mean_distance(real.child_codes, drawn.child_codes, public.widened, pairs),
    }
    for name, value in exact.items():  # noise is below 3 rows of 2000
        assert found[name].value == pytest.approx(value, abs=0.01), name
        assert found[name].payment == "charged"


def test_children_that_know_nothing_of_their_parents_are_seen_in_the_link_alone() -> None:
    """Each table by itself is as good as before; what ties them is gone."""
    public = linked(parents=2000)
    held, drawn = private(*frames(2000, seed=5), public), codes(private(*frames(3000, seed=9), public))
    own = len(public.child.modelled)
    mixed = drawn.child_codes.copy()
    mixed[:, :own] = np.random.default_rng(0).permutation(mixed[:, :own])
    plan = report.plan(public, Budget(30.0, 1e-6, unit=public.unit))
    good, bad = (
        {figure.name: figure.value for figure in report.assess(held, Session(plan), Codes(drawn.parent_codes, c, drawn.owner))}
        for c in (drawn.child_codes, mixed)
    )  # fmt: skip
    assert bad["visits.fidelity.tvd_2way"] == pytest.approx(good["visits.fidelity.tvd_2way"], abs=0.01)
    assert good["link.tvd_2way"] < good["link.tvd_2way_floor"] + 0.02
    assert bad["link.tvd_2way"] > good["link.tvd_2way"] + 0.025


def test_siblings_that_know_nothing_of_each_other_are_seen_in_that_figure_alone() -> None:
    """Every patient keeps to one ward; in the bad table, children changed places between patients who are alike."""

    def faithful(parents: int, seed: int) -> Linked:
        patients, visits = frames(parents, seed=seed)
        kept = visits.groupby("patient")["ward"].transform("first")
        return private(patients, visits.assign(ward=kept), linked(parents=2000))

    public, held, drawn = linked(parents=2000), faithful(2000, 5), codes(faithful(3000, 9))
    own, rng = len(public.child.modelled), np.random.default_rng(0)
    _, alike = np.unique(drawn.child_codes[:, own:], axis=0, return_inverse=True)
    mixed, places = drawn.child_codes.copy(), np.arange(len(drawn.owner))
    for group in np.unique(alike):
        some = np.flatnonzero(alike == group)
        places[some] = rng.permutation(some)
    mixed[:, :own] = mixed[places, :own]
    plan = report.plan(public, Budget(30.0, 1e-6, unit=public.unit))
    good, bad = (
        {figure.name: figure.value for figure in report.assess(held, Session(plan), Codes(drawn.parent_codes, c, drawn.owner))}
        for c in (drawn.child_codes, mixed)
    )  # fmt: skip
    for name in ("visits.fidelity.tvd_2way", "link.tvd_2way"):
        assert bad[name] == pytest.approx(good[name], abs=0.01)
    assert bad["link.tvd_siblings"] > good["link.tvd_siblings"] + 0.04


def test_the_floor_is_that_of_whole_parents() -> None:
    """Ten children of one parent say no more of its columns than one does."""
    rng = np.random.default_rng(0)
    public = linked()
    parents = rng.integers(0, 2, 400)
    owner = np.repeat(np.arange(400), 10)
    sex = list(public.widened.modelled).index("patients.sex")
    drawn = np.zeros((4000, len(public.widened.modelled)), dtype=np.int32)
    drawn[:, sex] = parents[owner]
    asked = [("patients.sex",)]
    references = [fidelity._shares(drawn, public.widened, asked[0])]
    alone, _ = fidelity._floor(drawn, public.widened, asked, references, 4000.0, None)
    together, _ = fidelity._floor(drawn, public.widened, asked, references, 4000.0, owner)
    # Half the mean absolute deviation of a share at one half, of n draws: 0.4 / sqrt(n).
    assert alone == pytest.approx(0.4 / 4000**0.5, rel=0.8) and together == pytest.approx(0.4 / 400**0.5, rel=0.8)
    assert together > 1.8 * alone


def test_an_owners_rows_are_drawn_together() -> None:
    rng, owner = np.random.default_rng(1), np.array([0, 0, 3, 7, 7, 7])
    for _ in range(50):
        places = fidelity._redrawn(rng, 6, 6, owner)
        counts = np.bincount(places, minlength=6)
        assert counts[0] == counts[1] and counts[3] == counts[4] == counts[5]
    assert len(fidelity._redrawn(rng, 6, 600, owner)) == pytest.approx(600, rel=0.25)


def test_no_synthetic_row_no_figure() -> None:
    public = linked()
    held, drawn = private(*frames(200), public), codes(private(*frames(50), public))
    session = Session(report.plan(public, Budget(1.0, 1e-6, unit=public.unit)))
    childless = Codes(drawn.parent_codes, drawn.child_codes[:0], drawn.owner[:0])
    names = [figure.name for figure in report.assess(held, session, childless)]
    assert "link.tvd_number" in names and not any(name.startswith(("visits", "link.tvd_2way")) for name in names)
