"""Grids: public cells that tile the values, whatever the range, with single values where they are declared."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthkit.data.encoding import discretize, undiscretize
from synthkit.data.grids import Quantiles
from synthkit.data.schema import Categorical, Continuous, Datetime, Integer, Numeric, Schema
from synthkit.errors import SchemaError
from tests.data.test_encoding import continua, datetimes, integers


@given(
    column=integers() | continua() | datetimes(),
    count=st.integers(1, 20),
    grid=st.integers(20, 300),
    log=st.booleans(),
    clamp=st.booleans(),
)
def test_cells_tile_the_values(column: Numeric, count: int, grid: int, log: bool, clamp: bool) -> None:
    scale = "log" if log and not isinstance(column, Datetime) else "linear"
    column = replace(column, bins=Quantiles(count, grid=grid, scale=scale), unknown="clamp" if clamp else "error")  # type: ignore[arg-type]
    cells = column.grid
    assert cells.edges[0] == column.low and all(np.diff(cells.edges) > 0)
    assert len(cells.points) == len(cells.edges) - 1
    assert set(column.edges) <= set(cells.edges) and len(column.edges) <= count + 1
    assert len(cells.points) <= grid + 7  # three single values, each with what is left on both sides of it
    fine = Schema(name="s", columns={"a": replace(column, bins=written(column))}, rows=1)
    codes = np.arange(fine.domain["a"])[:, None]
    table = undiscretize(codes, fine, np.random.default_rng(0))
    np.testing.assert_array_equal(discretize(table, fine), codes)
    assert Schema.from_dict(fine.to_dict()) == fine
    if clamp:
        values = table.columns["a"].astype(float)
        assert {column.low, column.high} <= set(values[~np.isnan(values)])


def written(column: Numeric) -> tuple[object, ...]:
    return tuple(column.edge(edge) for edge in column.grid.edges if edge <= column.high)


def test_few_values_get_a_cell_each() -> None:
    assert Integer(min=3, max=6, bins=Quantiles(2)).grid.edges == (3, 4, 5, 6, 7)
    assert Continuous(min=0, max=0.3, decimals=1, bins=Quantiles(2)).grid.edges == (0, 0.1, 0.2, 0.3, 0.4)
    assert len(Datetime(min="2025-01-01", max="2025-03-31", bins=Quantiles(4)).grid.points) == 90


def test_the_log_scale_is_fine_near_zero_and_symmetric() -> None:
    edges = np.array(Continuous(min=-1e6, max=1e6, bins=Quantiles(8, scale="log")).grid.edges)
    assert np.abs(edges).min() == 0 and np.sort(np.abs(edges))[2] < 1
    widths = np.diff(edges)
    assert widths[0] > 1000 * widths[len(widths) // 2 - 3]
    np.testing.assert_allclose(edges[:20], -edges[::-1][:20])


def test_single_values_have_cells_of_their_own() -> None:
    bins = Quantiles(4, grid=10, spikes=(25.0, 99.5))
    column = Continuous(min=0, max=99.5, bins=bins)
    held = [edge for edge, point in zip(column.grid.edges, column.grid.points, strict=False) if point]
    assert held == [25.0, math.nextafter(99.5, 0)]
    schema = Schema(name="s", columns={"a": replace(column, bins=written(column))}, rows=1)
    codes = np.flatnonzero(column.grid.points)[:, None]
    assert undiscretize(codes, schema, np.random.default_rng(0)).columns["a"].tolist() == [25.0, 99.5]


def test_there_is_no_grid_where_bins_are_declared() -> None:
    with pytest.raises(SchemaError, match="declared"):
        _ = Integer(min=0, max=9).grid


def test_a_file_keeps_what_was_declared() -> None:
    columns = {
        "a": Continuous(min=0, max=1, bins=Quantiles(16, grid=64, scale="log", spikes=(0.5,))),
        "b": Datetime(min="2024-01-01", max="2025-01-01", bins=Quantiles(4, spikes=("2024-07-01",))),
        "c": Categorical(categories=("x", "y", "z"), rare="merge"),
        "d": Categorical(categories=("x", "y", "z"), rare=("y", "z"), nullable=True),
    }
    schema = Schema(name="s", columns=columns, rows=1)
    document = schema.to_dict()
    assert document["columns"]["a"]["bins"] == {"quantiles": 16, "grid": 64, "scale": "log", "spikes": [0.5]}
    assert document["columns"]["c"]["rare"] == "merge"
    assert Schema.from_dict(document) == schema


def test_merged_categories_share_the_code_after_all_others() -> None:
    column = Categorical(categories=("x", "y", "z", "w"), rare=("x", "z"), nullable=True)
    assert column.codes == (2, 0, 2, 1) and column.size == 4 and column.labels == ["y", "w", "(rare)"]
    schema = Schema(name="s", columns={"a": column}, rows=1)
    table = undiscretize(np.array([[2]] * 100 + [[3], [0]]), schema, np.random.default_rng(0))
    assert set(table.columns["a"][:100]) == {0, 2} and table.columns["a"][100:].tolist() == [4, 1]


@pytest.mark.parametrize("value", [0, 1.5, True, 10_001])
def test_counts_are_checked(value: float) -> None:
    for name in ("quantiles", "grid"):
        with pytest.raises(SchemaError, match=name):
            Quantiles(**{"quantiles": 1, name: value})  # type: ignore[arg-type]
