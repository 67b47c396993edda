"""What a release is of: one table, two linked ones, or images. All that they do differently, and nothing else.

``run.py`` is the way that all go; of images see ``image_kind.py``. The classes here have no decision of their own: each step calls what
does it for that kind of data, under the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from synthkit.assess import holdout as holdout_report
from synthkit.assess import internal as internal_report
from synthkit.assess import linked as linked_report
from synthkit.assess import reidentification
from synthkit.assess.internal import Compared
from synthkit.assess.reidentification import Risks
from synthkit.data.encoding import Table
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images, ImageSource
from synthkit.data.linked import LinkedSchema, LinkedSource
from synthkit.data.private import Private
from synthkit.data.schema import Categorical, Numeric, Schema
from synthkit.data.tables import Source, check, read
from synthkit.errors import JobError
from synthkit.evidence import Evidence
from synthkit.privacy.budget import Budget
from synthkit.privacy.internal import internal_codes, internal_linked, internal_table
from synthkit.privacy.links import Linked as LinkedRows
from synthkit.privacy.links import read_linked, split_linked
from synthkit.privacy.mechanisms.counts import NoisyMarginal, exact_marginal
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.rows import bound_contributions, split
from synthkit.privacy.session import Session
from synthkit.release import charged, internal
from synthkit.release.charged import Charged
from synthkit.release.charts import MarginalFigure
from synthkit.release.job import LINKED, Job
from synthkit.synthesizers.base import Method, Model, Progress, Synthetic, built, method_for
from synthkit.synthesizers.linked import Linked, LinkedModel, LinkedSynthetic

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Kind(Protocol):
    """What a release does with its data. Rows, models and synthetic tables are of the kind's own types.

    Attributes:
        schemas: of each table.
        recipe: the method with its settings.
    """

    @property
    def schemas(self) -> Sequence[Schema | ImageSchema]: ...
    @property
    def recipe(self) -> Any: ...

    def report(self, schema: Any, budget: Budget) -> Plan:
        """The price of the quality report on a holdout of ``schema``."""

    def cells(self, rows: int) -> int:
        """Rows times columns of everything that is drawn, about."""

    def check(self) -> None:
        """Compare columns with the schemas, before anything is reserved. No row is read."""

    def read(self, dataset: str, noise: NoiseSource) -> Any:
        """All rows, locked, every unit's number of them bounded."""

    def split(self, rows: Any, holdout: float, noise: NoiseSource) -> tuple[Any, Any]:
        """Training and holdout, every unit in one of the two."""

    def assess(self, held: Any, session: Session, synthetic: Any, progress: Progress) -> tuple[Evidence, ...]:
        """The quality report."""

    def explain(self, held: Any, session: Session, synthetic: Any) -> Charged:
        """What the explanation asks of held-out rows, as it was priced."""

    def internal(self, folder: Path, training: Any, held: Any, synthetic: Any, *, allowed: bool) -> None:
        """Exact figures, into a folder beside the bundle. Nothing of them returns."""

    def frames(self, synthetic: Any) -> Sequence[pd.DataFrame | Images]:
        """The synthetic tables as they are released, in the order of ``schemas``; or the images."""

    def figures(self, model: Any, synthetic: Any) -> list[MarginalFigure]:
        """Released one-way marginals beside the synthetic tables'."""


