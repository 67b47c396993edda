"""A GAN for mixed tables: its generator is fitted to chosen marginals, its critic trained by DP-SGD.

Goodfellow et al. 2014 with an integral-probability-metric critic (Mroueh and Sercu 2017,
arXiv:1705.09675), trained by DP-SGD (Abadi et al. 2016). The generator is a neural model of noisy
marginals that are chosen as in AIM (GEM, Liu, Vietri and Wu 2021, arXiv:2106.07153): there is no junction tree,
so nothing limits which columns are measured together. In steps:

    MEASURE   each column with the target, with discrete Gaussian noise
    WARM UP   the generator starts as their product: columns independent given the target
    CRITICIZE a critic takes private gradient steps on real rows (``critic.py``)
    PLAY      the generator is trained against the critic, anchored to what was measured
    SELECT    the exponential mechanism picks marginals that the generator still gets most wrong
              (``choosing.py``); they are measured, the generator PLAYs on, and so on in rounds

MEASURE, CRITICIZE and SELECT see real rows. The critic hears what many pairs of columns say softly together,
the chosen marginals what few of them say aloud.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from dp_accounting import DpEvent
from torch import Tensor, nn
from torch.nn import functional

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.errors import InputError
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.counts import Marginals, NoisyMarginal, noisy_marginals, tabulate
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers import choosing
from synthkit.synthesizers.base import (
    Discriminator,
    Progress,
    Synthetic,
    check_settings,
    silent,
)
from synthkit.synthesizers.choosing import named
from synthkit.synthesizers.critic import Critic, ScoreCritic, Scores, counted
from synthkit.synthesizers.graphical import Clique
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.marginals import Measured, simplex, target_position
from synthkit.synthesizers.network_model import drawn_codes, read_tensors, sampled, save_network, set_state
from synthkit.synthesizers.networks import OneHot, Residual, initialize, seeded
from synthkit.synthesizers.shaped import shaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORTH = 0.05  # of all pairs of columns: where fewer would be chosen, all is left to the critic
_UNSEEN = 0.2  # of all pairs, at least, that the critic gets its share for
_QUIET = 1.5  # gaps of chosen marginals that are left alone, in standard deviations of their noise
_DREAMS = 20_000  # rows by which the generator's moments are known
_CRITIC = "critic."  # how the names of the critic's tensors begin in a saved model
_LARGE_BATCH = 50_000  # units a private step samples at most, in expectation


@shaped
@dataclass(frozen=True, kw_only=True)
class TabularGan:
    """Settings of the GAN. All are public; none is tuned on private data.

    Attributes:
        marginals: how many are chosen; 0: by rule, more where there are more rows for the noise, none where
            columns are many.
        rounds: in how many rounds, at most; the generator is trained after each.
        selection: share of the budget (as zero-concentrated DP counts it) for all choices.
        critic: share for the critic, less where most pairs are chosen, or rows are few for the noise; 0 does without
            one. What is left is for marginals.
        discriminator_steps: private gradient steps of the critic.
        sample_rate: probability with which a unit joins a step; lowered where a step would
            sample more than 50,000 units.
        iterations: generator steps, half of them in the rounds; 0 releases the warm start alone.
        batch: synthetic rows a generator step, a public number.
        width: width of the generator's layers.
        latent: dimensions of its noise.
        threshold: tau, by the edge of the spectrum of the critic's noise.
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
    threshold: float = 1.0
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
        target = target_position(schema)
        pairs = max(1, math.comb(len(schema.domain) - (target is not None), 2))
        chosen = choosing.how_many(schema, budget, target, self.marginals, part=0.5)
        if not _cells(schema) or self.iterations == 0:
            event, noise = choosing.priced(budget, len(_queries(schema)), 0, 0.0)
            return Plan(budget, event, noise, 5.0, 600.0)
        if not self.marginals and chosen < _WORTH * pairs:
            chosen = 0
        # Of few columns all pairs can be measured, and little is left for the critic to say.
        unseen = max(_UNSEEN, 1 - chosen / pairs)
        rate, left = self._rate(schema), 1 - choosing.for_gradients(unseen * self.critic, schema, budget)
        event, noise = choosing.priced(budget, len(_queries(schema)), chosen, self.selection / left, part=left)
        if self.critic:
            measured = event

            def with_critic(multiplier: float) -> DpEvent:
                return compose([measured, repeat(step_event(multiplier, rate), self.discriminator_steps)])

            noise["discriminator"] = calibrate(with_critic, budget)
            event = with_critic(noise["discriminator"])
        return Plan(budget, event, noise, *self._forecast(schema, rate, chosen))

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> TabularGanModel:
        """MEASURE, WARM UP, SELECT, CRITICIZE, PLAY."""
        schema, noise = data.schema, session.plan.noise
        # MEASURE
        progress(0.0, "measuring marginals")
        released = noisy_marginals(data, session, _queries(schema), noise["start"])
        # WARM UP
        measured = Measured.of(released, schema, target_position(schema))
        seed = session.noise.public_seed()
        generator = Generator(measured, latent=self.latent, width=self.width, seed=seed)
        # CRITICIZE
        scores, critic = Scores.of(measured), None
        if "discriminator" in noise:
            critic = self._criticize(data, session, scores, measured.rows, progress)
        # PLAY
        batches = choosing.batches(round(noise.get("chosen", 0)), self.rounds)
        early = self.iterations // 4 if batches else 0
        chosen: list[NoisyMarginal] = []
        if critic and batches:
            self._play(generator, measured, chosen, critic, early, progress, seed)
        # SELECT
        among = choosing.candidates(schema, target_position(schema)) if batches else []
        tables = tabulate(data, named(among, schema))
        for k, count in enumerate(batches):
            progress(0.3 + 0.2 * k / len(batches), f"round {k + 1}: choosing")
            picked = self._select(tables, session, generator, among, chosen, measured.rows, count, seed + k)
            chosen += noisy_marginals(tables, session, named(picked, schema), noise["marginals"])
            if k + 1 < len(batches):
                self._play(generator, measured, chosen, critic, early // len(batches), silent, seed + k + 1)
        if critic or chosen:
            self._play(generator, measured, chosen, critic, self.iterations - early, progress, seed + len(batches) + 1)
        progress(1.0, "fitted")
        return TabularGanModel(schema, generator, (*released, *chosen), critic)

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
        self, data: Private[Table], session: Session, scores: Scores, rows: float, progress: Progress
    ) -> Critic:
        """The critic's private gradients, each of them E_real[s s'] and noise; their mean."""
        network, multiplier = ScoreCritic(scores), session.plan.noise["discriminator"]
        bound, rate = session.plan.budget.unit.max_rows, self._rate(data.schema)
        norm = scores.clipping_norm * bound
        gradients = NoisyGradients(
            data,
            session,
            network,
            lambda network, codes: -network(codes),
            clipping_norm=norm,
            noise_multiplier=multiplier,
            sample_rate=rate,
            clipping="ghost" if bound == 1 else "hooks",
            physical_batch=_physical(network.cells),
        )
        total = torch.zeros(network.cells)
        for step in range(self.discriminator_steps):
            total -= gradients.step()[0].reshape(-1)
            progress(0.1 * (step + 1) / self.discriminator_steps, "critic on real rows")
        spread = multiplier * norm / (rate * data.schema.units * math.sqrt(self.discriminator_steps))
        scale = data.schema.units / rows  # of the public divisor
        truth = network.matrix(total * (scale / self.discriminator_steps))
        return Critic(scores, truth, spread * scale, self.threshold)

    def _play(
        self,
        generator: Generator,
        measured: Measured,
        chosen: Sequence[NoisyMarginal],
        critic: Critic | None,
        iterations: int,
        progress: Progress,
        seed: int,
    ) -> None:
        """Train the generator against the critic's best answers. No private value is in reach here."""
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
            loss = torch.zeros(())
            if critic:
                products = [critic.scores.products(half, generator.weights(of).sum(dim=1)) for half, of in halves]
                for seen, judged in (products, products[::-1]):
                    # Each product of two scores stands in the matrix twice.
                    loss -= self.sharpness * (critic.answer(seen.detach()) * judged).sum() / (2 * critic.spread**2)
            if chosen:
                moments = [generator.moments(*half) for half in halves]  # (k, width, width) each
                for seen, judged in (moments, moments[::-1]):
                    gap = functional.softshrink(cells.shares - cells.of(seen.detach()), _QUIET * cells.spread)
                    loss -= (gap * cells.of(judged)).sum() / cells.spread**2
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
                progress(0.1 + 0.4 * step / iterations, "generator against critic")
        with torch.no_grad():
            for mean, parameter in zip(averaged, generator.parameters(), strict=True):
                parameter.copy_(mean)

    def _latents(self, draws: torch.Generator) -> Tensor:
        return torch.randn(self.batch, self.latent, generator=draws)

    def _rate(self, schema: Schema) -> float:
        return min(self.sample_rate, _LARGE_BATCH / schema.units)

    def _forecast(self, schema: Schema, rate: float, chosen: int) -> tuple[float, float]:
        """Seconds and megabytes on two cores, from counts of operations (see benchmarks/forecast.py)."""
        cells, width = _cells(schema), sum(schema.domain.values())
        count = sum(counted(schema, target_position(schema)))
        private = 7e-9 * self.discriminator_steps * rate * schema.units * schema.unit.max_rows * cells
        play = self.batch * (
            4e-11 * width * (count + (width if chosen else 0)) + 5e-11 * self.width * (width + 4 * self.width)
        )
        play = self.iterations * (2 * play + 4e-9 * count**3 + 4e-3)
        return 5.0 + private + play, 500.0 + 16e-6 * _physical(cells) * cells + 3e-4 * schema.rows


