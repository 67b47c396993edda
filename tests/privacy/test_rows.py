"""Bounding and splitting look at nobody's values, and move nobody when somebody comes or goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synthkit.data.encoding import Table, from_frame
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Schema, Unit
from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import counts_event, noisy_marginals
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.rows import bound_contributions, split
from synthkit.privacy.session import Session
from tests.tables import frame, private, schema

FALSE_ALARM = 1e-6
PUBLIC = schema(unit=Unit("person", 2))

keys = st.lists(st.integers(0, 6), max_size=25)


class Lots(NoiseSource):
    """Words that were drawn before."""

    def __init__(self, lots: np.ndarray) -> None:
        super().__init__(test_seed=0)
        self.lots = np.asarray(lots, dtype=np.uint64)

    def words(self, size: int) -> np.ndarray:
        assert size == len(self.lots)
        return self.lots


def known(key: int) -> NoiseSource:
    """A source with a known key."""
    return NoiseSource(test_seed=key)


def table(units: list[int] | np.ndarray | None, *, seed: int = 0, rows: int | None = None) -> Table:
    """Rows that carry their position as income, under these units."""
    size = rows if units is None else len(units)
    data = frame(size or 0, seed=seed)
    data["income"] = np.arange(len(data)) / 10
    coded = from_frame(data, schema())
    return Table(coded.columns, None if units is None else np.asarray(units, dtype=np.uint64), coded.rows)


def box(
    units: list[int] | np.ndarray | None, *, seed: int = 0, public: Schema = PUBLIC, rows: int = 0
) -> Private[Table]:
    return Private(table(units, seed=seed, rows=rows), dataset="people", schema=public)


def positions(data: Private[Table]) -> list[int]:
    """Which rows are there."""
    return np.rint(np.asarray(reveal(data).columns["income"]) * 10).astype(int).tolist()


# --- bound_contributions -----------------------------------------------------------------------------


@given(units=keys, most=st.integers(1, 4), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_at_most_so_many_rows_of_a_unit_are_kept_and_no_fewer_than_possible(
    units: list[int], most: int, seed: int
) -> None:
    public = schema(unit=Unit("person", most))
    kept = bound_contributions(box(units, public=public), known(seed))
    counts = Counter(reveal(kept).units.tolist())  # type: ignore[union-attr]
    assert counts == {unit: min(most, number) for unit, number in Counter(units).items()}
    where = positions(kept)
    assert where == sorted(where)  # the order stays
    assert [units[i] for i in where] == reveal(kept).units.tolist()  # type: ignore[union-attr]


@given(units=keys, seed=st.integers(0, 999))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_the_choice_does_not_look_at_values(units: list[int], seed: int) -> None:
    """The same lots on other values, or the same values in another order, choose the same places."""
    lots = np.random.default_rng(seed).integers(0, 2**63, len(units))
    values = table(units, seed=1)
    shuffled = np.random.default_rng(seed).permutation(len(units))
    other = Table({name: column[shuffled] for name, column in values.columns.items()}, values.units, values.rows)
    kept = reveal(bound_contributions(Private(values, dataset="people", schema=PUBLIC), Lots(lots)))
    again = reveal(bound_contributions(Private(other, dataset="people", schema=PUBLIC), Lots(lots)))
    place = np.rint(np.asarray(kept.columns["income"]) * 10).astype(int)
    np.testing.assert_array_equal(kept.units, again.units)  # type: ignore[arg-type]
    for name, column in other.columns.items():
        np.testing.assert_array_equal(again.columns[name], column[place])


@given(units=st.lists(st.integers(0, 6), min_size=1, max_size=25), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_without_a_unit_the_others_keep_their_rows(units: list[int], seed: int) -> None:
    """Stable: for the same lots, removing a unit removes that unit's rows alone."""
    lots = np.random.default_rng(seed).integers(0, 2**63, len(units)).astype(np.uint64)
    check_removal_is_stable(bound_contributions, units, lots)


