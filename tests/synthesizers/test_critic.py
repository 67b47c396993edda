"""The critic's scores, its network, and its answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Categorical, Continuous, Schema
from synthkit.privacy.mechanisms.counts import NoisyMarginal, exact_marginals
from synthkit.synthesizers.critic import Critic, ScoreCritic, Scores, counted
from synthkit.synthesizers.marginals import Measured, target_position
from tests.tables import frame, schema


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return discretize(from_frame(frame(500), schema()), schema())


@pytest.fixture(scope="module")
def scores(codes: np.ndarray) -> Scores:
    queries = [(name, "ill") for name in schema().domain if name != "ill"]
    tables = exact_marginals(codes, schema(), queries)
    released = [NoisyMarginal(query, table, 0.01) for query, table in zip(queries, tables, strict=True)]
    return Scores.of(Measured.of(released, schema(), target_position(schema())))


def test_scores_have_mean_zero_and_variance_one(scores: Scores, codes: np.ndarray) -> None:
    rows = scores.one_hot.encode(torch.tensor(codes, dtype=torch.int64)) @ scores.values
    torch.testing.assert_close(rows.mean(dim=0), torch.zeros(scores.count), atol=0.1, rtol=0)
    torch.testing.assert_close(rows.square().mean(dim=0), torch.ones(scores.count), atol=0.5, rtol=0)
    found = torch.bincount(scores.owner, minlength=len(schema().domain)).tolist()
    assert all(one <= most for one, most in zip(found, counted(schema(), target_position(schema())), strict=True))
    assert found[target_position(schema())] == 0


def test_few_scores_a_column_where_columns_are_many() -> None:
    kinds = {f"n{j}": Continuous(min=0, max=1) for j in range(60)}
    kinds |= {f"c{j}": Categorical(categories=tuple("abcdefghij")) for j in range(60)}
    assert set(counted(Schema("wide", kinds, 100), None)) == {2}
    assert set(counted(Schema("narrow", {"n": kinds["n0"], "c": kinds["c0"]}, 100), None)) == {3, 8}


def test_the_network_is_quadratic_in_the_scores(scores: Scores, codes: np.ndarray) -> None:
    network = ScoreCritic(scores)
    with torch.no_grad():
        network.weight.weight.normal_(generator=torch.Generator().manual_seed(0))
    found = network(torch.tensor(codes, dtype=torch.int64)).detach().numpy()
    matrix = network.matrix(network.weight.weight.detach()[0]) / 2  # every pair stands in it twice
    judge = Critic(scores, matrix, 0.0, 1.0).judge(matrix)
    np.testing.assert_allclose(judge(codes), found, rtol=1e-4, atol=1e-4)


def test_products_are_those_of_the_rows(scores: Scores, codes: np.ndarray) -> None:
    """For rows that are certain of their values, clipped as DP-SGD clips them up to products within a column."""
    one_hot = scores.one_hot.encode(torch.tensor(codes, dtype=torch.int64))
    rows = one_hot @ scores.values
    limit = scores.clipping_norm * math.sqrt(2)
    kept = (limit / rows.square().sum(dim=1)).clamp_max(1.0)
    expected = (rows * kept[:, None]).T @ rows / len(rows) * scores.across
    found = scores.products(one_hot, torch.full((len(rows),), 1 / len(rows)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_noise_alone_is_not_answered_and_what_pairs_say_together_is(scores: Scores) -> None:
    """A gap of rank one whose entries each lie below the noise: singular values find it, entries would not."""
    draws = torch.Generator().manual_seed(0)
    noise = torch.triu(torch.randn(scores.count, scores.count, generator=draws), diagonal=1)
    noise, none = noise + noise.T, torch.zeros(scores.count, scores.count)
    quiet = Critic(scores, noise, 1.0, 1.1).answer(none)
    assert quiet.abs().max() < 0.3
    direction = torch.ones(scores.count) / math.sqrt(scores.count)
    gap = 6 * math.sqrt(scores.count) * torch.outer(direction, direction)
    loud = Critic(scores, noise + gap * scores.across, 1.0, 1.1).answer(none)
    assert gap.max() < 3  # standard deviations
    agreement = (loud * gap).sum() / (loud.norm() * gap.norm())
    assert agreement > 0.8