@dataclass(frozen=True)
class OneTable:
    """One table; its rows are ``Private[Table]``."""

    source: Source
    schema: Schema
    recipe: Method
    asked: tuple[str, ...] = ()  # of held-out rows, beside the report
    risks: Risks | None = None

    @property
    def schemas(self) -> tuple[Schema]:
        return (self.schema,)

    def training(self, schema: Schema, budget: Budget) -> Plan:
        """The price of the fit, and of attacks on the same rows."""
        if self.risks is None:
            return self.recipe.plan(schema, budget)
        return reidentification.plan(lambda left: self.recipe.plan(schema, left), budget, self.risks)

    def report(self, schema: Schema, budget: Budget) -> Plan:
        beside = charged.reads(self.asked, schema, budget)
        if (risks := self.risks) is not None:
            beside.append(
                (reidentification.NOISE, lambda sigma: reidentification.reads(sigma, budget, risks, control=True))
            )
        return holdout_report.plan(schema, budget, beside=beside)

    def cells(self, rows: int) -> int:
        return rows * len(self.schema.columns)

    def check(self) -> None:
        check(self.source, self.schema)

    def read(self, dataset: str, noise: NoiseSource) -> Private[Table]:
        return bound_contributions(read(self.source, self.schema, dataset=dataset), noise)

    def split(self, rows: Private[Table], holdout: float, noise: NoiseSource) -> tuple[Private[Table], Private[Table]]:
        return split(rows, holdout, noise)

    def assess(
        self, held: Private[Table], session: Session, synthetic: Synthetic, progress: Progress
    ) -> tuple[Evidence, ...]:
        return holdout_report.assess(held, session, synthetic, progress=progress)

    def explain(self, held: Private[Table], session: Session, synthetic: Synthetic) -> Charged:
        return charged.read(self.asked, held, session, synthetic.codes)

    def attack(
        self,
        training: Private[Table],
        held: Private[Table],
        sessions: Sequence[Session],
        synthetic: Synthetic,
        holdout: float,
        noise: NoiseSource,
    ) -> tuple[Evidence, ...]:
        """The risks that are asked about, as they were priced: on training rows, and on those of the holdout."""
        if self.risks is None:
            return ()
        sides = ((training, sessions[0]), (held, sessions[1]))
        return tuple(
            reidentification.evidence(reidentification.attack(*sides, synthetic.frame, self.risks, holdout, noise))
        )

    def internal(
        self,
        folder: Path,
        training: Private[Table],
        held: Private[Table] | None,
        synthetic: Synthetic,
        *,
        allowed: bool,
    ) -> None:
        real = internal_codes(training, allowed=allowed)
        control = internal_codes(held, allowed=allowed) if held is not None else real[:0]
        figures = internal_report.assess(real, control, synthetic, self.schema)
        internal_report.write(folder, figures, [Compared(real, synthetic.codes, self.schema)])
        others = None if held is None else internal_table(held, allowed=allowed)
        internal.keep_parts(folder, internal_table(training, allowed=allowed), others, self.schema)

    def frames(self, synthetic: Synthetic) -> list[pd.DataFrame]:
        return [synthetic.frame]

    def figures(self, model: Model, synthetic: Synthetic) -> list[MarginalFigure]:
        return _figures(model.marginals, synthetic.codes, model.schema)


@dataclass(frozen=True)
class LinkedTables:
    """Two linked tables; their rows are :class:`~synthkit.privacy.links.Linked`."""

    source: LinkedSource
    schema: LinkedSchema
    recipe: Linked

    @property
    def schemas(self) -> tuple[Schema, Schema]:
        return self.schema.parent, self.schema.child

    def report(self, schema: LinkedSchema, budget: Budget) -> Plan:
        return linked_report.plan(schema, budget)

    def cells(self, rows: int) -> int:
        children = rows * self.schema.child.rows // self.schema.parent.rows
        return rows * len(self.schema.parent.columns) + children * len(self.schema.child.columns)

    def check(self) -> None:
        check(self.source.parents, self.schema.parent)
        check(self.source.children, self.schema.child)

    def read(self, dataset: str, noise: NoiseSource) -> LinkedRows:
        return read_linked(self.source.parents, self.source.children, self.schema, dataset=dataset, noise=noise)

    def split(self, rows: LinkedRows, holdout: float, noise: NoiseSource) -> tuple[LinkedRows, LinkedRows]:
        return split_linked(rows, holdout, noise)

    def assess(
        self, held: LinkedRows, session: Session, synthetic: LinkedSynthetic, progress: Progress
    ) -> tuple[Evidence, ...]:
        return linked_report.assess(held, session, synthetic, progress=progress)

    def explain(self, held: LinkedRows, session: Session, synthetic: LinkedSynthetic) -> Charged:
        return Charged()  # nothing can be asked

    def internal(
        self,
        folder: Path,
        training: LinkedRows,
        held: LinkedRows | None,
        synthetic: LinkedSynthetic,
        *,
        allowed: bool,
    ) -> None:
        schema, real = self.schema, internal_linked(training, allowed=allowed)
        parents, children, owner = real
        control = parents[:0], children[:0], owner[:0]
        if held is not None:
            control = internal_linked(held, allowed=allowed)
        figures = linked_report.exact(real[:2], control[:2], synthetic, schema)
        tables = (
            Compared(parents, synthetic.parent_codes, schema.counted, schema.parent.name),
            Compared(
                children[:, : len(schema.widened.modelled)], synthetic.child_codes, schema.widened, schema.child.name
            ),
        )
        internal_report.write(folder, figures, tables)
        families, others = (internal.families(*part, schema) for part in (real, control))
        internal.keep_families(folder, families, others, schema)

    def frames(self, synthetic: LinkedSynthetic) -> list[pd.DataFrame]:
        return [synthetic.parents, synthetic.children]

    def figures(self, model: LinkedModel, synthetic: LinkedSynthetic) -> list[MarginalFigure]:
        counted, widened = model.schema.counted, model.schema.widened
        own = [m for m in model.children.marginals if set(m.columns) <= set(model.schema.child.modelled)]
        parents, children = self.schemas
        return [
            *_figures(model.parents.marginals, synthetic.parent_codes, counted, table=parents.name),
            *_figures(own, synthetic.child_codes, widened, table=children.name),
        ]


