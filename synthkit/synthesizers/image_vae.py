"""Labelled images from a variational autoencoder whose decoder sees real images through DP-SGD.

    PRETRAIN  the decoder on public images
    PLACE     class moments of the real images' codes, by the Gaussian mechanism: the latent prior
    WAKE      steps of DP-SGD on -E_q[log p(image | z, class)]: Poisson sampling, per-sample gradients
    DRAW      a class by its noisy count, z from its Gaussian, the decoded image

Kingma and Welling 2014 (arXiv:1312.6114). The encoder is frozen and public: the posterior of an image is a
Gaussian around its linear code (principal components of public images), of a fixed small width. So the
budget is the decoder's and the prior's alone, and the prior is the aggregate posterior as measured, class
by class, not N(0, I). The decoder corrects the linear image in a neighbourhood of each pixel: some 4,000
weights, whose gradients get little noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from dp_accounting import DpEvent
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event
from synthkit.privacy.mechanisms.image_moments import COUNT, class_moments_event, noisy_class_moments, steps_beside
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, check_settings, silent
from synthkit.synthesizers.class_gaussians import class_gaussians
from synthkit.synthesizers.features import Codes, working_shape
from synthkit.synthesizers.image_model import ImageModel, images_of, initialize_decoder, read_network
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.networks import seeded
from synthkit.synthesizers.public_images import declared, public_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CLIP = 1.0
_SPREAD = 0.03  # standard deviation of the posterior, of codes in the unit ball
_MOST_SAMPLED = 2_000  # images a private step, expected
_BATCH = 64  # public images a step


@dataclass(frozen=True, kw_only=True)
class ImageVae:
    """A variational autoencoder with a public encoder.

    Attributes:
        codes: latent dimensions.
        share: of the budget (as zCDP counts it) for the latent prior.
        steps: private steps of the decoder; 0 leaves it as public images taught it, and the prior the whole budget.
        sample_rate: probability with which a unit joins a step; lowered where a step would sample more than 2,000.
        learning_rate: of the private steps (Adam).
        public: how many public images the codes and the decoder begin with.
        public_steps: steps of the decoder on them.
        warm_start: a folder of public images (PNG, JPEG), which take the place of half of the procedural ones.
    """

    name: ClassVar[str] = "image_vae"
    takes: ClassVar[str] = "images"
    short: ClassVar[Mapping[str, Any]] = {"public": 600, "public_steps": 2, "steps": 3}

    codes: int = 60
    share: float = 0.6
    steps: int = 100
    sample_rate: float = 0.05
    learning_rate: float = 0.002
    public: int = 8_000
    public_steps: int = 400
    warm_start: str = ""

    def __post_init__(self) -> None:
        check_settings(
            self,
            codes=(2, 500),
            share=(0.01, 0.99),
            steps=(0, 100_000),
            sample_rate=(1e-6, 1.0),
            learning_rate=(1e-6, 1.0),
            public=(500, 200_000),
            public_steps=(0, 1_000_000),
        )

    def plan(self, schema: ImageSchema, budget: Budget) -> Plan:
        """One release of class moments, then private steps; noise in the ratio that the split asks for."""
        rate, steps = self._rate(schema), self.steps
        moments = self.share**-0.5 if steps else 1.0
        relative = steps_beside(rate, steps, budget) * (1 - self.share) ** -0.5

        def events(scale: float) -> DpEvent:
            prior = class_moments_event(scale * moments, budget)
            return compose([prior, repeat(step_event(scale * relative, rate), steps)] if steps else [prior])

        scale = calibrate(events, budget)
        noise = {"codes": scale * moments} | ({"decoder": scale * relative} if steps else {})
        channels, height, across = working_shape(schema.shape)
        size = height * across / 784
        seconds = 10 + 5e-4 * schema.rows + size * (1e-3 * self.public + 0.03 * self.public_steps)
        seconds += steps * size * (0.2 + 2e-3 * rate * schema.rows)
        pixels = channels * size * (0.012 * self.public + 6.3e-3 * schema.rows)
        megabytes = 650 + pixels + 400 * size * min(1.0, rate * schema.rows / 256)
        note = declared(self.warm_start)
        return Plan(budget, events(scale), noise, seconds=seconds, megabytes=megabytes, note=note)

    def fit(self, data: Private[Images, ImageSchema], session: Session, *, progress: Progress = silent) -> ImageModel:
        """PRETRAIN, PLACE, WAKE."""
        schema, draws = data.schema, seeded(session.noise.public_seed())
        shape = working_shape(schema.shape)
        width = min(self.codes, math.prod(shape))
        progress(0.0, "drawing public images")
        public = public_images(shape, self.public, self.warm_start)
        network = Latents(Codes(shape, width, public), len(schema.classes))
        initialize_decoder(network.decoder, draws)
        # PRETRAIN
        progress(0.1, "public images")
        _pretrain(network, public, self.public_steps, draws)
        # PLACE
        progress(0.4, "measuring the latent prior")
        codes = network.codes

        @torch.no_grad()
        def codes_of(pixels: NDArray[np.uint8]) -> NDArray[np.floating]:
            found: NDArray[np.floating] = codes(images_of(pixels, schema)).numpy()
            return found

        moments = noisy_class_moments(data, session, codes_of, width, session.plan.noise["codes"], f"{width} codes")
        network.place(*(torch.from_numpy(part) for part in _prior(class_gaussians(moments))))
        # WAKE
        if self.steps:
            self._wake(network, data, session, draws, lambda share: progress(0.5 + 0.5 * share, "private steps"))
        network.requires_grad_(False)
        parameters = {"codes": width, "counts": moments.counts.tolist(), "counts_sigma": moments.sigma / COUNT}
        return ImageModel(schema, self.name, network.eval(), parameters)

    def _rate(self, schema: ImageSchema) -> float:
        return min(self.sample_rate, _MOST_SAMPLED / max(schema.rows, 1))

    def _wake(
        self,
        network: Latents,
        data: Private[Images, ImageSchema],
        session: Session,
        draws: torch.Generator,
        progress: Any,
    ) -> None:
        schema, shape, width = data.schema, network.codes.shape, network.code_means.shape[1]
        keys = torch.empty(width, width, dtype=torch.float64)

        def encode(pixels: NDArray[np.uint8]) -> NDArray[np.floating]:
            found: NDArray[np.floating] = images_of(pixels, schema).flatten(1).double().numpy()
            return found

        def loss(decoder: nn.Module, rows: Tensor) -> Tensor:
            images = rows[:, :-1].view(-1, *shape)
            with torch.no_grad():
                drawn = network.smooth(_posterior(network, images, keys))
            gaps: Tensor = (decoder(drawn, rows[:, -1].long()) - images).square().flatten(1).sum(dim=1)
            return gaps

        keys.normal_(generator=draws)
        gradients = NoisyGradients(
            data,
            session,
            network.decoder,
            loss,
            encode=encode,
            clipping_norm=_CLIP,
            noise_multiplier=session.plan.noise["decoder"],
            sample_rate=self._rate(schema),
            physical_batch=256,
            what="decoder",
        )
        optimizer = torch.optim.Adam(network.decoder.parameters(), self.learning_rate)
        average = {name: tensor.clone() for name, tensor in network.decoder.state_dict().items()}
        for step in range(self.steps):
            keys.normal_(generator=draws)
            for parameter, gradient in zip(network.decoder.parameters(), gradients.step(), strict=True):
                parameter.grad = gradient
            optimizer.step()
            for name, tensor in network.decoder.state_dict().items():
                average[name].lerp_(tensor, 0.1)
            progress((step + 1) / self.steps)
        network.decoder.load_state_dict(average)


class Corrector(nn.Module):
    """A decoder that corrects a linear image by what is near each pixel: looks at one image at a time."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.kinds = nn.Embedding(classes, 4)
            self.body = nn.Sequential(
                nn.Conv2d(channels + 4, 16, 5, padding=2),
                nn.SiLU(),
                nn.Conv2d(16, 16, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(16, channels, 3, padding=1),
            )

    def forward(self, smooth: Tensor, classes: Tensor) -> Tensor:
        """(b, C, h, w), (b,) to (b, C, h, w) in [0, 1]."""
        kinds = self.kinds(classes)[:, :, None, None].expand(-1, -1, *smooth.shape[2:])
        images: Tensor = torch.sigmoid(self.body(torch.cat([smooth, kinds], dim=1)) + 5 * smooth - 2.5)
        return images


class Latents(nn.Module):
    """The public encoder, the latent prior of every class, and the decoder."""

    shares: Tensor  # (K,)
    code_means: Tensor  # (K, d)
    code_spreads: Tensor  # (K, d, d)

    def __init__(self, codes: Codes, classes: int) -> None:
        super().__init__()
        width = codes.patterns.shape[1]
        self.codes, self.decoder = codes, Corrector(codes.shape[0], classes)
        self.register_buffer("shares", torch.full((classes,), 1 / classes))
        self.register_buffer("code_means", torch.zeros(classes, width))
        self.register_buffer("code_spreads", torch.zeros(classes, width, width))

    def place(self, shares: Tensor, means: Tensor, spreads: Tensor) -> None:
        """Set the prior to released Gaussians."""
        self.shares.copy_(shares)
        self.code_means.copy_(means)
        self.code_spreads.copy_(spreads)

    def smooth(self, codes: Tensor) -> Tensor:
        """The linear image of codes of any float type: (b, d) to (b, C, h, w)."""
        patterns, radius, centre = (
            part.to(codes) for part in (self.codes.patterns, self.codes.radius, self.codes.centre)
        )
        return (codes @ patterns.T * radius + centre).view(-1, *self.codes.shape)

    def draw(self, classes: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """DRAW: images for some classes (b,), and the same classes."""
        noise = torch.randn(len(classes), self.code_means.shape[1], generator=draws)
        codes = self.code_means[classes] + torch.einsum("bij,bj->bi", self.code_spreads[classes], noise)
        images: Tensor = self.decoder(self.smooth(codes), classes)
        return images, classes


def _prior(gaussians: Any) -> tuple[NDArray[np.float64], ...]:
    return gaussians.shares, gaussians.means, gaussians.spreads


def _posterior(network: Latents, images: Tensor, keys: Tensor) -> Tensor:
    """A draw of every image's posterior. Its noise is a hash of the image under public keys, which change with
    every step: an image's gradient depends on that image alone, as the proof of DP-SGD has it."""
    patterns, radius, centre = (
        part.to(images) for part in (network.codes.patterns, network.codes.radius, network.codes.centre)
    )
    codes = (images.flatten(1) - centre) @ patterns / radius
    return codes + _SPREAD * math.sqrt(2) * torch.sin(100 * codes @ keys.to(codes))


def _pretrain(network: Latents, public: Tensor, steps: int, draws: torch.Generator) -> None:
    """PRETRAIN: public images come back from their codes, whatever their class is said to be."""
    optimizer = torch.optim.Adam(network.decoder.parameters(), 2e-3)
    classes = len(network.shares)
    for _ in range(steps):
        images = public[torch.randint(len(public), (_BATCH,), generator=draws)]
        codes = network.codes.places(images)
        codes = codes + _SPREAD * torch.randn(codes.shape, generator=draws)
        kinds = torch.randint(classes, (_BATCH,), generator=draws)
        loss = (network.decoder(network.smooth(codes), kinds) - images).square().flatten(1).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def load(folder: Place, parameters: Mapping[str, Any], schema: ImageSchema) -> ImageModel:
    """Read a saved model; its digests have been checked."""
    network = Latents(Codes(working_shape(schema.shape), parameters["codes"]), len(schema.classes))
    read_network(network, folder)
    network.requires_grad_(False)
    return ImageModel(schema, ImageVae.name, network.eval(), parameters)


__all__ = ["Corrector", "ImageVae", "Latents", "load"]
