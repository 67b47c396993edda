"""Same reasons: a good table is near the ceiling, permuted labels are clearly lower; bad targets are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Categorical
from synthkit.errors import ExplanationError
from synthkit.explain.agreement import compare, cosine_distance
from synthkit.explain.downstream import train
from tests.tables import frame, schema

PUBLIC = schema()
NAMES = list(PUBLIC.modelled)


def codes(rows: int, seed: int) -> np.ndarray:
    return discretize(from_frame(frame(rows, seed=seed), PUBLIC), PUBLIC)


def test_another_sample_has_the_same_reasons_and_permuted_labels_have_none() -> None:
    good = compare(codes(1000, 0), codes(300, 1), codes(1000, 2), PUBLIC, repeats=2)
    assert good.payment == "internal" and all(figure.payment == "internal" for figure in good.evidence)
    assert good.floor[1] > 3 * good.ceiling[1] and good.distance < good.floor[1] / 3
    assert good.recovered >= 0.6 and "reasons" in good.verdict
    assert good.columns[int(good.real.argmax())] == "smoker"
    broken = codes(1000, 2)
    broken[:, 6] = np.random.default_rng(0).permutation(broken[:, 6])
    bad = compare(codes(1000, 0), codes(300, 1), broken, PUBLIC, repeats=2)
    assert bad.distance > 3 * good.distance and bad.recovered < 0.6


def test_targets_that_cannot_be_explained_are_named() -> None:
    rows = codes(100, 0)
    constant = rows.copy()
    constant[:, 6] = 1
    with pytest.raises(ExplanationError, match="single class"):
        train(constant, PUBLIC)
    with pytest.raises(ExplanationError, match="declares no target"):
        train(rows, schema(target=None))
    with pytest.raises(ExplanationError, match="another schema"):
        train(rows[:, :5], PUBLIC)
    with pytest.raises(ExplanationError, match="no real rows"):
        compare(rows, rows[:0], rows, PUBLIC)
    many = replace(PUBLIC, columns={**PUBLIC.columns, "ill": Categorical(categories=tuple(f"c{k}" for k in range(90)))})
    rows[:, 6] = np.arange(100) % 90
    with pytest.raises(ExplanationError, match="90 classes in 100 rows"):
        train(rows, many)


def test_classes_and_numbers_have_reasons_too() -> None:
    three = train(codes(800, 0), replace(PUBLIC, target="region"))
    assert len(three.classes) == 4 and three.importance(codes(50, 1)).shape == (6,)
    assert three.explain(codes(20, 1), "free").payment == "free"
    number = train(codes(800, 0), replace(PUBLIC, target="age"))
    assert number.classes == () and number.explain(codes(20, 1), "free").gap <= 1e-3


def test_cosine_distance() -> None:
    x = np.array([1.0, 2.0, 0.0])
    assert cosine_distance(x, 3 * x) == pytest.approx(0) and cosine_distance(x, np.array([0, 0, 1.0])) == 1
    assert cosine_distance(x, np.zeros(3)) == 1
