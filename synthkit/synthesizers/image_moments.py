"""Labelled images from noisy class moments of frozen features, and a decoder trained on what was released.

In steps:

    MEASURE  class moments of linear codes and of oriented energies, each once, by the Gaussian mechanism
    SPLIT    every class into regions of its codes, whose mean images are measured in turn
    JUDGE    the energies' Gaussians tell classes apart: quadratic discriminant analysis, shrunk by the noise
    CHOOSE   of the public images, those that the judge finds likeliest
    DECODE   train a decoder on codes drawn from the classes' Gaussians, and on the chosen images
    STYLE    which way of drawing teaches a plain classifier most, counted with noise on real images, twice
    DRAW     a class by its noisy count; a code from its Gaussian, decoded; a picture of one of its regions, varied; the
             one, the other, or something in between; pushed towards its class; moved or sharpened a little, if that is the style
    LABEL    the image's label is what a linear classifier sees in it that DP-SGD trains, the drawn class in case of doubt
    MATCH    of the candidates those that make as many clear, and as many doubtful, as that classifier counts of real ones

Only MEASURE, SPLIT, STYLE, MATCH's counts and LABEL's training see real images; all else is post-processing, and free. Harder,
Adamczewski and Park 2021 (arXiv:2002.11603) match one noisy mean embedding; here are second moments, in two features that do
different work. Codes are linear, so any code has its image, and images vary as the real ones do, but they
are blurred. Energies tell classes apart and say what lines are like, but most vectors of energies belong
to no image. So codes say what is drawn, and energies judge it. Images near a border between classes are
kept, with the label that they show: they teach a classifier more than clear cases do. Decoded images have
lines and corners but their own faults, regions' pictures are true but soft: a classifier that learns from both, and
from blends of them, relies on neither's faults. How the decoder is trained says
:mod:`~synthkit.synthesizers.image_training`; how classes are split, :mod:`~synthkit.synthesizers.regions`; how images are
drawn, :mod:`~synthkit.synthesizers.image_drawer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from dp_accounting import DpEvent
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.dpsgd import step_event
from synthkit.privacy.mechanisms.image_moments import (
    BOUND,
    COUNT,
    ClassMoments,
    class_moments_event,
    noisy_class_moments,
    steps_beside,
)
from synthkit.privacy.mechanisms.region_sums import BOUND as REGION_BOUND
from synthkit.privacy.mechanisms.region_sums import region_sums_event
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, check_settings, silent
from synthkit.synthesizers.class_gaussians import class_gaussians
from synthkit.synthesizers.features import Codes, Energies, bases, working_shape
from synthkit.synthesizers.image_drawer import Drawer, Style
from synthkit.synthesizers.image_labels import measured_labels, sample_rate
from synthkit.synthesizers.image_matching import measured_match
from synthkit.synthesizers.image_model import ImageModel, images_of, initialize_decoder, read_network
from synthkit.synthesizers.image_styles import ROUNDS, best_style, styles
from synthkit.synthesizers.image_training import train
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.networks import seeded
from synthkit.synthesizers.public_images import declared, public_images
from synthkit.synthesizers.regions import DETAILS, PASSES, Regions, measured_regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHARES = {  # of the zero-concentrated budget
    "codes": 0.17,
    "energies": 0.15,
    "regions": 0.28,
    "correlations": 0.07,
    "labels": 0.29,
    "seen": 0.01,
    "styles": 0.03,
}
_REGION_SUMS = {"regions": PASSES, "correlations": 1, "seen": 1, "styles": len(ROUNDS)}  # how often each is released
_CHOSEN = 0.3  # of the public images
_BASE_PIXELS = 28 * 28


@dataclass(frozen=True, kw_only=True)
class ImageMoments:
    """Images by class moments of public features.

    Attributes:
        codes: how many linear codes.
        energies: how many directions of oriented energies.
        public: how many procedural images the bases, the decoder and the critic learn from.
        steps: of the decoder's training.
        label_steps: private steps of the classifier that labels what is drawn; 0 leaves labels as they were drawn.
        moved: images may be drawn slightly turned, scaled, sheared and shifted, if that turns out to be better; false for
            things that do not stay what they are then.
        matched: candidates that are held against real images, so that as many are clear as of those; 0 keeps images as they
            are drawn. Without ``label_steps`` nobody tells what is clear, and nothing is matched.
        style_draws: images that a classifier learns from, of each style that images could be drawn in, before the best is
            chosen with privacy (of the best two, more); 0 chooses none.
        warm_start: a folder of public images (PNG, JPEG), which take the place of half of the procedural ones.
    """

    name: ClassVar[str] = "image_moments"
    takes: ClassVar[str] = "images"
    short: ClassVar[Mapping[str, Any]] = {"public": 600, "steps": 2, "label_steps": 2, "matched": 20, "style_draws": 20}

    codes: int = 60
    energies: int = 150
    public: int = 16_000
    steps: int = 800
    label_steps: int = 1500
    matched: int = 10_000
    style_draws: int = 10_000
    moved: bool = True
    warm_start: str = ""

    def __post_init__(self) -> None:
        check_settings(
            self,
            codes=(2, 500),
            energies=(2, 500),
            public=(500, 200_000),
            steps=(0, 1_000_000),
            label_steps=(0, 100_000),
            matched=(0, 1_000_000),
            style_draws=(0, 1_000_000),
        )

    def plan(self, schema: ImageSchema, budget: Budget) -> Plan:
        """Class moments, region sums, private steps, counts; their noise in the ratio that the budget's split asks for."""
        scale = calibrate(lambda scale: self.event(self.noise(scale, schema, budget), schema, budget), budget)
        shape = working_shape(schema.shape)
        size = math.prod(shape[1:]) / _BASE_PIXELS  # colour costs little time: energies are of grey
        widths = self._widths(schema)
        blocks = (len(schema.classes) + 1) * sum(width**2 for width in widths)
        seconds = 10 + 1.6e-3 * schema.rows * size + self.public * 1e-3 * size + self.steps * 0.12 * size
        megabytes = 700 + 8e-6 * (self.public * 2_000 * size + 6 * blocks) + 0.016 * 2_000 * size
        megabytes += 4e-5 * self.public * (math.prod(shape) - math.prod(shape[1:]))  # colours, ten copies of them
        if self.label_steps:
            seconds += 6e-4 * schema.rows * size + self.label_steps * (0.01 + 1e-5 * sample_rate(schema) * schema.rows)
            megabytes += 0.025 * schema.rows * size
        if self._matches:
            seconds += (1.4e-3 * schema.rows + 2.5e-3 * self.matched) * size
        if self.style_draws:
            asked = len(styles(moved=self.moved))
            for more, kept in ROUNDS:
                seconds += asked * (4.2e-3 * more * self.style_draws + 4e-4 * schema.rows) * size
                asked = kept
        noise, note = self.noise(scale, schema, budget), declared(self.warm_start)
        event = self.event(noise, schema, budget)
        return Plan(budget, event, noise, seconds=seconds, megabytes=megabytes, note=note)

    def fit(self, data: Private[Images, ImageSchema], session: Session, *, progress: Progress = silent) -> ImageModel:
        """MEASURE, SPLIT, JUDGE, CHOOSE, DECODE, STYLE."""
        draws = seeded(session.noise.public_seed())
        network, chosen, parameters = self.measured(data, session, draws, progress)
        # DECODE
        train(network, chosen, self.steps, draws, lambda share: progress(0.3 + 0.5 * share, "training the decoder"))
        # STYLE
        progress(0.8, "choosing a style")
        parameters |= self.styled(data, session, network, draws)
        return ImageModel(data.schema, self.name, network.eval(), parameters)

    def measured(
        self, data: Private[Images, ImageSchema], session: Session, draws: torch.Generator, progress: Progress
    ) -> tuple[Drawer, Tensor, dict[str, Any]]:
        """MEASURE, SPLIT, JUDGE, CHOOSE: a network whose decoder is not trained yet, chosen public images, parameters."""
        schema = data.schema
        progress(0.0, "drawing public images")
        widths, shape = self._widths(schema), working_shape(schema.shape)
        public, codes, energies = bases(public_images(shape, self.public, self.warm_start), *widths)
        # MEASURE
        progress(0.1, "measuring moments")
        moments = [
            _measured(data, session, features, width, what)
            for features, width, what in ((codes, widths[0], "codes"), (energies, widths[1], "energies"))
        ]
        # SPLIT
        progress(0.25, "measuring regions")
        gaussians = class_gaussians(moments[0])
        details = Codes(shape, min(DETAILS, math.prod(shape)), public)
        means, spreads = (torch.from_numpy(values).float() for values in (gaussians.means, gaussians.spreads))
        regions = measured_regions(data, session, codes, details, means, spreads, draws)
        # JUDGE
        network = Drawer(codes, energies, regions, Style(moved=self.moved))
        network.place(gaussians, class_gaussians(moments[1]))
        # LABEL
        progress(0.28, "private steps of the labels")
        measured_labels(data, session, energies, network.labels, self.label_steps)
        # MATCH
        if self._matches:
            measured_match(data, session, network.see, network.match)
        initialize_decoder(network.decoder, draws)
        # CHOOSE
        with torch.no_grad():
            likely = torch.cat([network.judge(energies(part)).amax(dim=1) for part in public.split(500)])
        chosen = public[likely.topk(max(2, int(_CHOSEN * len(public)))).indices]
        parameters = {
            "codes": widths[0],
            "energies": widths[1],
            "regions": regions.weights.shape[1],
            "patterns": details.patterns.shape[1],
            "counts": moments[1].counts.tolist(),
            "counts_sigma": moments[1].sigma / COUNT,
        }
        return network, chosen, parameters

    def styled(
        self, data: Private[Images, ImageSchema], session: Session, network: Drawer, draws: torch.Generator
    ) -> dict[str, Any]:
        """STYLE and MATCH: the network draws in the best style from now on, which is a parameter of the model."""
        if self.style_draws:
            among = styles(moved=self.moved)
            network.style = best_style(data, session, network, among, self.style_draws, draws)
        if self._matches:
            network.weigh(self.matched, draws)
        return {"style": asdict(network.style)}

    def noise(self, scale: float, schema: ImageSchema, budget: Budget) -> dict[str, float]:
        """Noise of everything that is measured, by the budget's split."""
        parts = {"labels": self.label_steps, "seen": self._matches, "styles": self.style_draws}
        left_out = {what for what, asked in parts.items() if not asked}
        shares = {what: share for what, share in _SHARES.items() if what not in left_out}
        noise = {what: scale * (share / sum(shares.values())) ** -0.5 for what, share in shares.items()}
        for what in set(noise).intersection(_REGION_SUMS):
            noise[what] = noise[what] * (REGION_BOUND / BOUND) * math.sqrt(_REGION_SUMS[what])
        if self.label_steps:
            noise["labels"] *= steps_beside(sample_rate(schema), self.label_steps, budget)
        return noise

    def event(self, noise: Mapping[str, float], schema: ImageSchema, budget: Budget) -> DpEvent:
        """What it costs."""
        events = [class_moments_event(noise[what], budget) for what in ("codes", "energies")]
        for what, times in _REGION_SUMS.items():
            if what in noise:
                events.append(repeat(region_sums_event(noise[what], budget), times))
        if self.label_steps:
            events.append(repeat(step_event(noise["labels"], sample_rate(schema)), self.label_steps))
        return compose(events)

    @property
    def _matches(self) -> bool:
        return bool(self.matched and self.label_steps)

    def _widths(self, schema: ImageSchema) -> tuple[int, int]:
        """Small images have fewer patterns than asked for."""
        values = math.prod(working_shape(schema.shape))
        return min(self.codes, values), min(self.energies, values)


def _measured(
    data: Private[Images, ImageSchema], session: Session, features: nn.Module, width: int, what: str
) -> ClassMoments:
    schema = data.schema

    @torch.no_grad()
    def features_of(pixels: NDArray[np.uint8]) -> NDArray[np.floating]:
        found: NDArray[np.floating] = features(images_of(pixels, schema)).numpy()
        return found

    return noisy_class_moments(data, session, features_of, width, session.plan.noise[what], f"{width} {what}")


def load(
    folder: Place, parameters: Mapping[str, Any], schema: ImageSchema, method: str = ImageMoments.name
) -> ImageModel:
    """Read a saved model, of this method or of one with the same network; its digests have been checked."""
    shape = working_shape(schema.shape)
    codes, energies = Codes(shape, parameters["codes"]), Energies(shape, parameters["energies"])
    regions = Regions(shape, len(schema.classes), parameters["regions"], parameters["patterns"])
    network = Drawer(codes, energies, regions, Style(**parameters["style"]))
    read_network(network, folder)
    network.requires_grad_(False)
    return ImageModel(schema, method, network.eval(), parameters)


__all__ = ["ImageMoments", "load"]