def check_removal_is_stable(bound: object, units: list[int], lots: np.ndarray) -> None:
    whole, ids = table(units), np.array(units, dtype=np.uint64)
    gone = ids[len(ids) // 2]
    with_it = bound(Private(whole, dataset="people", schema=PUBLIC), Lots(lots))  # type: ignore[operator]
    rest = whole.take(ids != gone)
    without = bound(Private(rest, dataset="people", schema=PUBLIC), Lots(lots[ids != gone]))  # type: ignore[operator]
    assert [i for i in positions(with_it) if units[i] != gone] == positions(without)


def test_a_choice_that_depends_on_the_others_is_caught() -> None:
    def first_rows_in_all(data: Private[Table], noise: NoiseSource) -> Private[Table]:
        """A broken copy: as many rows as two a unit make, whoever has them."""
        whole = reveal(data)
        kept = np.sort(np.argsort(noise.words(whole.rows))[: 2 * len(np.unique(whole.units))])  # type: ignore[arg-type]
        return Private(whole.take(kept), dataset="people", schema=data.schema)

    draws = [np.random.default_rng(seed).integers(0, 2**63, 20).astype(np.uint64) for seed in range(20)]
    for lots in draws:
        check_removal_is_stable(bound_contributions, [0, 1, 2, 3] * 5, lots)
    with pytest.raises(AssertionError):
        for lots in draws:
            check_removal_is_stable(first_rows_in_all, [0, 1, 2, 3] * 5, lots)


def test_every_row_of_a_unit_is_as_likely() -> None:
    """2,000 units with five rows each: the place of the two that stay is uniform, at false alarm 1e-6."""
    units = np.repeat(np.arange(2000), 5)
    kept = bound_contributions(box(units), known(5))
    counts = np.bincount(np.array(positions(kept)) % 5, minlength=5)
    assert counts.sum() == 4000
    for count in counts:  # each row stays with probability 2/5
        assert stats.binomtest(int(count), 2000, 0.4).pvalue > FALSE_ALARM / 5


def test_a_fresh_key_chooses_otherwise() -> None:
    units = np.repeat(np.arange(50), 5)
    one, two = (positions(bound_contributions(box(units), NoiseSource())) for _ in range(2))
    assert one != two


def test_rows_that_are_their_own_units_stay_as_they_are() -> None:
    data = private(frame(10), schema())
    assert bound_contributions(data, NoiseSource()) is data


# --- split -------------------------------------------------------------------------------------------


@given(units=keys, share=st.floats(0.05, 0.95), key=st.integers(0, 999))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_every_row_is_in_one_part_with_all_rows_of_its_unit(units: list[int], share: float, key: int) -> None:
    training, held = split(box(units), share, known(key))
    assert sorted(positions(training) + positions(held)) == list(range(len(units)))
    assert not {units[i] for i in positions(training)} & {units[i] for i in positions(held)}
    assert reveal(training).units.tolist() == [units[i] for i in positions(training)]  # type: ignore[union-attr]


@given(units=st.lists(st.integers(0, 2**64 - 1), max_size=20), extra=st.integers(0, 2**64 - 1), key=st.integers(0, 999))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_a_unit_more_moves_nobody_else(units: list[int], extra: int, key: int) -> None:
    check_addition_is_stable(lambda ids: positions(split(box(ids), 0.3, known(key))[1]), units, extra)


def check_addition_is_stable(held_of: object, units: list[int], extra: int) -> None:
    others = [unit for unit in units if unit != extra]
    held = {others[i] for i in held_of(others)}  # type: ignore[operator]
    for more in ([extra, *others], [*others, extra, extra]):
        again = {more[i] for i in held_of(more)}  # type: ignore[operator]
        assert again - {extra} == held


def test_coins_by_rank_are_caught() -> None:
    def by_rank(ids: list[int]) -> list[int]:
        """A broken copy: coins in the order of the distinct keys."""
        distinct, index = np.unique(np.array(ids, dtype=np.uint64), return_inverse=True)
        return np.flatnonzero(known(3).coins(len(distinct), 0.5)[index]).tolist()

    units = list(range(100, 130))
    check_addition_is_stable(lambda ids: positions(split(box(ids), 0.5, known(3))[1]), units, 5)
    with pytest.raises(AssertionError):
        check_addition_is_stable(by_rank, units, 5)


def test_an_exact_share_is_caught() -> None:
    def exact_share(ids: list[int]) -> list[int]:
        """A broken copy: a third of the units to the row, which ones by lot."""
        distinct = sorted(set(ids))
        lots = {unit: int(known(unit % 97).words(1)[0]) for unit in distinct}
        chosen = sorted(distinct, key=lots.__getitem__)[: len(distinct) // 3]
        return [i for i, unit in enumerate(ids) if unit in chosen]

    with pytest.raises(AssertionError):
        for extra in range(40):
            check_addition_is_stable(exact_share, list(range(100, 130)), extra)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("by_unit", [False, True])
def test_the_coins_are_fair(share: float, by_unit: bool) -> None:
    """20,000 coins: the number in the holdout is binomial, at false alarm 1e-6; so is it in each half."""
    size, ids = 20_000, np.arange(20_000)
    data = Private(
        Table(
            {name: column[np.zeros(size, int)] for name, column in table([0]).columns.items()},
            ids.astype(np.uint64) if by_unit else None,
            size,
        ),
        dataset="people",
        schema=PUBLIC if by_unit else schema(),
    )
    reveal(data).columns["income"][:] = ids / 10  # type: ignore[index]
    held = np.array(positions(split(data, share, known(21))[1]))
    for count, of in ((len(held), size), ((held < size // 2).sum(), size // 2), ((held % 2 == 0).sum(), size // 2)):
        assert stats.binomtest(int(count), of, share).pvalue > FALSE_ALARM
        assert stats.binomtest(int(count), of, share * 0.7).pvalue < FALSE_ALARM


def test_coins_of_units_are_independent_of_the_key_of_another_run() -> None:
    """Two keys agree on a unit with the odds of two independent coins."""
    units = np.arange(5000)
    one, two = (np.isin(units, positions(split(box(units), 0.5, known(key))[1])) for key in (1, 2))
    assert stats.binomtest(int((one == two).sum()), 5000, 0.5).pvalue > FALSE_ALARM


def test_a_fresh_key_tosses_otherwise() -> None:
    units = np.arange(200)
    one, two = (positions(split(box(units), 0.5, NoiseSource())[1]) for _ in range(2))
    assert one != two


@pytest.mark.parametrize("rows", [0, 1, 7, 300])
@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.999])
def test_declared_rows_come_from_the_public_count_alone(rows: int, share: float) -> None:
    public = schema(rows=400)
    training, held = split(private(frame(rows), public), share, known(rows))
    assert held.schema.rows == max(1, round(400 * share))
    assert training.schema.rows == max(1, 400 - round(400 * share))
    assert training.dataset == held.dataset == "people"
    for part in (training, held):
        assert part.schema.with_rows(400) == public


def test_values_do_not_choose_the_part() -> None:
    for units in (None, np.arange(100)):
        public = schema() if units is None else PUBLIC
        one, two = (
            positions(split(box(units, seed=seed, public=public, rows=100), 0.4, known(8))[1]) for seed in (1, 2)
        )
        assert one == two


def test_nothing_reads_rows_whose_units_are_not_bounded() -> None:
    """Priced for three rows a person, a table with a hundred would be: no mechanism opens it."""
    box = Private(table(np.zeros(100, dtype=np.int64)), dataset="people", schema=PUBLIC)
    budget = Budget(1.0, 1e-5, unit=PUBLIC.unit)
    query = [next(iter(PUBLIC.modelled))]
    session = Session(Plan(budget, counts_event(50.0, budget)))
    with pytest.raises(MethodError, match="bound_contributions"):
        noisy_marginals(box, session, [tuple(query)], 50.0)
    assert session.trace == ()
    noisy_marginals(bound_contributions(box, NoiseSource(test_seed=0)), session, [tuple(query)], 50.0)


def test_nothing_reads_rows_of_another_unit_than_the_budgets() -> None:
    budget = Budget(1.0, 1e-5)
    session = Session(Plan(budget, counts_event(50.0, budget)))
    box = bound_contributions(Private(table(np.zeros(9, dtype=np.int64)), dataset="p", schema=PUBLIC), NoiseSource())
    with pytest.raises(MethodError, match="protects one row"):
        noisy_marginals(box, session, [(next(iter(PUBLIC.modelled)),)], 50.0)
    assert session.trace == ()


# --- images ------------------------------------------------------------------------------------------

SCANS = ImageSchema(name="scans", height=4, width=5, channels=1, classes=("a", "b"), rows=400, unit=Unit("person", 2))


def scans(units: list[int] | None, *, public: ImageSchema = SCANS, rows: int = 0) -> Private[Images, ImageSchema]:
    """Images that carry their position in every pixel, and its parity as label."""
    place = np.arange(rows if units is None else len(units))
    pixels = np.broadcast_to(place.astype(np.uint8)[:, None, None, None], (len(place), *public.shape)).copy()
    owners = None if units is None else np.asarray(units, dtype=np.uint64)
    return Private(Images(pixels, (place % 2).astype(np.int32), owners), dataset="scans", schema=public)


def places(data: Private[Images, ImageSchema]) -> list[int]:
    """Which images are there; all that belongs to one is still together."""
    images = reveal(data)
    assert images.pixels.shape[1:] == data.schema.shape and images.rows == len(images.pixels)
    found: list[int] = images.pixels[:, 0, 0, 0].tolist()
    assert (images.pixels == images.pixels[:, :1, :1, :1]).all()
    assert images.labels.tolist() == [place % 2 for place in found]
    return found


@given(units=keys, seed=st.integers(0, 999))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_images_are_bounded_and_split_as_rows_are(units: list[int], seed: int) -> None:
    lots = np.random.default_rng(seed).integers(0, 2**63, len(units)).astype(np.uint64)
    kept = bound_contributions(scans(units), Lots(lots))
    assert places(kept) == positions(bound_contributions(box(units), Lots(lots)))
    assert kept.bounded and kept.schema is SCANS and not scans(units).bounded
    assert reveal(kept).units.tolist() == [units[i] for i in places(kept)]  # type: ignore[union-attr]
    parts, rows = split(kept, 0.3, known(seed)), split(bound_contributions(box(units), Lots(lots)), 0.3, known(seed))
    for part, row in zip(parts, rows, strict=True):
        assert places(part) == positions(row)
        assert part.bounded and part.dataset == "scans"
    assert [part.schema.rows for part in parts] == [280, 120]


def test_images_that_are_their_own_units_stay_as_they_are_and_are_split_by_coins() -> None:
    public = replace(SCANS, unit=Unit())
    data = scans(None, public=public, rows=100)
    assert bound_contributions(data, NoiseSource()) is data
    training, held = split(data, 0.25, known(1))
    assert sorted(places(training) + places(held)) == list(range(100))
    assert 0 < len(places(held)) < 100 and reveal(held).units is None


def test_no_mechanism_reads_images_whose_units_are_not_bounded() -> None:
    budget = Budget(1.0, 1e-5, unit=SCANS.unit)
    session = Session(Plan(budget, counts_event(50.0, budget)))
    data = scans([0] * 9)
    with pytest.raises(MethodError, match=r"images='4 x 5 grey'\); bound_contributions\(\) them first"):
        session.check(data)
    session.check(bound_contributions(data, NoiseSource()))
