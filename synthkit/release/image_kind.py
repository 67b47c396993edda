"""What a release of labelled images does otherwise than one of tables; see ``kinds.py``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthkit.assess import images as image_report
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images, ImageSource, check_images, read_images
from synthkit.data.private import Private
from synthkit.evidence import Evidence
from synthkit.privacy.budget import Budget
from synthkit.privacy.internal import internal_images
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.rows import bound_contributions, split
from synthkit.privacy.session import Session
from synthkit.release import internal
from synthkit.release.charged import Charged
from synthkit.release.charts import MarginalFigure
from synthkit.synthesizers.base import Progress
from synthkit.synthesizers.image_model import ImageModel, SyntheticImages

_CELLS = 3_000  # cells of a table that take as long to draw, write and verify as one small image


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images; they are ``Private[Images, ImageSchema]``."""

    source: ImageSource
    schema: ImageSchema
    recipe: Any

    @property
    def schemas(self) -> tuple[ImageSchema]:
        return (self.schema,)

    def report(self, schema: ImageSchema, budget: Budget) -> Plan:
        return image_report.plan(schema, budget)

    def cells(self, rows: int) -> int:
        return rows * (_CELLS + self.schema.values)

    def check(self) -> None:
        check_images(self.source, self.schema)

    def read(self, dataset: str, noise: NoiseSource) -> Private[Images, ImageSchema]:
        return bound_contributions(read_images(self.source, self.schema, dataset=dataset), noise)

    def split(
        self, rows: Private[Images, ImageSchema], holdout: float, noise: NoiseSource
    ) -> tuple[Private[Images, ImageSchema], Private[Images, ImageSchema]]:
        return split(rows, holdout, noise)

    def assess(
        self, held: Private[Images, ImageSchema], session: Session, synthetic: SyntheticImages, progress: Progress
    ) -> tuple[Evidence, ...]:
        return image_report.assess(held, session, synthetic, progress=progress)

    def explain(self, held: Private[Images, ImageSchema], session: Session, synthetic: SyntheticImages) -> Charged:
        return Charged()  # nothing can be asked

    def internal(
        self,
        folder: Path,
        training: Private[Images, ImageSchema],
        held: Private[Images, ImageSchema] | None,
        synthetic: SyntheticImages,
        *,
        allowed: bool,
    ) -> None:
        real = internal_images(training, allowed=allowed)
        control = internal_images(held, allowed=allowed) if held is not None else real.take(np.arange(0))
        figures = image_report.exact(real, control, synthetic, self.schema)
        image_report.write_exact(folder, figures, real, synthetic, self.schema)
        internal.keep_images(folder, real, control)

    def frames(self, synthetic: SyntheticImages) -> list[Images]:
        return [Images(synthetic.pixels, synthetic.labels)]

    def figures(self, model: ImageModel, synthetic: SyntheticImages) -> list[MarginalFigure]:
        (marginal,) = model.marginals
        counts = np.bincount(synthetic.labels, minlength=len(self.schema.classes)).astype(np.float64)
        counts *= max(1.0, float(marginal.counts.sum())) / counts.sum()
        return [
            MarginalFigure(
                "label",
                tuple(map(str, self.schema.classes)),
                tuple(map(float, marginal.counts)),
                marginal.sigma,
                tuple(map(float, counts)),
            )
        ]


__all__ = ["LabelledImages"]
