"""Labelled images from a conditional GAN: warm-started on noisy moments, its discriminator trained by DP-SGD.

    MEASURE, JUDGE, CHOOSE, DECODE  as ``image_moments``, with a part of the budget
    CRITICIZE  steps of DP-SGD on a discriminator of public features: Poisson sampling, per-sample gradients
    PLAY       after every few of them, a step of the decoder against the discriminator, beside the
               losses of DECODE; the decoder that is kept is a moving average
    STYLE      as ``image_moments``, of what the decoder has become

Goodfellow et al. 2014 (arXiv:1406.2661) with a hinge loss (arXiv:1705.02894); only the discriminator sees
real images, so only its steps are charged (arXiv:1802.06739). Many of its steps to one of the generator's:
Bie, Kamath and Zhang 2023 (arXiv:2302.02936). What is new is how small the discriminator is: it looks at
energies, whitened by the released Gaussian of the class, so that what the moments said is zero mean and
unit variance, and what is left is all that they did not say. A few thousand weights get little noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from dp_accounting import DpEvent
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event
from synthkit.privacy.mechanisms.image_moments import steps_beside
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers import image_moments
from synthkit.synthesizers.base import Progress, built, check_settings, silent
from synthkit.synthesizers.features import working_shape
from synthkit.synthesizers.image_drawer import Drawer
from synthkit.synthesizers.image_model import ImageModel, images_of
from synthkit.synthesizers.image_moments import ImageMoments
from synthkit.synthesizers.image_training import train
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.networks import initialize, seeded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CLIP = 1.0
_RATE, _PLAY_RATE = 2e-3, 1e-3
_FAKES = 256  # drawn images in a gradient of the discriminator
_MOST_SAMPLED = 4_000  # images a private step, expected


@dataclass(frozen=True, kw_only=True)
class ImageGan:
    """A conditional GAN over public features.

    Attributes:
        moments: settings of the warm start (:class:`ImageMoments`).
        share: of the budget (as zCDP counts it) for the discriminator.
        discriminator_steps: private steps; 0 releases the warm start alone, with the whole budget for it.
        steps_per_play: of them, to one of the generator's.
        sample_rate: probability with which a unit joins a step; lowered where a step would sample more than 4,000.
        width: neurons of the discriminator.
        weight: of the discriminator in the generator's loss.
    """

    name: ClassVar[str] = "image_gan"
    takes: ClassVar[str] = "images"
    short: ClassVar[Mapping[str, Any]] = {"moments": dict(ImageMoments.short), "discriminator_steps": 3}

    moments: Mapping[str, Any] = field(default_factory=dict)
    share: float = 0.3
    discriminator_steps: int = 300
    steps_per_play: int = 3
    sample_rate: float = 0.1
    width: int = 16
    weight: float = 0.05

    def __post_init__(self) -> None:
        check_settings(
            self,
            share=(0.01, 0.99),
            discriminator_steps=(0, 100_000),
            steps_per_play=(1, 1_000),
            sample_rate=(1e-6, 1.0),
            width=(1, 500),
            weight=(0.0, 100.0),
        )
        self._warm()

    def plan(self, schema: ImageSchema, budget: Budget) -> Plan:
        """What the warm start measures, then private steps; all noise in a ratio that the split asks for."""
        recipe, steps, rate = self._warm(), self.discriminator_steps, self.rate(schema)
        warm = recipe.plan(schema, budget)
        if not steps:
            return warm
        relative = steps_beside(rate, steps, budget) * self.share**-0.5
        moments = (1 - self.share) ** -0.5

        def events(scale: float) -> DpEvent:
            before = recipe.event(recipe.noise(scale * moments, schema, budget), schema, budget)
            return compose([before, repeat(step_event(scale * relative, rate), steps)])

        scale = calibrate(events, budget)
        noise = {**recipe.noise(scale * moments, schema, budget), "discriminator": scale * relative}
        size = math.prod(working_shape(schema.shape)[1:]) / 784
        seconds = (warm.seconds or 0) + 2e-3 * schema.rows * size + steps * (0.1 + 3e-5 * rate * schema.rows)
        seconds += steps / self.steps_per_play * 0.5 * size
        megabytes = (warm.megabytes or 0) + 2.5e-3 * schema.rows + 100
        return Plan(budget, events(scale), noise, seconds=seconds, megabytes=megabytes, note=warm.note)

    def fit(self, data: Private[Images, ImageSchema], session: Session, *, progress: Progress = silent) -> ImageModel:
        """MEASURE to DECODE; then CRITICIZE and PLAY in turn."""
        warm = self._warm()
        draws = seeded(session.noise.public_seed())
        network, chosen, parameters = warm.measured(data, session, draws, progress)
        train(network, chosen, warm.steps, draws, lambda share: progress(0.2 + 0.4 * share, "training the decoder"))
        if self.discriminator_steps:
            progress(0.6, "private steps")
            rival = Rival(data, session, network, self, draws)
            plays = max(1, self.discriminator_steps // self.steps_per_play)
            train(
                network,
                chosen,
                plays,
                draws,
                lambda share: progress(0.6 + 0.4 * share, "private steps"),
                rate=_PLAY_RATE,
                adversary=rival,
            )
            rival.finish()
        parameters |= warm.styled(data, session, network, draws)
        return ImageModel(data.schema, self.name, network.eval(), parameters)

    def rate(self, schema: ImageSchema) -> float:
        """Probability with which a unit joins a step."""
        return min(self.sample_rate, _MOST_SAMPLED / max(schema.rows, 1))

    def _warm(self) -> ImageMoments:
        return built(ImageMoments, self.moments)


class Discriminator(nn.Module):
    """A score of whitened energies (b, e) of a class (b,): linear, and a small hidden layer. Looks at one row."""

    def __init__(self, energies: int, classes: int, width: int, draws: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.enter = nn.Linear(energies + classes, width)
            self.leave = nn.Linear(width, 1)
        initialize(self, draws)

    def forward(self, rows: Tensor) -> Tensor:
        """(b, e + K) to (b,)."""
        scores: Tensor = self.leave(F.silu(self.enter(rows)))[:, 0]
        return scores


class Rival:
    """CRITICIZE, as an adversary in the decoder's training: private steps before every step of the decoder."""

    def __init__(
        self,
        data: Private[Images, ImageSchema],
        session: Session,
        network: Drawer,
        settings: ImageGan,
        draws: torch.Generator,
    ) -> None:
        schema, (classes, energies) = data.schema, network.means.shape
        self._network, self._settings, self._draws = network, settings, draws
        self._left = settings.discriminator_steps
        self.discriminator = Discriminator(energies, classes, settings.width, draws)
        self._optimizer = torch.optim.Adam(self.discriminator.parameters(), _RATE, betas=(0.5, 0.9))
        features = network.energies

        @torch.no_grad()
        def encode(pixels: NDArray[np.uint8]) -> NDArray[np.floating]:
            found: NDArray[np.floating] = features(images_of(pixels, schema)).double().numpy()
            return found

        def loss(critic: nn.Module, rows: Tensor) -> Tensor:
            return F.relu(1 - critic(self._whitened(rows[:, :-1], rows[:, -1].long())))

        self._gradients = NoisyGradients(
            data,
            session,
            self.discriminator,
            loss,
            encode=encode,
            clipping_norm=_CLIP,
            noise_multiplier=session.plan.noise["discriminator"],
            sample_rate=settings.rate(schema),
        )

    def __call__(self, energies: Tensor, classes: Tensor) -> Tensor:
        """The decoder's loss against the discriminator, after its steps."""
        for _ in range(min(self._left, self._settings.steps_per_play)):
            self._step()
        scores: Tensor = self.discriminator(self._whitened(energies, classes))
        return -self._settings.weight * scores.mean()

    def finish(self) -> None:
        """The steps that are left over, so that what was priced is what ran."""
        while self._left:
            self._step()

    def _step(self) -> None:
        self._left -= 1
        network = self._network
        with torch.no_grad():
            classes = torch.multinomial(network.shares, _FAKES, replacement=True, generator=self._draws)
            images = network.decode(network.draw_codes(classes, self._draws), classes)
            fakes = self._whitened(network.energies(images), classes)
        real = self._gradients.step()
        self._optimizer.zero_grad()
        F.relu(1 + self.discriminator(fakes)).mean().backward()
        for parameter, gradient in zip(self.discriminator.parameters(), real, strict=True):
            assert parameter.grad is not None
            parameter.grad += gradient
        self._optimizer.step()

    def _whitened(self, energies: Tensor, classes: Tensor) -> Tensor:
        """(b, e), (b,) to (b, e + K): of about unit norm, and the class."""
        network = self._network
        gaps = network.gaps(energies)[torch.arange(len(classes)), classes] / energies.shape[1] ** 0.5
        return torch.cat([gaps, F.one_hot(classes, len(network.shares)).to(energies)], dim=1)


def load(folder: Place, parameters: Mapping[str, Any], schema: ImageSchema) -> ImageModel:
    """Read a saved model; its digests have been checked."""
    return image_moments.load(folder, parameters, schema, ImageGan.name)


__all__ = ["Discriminator", "ImageGan", "Rival", "load"]
