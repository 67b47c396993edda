"""Rows are repaired exactly, always, one by one, and only where they must be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from synthkit.data.constraints import Constraint, Determines, Inequality, Never, OneOf, Sum, masks
from synthkit.data.encoding import Table, concatenate, discretize, from_frame, to_frame, undiscretize
from synthkit.data.repair import repaired, unsolvable
from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Datetime, Integer, Schema
from synthkit.errors import DataError, SchemaError
from tests.tables import constrained, constrained_frame, unmet

if TYPE_CHECKING:
    from numpy.typing import NDArray

# --- small schemas, whose rows can all be written down -------------------------------------------


@st.composite
def integers(draw: st.DrawFn) -> Integer:
    low = draw(st.integers(-2, 1))
    high = low + draw(st.integers(1, 4))
    return Integer(min=low, max=high, bins=draw(st.integers(1, 5)), nullable=draw(st.booleans()))


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    columns: dict[str, Column] = {f"n{k}": draw(integers()) for k in range(draw(st.integers(2, 4)))}
    columns |= {f"b{k}": Boolean(nullable=draw(st.booleans())) for k in range(2)}
    columns["c"] = Categorical(categories=("x", "y", "z"), nullable=draw(st.integers(0, 3)) == 0)
    numbers = [name for name in columns if name.startswith("n")]
    order = draw(st.permutations(numbers))
    found: list[Constraint] = []
    ties = list(itertools.combinations(order, 2))
    if len(numbers) > 2 and draw(st.booleans()):
        found.append(Sum(columns=tuple(order[:2]), total=order[2]))
        ties = [tuple(draw(st.permutations([draw(st.sampled_from(order[:3])), name]))) for name in order[3:]]
    for low, high in ties:
        if draw(st.booleans()):
            found.append(Inequality(low=low, high=high, strict=draw(st.booleans())))
    if draw(st.booleans()):
        found.append(OneOf(columns=("b0", "b1")))
    if draw(st.booleans()):
        other = draw(st.sampled_from([*numbers, "b0"]))
        values = {label: value(draw, columns[other]) for label in ("x", "y", "z")}
        found.append(Determines(column="c", other=other, map=values))
    for _ in range(draw(st.integers(0, 2))):
        names = draw(st.lists(st.sampled_from(sorted(columns)), min_size=2, max_size=3, unique=True))
        found.append(Never(where={name: some(draw, columns[name]) for name in names}))
    target = draw(st.none() | st.sampled_from(sorted(columns)))
    return Schema(name="small", columns=columns, rows=10, target=target, constraints=tuple(found))


def value(draw: st.DrawFn, column: Column) -> Any:
    if isinstance(column, Integer):
        return draw(st.integers(column.min, column.max))
    return draw(st.booleans()) if isinstance(column, Boolean) else draw(st.sampled_from(["x", "y", "z"]))


def some(draw: st.DrawFn, column: Column) -> Any:
    if isinstance(column, Integer | Boolean | Categorical) and column.nullable and draw(st.integers(0, 3)) == 0:
        return None
    if isinstance(column, Integer) and draw(st.booleans()):
        return tuple(sorted((value(draw, column), value(draw, column))))
    return value(draw, column)


def every_row(schema: Schema) -> Iterator[dict[str, Any]]:
    domains = []
    for column in schema.modelled.values():
        if isinstance(column, Integer):
            values: list[Any] = list(range(column.min, column.max + 1))
        else:
            values = list(column.categories) if isinstance(column, Categorical) else [False, True]
        domains.append([*values, *([None] if column.nullable else [])])
    for row in itertools.product(*domains):
        yield dict(zip(schema.modelled, row, strict=True))


def meets(row: Mapping[str, Any], constraint: Constraint) -> bool:
    """The constraint's meaning, said once more."""
    match constraint:
        case Inequality(low=low, high=high, strict=strict):
            a, b = row[low], row[high]
            return a is None or b is None or bool(a < b if strict else a <= b)
        case Sum(columns=columns, total=total):
            values = [row[name] for name in (*columns, total)]
            return None in values or sum(values[:-1]) == values[-1]
        case OneOf(columns=columns):
            return [row[name] for name in columns].count(True) == 1
        case Determines(column=column, other=other, map=mapped):
            return bool(row[other] == (None if row[column] is None else mapped[row[column]]))
        case Never(where=where):
            return not all(
                row[name] is not None and wanted[0] <= row[name] <= wanted[1]
                if isinstance(wanted, tuple)
                else row[name] == wanted
                for name, wanted in where.items()
            )


def plain(schema: Schema) -> Schema:
    return replace(schema, constraints=())


def frame_of(rows: list[dict[str, Any]], schema: Schema) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in schema.columns})


