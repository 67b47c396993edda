"""Post-processing of fine counts: smoothing, cutting, merging, drawing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthkit.data.encoding import discretize, from_frame, undiscretize
from synthkit.data.schema import Categorical, Continuous, Integer, Schema
from synthkit.synthesizers import shapes
from tests.tables import shaped, shaped_frame


def one(column: Integer | Continuous | Categorical, rows: int = 1000) -> Schema:
    return Schema(name="s", columns={"a": column}, rows=rows)


@given(
    counts=st.lists(st.integers(-50, 500), min_size=1, max_size=300),
    sigma=st.floats(0.5, 200),
    most=st.integers(1, 40),
)
def test_every_cell_has_a_bin_and_no_bin_is_without(counts: list[int], sigma: float, most: int) -> None:
    mass = shapes._smooth(np.array(counts, float), sigma, np.zeros(len(counts), bool))
    codes = shapes._cut(mass, most)
    assert (mass >= 0).all()
    assert codes[0] == 0 and set(np.diff(codes)) <= {0, 1} and codes[-1] == min(most, len(counts)) - 1
    shares = shapes._within(mass, codes)
    np.testing.assert_allclose(np.bincount(codes, weights=shares), 1.0)


def test_bins_hold_about_the_same() -> None:
    mass = np.exp(-(np.linspace(-3, 3, 512) ** 2) / 2)
    held = np.bincount(shapes._cut(mass, 16), weights=mass) / mass.sum()
    assert np.abs(held - 1 / 16).max() < 0.01


def test_a_cell_that_stands_out_is_a_bin_of_its_own() -> None:
    mass = np.ones(100)
    mass[[0, 50]] = [80, 12]
    codes = shapes._cut(mass, 8)
    assert (codes == codes[0]).sum() == 1 and (codes == codes[50]).sum() == 1
    rest = np.bincount(codes, weights=mass)[[k for k in range(8) if k not in (codes[0], codes[50])]]
    assert rest.max() < 2 * rest.min()


def test_noise_alone_is_flat_and_what_exceeds_it_is_kept() -> None:
    rng = np.random.default_rng(0)
    none = np.zeros(256, bool)
    flat = shapes._smooth(100 + rng.normal(0, 30, 256), 30.0, none)
    assert flat.std() < 12  # of 30
    spike = np.full(256, 10.0)
    spike[77] = 3000
    assert shapes._smooth(spike + rng.normal(0, 30, 256), 30.0, none)[77] == pytest.approx(3000, rel=0.1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_draws_follow_the_shares_and_stay_within_their_code(seed: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.unique(rng.integers(0, cells, cells), return_inverse=True)[1]
    mass = rng.integers(0, 3, cells).astype(float)
    found = shapes.Shape(codes.astype(np.int32), shapes._within(mass, codes))
    asked = rng.choice(codes, 200)
    drawn = found.draw(asked, rng)
    np.testing.assert_array_equal(found.codes[drawn], asked)
    assert (found.shares[drawn] > 0).all()
    assert found.draw(asked[:0], rng).shape == (0,)


def test_draws_have_their_frequencies() -> None:
    found = shapes.Shape(np.array([1, 0, 1, 0], np.int32), np.array([0.25, 1.0, 0.75, 0.0]))
    drawn = found.draw(np.ones(100_000, int), np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 1e5, [0.25, 0, 0.75, 0], atol=0.01)


def test_few_are_those_below_three_sigma() -> None:
    schema = one(Categorical(categories=tuple("abcdef"), rare="merge", nullable=True), rows=10_000)
    found = shapes.shape(np.array([500, 10, 299, 301, -20, 0, 7]), 100.0, "a", schema)
    column = shapes.coarse(schema, {"a": found}).columns["a"]
    assert isinstance(column, Categorical) and column.rare == ("b", "c", "e", "f") and column.size == 4
    np.testing.assert_array_equal(found.codes, [0, 2, 2, 1, 2, 2, 3])


def test_a_single_rare_category_stays() -> None:
    schema = one(Categorical(categories=("a", "b"), rare="merge"))
    found = shapes.shape(np.array([500.0, 1.0]), 10.0, "a", schema)
    assert shapes.coarse(schema, {"a": found}).columns["a"] == Categorical(categories=("a", "b"))


def test_codes_that_were_found_are_the_codes_of_the_schema_that_is_built() -> None:
    """The method's codes, and the way back from them, agree for every row."""
    schema, rng = shaped(), np.random.default_rng(0)
    fine = shapes.fine(schema)
    table = from_frame(shaped_frame(2000), schema)
    cells, names = discretize(table, fine), list(schema.modelled)
    found = {
        name: shapes.shape(
            np.bincount(cells[:, names.index(name)], minlength=fine.domain[name]) + rng.normal(0, 5, fine.domain[name]),
            5.0,
            name,
            schema,
        )
        for name in shapes.concerned(schema)
    }
    coarse = shapes.coarse(schema, found)
    codes = discretize(table, coarse)
    public = discretize(table, schema)
    for name, shape in found.items():
        j = names.index(name)
        np.testing.assert_array_equal(codes[:, j], shape.codes[cells[:, j]])
        np.testing.assert_array_equal(public[:, j], shapes.public_codes(schema)[name][cells[:, j]])
        assert coarse.domain[name] <= shapes.promised(schema, 5.0).domain[name]
    assert Schema.from_dict(coarse.to_dict()) == coarse
    np.testing.assert_array_equal(discretize(undiscretize(codes, coarse, rng), coarse), codes)
    np.testing.assert_array_equal(discretize(undiscretize(cells, fine, rng), fine), cells)