def kind_of(job: Job) -> Kind:
    """How ``job``'s data are handled.

    Raises:
        JobError: a method, a source or a wish that does not go with the schema.
    """
    source, schema = job.source, job.schema
    charged.check_asked(job.explain_charged, schema, job.holdout)
    risks = _risks(job)
    if isinstance(schema, ImageSchema) or isinstance(source, ImageSource):
        from synthkit.release.image_kind import LabelledImages  # torch

        if not isinstance(source, ImageSource):
            raise JobError(f"schema {schema.name} declares images, and the data are a table's; use images_at()")
        if not isinstance(schema, ImageSchema):
            raise JobError("the data are images, and the schema is a table's; images need an ImageSchema")
        return LabelledImages(source, schema, method_for(schema, job.method, job.settings))
    if isinstance(schema, LinkedSchema):
        if not isinstance(source, LinkedSource) or job.method != LINKED:
            raise JobError(f"linked tables need two sources, and method {LINKED!r}")
        return LinkedTables(source, schema, built(Linked, job.settings))
    if isinstance(source, LinkedSource):
        raise JobError("two sources need a LinkedSchema")
    return OneTable(source, schema, method_for(schema, job.method, job.settings), job.explain_charged, risks)


def _risks(job: Job) -> Risks | None:
    if job.risks is None:
        return None
    if not isinstance(job.schema, Schema):
        raise JobError("risks are attacked in releases of one table alone; leave 'risks' out")
    if job.holdout == 0:
        raise JobError(
            "risks are what succeeds on training rows beyond held-out ones, and holdout is 0; set a holdout, such as 0.2"
        )
    return job.risks.of(job.schema)


def _figures(
    marginals: Sequence[NoisyMarginal], codes: NDArray[np.int32], schema: Schema, table: str = ""
) -> list[MarginalFigure]:
    """Each column's least noisy one-way marginal beside the synthetic table's, at the same total."""
    best: dict[str, NoisyMarginal] = {}
    for marginal in marginals:
        if len(marginal.columns) == 1:
            name = marginal.columns[0]
            best[name] = min(best.get(name, marginal), marginal, key=lambda m: m.sigma)
    figures = []
    for name, marginal in best.items() if len(codes) else ():
        counts = exact_marginal(codes, schema, (name,))
        counts = counts * (max(1.0, float(marginal.counts.sum())) / counts.sum())
        figures.append(
            MarginalFigure(
                name,
                tuple(labels(name, schema)),
                tuple(float(c) for c in marginal.counts),
                marginal.sigma,
                tuple(float(c) for c in counts),
                ordered=isinstance(schema.modelled[name], Numeric),
                table=table,
            )
        )
    return figures


def labels(name: str, schema: Schema) -> list[str]:
    """What the codes of a column stand for, in order."""
    column = schema.modelled[name]
    if isinstance(column, Numeric):
        shown = column.bin_labels()
    elif isinstance(column, Categorical):
        shown = column.labels
    else:
        shown = ["false", "true"]
    return shown + (["(no value)"] if column.nullable else [])


__all__ = ["Kind", "LinkedTables", "OneTable", "kind_of", "labels"]