def rows_of(table: Table, schema: Schema) -> list[dict[str, Any]]:
    frame = to_frame(table, schema).astype(object)
    return [{name: None if pd.isna(cell) else cell for name, cell in row.items()} for row in frame.to_dict("records")]


def drawn(schema: Schema, rows: int) -> NDArray[np.int64]:
    """Codes without any regard to constraints."""
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, size, rows) for size in schema.domain.values()], axis=1)


SMALL = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def attempt(make: Callable[[], Schema]) -> Schema | None:
    try:
        return make()
    except SchemaError:
        return None


@given(st.data())
@SMALL
def test_every_row_is_repaired_and_good_rows_are_left_alone(data: st.DataObject) -> None:
    schema = attempt(lambda: data.draw(schemas()))
    assume(schema is not None)
    assert schema is not None
    rows = list(every_row(schema))
    rows = [rows[k] for k in np.random.default_rng(0).choice(len(rows), min(len(rows), 300), replace=False)]
    table = from_frame(frame_of(rows, schema), plain(schema))
    for rng in (None, np.random.default_rng(data.draw(st.integers(0, 99)))):
        after = rows_of(replace(table, columns=repaired(table.columns, schema, rng=rng)), schema)
        for old, new in zip(rows, after, strict=True):
            assert all(meets(new, constraint) for constraint in schema.constraints), (old, new)
            if all(meets(old, constraint) for constraint in schema.constraints):
                assert old == new