class ChosenCells:
    """The chosen marginals, side by side: pairs of columns, and pairs together with the target.

    Attributes:
        shares: (cells,) what they should be, as measured.
        spread: standard deviation of their noise.
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
            shares.append(simplex(counts / measured.rows).ravel())
        self.shares = torch.tensor(np.concatenate(shares), dtype=torch.float32)
        self.spread = chosen[0].sigma / measured.rows if chosen else 0.0
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
        return torch.stack([(shares * weight[:, None]).T @ shares for weight in self.weights(classes).T])

    def weights(self, classes: Tensor) -> Tensor:
        """Weights (b, k) of rows, each in the column of its class; they make classes as frequent as measured."""
        given = functional.one_hot(classes, len(self.chances)).to(self.chances.dtype)
        weights: Tensor = given * (self.chances / given.sum(dim=0).clamp_min(1))
        return weights

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
        generator, scores, draws = self.generator, self.critic.scores, seeded(0)
        start = scores.products(generator.base, generator.chances)  # columns independent given the class
        with torch.no_grad():
            classes = generator.draw_classes(_DREAMS, draws)
            shares = generator.one_hot.shares(generator.logits_of(classes, draws))
            now = scores.products(shares, generator.weights(classes).sum(dim=1))
        held = None if generator.condition is None else generator.one_hot.names[generator.condition]
        pushed, left = (self.critic.judge(self.critic.answer(fake)) for fake in (start, now))
        return Discriminator(self.schema, pushed, left, held, self._draw)

    def _draw(self, n: int, seed: int) -> NDArray[np.int32]:
        return self.sample(n, seed=seed).codes

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """Draw rows; a condition on the target is met directly, others by rejection."""
        return sampled(self.generator, self.schema, n, where, seed)

    def save(self, folder: Place) -> None:
        """Write the generator and the marginals."""
        parameters: dict[str, Any] = {"latent": self.generator.latent, "width": self.generator.enter.out_features}
        beside = {}
        if self.critic is not None:
            parameters |= {"critic": {"spread": self.critic.spread, "threshold": self.critic.threshold}}
            scores = self.critic.scores
            held = {"truth": self.critic.truth, "values": scores.values, "owner": scores.owner}
            beside = {_CRITIC + name: tensor for name, tensor in held.items()}
        save_network(folder, TabularGan.name, self.schema, self.generator, self.marginals, parameters, beside)


def load(folder: Place, parameters: Mapping[str, Any], schema: Schema) -> TabularGanModel:
    """Read a saved model; its digests have been checked."""
    tensors, released = read_tensors(folder, parameters)
    measured = Measured.of(list(released), schema, target_position(schema))
    generator = Generator(measured, latent=parameters["latent"], width=parameters["width"], seed=0)
    critic = None
    if "critic" in parameters:
        truth, values, owner = (tensors.pop(_CRITIC + name, torch.zeros(0)) for name in ("truth", "values", "owner"))
        one_hot = generator.one_hot
        if values.shape != (one_hot.width, len(owner)) or truth.shape != (len(owner), len(owner)):
            raise InputError(f"{folder}: the weights do not fit the schema")
        critic = Critic(Scores(one_hot, values, owner), truth, **parameters["critic"])
    set_state(generator, tensors, folder)
    return TabularGanModel(schema, generator, released, critic)


def _queries(schema: Schema) -> list[tuple[str, ...]]:
    """Each column with the target; all one-way marginals where there is none."""
    if schema.target is None or len(schema.modelled) == 1:
        return [(name,) for name in schema.modelled]
    return [(name, schema.target) for name in schema.modelled if name != schema.target]


def _cells(schema: Schema) -> int:
    """Products of two scores that the critic looks at, at most."""
    counts = counted(schema, target_position(schema))
    return (sum(counts) ** 2 - sum(count**2 for count in counts)) // 2


def _physical(cells: int) -> int:
    return max(16, min(2048, 10_000_000 // max(1, cells)))


__all__ = ["Generator", "TabularGan", "TabularGanModel", "load"]
