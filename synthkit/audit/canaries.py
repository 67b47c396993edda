"""Canaries: records whose presence an attacker who sees every release tries to tell.

Two attacks, both white-box, both through the code that real fits run through.

*Gradient canaries* (after Steinke et al. 2023, arXiv:2305.08846): every canary has a gradient of its
own direction, joins by a fair coin, and is scored by the noisy sum along that direction. One run of
DP-SGD tests a thousand canaries at once.

*Answers with and without* one unit: a replay yields the exact answers of every mechanism on two
neighbours. Both sets are released many times with the session's own noise, and the likelihood ratio
of everything released is the score: no attack separates the two worlds better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dp_accounting
import numpy as np

from synthkit.audit.replay import Call
from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Categorical, Schema
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import DiscreteGaussianDpEvent, ExponentialMechanismDpEvent, repeat
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEEP = 1e3  # gradients are so many clipping norms long: every canary is clipped


@dataclass(frozen=True)
class Scores:
    """What an attacker would go by.

    Attributes:
        score: one a canary, higher meaning "in".
        included: whether it was.
    """

    score: NDArray[np.float64]
    included: NDArray[np.bool_]


def gradient_canaries(
    *,
    canaries: int,
    steps: int,
    sample_rate: float,
    noise_multiplier: float,
    noise: NoiseSource | None = None,
    make: Callable[..., Any] | None = None,
    **options: Any,
) -> Scores:
    """Run DP-SGD once over canaries with orthogonal gradients, each in by a fair coin.

    Args:
        canaries: how many, at most 10,000.
        steps, sample_rate, noise_multiplier: of DP-SGD, as claimed.
        noise: where its noise comes from; default: a fresh source.
        make: what computes noisy gradients; default: ``NoisyGradients``.
        options: further options of it (``clipping``, ``physical_batch``).
    """
    import torch
    from torch import nn

    from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event

    class Directions(nn.Module):
        """w . e_c: the gradient of canary c is the c-th axis."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Linear(canaries, 1, bias=False)
            nn.init.zeros_(self.weight.weight)

        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            axes = self.weight.weight.new_zeros(len(codes), canaries).scatter_(1, codes, 1.0)
            return self.weight(axes).squeeze(1)  # type: ignore[no-any-return]

    source = noise or NoiseSource()
    included = source.coins(canaries, 0.5)
    column = Categorical(categories=tuple(range(canaries)))
    schema = Schema("canaries", {"canary": column}, max(1, canaries // 2), reviewed=True)
    rows = np.flatnonzero(included).astype(np.int32)
    data = Private(Table({"canary": rows}, None, len(rows)), dataset="canaries", schema=schema)
    event = repeat(step_event(noise_multiplier, sample_rate), steps)
    session = Session(Plan(_unlimited(event), event), noise=source)
    with torch.random.fork_rng(devices=[]):
        network = Directions()
    gradients = (make or NoisyGradients)(
        data,
        session,
        network,
        lambda scored, codes: _STEEP * scored(codes),
        clipping_norm=1.0,
        noise_multiplier=noise_multiplier,
        sample_rate=sample_rate,
        **options,
    )
    total = np.zeros(canaries)
    for _ in range(steps):
        total += gradients.step()[0].reshape(-1).double().numpy()
    return Scores(total, included)


def with_and_without(
    left: list[list[Call]], right: list[list[Call]], *, trials: int, noise: NoiseSource | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-likelihood ratios (right against left) of everything released, ``trials`` times in each world.

    Args:
        left, right: the answers of both runs of a replay.
        trials: how often each world is released.
        noise: of the releases; default: a fresh source.

    Returns:
        (scores where ``right`` is true, scores where ``left`` is).
    """
    source = noise or NoiseSource()
    inside, outside = np.zeros(trials), np.zeros(trials)
    joined: dict[tuple[object, ...], NDArray[np.float64]] = {}
    pairs = [
        (one, two) for ours, theirs in zip(left, right, strict=True) for one, two in zip(ours, theirs, strict=True)
    ]
    for one, two in pairs:
        if (gap := two.exact - one.exact).any():
            joined[_kind(one)] = gap
    for one, two in pairs:
        gap = two.exact - one.exact
        if isinstance(one.charge.event, dp_accounting.PoissonSampledDpEvent):
            # A unit that sat this step out would have moved it as it moved one that it joined.
            gap = joined.get(_kind(one), gap)
        if gap.any():
            inside += _ratios(one, gap, source, trials, present=True)
            outside += _ratios(one, gap, source, trials, present=False)
    return inside, outside


def _kind(call: Call) -> tuple[object, ...]:
    return call.charge.mechanism, call.charge.event, call.exact.shape


def _ratios(
    call: Call, gap: NDArray[np.float64], source: NoiseSource, trials: int, *, present: bool
) -> NDArray[np.float64]:
    """One mechanism's log-likelihood ratios, released ``trials`` times through a session."""
    event = call.charge.event
    if isinstance(event, ExponentialMechanismDpEvent):
        return _choices(call, gap, source, trials, present=present)
    rate = event.sampling_probability if isinstance(event, dp_accounting.PoissonSampledDpEvent) else 1.0
    where = np.flatnonzero(gap.ravel())
    base, change = call.exact.ravel()[where], gap.ravel()[where]  # (s,)
    session, scale = _paid(call, source), _scale(call)
    if rate < 1 and _adjacency(call) is Adjacency.REPLACE_ONE:
        # Replaced under sampling: the unit may sit out in either world. The cruellest pair with this
        # gap lies around zero: -change / 2 against change / 2.
        half = change / 2
        joined = source.coins(trials, rate)[:, None]
        released = session.release(call.charge, base + joined * (half if present else -half)) - base
        return _mixed(released, half, rate, scale) - _mixed(released, -half, rate, scale)
    joined = source.coins(trials, rate)[:, None] if present else np.zeros((trials, 1), dtype=bool)
    released = session.release(call.charge, base + joined * change) - base  # (trials, s)
    return _mixed(released, change, rate, scale)


def _mixed(
    released: NDArray[np.float64], change: NDArray[np.float64], rate: float, scale: float
) -> NDArray[np.float64]:
    """Log-likelihood ratios of "moved by ``change`` with probability ``rate``" against "not moved"."""
    ratio: NDArray[np.float64] = (released @ change - change @ change / 2) / scale**2  # (trials,)
    return np.logaddexp(math.log1p(-rate), math.log(rate) + ratio) if rate < 1 else ratio


def _choices(
    call: Call, gap: NDArray[np.float64], source: NoiseSource, trials: int, *, present: bool
) -> NDArray[np.float64]:
    epsilon = call.charge.event.epsilon
    weights = [scores * epsilon / (2 * call.sensitivity) for scores in (call.exact, call.exact + gap)]
    chances = [w - np.logaddexp.reduce(w) for w in weights]
    ratio = chances[1] - chances[0]
    picks = []
    for _ in range(trials):
        session = _paid(call, source)
        picks.append(session.choose(call.charge, call.exact + gap if present else call.exact))
    return np.asarray(ratio[picks])


def _paid(call: Call, source: NoiseSource) -> Session:
    """A session that owes just this answer."""
    budget = replace(_unlimited(call.charge.event), adjacency=_adjacency(call))
    session = Session(Plan(budget, call.charge.event), noise=source)
    session.charge(call.charge)
    return session


def _adjacency(call: Call) -> Adjacency:
    """Whose neighbours the answer was recorded for."""
    return next(a for a in Adjacency if call.charge.sensitivity(a) == call.sensitivity)


def _scale(call: Call) -> float:
    """The noise's standard deviation that the charge claims."""
    match call.charge.event:
        case DiscreteGaussianDpEvent(sigma=sigma):
            return float(sigma)
        case (
            dp_accounting.GaussianDpEvent(noise_multiplier=z)
            | dp_accounting.PoissonSampledDpEvent(event=dp_accounting.GaussianDpEvent(noise_multiplier=z))
        ):
            return float(z) * call.charge.norm_bound
        case event:
            raise TypeError(f"no likelihood is known here for a {type(event).__name__}")


def _unlimited(_: object) -> Budget:
    """A budget that holds any price: the claim is compared outside, by the accountant."""
    return Budget(1e6, 0.5)


__all__ = ["Scores", "gradient_canaries", "with_and_without"]
