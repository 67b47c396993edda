"""FIT: a graphical model that meets noisy marginals by weighted least squares.

Accelerated mirror descent in the entropic geometry (Auslender and Teboulle 2006). A step adds to the
logarithms of the cliques' potentials; where it led is read off the calibrated cliques. Between steps
only the measured cells matter, and they are few: losses, slopes and the distance of two steps are
sums over them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from synthkit.synthesizers.graphical import Clique, Graphical, Tree, propagate, sum_to, widen

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRACE = 1e-9  # of the start is left in what is fitted
_ROUGHEST = 1e12  # beyond, no step is short enough


@dataclass(frozen=True)
class Target:
    """A noisy marginal as a share of all rows.

    Attributes:
        columns: ascending.
        shares: one axis a column; may be negative, need not sum to 1.
        weight: of its squared error: 1 / variance of a share.
    """

    columns: Clique
    shares: NDArray[np.float64]
    weight: float


class _Measured:
    """All measured cells, side by side."""

    def __init__(self, tree: Tree, targets: Sequence[Target]) -> None:
        self._tree, self._columns = tree, [target.columns for target in targets]
        self._homes = [tree.home(columns) for columns in self._columns]
        self._shapes = [target.shares.shape for target in targets]
        self.wanted = torch.cat([torch.from_numpy(np.ascontiguousarray(t.shares)).flatten() for t in targets])
        self.weights = torch.cat([torch.full((t.shares.size,), t.weight, dtype=torch.float64) for t in targets])

    def read(self, beliefs: Sequence[Tensor]) -> Tensor:
        """The cells as the cliques have them."""
        pairs = zip(self._homes, self._columns, strict=True)
        return torch.cat([sum_to(beliefs[k], self._tree.cliques[k], columns).flatten() for k, columns in pairs])

    def added(self, logs: Sequence[Tensor], cells: Tensor) -> list[Tensor]:
        """Potentials (logarithms) with ``cells`` added, each where it belongs."""
        moved = [log.clone() for log in logs]
        parts = cells.split([math.prod(shape) for shape in self._shapes])
        for k, columns, shape, part in zip(self._homes, self._columns, self._shapes, parts, strict=True):
            moved[k] += widen(part.reshape(shape), columns, self._tree.cliques[k])
        return moved

    def loss(self, cells: Tensor) -> float:
        """Half the weighted squared error."""
        return float(0.5 * (self.weights * (cells - self.wanted) ** 2).sum())


def fit(model: Graphical, targets: Sequence[Target], iterations: int, misfit: float = 0.0) -> Graphical:
    """Least squares on the targets, from ``model`` on.

    The true table misses a noisy cell by one standard deviation. A model that comes nearer than
    that learns the noise; so it is best to stop on the way there (Morozov 1966 on discrepancy).

    Args:
        model: the start; on a tree in which every target has a home.
        targets: what to fit.
        iterations: of mirror descent, at most.
        misfit: stop where the mean squared gap of a cell, in variances of its noise, is as small.
    """
    with _one_thread():
        beliefs = _descended(model, _Measured(model.tree, targets), iterations, misfit)
    # A trace of the start keeps possible what underflowed: a later measurement may ask for it.
    return Graphical(model.tree, [(1 - _TRACE) * b + _TRACE * s for b, s in zip(beliefs, model.beliefs, strict=True)])


def _descended(model: Graphical, measured: _Measured, iterations: int, misfit: float) -> list[Tensor]:
    tree, best = model.tree, [belief.clone() for belief in model.beliefs]
    logs = [factor.log() for factor in model.potentials()]
    log_sum = _calibrated(tree, logs)[1]
    at_best = at_mirror = measured.read(best)
    last, enough = measured.loss(at_best), 0.5 * misfit * len(at_best)
    smooth = float(measured.weights.max())  # grows where a step turns out too long
    share = 1.0
    for _ in range(iterations):
        while True:
            # Auslender and Teboulle: share solves share^2 / (1 - share) = (last share)^2 at constant smoothness.
            at_point = torch.lerp(at_best, at_mirror, share)
            slope = measured.weights * (at_point - measured.wanted)
            step = -slope / (smooth * share)
            new_logs = measured.added(logs, step)
            try:
                mirror, new_sum = _calibrated(tree, new_logs)
            except ValueError:  # so long a step that everything underflowed
                smooth *= 2
                continue
            at_new = measured.read(mirror)
            at_new_best = torch.lerp(at_best, at_new, share)
            found, change = measured.loss(at_new_best), float(slope @ (at_new_best - at_point))
            divergence = max(float(step @ at_new) - (new_sum - log_sum), 0.0)  # KL(new || old)
            bound = measured.loss(at_point) + change + smooth * share**2 * divergence
            if found <= bound + 1e-9 * abs(bound) or smooth > _ROUGHEST:
                break
            smooth *= 2
        if found > last and share < 1.0:  # momentum overshot: start again from the best
            logs = [factor.log() for factor in Graphical(tree, best).potentials()]
            log_sum = _calibrated(tree, logs)[1]
            share, at_mirror, last = 1.0, at_best, math.inf
            continue
        for belief, new in zip(best, mirror, strict=True):
            belief.lerp_(new, share)
        logs, log_sum, at_best, at_mirror, last = new_logs, new_sum, at_new_best, at_new, found
        if found <= enough:
            break
        share = (math.sqrt(share**4 + 4 * share**2) - share**2) / 2
        smooth *= 0.9
    return best


def _calibrated(tree: Tree, logs: Sequence[Tensor]) -> tuple[list[Tensor], float]:
    """As ``propagate``, from logarithms."""
    peaks = [log.max() for log in logs]
    beliefs, log_sum = propagate(tree, [(log - peak).exp_() for log, peak in zip(logs, peaks, strict=True)])
    return beliefs, log_sum + float(sum(peaks))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Cliques are small: threads would wait for one another longer than they work, and far longer on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


__all__ = ["Target", "fit"]
