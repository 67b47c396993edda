"""A GAN for mixed tables: its generator is fitted to chosen marginals, its critic trained by DP-SGD.

Goodfellow et al. 2014 with an integral-probability-metric critic (Mroueh and Sercu 2017,
arXiv:1705.09675), trained by DP-SGD (Abadi et al. 2016). The generator is a neural model of noisy
marginals that are chosen as in AIM (GEM, Liu, Vietri and Wu 2021, arXiv:2106.07153): there is no junction tree,
so nothing limits which columns are measured together. In steps:

    MEASURE   each column with the target, with discrete Gaussian noise
    WARM UP   the generator starts as their product: columns independent given the target
    SELECT    the exponential mechanism picks marginals that the generator gets most wrong (``choosing.py``);
              they are measured, the generator PLAYs against them, and so on in rounds
    CRITICIZE a critic D(x) = w . phi(x), phi the indicators of all pairs of values, takes private
              gradient steps on real rows
    PLAY      the generator is trained against the critic, anchored to what was measured

MEASURE, SELECT and CRITICIZE see real rows. Two things make the critic worth its noise. It is linear
in w, so the private part of its loss, -E_real[D], has the same gradient at every w: all private
steps estimate one vector, their mean is used, and the critic may answer the generator as often as
it likes (its other half, +E_fake[D], is free). And it is penalized by tau * |w|_1 + |w|^2 / 2, tau a
multiple of the noise that it was given, so that it criticizes only what noise does not explain:
its best answer is the soft threshold of E_real[phi] - E_fake[phi] at tau.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from dp_accounting import DpEvent
from torch import Tensor, nn
from torch.nn import functional

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.errors import InputError, MethodError
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import ExponentialMechanismDpEvent, compose, repeat
from synthkit.privacy.mechanisms.counts import Marginals, NoisyMarginal, counts_event, noisy_marginals, tabulate
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers import choosing
from synthkit.synthesizers.base import (
    Discriminator,
    Progress,
    Score,
    Synthetic,
    check_settings,
    silent,
)
from synthkit.synthesizers.choosing import named
from synthkit.synthesizers.graphical import Clique
from synthkit.synthesizers.marginals import Measured, target_position
from synthkit.synthesizers.network_model import drawn_codes, read_tensors, sampled, save_network, set_state
from synthkit.synthesizers.networks import OneHot, Residual, initialize, seeded
from synthkit.synthesizers.shaped import shaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_CELLS = 1_500_000  # pair indicators that a critic looks at; pairs of columns beyond are left out
_DREAMS = 20_000  # rows by which the generator's moments are known
_CRITIC = "critic.truth"  # what the critic's mean is called in a saved model
_LARGE_BATCH = 50_000  # units a private step samples at most, in expectation


@shaped
@dataclass(frozen=True, kw_only=True)
class TabularGan:
    """Settings of the GAN. All are public; none is tuned on private data.

    Attributes:
        marginals: how many are chosen; 0: by rule, more where there are more rows for the noise.
        rounds: in how many rounds, at most; the generator is trained after each.
        selection: share of the budget (as zero-concentrated DP counts it) for all choices.
        critic: share for the critic; 0 does without one. What is left is for marginals.
        discriminator_steps: private gradient steps of the critic.
        sample_rate: probability with which a unit joins a step; lowered where a step would
            sample more than 50,000 units.
        iterations: generator steps, half of them in the rounds; 0 releases the warm start alone.
        batch: synthetic rows a generator step, a public number.
        width: width of the generator's layers.
        latent: dimensions of its noise.
        threshold: tau, in standard deviations of the critic's noise.
        sharpness: weight of the critic against the anchor; 1 weighs both by their likelihood.
        learning_rate: of the generator (Adam, cosine decay).
        average: decay of the generator's moving average, which is what is released.
    """

    name: ClassVar[str] = "tabular_gan"
    short: ClassVar[Mapping[str, Any]] = {"iterations": 5, "batch": 64}  # of post-processing; for audits
    marginals: int = 0
    rounds: int = 4
    selection: float = 0.06
    critic: float = 0.45
    discriminator_steps: int = 8
    sample_rate: float = 0.8
    iterations: int = 2000
    batch: int = 1024
    width: int = 256
    latent: int = 64
    threshold: float = 1.5
    sharpness: float = 1.0
    learning_rate: float = 2e-3
    average: float = 0.99

    def __post_init__(self) -> None:
        check_settings(
            self,
            marginals=(0, 10_000),
            rounds=(1, 1_000),
            selection=(0.001, 0.5),
            critic=(0.0, 0.9),
            discriminator_steps=(1, 100_000),
            sample_rate=(1e-6, 1.0),
            iterations=(0, 10_000_000),
            batch=(16, 1_000_000),
            width=(4, 16_384),
            latent=(1, 16_384),
            threshold=(0.0, 100.0),
            sharpness=(0.0, 1e6),
            learning_rate=(1e-8, 10.0),
            average=(0.0, 0.99999),
        )

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """Noise of marginals and choices by their shares of the budget, of the critic by what is left."""
        start, pairs = len(_queries(schema)), _pairs(schema)
        chosen = choosing.how_many(schema, budget, target_position(schema), self.marginals)
        if not pairs or self.iterations == 0:
            sigma = calibrate(lambda scale: repeat(counts_event(scale, budget), start), budget)
            return Plan(budget, repeat(counts_event(sigma, budget), start), {"marginals": sigma}, 5.0, 600.0)
        rate, radius, measured = self._rate(schema), budget.unit.max_rows, start + chosen
        # A marginal of noise s costs 1 / (2 s^2) of zCDP, a choice of epsilon e costs e^2 / 8.
        selection = self.selection if chosen else 0.0
        share = 1 - selection - self.critic
        choice = 2 * math.sqrt(selection / share * measured / max(1, chosen)) * radius

        def counts(sigma: float) -> list[DpEvent]:
            choices = [repeat(ExponentialMechanismDpEvent(choice / sigma), chosen)] if chosen else []
            return [repeat(counts_event(sigma, budget), measured), *choices]

        if self.critic:
            alone = calibrate(lambda scale: repeat(counts_event(scale, budget), measured), budget)
            sigma = alone / math.sqrt(share)

            def event(multiplier: float) -> DpEvent:
                return compose([*counts(sigma), repeat(step_event(multiplier, rate), self.discriminator_steps)])

            multiplier = calibrate(event, budget)
            noise, whole = {"discriminator": multiplier}, event(multiplier)
        else:
            sigma = calibrate(lambda scale: compose(counts(scale)), budget)
            noise, whole = {}, compose(counts(sigma))
        noise["marginals"] = sigma
        if chosen:
            noise |= {"selection": choice / sigma, "chosen": float(chosen)}
        return Plan(budget, whole, noise, *self._forecast(schema, pairs, rate))

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> TabularGanModel:
        """MEASURE, WARM UP, SELECT, CRITICIZE, PLAY."""
        schema, noise = data.schema, session.plan.noise
        # MEASURE
        progress(0.0, "measuring marginals")
        released = noisy_marginals(data, session, _queries(schema), noise["marginals"])
        # WARM UP
        measured = Measured.of(released, schema, target_position(schema))
        seed = session.noise.public_seed()
        generator = Generator(measured, latent=self.latent, width=self.width, seed=seed)
        # SELECT
        chosen: list[NoisyMarginal] = []
        batches = choosing.batches(round(noise.get("chosen", 0)), self.rounds)
        among = choosing.candidates(schema, target_position(schema)) if batches else []
        tables = tabulate(data, named(among, schema))
        for k, count in enumerate(batches):
            progress(0.4 * k / len(batches), f"round {k + 1}: choosing")
            picked = self._select(tables, session, generator, among, chosen, measured.rows, count, seed + k)
            chosen += noisy_marginals(tables, session, named(picked, schema), noise["marginals"])
            self._play(generator, measured, chosen, None, self.iterations // (2 * len(batches)), silent, seed + k)
        critic = None
        if "discriminator" in noise:
            # CRITICIZE
            critic = self._criticize(data, session, noise, measured.rows, progress)
        if critic or chosen:
            # PLAY
            last = self.iterations - self.iterations // 2
            self._play(generator, measured, chosen, critic, last, progress, seed + len(batches))
        progress(1.0, "fitted")
        judged = critic and Critic(schema, critic[0], critic[1], self.threshold)
        return TabularGanModel(schema, generator, (*released, *chosen), judged or None)

    def _select(
        self,
        tables: Private[Marginals],
        session: Session,
        generator: Generator,
        among: Sequence[Clique],
        chosen: Sequence[NoisyMarginal],
        rows: float,
        count: int,
        seed: int,
    ) -> list[Clique]:
        """The ``count`` marginals that the generator misses most; new ones, where there are."""
        before = {marginal.columns for marginal in chosen}
        old = [query in before for query in named(among, tables.schema)]

        def fresh(picked: Sequence[int], k: int) -> bool:
            return not old[k] and choosing.apart(among, picked, k)

        drawn = generator.draw(choosing.sampled(rows, len(among)), seeded(seed)).numpy()
        return choosing.worst(tables, session, among, drawn, rows, [fresh], count)

    def _criticize(
        self, data: Private[Table], session: Session, noise: Mapping[str, float], rows: float, progress: Progress
    ) -> tuple[Tensor, float]:
        """The critic's private gradient: noisy E_real[phi] (cells,), and its noise's standard deviation."""
        critic, multiplier = PairCritic(data.schema), noise["discriminator"]
        bound = session.plan.budget.unit.max_rows
        norm = math.sqrt(len(critic.pairs)) * bound  # every row's phi has one 1 a pair: nothing is cut off
        rate = self._rate(data.schema)
        gradients = NoisyGradients(
            data,
            session,
            critic,
            lambda network, codes: -network(codes),
            clipping_norm=norm,
            noise_multiplier=multiplier,
            sample_rate=rate,
            clipping="ghost" if bound == 1 else "hooks",
            physical_batch=max(16, min(2048, 10_000_000 // critic.cells)),
        )
        total = torch.zeros(critic.cells)
        for step in range(self.discriminator_steps):
            total -= gradients.step()[0].reshape(-1)  # the gradient of -E_real[D] is -E_real[phi]
            progress(0.4 + 0.2 * (step + 1) / self.discriminator_steps, "critic on real rows")
        spread = multiplier * norm / (rate * data.schema.units * math.sqrt(self.discriminator_steps))
        scale = data.schema.units / rows  # of the public divisor
        return total * (scale / self.discriminator_steps), spread * scale

    def _play(
        self,
        generator: Generator,
        measured: Measured,
        chosen: Sequence[NoisyMarginal],
        real: tuple[Tensor, float] | None,
        iterations: int,
        progress: Progress,
        seed: int,
    ) -> None:
        """Train the generator against the critic's best answers. No private value is in reach here."""
        critic = PairCritic(measured.schema)
        cells = ChosenCells(chosen, measured)
        draws = seeded(seed + 1)
        optimizer = torch.optim.Adam(generator.parameters(), lr=self.learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, iterations))
        averaged = [parameter.detach().clone() for parameter in generator.parameters()]
        precision = measured.sigma / measured.rows
        for step in range(iterations):
            classes = generator.draw_classes(self.batch, draws)  # (b,)
            shares = generator.one_hot.shares(generator(self._latents(draws), classes))  # (b, width)
            # Each half of the batch answers the other. A critic that answered the rows that it has
            # seen would punish their chance deviations, and the generator would learn to have none.
            halves = list(zip(shares.chunk(2), classes.chunk(2), strict=True))
            moments = [generator.moments(*half) for half in halves]  # (k, width, width) each
            loss = torch.zeros(())
            for judge, judged in (moments, moments[::-1]):
                seen = judge.detach()
                if real is not None:
                    truth, spread = real
                    fake = critic.cells_of(judged)
                    answer = functional.softshrink(truth - critic.cells_of(seen), self.threshold * spread)
                    loss -= self.sharpness * (answer * fake).sum() / spread**2
                gap = functional.softshrink(cells.shares - cells.of(seen), self.threshold * precision)
                loss -= (gap * cells.of(judged)).sum() / precision**2
            for (seen_shares, seen_classes), (judged_shares, judged_classes) in (halves, halves[::-1]):
                answer = generator.target - generator.joint(seen_shares.detach(), seen_classes)
                loss -= (answer * generator.joint(judged_shares, judged_classes)).sum() / precision**2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for mean, parameter in zip(averaged, generator.parameters(), strict=True):
                    mean.lerp_(parameter, 1 - self.average)
            if step % 20 == 0:
                progress(0.6 + 0.4 * step / iterations, "generator against critic")
        with torch.no_grad():
            for mean, parameter in zip(averaged, generator.parameters(), strict=True):
                parameter.copy_(mean)

    def _latents(self, draws: torch.Generator) -> Tensor:
        return torch.randn(self.batch, self.latent, generator=draws)

    def _rate(self, schema: Schema) -> float:
        return min(self.sample_rate, _LARGE_BATCH / schema.units)

    def _forecast(self, schema: Schema, pairs: list[tuple[int, int]], rate: float) -> tuple[float, float]:
        """Seconds and megabytes on two cores, from counts of operations (see benchmarks/forecast.py)."""
        sizes = list(schema.domain.values())
        cells = sum(sizes[i] * sizes[j] for i, j in pairs)
        width = sum(sizes)
        private = 7e-9 * self.discriminator_steps * rate * schema.units * schema.unit.max_rows * cells
        play = self.iterations * self.batch * (4e-11 * width**2 + 5e-11 * self.width * (width + 4 * self.width)) * 2
        play += self.iterations * (3e-8 * cells + 2e-3)
        physical = max(16, min(2048, 10_000_000 // cells))
        return 5.0 + private + play, 500.0 + 16e-6 * physical * cells + 60e-6 * cells + 3e-4 * schema.rows


class PairCritic(nn.Module):
    """D(x) = w . phi(x): phi has one indicator for every pair of values of two columns.

    Pairs with the conditioning column are left out: they are measured directly.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.one_hot = OneHot(schema.domain)
        self.pairs = _pairs(schema)
        left, right = [], []
        for i, j in self.pairs:
            rows = torch.arange(self.one_hot.sizes[i]) + self.one_hot.starts[i]
            columns = torch.arange(self.one_hot.sizes[j]) + self.one_hot.starts[j]
            left.append(rows.repeat_interleave(len(columns)))
            right.append(columns.repeat(len(rows)))
        self.left, self.right = torch.cat(left), torch.cat(right)  # (cells,)
        self.first, self.second = torch.tensor(self.pairs).T  # (pairs,)
        sizes = torch.tensor(self.one_hot.sizes)
        self.widths = sizes[self.second]
        lengths = sizes[self.first] * self.widths
        self.offsets = lengths.cumsum(0) - lengths
        with torch.random.fork_rng(devices=[]):
            self.weight = nn.Linear(len(self.left), 1, bias=False)
        nn.init.zeros_(self.weight.weight)

    @property
    def cells(self) -> int:
        """Length of phi."""
        return len(self.left)

    def forward(self, codes: Tensor) -> Tensor:
        """(b, d) codes to scores (b,); each from its own row."""
        codes = codes.to(self.first.device)
        cells = self.offsets + codes[:, self.first] * self.widths + codes[:, self.second]  # (b, pairs)
        features = self.weight.weight.new_zeros(len(codes), self.cells).scatter_(1, cells, 1.0)
        scores: Tensor = self.weight(features).squeeze(1)
        return scores

    def cells_of(self, moments: Tensor) -> Tensor:
        """E[phi] from joint distributions of two columns given the class, (k, width, width): (cells,)."""
        return moments.sum(dim=0)[self.left, self.right]


@dataclass(frozen=True)
class Critic:
    """What the private steps released, and the critic's best answer to any generator that follows from it.

    Attributes:
        schema: of the codes.
        truth: noisy E_real[phi] (cells,), as shares of rows.
        spread: standard deviation of its noise.
        threshold: tau, in multiples of ``spread``.
    """

    schema: Schema
    truth: Tensor
    spread: float
    threshold: float

    def answer(self, moments: Tensor) -> Score:
        """D as a function of codes (n, d): above 0, the row's pairs of values are more frequent among real rows.

        Args:
            moments: joint distributions of every two columns given the class, of the generator: (k, width, width).
        """
        critic = PairCritic(self.schema)
        gap = self.truth - critic.cells_of(moments)
        weights = functional.softshrink(gap, self.threshold * self.spread).double().numpy()
        first, second = critic.first.numpy(), critic.second.numpy()
        offsets, widths = critic.offsets.numpy(), critic.widths.numpy()

        def score(codes: NDArray[np.int32]) -> NDArray[np.float64]:
            found = np.zeros(len(codes))
            for i, j, offset, width in zip(first, second, offsets, widths, strict=True):
                found += weights[offset + codes[:, i].astype(np.int64) * width + codes[:, j]]
            return found

        return score


class ChosenCells:
    """The chosen marginals, side by side: pairs of columns, and pairs together with the target.

    Attributes:
        shares: (cells,) what they should be, as measured.
    """

    def __init__(self, chosen: Sequence[NoisyMarginal], measured: Measured) -> None:
        one_hot, classes = OneHot(measured.schema.domain), len(measured.chances)
        given = None if measured.condition is None else one_hot.names[measured.condition]
        where, shares = [torch.zeros(3, 0, dtype=torch.int64)], [np.zeros(0)]
        for marginal in chosen:
            left, right = (one_hot.names.index(name) for name in marginal.columns if name != given)
            counts, levels = marginal.counts[None], torch.tensor([classes])  # of all classes together
            if given in marginal.columns:
                counts = np.moveaxis(marginal.counts, marginal.columns.index(given), 0)
                levels = torch.arange(classes)
            blocks = (torch.arange(one_hot.sizes[j]) + one_hot.starts[j] for j in (left, right))
            grid = torch.meshgrid(levels, *blocks, indexing="ij")
            where.append(torch.stack([axis.reshape(-1) for axis in grid]))
            shares.append(counts.ravel() / measured.rows)
        self.shares = torch.tensor(np.concatenate(shares), dtype=torch.float32)
        self._levels, self._left, self._right = torch.cat(where, dim=1)

    def of(self, moments: Tensor) -> Tensor:
        """The same cells of a model, from joint distributions of two columns given the class: (cells,)."""
        levels = torch.cat([moments, moments.sum(dim=0, keepdim=True)])
        return levels[self._levels, self._left, self._right]


class Generator(nn.Module):
    """Latent noise and a class to a distribution over every column's codes.

    Starts as the measured product distribution exactly: the last layer is zero, and its base is
    the logarithm of the noisy conditional marginals.
    """

    base: Tensor
    chances: Tensor

    def __init__(self, measured: Measured, *, latent: int, width: int, seed: int) -> None:
        super().__init__()
        classes, self.latent = measured.conditionals.shape[0], latent
        self.one_hot = OneHot(measured.schema.domain)
        self.condition = measured.condition
        self.register_buffer("chances", torch.tensor(measured.chances, dtype=torch.float32))  # (k,)
        self.register_buffer("base", torch.tensor(measured.conditionals, dtype=torch.float32))  # (k, width)
        with torch.random.fork_rng(devices=[]):  # torch initializes from its global state: leave that alone
            self.enter = nn.Linear(latent + classes, width)
            self.body = nn.Sequential(Residual(width), Residual(width))
            self.leave = nn.Linear(width, self.one_hot.width)
        initialize(self, seeded(seed))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, latents: Tensor, classes: Tensor) -> Tensor:
        """(b, latent), (b,) to logits (b, width)."""
        given = functional.one_hot(classes, len(self.chances)).to(latents.dtype)
        hidden = self.body(self.enter(torch.cat([latents, given], dim=1)))
        logits: Tensor = self.base.clamp_min(1e-7).log()[classes] + self.leave(hidden)
        return logits

    def draw_classes(self, count: int, draws: torch.Generator) -> Tensor:
        """Codes of the conditioning column from its noisy frequencies: (count,)."""
        return torch.multinomial(self.chances, count, replacement=True, generator=draws)

    def logits_of(self, classes: Tensor, draws: torch.Generator) -> Tensor:
        """Logits (b, width) for rows of some classes (b,), from fresh noise."""
        logits: Tensor = self(torch.randn(len(classes), self.latent, generator=draws), classes)
        return logits

    def joint(self, shares: Tensor, classes: Tensor) -> Tensor:
        """Joint distribution of the class and every column in a batch: (k, width)."""
        given = functional.one_hot(classes, len(self.chances)).to(shares.dtype)  # (b, k)
        means = (given.T @ shares) / given.sum(dim=0).clamp_min(1)[:, None]
        return self.chances[:, None] * means

    def moments(self, shares: Tensor, classes: Tensor) -> Tensor:
        """Joint distribution of the class and every two columns, which are independent within a row: (k, w, w)."""
        given = functional.one_hot(classes, len(self.chances)).to(shares.dtype)  # (b, k)
        weights = given * (self.chances / given.sum(dim=0).clamp_min(1))  # classes as often as measured
        return torch.stack([(shares * weight[:, None]).T @ shares for weight in weights.T])

    @property
    def target(self) -> Tensor:
        """What :meth:`joint` should be, as measured: (k, width)."""
        return self.chances[:, None] * self.base

    @torch.no_grad()
    def draw(self, count: int, draws: torch.Generator, given: int | None = None) -> Tensor:
        """Sampled codes (count, d), of class ``given`` or of all."""
        return drawn_codes(self, count, draws, given)


@dataclass(frozen=True)
class TabularGanModel:
    """The averaged generator, the marginals it was warmed up on, and what the critic was given."""

    schema: Schema
    generator: Generator
    marginals: tuple[NoisyMarginal, ...]
    critic: Critic | None = None

    def discriminator(self) -> Discriminator | None:
        """What the critic pushed on, and what it would still push on; None of a model without a critic."""
        if self.critic is None:
            return None
        generator, draws = self.generator, seeded(0)
        with torch.no_grad():
            start = torch.stack([torch.outer(base, base) for base in generator.base])  # columns independent
            classes = generator.draw_classes(_DREAMS, draws)
            shares = generator.one_hot.shares(generator.logits_of(classes, draws))
            left = generator.moments(shares, classes)
        held = None if generator.condition is None else generator.one_hot.names[generator.condition]
        pushed = self.critic.answer(generator.chances[:, None, None] * start)
        return Discriminator(self.schema, pushed, self.critic.answer(left), held, self._draw)

    def _draw(self, n: int, seed: int) -> NDArray[np.int32]:
        return self.sample(n, seed=seed).codes

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """Draw rows; a condition on the target is met directly, others by rejection."""
        return sampled(self.generator, self.schema, n, where, seed)

    def save(self, folder: Path) -> None:
        """Write the generator and the marginals."""
        parameters: dict[str, Any] = {"latent": self.generator.latent, "width": self.generator.enter.out_features}
        beside = {}
        if self.critic is not None:
            parameters |= {"critic": {"spread": self.critic.spread, "threshold": self.critic.threshold}}
            beside = {_CRITIC: self.critic.truth}
        save_network(folder, TabularGan.name, self.schema, self.generator, self.marginals, parameters, beside)


def load(folder: Path, parameters: Mapping[str, Any], schema: Schema) -> TabularGanModel:
    """Read a saved model; its digests have been checked."""
    tensors, released = read_tensors(folder, parameters)
    measured = Measured.of(list(released), schema, target_position(schema))
    generator = Generator(measured, latent=parameters["latent"], width=parameters["width"], seed=0)
    truth, critic = tensors.pop(_CRITIC, None), None
    if truth is not None:
        critic = Critic(schema, truth, **parameters["critic"])
        if truth.shape != (PairCritic(schema).cells,):
            raise InputError(f"{folder}: the weights do not fit the schema")
    set_state(generator, tensors, folder)
    return TabularGanModel(schema, generator, released, critic)


def _queries(schema: Schema) -> list[tuple[str, ...]]:
    """Each column with the target; all one-way marginals where there is none."""
    if schema.target is None or len(schema.modelled) == 1:
        return [(name,) for name in schema.modelled]
    return [(name, schema.target) for name in schema.modelled if name != schema.target]


def _pairs(schema: Schema) -> list[tuple[int, int]]:
    """Pairs of columns for the critic, evenly thinned where their cells are too many to hold."""
    sizes, condition = list(schema.domain.values()), target_position(schema)
    pairs = [p for p in itertools.combinations(range(len(sizes)), 2) if condition not in p]
    cells = sum(sizes[i] * sizes[j] for i, j in pairs)
    kept = pairs[:: max(1, math.ceil(cells / _MOST_CELLS))]
    if any(sizes[i] * sizes[j] > _MOST_CELLS for i, j in kept):
        raise MethodError(
            f"two columns of schema {schema.name} have more than {_MOST_CELLS} pairs of values; use fewer bins or categories"
        )
    return kept


__all__ = ["Critic", "Generator", "PairCritic", "TabularGan", "TabularGanModel", "load"]
