"""A DP-SGD variational autoencoder for mixed tables, warm-started on noisy marginals.

Kingma and Welling 2014 (arXiv:1312.6114), conditional on the target, its decoder trained by DP-SGD
(Abadi et al. 2016, arXiv:1607.00133). In steps:

    MEASURE  all one-way marginals, and each column with the target, with discrete Gaussian noise
    WARM UP  the decoder starts near their product: columns independent given the target
    DREAM    the encoder is fitted to rows that the decoder draws
    WAKE     the decoder takes a private gradient step on the evidence lower bound of real rows
    PLACE    a noisy second moment of the real rows' latent means says where latents are drawn from
    ANCHOR   the decoder's biases are scaled until its rows have the measured marginals

DREAM and WAKE take turns. Only MEASURE, WAKE and PLACE see real rows. Two things make WAKE's gradients
worth their noise. The encoder costs nothing: what it stands for, the posterior p(z | x), follows from
the decoder alone, so it is fitted to dreams (the sleep phase of Hinton et al. 1995) and the decoder
has the budget to itself. The bound's other term, KL(q(z | x) || p(z)), holds no weight of the decoder.
And the reparametrization noise comes in pairs (e, -e): to first order it leaves the mean of a row's
gradients, so there is less to be clipped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from dp_accounting import DpEvent
from torch import Tensor, nn

from synthkit.data.encoding import Table, discretize
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.counts import NoisyMarginal, counts_event, noisy_marginals
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event
from synthkit.privacy.mechanisms.moments import noisy_sum, sum_event
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers import choosing
from synthkit.synthesizers.base import (
    Progress,
    Synthetic,
    check_settings,
    silent,
)
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.marginals import Measured, target_position
from synthkit.synthesizers.network_model import drawn_codes, read_tensors, sampled, save_network, set_state
from synthkit.synthesizers.networks import OneHot, seeded
from synthkit.synthesizers.shaped import shaped

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGE_BATCH = 10_000  # units a private step samples at most, in expectation
_PRIME = 2**31 - 1
_NORM = 1.0  # clipping norm; nearly every gradient is longer, so it is the unit of the learning rate
_START = 0.15  # standard deviation of the decoder's first weights
_MOMENTUM = 0.9
_PACE = 5e-5  # learning rate times the variance of a gradient's noise, at most: noise must not outrun the signal
_DECAY = 1.2  # without any signal, the weights shrink by exp(-1.2) over all steps
_NARROW = 1_000  # width up to which the encoder is fitted anew at every step
_RIDGE = 1e-3
_RARE = 1e-7  # smallest probability that a bias starts from


@shaped
@dataclass(frozen=True, kw_only=True)
class TabularVae:
    """Settings of the autoencoder. All are public; none is tuned on private data.

    Attributes:
        warm_start: share of the budget (as zero-concentrated DP counts it) for the marginals; more where rows are
            few for the noise.
        placement: share for the second moment of the latent means; less, then.
        steps: private gradient steps of the decoder; 0 releases the warm start alone.
        sample_rate: probability with which a unit joins a step; lowered where a step would
            sample more than 10,000 units.
        latent: dimensions of the latent space.
        pairs: antithetic pairs of reparametrization noise, a row and step.
        learning_rate: of the decoder (momentum 0.9, cosine decay), for gradients of norm 1;
            lowered where their noise is large.
        average: decay of the decoder's moving average, which is what is released.
        dreams: synthetic rows that the encoder is fitted to, every time.
        scalings: rounds of the anchor.
    """

    name: ClassVar[str] = "tabular_vae"
    short: ClassVar[Mapping[str, Any]] = {"dreams": 64, "scalings": 2}  # of post-processing; for audits
    warm_start: float = 0.35
    placement: float = 0.05
    steps: int = 100
    sample_rate: float = 0.2
    latent: int = 16
    pairs: int = 2
    learning_rate: float = 8.0
    average: float = 0.9
    dreams: int = 4096
    scalings: int = 30

    def __post_init__(self) -> None:
        check_settings(
            self,
            warm_start=(0.01, 0.9),
            placement=(0.001, 0.09),
            steps=(0, 100_000),
            sample_rate=(1e-6, 1.0),
            latent=(1, 64),
            pairs=(1, 64),
            learning_rate=(1e-8, 1e4),
            average=(0.0, 0.99999),
            dreams=(16, 1_000_000),
            scalings=(0, 100_000),
        )

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """Noise of the marginals and of the placement by their shares, of the gradients by what is left."""
        queries = len(_queries(schema))
        alone = calibrate(lambda scale: repeat(counts_event(scale, budget), queries), budget)
        if self.steps == 0 or _lonely(schema):
            return Plan(budget, repeat(counts_event(alone, budget), queries), {"marginals": alone}, 5.0, 600.0)
        worth = choosing.for_gradients(1.0, schema, budget)
        sigma = alone / math.sqrt(1 - (1 - self.warm_start) * worth)
        placement = calibrate(lambda scale: sum_event(scale, 1.0, budget), budget)
        placement /= math.sqrt(self.placement * worth)
        rate = self._rate(schema)

        def event(multiplier: float) -> DpEvent:
            measured = [repeat(counts_event(sigma, budget), queries), self._placement_event(placement, budget)]
            return compose([*measured, repeat(step_event(multiplier, rate), self.steps)])

        multiplier = calibrate(event, budget)
        noise = {"marginals": sigma, "placement": placement, "gradients": multiplier}
        return Plan(budget, event(multiplier), noise, *self._forecast(schema, rate))

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> TabularVaeModel:
        """MEASURE, WARM UP, DREAM and WAKE, PLACE, ANCHOR."""
        schema, noise = data.schema, session.plan.noise
        # MEASURE
        progress(0.0, "measuring marginals")
        released = noisy_marginals(data, session, _queries(schema), noise["marginals"])
        # WARM UP
        measured = Measured.of(released, schema, target_position(schema))
        draws = seeded(session.noise.public_seed())
        network = Autoencoder(measured, latent=self.latent, pairs=self.pairs)
        if "gradients" in noise:
            # DREAM, WAKE
            self._learn(network, data, session, draws, progress)
            # PLACE
            network.place(*self._second_moment(network, data, session, measured.rows))
            # ANCHOR
            for step in range(self.scalings):
                network.anchor(self.dreams, (1 + step) ** -0.5, draws)
                progress(0.9 + 0.1 * (step + 1) / self.scalings, "anchoring the decoder")
        progress(1.0, "fitted")
        return TabularVaeModel(schema, network, tuple(released))

    def _learn(
        self, network: Autoencoder, data: Private[Table], session: Session, draws: torch.Generator, progress: Progress
    ) -> None:
        """DREAM and WAKE in turns; leaves the averaged decoder, and an encoder that belongs to it."""
        schema, multiplier = data.schema, session.plan.noise["gradients"]
        rate = self._rate(schema)
        weight = network.leave.weight.data  # (width, latent)
        weight.normal_(0.0, _START, generator=draws)
        network.renew_noise(draws)
        gradients = NoisyGradients(
            data,
            session,
            network,
            lambda network, codes: network(codes),
            clipping_norm=_NORM,
            noise_multiplier=multiplier,
            sample_rate=rate,
            physical_batch=self._physical_batch(network.one_hot.width),
        )
        spread = multiplier * _NORM / (rate * schema.units)
        pace = min(self.learning_rate, _PACE / spread**2)
        velocity, averaged = torch.zeros_like(weight), weight.clone()
        for step in range(self.steps):
            # DREAM
            if step % self._nights(network.one_hot.width) == 0:
                network.dream(self.dreams, draws)
            # WAKE
            network.renew_noise(draws)
            velocity = _MOMENTUM * velocity + gradients.step()[0]
            falling = 0.5 * (1 + math.cos(math.pi * step / self.steps))
            weight *= math.exp(-2 * _DECAY / self.steps * falling)  # a prior on the weights: without signal, to zero
            weight -= pace * falling * velocity
            averaged.lerp_(weight, 1 - self.average)
            progress(0.05 + 0.8 * (step + 1) / self.steps, "decoder on real rows")
        weight.copy_(averaged)
        network.dream(4 * self.dreams, draws)

    def _second_moment(
        self, network: Autoencoder, data: Private[Table], session: Session, rows: float
    ) -> tuple[Tensor, float]:
        """PLACE: noisy E[m m'] of the latent means m of real rows (latent, latent), and its noise.

        Given the class, the mean of m is zero without asking: m is linear, and centred by the
        measured marginals. A row's vector holds m_i^2 and sqrt(2) m_i m_j, so its norm is |m|^2.
        """
        schema, radius = data.schema, self._radius
        i, j = np.triu_indices(self.latent)
        factors = np.where(i == j, 1.0, math.sqrt(2))

        def vector(table: Table) -> NDArray[np.float64]:
            means = network.means(discretize(table, schema))  # (n, latent)
            products: NDArray[np.float64] = factors * means[:, i] * means[:, j]
            return products

        sigma = session.plan.noise["placement"] * radius**2
        total = noisy_sum(data, session, vector, len(i), radius**2, sigma, "second moment of the latent means")
        moment = np.zeros((self.latent, self.latent))
        moment[i, j] = moment[j, i] = total / factors / rows
        return torch.tensor(moment, dtype=torch.float32), sigma / rows

    @property
    def _radius(self) -> float:
        """Latent means of real rows are seldom longer: latents have norm sqrt(latent), their means less."""
        return 0.75 * math.sqrt(self.latent)

    def _placement_event(self, scale: float, budget: Budget) -> DpEvent:
        return sum_event(scale * self._radius**2, self._radius**2, budget)

    def _rate(self, schema: Schema) -> float:
        return min(self.sample_rate, _LARGE_BATCH / schema.units)

    def _nights(self, width: int) -> int:
        """Steps between two dreams: fitting the encoder takes the square of the width and more."""
        return min(math.ceil((width / _NARROW) ** 2), max(1, self.steps // 4))

    def _physical_batch(self, width: int) -> int:
        return max(16, min(128, 20_000_000 // (width * (self.latent + 8 * self.pairs))))

    def _forecast(self, schema: Schema, rate: float) -> tuple[float, float]:
        """Seconds and megabytes on two cores, from counts of operations (see benchmarks/forecast.py)."""
        width, classes = sum(schema.domain.values()), _classes(schema)
        rows = rate * schema.units * schema.unit.max_rows
        private = 4.5e-8 * self.steps * rows * 2 * self.pairs * width
        nights = math.ceil(self.steps / self._nights(width)) + 4
        dreaming = nights * (self.dreams * width * (2e-8 + 4e-11 * width) + 5e-11 * width**3)
        anchoring = self.scalings * classes * max(512, self.dreams // classes) * width * 3e-8
        batch = self._physical_batch(width) * width * (self.pairs * 1e-4 + self.latent * 2.5e-5)
        moments = min(schema.rows, 100_000) * self.latent**2 * 1.6e-5
        held = width * (2e-5 * width + 3e-5 * self.dreams)
        return 5.0 + private + dreaming + anchoring, 500.0 + batch + moments + held + 3e-4 * schema.rows


class Autoencoder(nn.Module):
    """Decoder p(x | z, y) = softmax of bias_y + W z, column by column; encoder q(z | x, y) linear and Gaussian.

    y is the conditioning column's code, and one class where there is none. Starts as the measured
    product distribution: W is zero and the biases are the logarithm of the noisy marginals given y.
    """

    chances: Tensor  # (k,) of every class
    base: Tensor  # (k, width) measured distribution of every column given the class
    bias: Tensor  # (k, width)
    free: Tensor  # (width,) 0 where a logit belongs to the conditioning column, which is given
    encoder: Tensor  # (width, latent)
    deviation: Tensor  # (latent,) of the posterior
    spread: Tensor  # (latent, latent) latents are this times standard normal noise
    key: Tensor  # (d + 1, pairs * latent) of the reparametrization noise

    def __init__(self, measured: Measured, *, latent: int, pairs: int) -> None:
        super().__init__()
        self.one_hot, self.condition = OneHot(measured.schema.domain), measured.condition
        self.latent, self.pairs = latent, pairs
        width, base = self.one_hot.width, torch.tensor(measured.conditionals, dtype=torch.float32)
        blocks = [torch.full((size,), float(j != self.condition)) for j, size in enumerate(self.one_hot.sizes)]
        self.register_buffer("chances", torch.tensor(measured.chances, dtype=torch.float32))
        self.register_buffer("base", base)
        self.register_buffer("bias", base.clamp_min(_RARE).log())
        self.register_buffer("free", torch.cat(blocks))
        self.register_buffer("encoder", torch.zeros(width, latent))
        self.register_buffer("deviation", torch.ones(latent))
        self.register_buffer("spread", torch.eye(latent))
        self.register_buffer("key", torch.zeros(len(self.one_hot.sizes) + 1, pairs * latent, dtype=torch.int64))
        with torch.random.fork_rng(devices=[]):  # torch initializes from its global state: leave that alone
            self.leave = nn.Linear(latent, width, bias=False)
        nn.init.zeros_(self.leave.weight)

    def forward(self, codes: Tensor) -> Tensor:
        """WAKE: (b, d) codes to -E_q[log p(x | z, y)] (b,), each from its own row."""
        classes, rows = self.classes(codes), self.one_hot.encode(codes).to(self.base)  # (b,), (b, width)
        means = (rows - self.base[classes]) @ self.encoder  # (b, latent)
        noise = self._row_noise(codes).to(means).view(len(codes), self.pairs, self.latent)
        latents = means[:, None] + self.deviation * torch.cat([noise, -noise], dim=1)  # (b, 2 pairs, latent)
        logits = self.decode(latents, classes)  # (b, 2 pairs, width)
        chances = torch.cat([block.log_softmax(dim=2) for block in logits.split(self.one_hot.sizes, dim=2)], dim=2)
        errors: Tensor = -(chances * rows[:, None]).sum(dim=2).mean(dim=1)
        return errors

    def decode(self, latents: Tensor, classes: Tensor) -> Tensor:
        """(b, s, latent), (b,) to logits (b, s, width)."""
        logits: Tensor = self.bias[classes][:, None] + self.free * self.leave(latents)
        return logits

    def classes(self, codes: Tensor) -> Tensor:
        """(b, d) codes to the conditioning column's (b,)."""
        return codes.new_zeros(len(codes)) if self.condition is None else codes[:, self.condition]

    def renew_noise(self, draws: torch.Generator) -> None:
        """Another reparametrization noise for every row, the next step's."""
        self.key.random_(0, _PRIME, generator=draws)

    def _row_noise(self, codes: Tensor) -> Tensor:
        """Standard normal noise (b, pairs * latent) that is a function of the row and the key alone.

        Multilinear hashing (Carter and Wegman 1979): any two different rows get independent noise. A
        generator's draws would depend on how many rows stand before: clipping would bound nothing.
        """
        hashed = sum(codes[:, j, None] * self.key[j] % _PRIME for j in range(codes.shape[1])) + self.key[-1]
        noise: Tensor = torch.special.ndtri((hashed % _PRIME + 0.5).double() / _PRIME)
        return noise

    @torch.no_grad()
    def dream(self, count: int, draws: torch.Generator) -> None:
        """DREAM: the best linear encoder of rows that the decoder draws from z ~ N(0, I).

        Least squares of z on the rows' indicators x, centred given the class. Moments of x follow
        from the decoder's probabilities s: E[x x'] = E[s s'] but for pairs of one column, of which
        a row has no two: there it is diag(E[s]).
        """
        classes = self.draw_classes(count, draws)
        latents = torch.randn(count, self.latent, generator=draws)
        shares = self.one_hot.shares(self.decode(latents[:, None], classes)[:, 0])  # (b, width)
        centred = shares - self.base[classes]
        cross = centred.T @ latents / count  # (width, latent)
        moment = centred.T @ centred / count  # (width, width)
        for start, size in zip(self.one_hot.starts, self.one_hot.sizes, strict=True):
            block = shares[:, start : start + size]
            moment[start : start + size, start : start + size] += block.mean(dim=0).diag() - block.T @ block / count
        moment.diagonal().add_(_RIDGE)
        self.encoder.copy_(torch.linalg.solve(moment, cross))
        explained = (self.encoder * cross).sum(dim=0)  # (latent,)
        self.deviation.copy_((1 - explained).clamp(0.01, 1.0).sqrt())

    def means(self, codes: NDArray[np.integer]) -> NDArray[np.float64]:
        """Latent means (n, latent) of rows (n, d), in float64.

        Row by row without matrix products: their rounding would depend on how many rows there are.
        """
        encoder, base = self.encoder.double().numpy(), self.base.double().numpy()
        classes = np.zeros(len(codes), dtype=np.int64) if self.condition is None else codes[:, self.condition]
        means: NDArray[np.float64] = -(base @ encoder)[classes]
        for j, start in enumerate(self.one_hot.starts):
            means += encoder[start + codes[:, j]]
        return means

    def place(self, moment: Tensor, noise: float) -> None:
        """PLACE: latents are drawn from the mean posterior of real rows, a Gaussian by its second moment.

        Args:
            moment: noisy second moment of the latent means (latent, latent).
            noise: standard deviation of its diagonal; where it is large, N(0, I) remains.
        """
        identity = torch.eye(self.latent)
        trust = 1 / (1 + self.latent * noise**2)
        values, vectors = torch.linalg.eigh(moment * trust + (identity - self.deviation.square().diag()) * (1 - trust))
        whole = (vectors * values.clamp(0.0, self.latent)) @ vectors.T + self.deviation.square().diag()
        self.spread.copy_(torch.linalg.cholesky(whole))

    @torch.no_grad()
    def anchor(self, count: int, power: float, draws: torch.Generator) -> None:
        """ANCHOR: scale the decoder towards the measured distributions of every class, once.

        Args:
            count: rows that its own distributions are estimated from.
            power: share of the gap (in logarithms) that is closed; it should fall from round to round.
        """
        size = max(512, count // len(self.chances)) if count >= 512 else count
        for k, target in enumerate(self.base):
            classes = torch.full((size,), k)
            shares = self.one_hot.shares(self.decode(self.draw_latents(size, draws)[:, None], classes)[:, 0]).mean(
                dim=0
            )
            self.bias[k] += power * (target.clamp_min(_RARE) / shares.clamp_min(_RARE)).log()

    def draw_classes(self, count: int, draws: torch.Generator) -> Tensor:
        """Codes of the conditioning column from its noisy frequencies: (count,)."""
        return torch.multinomial(self.chances, count, replacement=True, generator=draws)

    def draw_latents(self, count: int, draws: torch.Generator) -> Tensor:
        """Latents as those of real rows lie: (count, latent)."""
        return torch.randn(count, self.latent, generator=draws) @ self.spread.T

    def logits_of(self, classes: Tensor, draws: torch.Generator) -> Tensor:
        """Logits (b, width) for rows of some classes (b,), from fresh latents."""
        return self.decode(self.draw_latents(len(classes), draws)[:, None], classes)[:, 0]

    @torch.no_grad()
    def draw(self, count: int, draws: torch.Generator, given: int | None = None) -> Tensor:
        """Sampled codes (count, d), of class ``given`` or of all."""
        return drawn_codes(self, count, draws, given)


@dataclass(frozen=True)
class TabularVaeModel:
    """The averaged decoder, its encoder, and the marginals it was warmed up on."""

    schema: Schema
    network: Autoencoder
    marginals: tuple[NoisyMarginal, ...]

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """Draw rows; a condition on the target is met directly, others by rejection."""
        return sampled(self.network, self.schema, n, where, seed)

    def save(self, folder: Place) -> None:
        """Write the network and the marginals."""
        parameters = {"latent": self.network.latent, "pairs": self.network.pairs}
        save_network(folder, TabularVae.name, self.schema, self.network, self.marginals, parameters)


def load(folder: Place, parameters: Mapping[str, Any], schema: Schema) -> TabularVaeModel:
    """Read a saved model; its digests have been checked."""
    tensors, released = read_tensors(folder, parameters)
    measured = Measured.of(list(released), schema, target_position(schema))
    network = Autoencoder(measured, latent=parameters["latent"], pairs=parameters["pairs"])
    set_state(network, tensors, folder)
    return TabularVaeModel(schema, network, released)


def _queries(schema: Schema) -> list[tuple[str, ...]]:
    """All one-way marginals, and each column with the target."""
    ones: list[tuple[str, ...]] = [(name,) for name in schema.modelled]
    if schema.target is None:
        return ones
    return ones + [(name, schema.target) for name in schema.modelled if name != schema.target]


def _lonely(schema: Schema) -> bool:
    """No two columns whose dependence the marginals leave open."""
    return len(schema.modelled) - (schema.target is not None) < 2


def _classes(schema: Schema) -> int:
    return 1 if schema.target is None else schema.domain[schema.target]


__all__ = ["Autoencoder", "TabularVae", "TabularVaeModel", "load"]