@given(st.data())
@SMALL
def test_unsolvable_is_exactly_what_no_row_meets(data: st.DataObject) -> None:
    schema = attempt(lambda: data.draw(schemas()))
    assume(schema is not None)
    assert schema is not None
    rows = list(every_row(schema))
    names = data.draw(st.lists(st.sampled_from(sorted(schema.columns)), min_size=1, max_size=3, unique=True))
    wanted = {name: data.draw(st.sampled_from(rows[:: max(1, len(rows) // 50)]))[name] for name in names}
    given_rows = [row for row in rows if all(row[name] == wanted[name] for name in names)]
    possible = any(all(meets(row, c) for c in schema.constraints) for row in given_rows)
    first = from_frame(frame_of(given_rows[:1], schema), plain(schema)).columns
    fixed = {name: float(first[name][0]) for name in names}  # type: ignore[arg-type]
    assert bool(unsolvable(schema, fixed)) is not possible
    if possible:
        some_rows = given_rows[:: max(1, len(given_rows) // 50)]
        table = from_frame(frame_of(some_rows, schema), plain(schema))
        columns = repaired(table.columns, schema, fixed=fixed, rng=np.random.default_rng(1))
        for row in rows_of(replace(table, columns=columns), schema):
            assert all(meets(row, c) for c in schema.constraints)
            assert all(row[name] == wanted[name] for name in names)


@given(st.data())
@SMALL
def test_masks_are_exactly_what_one_constraint_rules_out(data: st.DataObject) -> None:
    schema = attempt(lambda: data.draw(schemas()))
    assume(schema is not None)
    assert schema is not None
    for constraint in schema.constraints:
        narrow = Schema(
            name="narrow",
            columns={name: schema.columns[name] for name in schema.columns if name in constraint.touched},
            rows=10,
        )
        rows = [row for row in every_row(narrow) if meets(row, constraint)]
        codes = discretize(from_frame(frame_of(rows, narrow), narrow), narrow)
        expected = np.zeros(tuple(narrow.domain.values()), dtype=bool)
        expected[tuple(codes.T)] = True
        found = masks(replace(schema, constraints=(constraint,)))
        if expected.all():
            assert found == []
        else:
            ((positions, table),) = found
            assert positions == tuple(k for k, name in enumerate(schema.columns) if name in constraint.touched)
            np.testing.assert_array_equal(table, expected)


# --- what a schema promises is decided once --------------------------------------------------------


@given(st.data())
@SMALL
def test_schemas_are_refused_exactly_where_no_row_is_left(data: st.DataObject) -> None:
    try:
        schema = data.draw(schemas())
    except SchemaError as problem:
        assume("no row meets all" in str(problem))
        return
    assert any(all(meets(row, c) for c in schema.constraints) for row in every_row(schema))


@pytest.mark.parametrize(
    ("constraints", "met"),
    [
        ((Inequality(low="a", high="b", strict=True), Inequality(low="b", high="c", strict=True)), False),
        ((Inequality(low="a", high="b"), Inequality(low="b", high="c", strict=True)), True),
        ((Sum(columns=("a", "b"), total="c"), Never(where={"c": (1, 2), "t": True}), Never(where={"c": (1, 2), "t": False})), False),
        ((Sum(columns=("a", "b"), total="c"), Never(where={"c": (0, 1), "t": True})), True),
    ],
)  # fmt: skip
def test_contradictions_are_found(constraints: tuple[Constraint, ...], met: bool) -> None:
    columns: dict[str, Column] = {name: Integer(min=1, max=2) for name in "abc"} | {"t": Boolean()}
    if met:
        Schema(name="s", columns=columns, rows=1, constraints=constraints)
    else:
        with pytest.raises(SchemaError, match="no row meets all of"):
            Schema(name="s", columns=columns, rows=1, constraints=constraints)


# --- a table of every kind ---------------------------------------------------------------------------


@pytest.mark.parametrize("rng", [None, 0, 1])
def test_every_kind_together(rng: int | None) -> None:
    schema = constrained()
    codes = drawn(schema, 5000)
    table = undiscretize(codes, schema, np.random.default_rng(1))
    columns = repaired(table.columns, schema, rng=None if rng is None else np.random.default_rng(rng))
    assert unmet(to_frame(replace(table, columns=columns), schema)) == {}
    before = unmet(to_frame(table, schema))
    assert set(before) == {"order", "sum", "one_of", "rank", "never", "early"} and all(n > 50 for n in before.values())


def test_repair_on_the_way_in_looks_at_one_row_at_a_time() -> None:
    schema = constrained(repair=True)
    codes = drawn(schema, 120)
    frame = to_frame(undiscretize(codes, plain(schema), np.random.default_rng(1)), plain(schema)).astype(object)
    whole = from_frame(frame, schema)
    parts = concatenate((from_frame(frame.iloc[k : k + 1], schema) for k in range(len(frame))), schema)
    for name in schema.modelled:
        np.testing.assert_array_equal(whole.columns[name], parts.columns[name])
    assert unmet(to_frame(whole, schema)) == {}


def test_rows_that_break_a_constraint_are_refused_without_being_shown(
    refusal: Callable[..., str],
) -> None:
    frame = constrained_frame(50)
    from_frame(frame, constrained(), source="visits")
    frame.loc[[3, 4], "total"] = 99
    message = refusal(lambda: from_frame(frame, constrained(), source="visits"), DataError)
    assert message.startswith("visits: 2 rows with values that break the constraint 'inside + outside = total';")
    assert "repair: true" in message and "99" not in message
    assert unmet(to_frame(from_frame(frame, constrained(repair=True)), constrained())) == {}


def test_only_constraints_with_repair_are_repaired() -> None:
    schema = constrained()
    lenient = tuple(replace(c, repair=isinstance(c, Sum)) for c in schema.constraints)
    schema = replace(schema, constraints=lenient)
    frame = constrained_frame(50)
    frame.loc[3, "total"] = 99
    assert unmet(to_frame(from_frame(frame, schema), schema)) == {}
    frame.loc[4, "walk_in"] = not frame.loc[4, "walk_in"]
    with pytest.raises(DataError, match="1 row with values that break the constraint 'exactly one of"):
        from_frame(frame, schema)


def test_a_total_follows_its_parts_and_not_the_other_way() -> None:
    schema = constrained(repair=True)
    frame = constrained_frame(200)
    frame["total"] = 0
    table = from_frame(frame, schema)
    np.testing.assert_array_equal(table.columns["inside"], frame["inside"])
    np.testing.assert_array_equal(table.columns["total"], frame["inside"] + frame["outside"])


def test_numbers_stay_in_their_bins_where_these_hold_a_solution() -> None:
    schema = constrained()
    codes = drawn(schema, 3000)
    names = list(schema.modelled)
    born, admitted, left = (names.index(name) for name in ("born", "admitted", "discharged"))
    codes[:, admitted] = codes[:, born]
    codes[:, left] = codes[:, born]
    table = undiscretize(codes, schema, np.random.default_rng(1))
    again = discretize(replace(table, columns=repaired(table.columns, schema, rng=np.random.default_rng(2))), schema)
    for k in (born, admitted, left):
        np.testing.assert_array_equal(again[:, k], codes[:, k])


def test_pairs_within_a_bin_are_even_on_what_is_left() -> None:
    columns: dict[str, Column] = {name: Integer(min=0, max=3, bins=1) for name in ("low", "high")}
    schema = Schema(name="s", columns=columns, rows=1, constraints=(Inequality(low="low", high="high"),))
    table = undiscretize(np.zeros((40_000, 2), dtype=np.int32), schema, np.random.default_rng(0))
    found = repaired(table.columns, schema, rng=np.random.default_rng(1))
    counts = np.zeros((4, 4))
    np.add.at(counts, (found["low"].astype(int), found["high"].astype(int)), 1)
    assert counts[np.tril_indices(4, -1)].sum() == 0
    # Ten pairs of 4,000 each: 300 is five standard deviations.
    np.testing.assert_allclose(counts[np.triu_indices(4)], 4000, atol=300)


def test_which_boolean_stays_true_is_by_lot() -> None:
    columns: dict[str, Column] = {name: Boolean() for name in "xyz"}
    schema = Schema(name="s", columns=columns, rows=1, constraints=(OneOf(columns=("x", "y", "z")),))
    none = {name: np.zeros(9000, dtype=np.int32) for name in "xyz"}
    found = repaired(none, schema, rng=np.random.default_rng(0))
    assert all(1500 < found[name].sum() < 4500 for name in "xyz")  # 64 orders by lot
    assert repaired(none, schema)["z"].sum() in (0, 9000)


@pytest.mark.parametrize("strict", [False, True])
def test_on_a_continuum(strict: bool) -> None:
    columns: dict[str, Column] = {name: Continuous(min=-1e-3, max=1e3, bins=3) for name in ("a", "b", "c")}
    ties = (Inequality(low="a", high="b", strict=strict), Inequality(low="b", high="c", strict=strict))
    schema = Schema(name="s", columns=columns, rows=1, constraints=ties)
    codes = np.random.default_rng(0).integers(0, 3, (5000, 3))
    table = undiscretize(codes, schema, np.random.default_rng(1))
    for rng in (None, np.random.default_rng(2)):
        a, b, c = repaired(table.columns, schema, rng=rng).values()
        assert np.all(a < b) and np.all(b < c) if strict else np.all(a <= b) and np.all(b <= c)
    assert 100 < repaired(table.columns, schema, rng=np.random.default_rng(2))["a"].astype(float).mean() < 400


def test_sums_of_decimals_add_up_in_decimals() -> None:
    columns: dict[str, Column] = {name: Continuous(min=0, max=1, decimals=1, bins=2) for name in ("a", "b")}
    columns["c"] = Continuous(min=0, max=1.5, decimals=1, bins=4)
    schema = Schema(name="s", columns=columns, rows=1, constraints=(Sum(columns=("a", "b"), total="c"),))
    from_frame(pd.DataFrame({"a": [0.1, 0.7], "b": [0.2, 0.1], "c": [0.3, 0.8]}), schema)
    codes = drawn(schema, 4000)
    table = undiscretize(codes, schema, np.random.default_rng(1))
    found = repaired(table.columns, schema, rng=np.random.default_rng(2))
    tenths = {name: np.rint(values.astype(float) * 10) for name, values in found.items()}
    np.testing.assert_array_equal(tenths["a"] + tenths["b"], tenths["c"])
    assert tenths["c"].max() <= 15
    pd.testing.assert_frame_equal(
        to_frame(from_frame(to_frame(replace(table, columns=found), schema), schema), schema),
        to_frame(replace(table, columns=found), schema),
    )


def test_long_ties_end() -> None:
    columns: dict[str, Column] = {f"d{k}": Datetime(min="2020-01-01", max="2020-12-31", bins=12) for k in range(8)}
    columns |= {f"b{k}": Boolean() for k in range(30)}
    ties: list[Constraint] = [Inequality(low=f"d{k}", high=f"d{k + 1}", strict=True) for k in range(7)]
    ties.append(OneOf(columns=tuple(f"b{k}" for k in range(30))))
    ties += [Never(where={f"b{k}": True, "d0": ("2020-06-01", "2020-12-31")}) for k in range(10)]
    schema = Schema(name="s", columns=columns, rows=1, constraints=tuple(ties))
    codes = drawn(schema, 300)
    table = undiscretize(codes, schema, np.random.default_rng(1))
    found = repaired(table.columns, schema, rng=np.random.default_rng(2))
    assert not any(constraint.broken(found, schema).any() for constraint in ties)


def test_a_search_that_takes_too_long_ends_in_a_row_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthkit.data.repair._PATIENCE", 1)
    schema = constrained()
    codes = drawn(schema, 500)
    table = undiscretize(codes, schema, np.random.default_rng(1))
    columns = repaired(table.columns, schema, rng=np.random.default_rng(2))
    assert unmet(to_frame(replace(table, columns=columns), schema)) == {}


def test_nothing_is_drawn_without_constraints_or_rows() -> None:
    schema = constrained()
    empty = from_frame(constrained_frame(0), schema)
    rng = np.random.default_rng(0)
    assert all(len(values) == 0 for values in repaired(empty.columns, schema, rng=rng).values())
    table = from_frame(constrained_frame(20), schema)
    for name, values in repaired(table.columns, schema, rng=rng).items():
        assert values is table.columns[name]
    assert rng.random() == np.random.default_rng(0).random()
