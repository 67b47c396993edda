"""A critic that is quadratic in a few scores of every column: what it is asked, and its best answer.

    D(x) = s(x)' W s(x)

s(x) holds some scores of every column, side by side: functions of its value with mean 0 and variance 1
under the noisy marginals, orthogonal to each other. For numbers they are polynomials of normal scores, for
categories indicators of the most frequent ones. W is symmetric, and zero between scores of one column.

As an integral-probability-metric critic (Mroueh and Sercu 2017, arXiv:1705.09675) it is linear in W, so the
private half of its loss has the same gradient at every W: all private steps of DP-SGD (Abadi et al. 2016)
estimate one matrix, E_real[s s'], and the critic answers every generator in closed form. Its penalty is
tau |W|_* + |W|_F^2 / 2, so its best answer is the gap between real and synthetic E[s s'] with singular values
thresholded at tau (Cai, Candes and Shen 2010). tau is the edge of the spectrum of the noise alone (Wigner):
the critic says nothing where all that it sees may be noise, and much where many pairs of columns say the
same together, each too softly to be heard.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn

from synthkit.data.schema import Boolean, Categorical, Modelled, Schema
from synthkit.synthesizers.marginals import Measured
from synthkit.synthesizers.networks import OneHot

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMBER, _CATEGORY = 3, 8  # scores of a column of numbers, of categories, at most
_MOST = 240  # scores of all columns together, where one a column is not more already
_LARGEST = 3.0  # a score
_LOUD = 1.3  # norm of s s' that is left as it is, by what it is on average


@dataclass(frozen=True)
class Scores:
    """Some scores of every column but the conditioning one.

    Attributes:
        one_hot: of the schema's codes.
        values: (width, m) the scores of every value of every column; zero on other columns.
        owner: (m,) the column of each.
    """

    one_hot: OneHot
    values: Tensor
    owner: Tensor

    @classmethod
    def of(cls, measured: Measured) -> Scores:
        """Scores under the noisy marginals: post-processing."""
        columns, one_hot = list(measured.schema.modelled.values()), OneHot(measured.schema.domain)
        shares = np.split(measured.chances @ measured.conditionals, one_hot.starts[1:])
        values, owner = [], []
        for j, most in enumerate(counted(measured.schema, measured.condition)):
            for score in _scores(columns[j], shares[j], most):
                values.append(np.zeros(one_hot.width))
                values[-1][one_hot.starts[j] : one_hot.starts[j] + one_hot.sizes[j]] = score
                owner.append(j)
        return cls(one_hot, torch.tensor(np.array(values).T, dtype=torch.float32), torch.tensor(owner))

    @property
    def count(self) -> int:
        """m."""
        return len(self.owner)

    @cached_property
    def across(self) -> Tensor:
        """(m, m) whether two scores are of different columns."""
        return self.owner[:, None] != self.owner[None, :]

    @cached_property
    def clipping_norm(self) -> float:
        """C, for the products of all pairs of scores of different columns, of one row."""
        return math.sqrt(int(self.across.sum()) / 2) * _LOUD

    def products(self, shares: Tensor, weights: Tensor) -> Tensor:
        """E[s s'] over rows whose columns are independent: (m, m), zero within a column.

        Args:
            shares: (b, width) distributions of every column, side by side.
            weights: (b,) of the rows; they sum to 1.
        """
        scores = shares @ self.values  # (b, m)
        norms = (shares @ self.values.square()).sum(dim=1)  # (b,) of |s|^2, in expectation
        # Real rows are clipped; so are synthetic ones, as far as their expectations tell.
        limit = self.clipping_norm * math.sqrt(2)
        clipped = weights * (limit / norms.clamp_min(limit))
        products: Tensor = (scores * clipped[:, None]).T @ scores
        return products * self.across


class ScoreCritic(nn.Module):
    """D as a network whose weights are W, above its diagonal; for private gradients."""

    def __init__(self, scores: Scores) -> None:
        super().__init__()
        self.one_hot = scores.one_hot
        self.register_buffer("values", scores.values)
        left, right = torch.triu_indices(scores.count, scores.count, offset=1)
        apart = scores.owner[left] != scores.owner[right]
        self.left, self.right = left[apart], right[apart]  # (cells,)
        with torch.random.fork_rng(devices=[]):
            self.weight = nn.Linear(len(self.left), 1, bias=False)
        nn.init.zeros_(self.weight.weight)

    @property
    def cells(self) -> int:
        """How many weights."""
        return len(self.left)

    def forward(self, codes: Tensor) -> Tensor:
        """(b, d) codes to scores (b,); each from its own row."""
        values: Tensor = self.get_buffer("values")
        scores = self.one_hot.encode(codes).to(values.dtype) @ values  # (b, m)
        found: Tensor = self.weight(scores[:, self.left] * scores[:, self.right]).squeeze(1)
        return found

    def matrix(self, cells: Tensor) -> Tensor:
        """(cells,) to a symmetric matrix (m, m)."""
        count = self.get_buffer("values").shape[1]
        matrix = cells.new_zeros(count, count)
        matrix[self.left, self.right] = cells
        return matrix + matrix.T


@dataclass(frozen=True)
class Critic:
    """What the private steps released, and the best answer to any generator that follows from it.

    Attributes:
        scores: what D is quadratic in.
        truth: (m, m) noisy E_real[s s'].
        spread: standard deviation of the noise of its entries.
        threshold: tau, by the edge of the noise's spectrum.
    """

    scores: Scores
    truth: Tensor
    spread: float
    threshold: float

    def answer(self, fake: Tensor) -> Tensor:
        """W (m, m) against a generator with E[s s'] of ``fake`` (m, m)."""
        values, vectors = torch.linalg.eigh(self.truth - fake)
        edge = self.threshold * 2 * self.spread * math.sqrt(self.scores.count)
        kept = torch.nn.functional.softshrink(values, edge)
        weights: Tensor = (vectors * kept) @ vectors.T * self.scores.across
        return weights

    def judge(self, weights: Tensor) -> Callable[[NDArray[np.int32]], NDArray[np.float64]]:
        """D as a function of codes (n, d): above 0, rows like it are more frequent among real ones."""

        def score(codes: NDArray[np.int32]) -> NDArray[np.float64]:
            rows = self.scores.one_hot.encode(torch.as_tensor(codes, dtype=torch.int64)) @ self.scores.values
            found: NDArray[np.float64] = ((rows @ weights) * rows).sum(dim=1).double().numpy()
            return found

        return score


def counted(schema: Schema, condition: int | None) -> list[int]:
    """How many scores every column has at most, the conditioning one none; known before anything is measured."""
    found = []
    for j, (column, size) in enumerate(zip(schema.modelled.values(), schema.domain.values(), strict=True)):
        most = _CATEGORY if isinstance(column, Categorical | Boolean) else _NUMBER
        found.append(0 if j == condition else min(most, size - 1))
    few = _CATEGORY
    while few > 1 and sum(min(few, most) for most in found) > _MOST:
        few -= 1
    return [min(few, most) for most in found]


def _scores(column: Modelled, shares: NDArray[np.float64], most: int) -> list[NDArray[np.float64]]:
    """Functions of a column's values with mean 0 and variance 1, nearly orthogonal; each (size,)."""
    size = len(shares)
    shares = np.maximum(shares, 1e-6)
    shares = shares / shares.sum()
    if isinstance(column, Categorical | Boolean):
        raw = list(np.eye(size)[np.argsort(-shares, kind="stable")[:most]])
    else:
        normal = norm.ppf((np.cumsum(shares) - shares / 2).clip(1e-4, 1 - 1e-4))
        raw = [normal**power for power in range(1, most + 1)]
    basis: list[NDArray[np.float64]] = [np.ones(size)]
    for score in raw:
        for other in basis:  # Gram and Schmidt
            score = score - (shares * score * other).sum() * other
        length = math.sqrt((shares * score**2).sum())
        if length < 1e-3:
            continue
        score = (score / length).clip(-_LARGEST, _LARGEST)
        score = score - (shares * score).sum()
        basis.append(score / math.sqrt((shares * score**2).sum()))
    return basis[1:]


__all__ = ["Critic", "ScoreCritic", "Scores", "counted"]
