"""A model of two linked tables, from Python: priced, booked, charged, and free to sample from ever after."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from synthkit.data.linked import LinkedSchema, LinkedSource
from synthkit.data.tables import FrameSource, Source
from synthkit.errors import JobError
from synthkit.privacy.budget import Budget
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.links import LinkedPlan
from synthkit.privacy.noise import NoiseSource
from synthkit.release.job import LINKED, Job
from synthkit.release.permission import Asker, permit
from synthkit.release.run import fit_job
from synthkit.synthesizers.base import Progress, built, silent
from synthkit.synthesizers.linked import Linked, LinkedModel


def price_linked(
    schema: LinkedSchema,
    budget: Budget,
    settings: Mapping[str, Any] | None = None,
    *,
    dataset: str | None = None,
    asker: Asker = Asker(),
) -> LinkedPlan:
    """What :func:`fit_linked` will cost, without opening any data.

    Args:
        schema: what is public about both tables.
        budget: what the fit may cost; its unit must be ``schema.unit``.
        settings: of :class:`~synthkit.synthesizers.linked.Linked`.
        dataset: the ledger's name for both tables together; needed where a policy is named.
        asker: who asks, under which policy; by default the steward, under the packaged one.

    Raises:
        JobError, MethodError: a setting or the budget that cannot be; or a policy is named, and no dataset.
        PolicyDenied: the asker may not plan it.
    """
    if budget.unit != schema.unit:
        raise JobError(f"the budget's unit is {budget.unit}, the schemas' is {schema.unit}; they must be the same")
    budget.check_against(schema.units)
    if dataset is None and asker.policy is not None:
        raise JobError("a schema does not say which data it is about; name the dataset")
    planned = built(Linked, settings).plan(schema, budget)
    nothing = FrameSource(pd.DataFrame())  # a price opens no data
    job = Job(
        dataset or schema.parent.name, LinkedSource(nothing, nothing), schema, budget, LINKED, 0, Path(), asker=asker
    )
    permit(job, planned.event, ["plan"], unreviewed=True)
    return planned


def fit_linked(
    parents: pd.DataFrame | Source,
    children: pd.DataFrame | Source,
    schema: LinkedSchema,
    budget: Budget,
    *,
    dataset: str,
    settings: Mapping[str, Any] | None = None,
    ledger: Ledger | None = None,
    noise: NoiseSource | None = None,
    allow_unreviewed: bool = False,
    asker: Asker = Asker(),
    progress: Progress = silent,
) -> LinkedModel:
    """Fit a model on two linked tables; one parent with all its children is protected.

    Args:
        parents, children: a frame or any source, each.
        schema: what is public about them.
        budget: what the fit may cost, both tables together; its unit must be ``schema.unit``.
        dataset: the ledger's name for both tables together.
        settings: of :class:`~synthkit.synthesizers.linked.Linked`.
        ledger: where to book; None: the default ledger of this account.
        noise: a seeded source makes the model reproducible and NON-PRIVATE, for tests.
        allow_unreviewed: go on although nobody vouched for the schemas.
        asker: who asks, under which policy; by default the steward, under the packaged one.
        progress: told what is being done.

    Raises:
        InputError: schema, settings or data must change: a child without a parent, a parent with
            two rows. Before any mechanism ran nothing is spent.
        Refused: the answer is no: unreviewed schema, budget exhausted.
    """
    above, below = (data if isinstance(data, Source) else FrameSource(data) for data in (parents, children))
    job = Job(
        dataset, LinkedSource(above, below), schema, budget, LINKED, 0, Path(), settings or {}, holdout=0.0, asker=asker
    )
    model: LinkedModel = fit_job(job, ledger, noise=noise, allow_unreviewed=allow_unreviewed, progress=progress)
    return model


__all__ = ["fit_linked", "price_linked"]
