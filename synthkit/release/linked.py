"""A model of two linked tables, from Python: priced, booked, charged, and free to sample from ever after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from synthkit.data.linked import LinkedSchema
from synthkit.data.tables import FrameSource, Source, check
from synthkit.errors import JobError, LedgerError, UnreviewedSchema
from synthkit.privacy.budget import Budget
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.links import read_linked
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, silent
from synthkit.synthesizers.linked import Linked, LinkedModel, LinkedPlan


def price_linked(schema: LinkedSchema, budget: Budget, settings: Mapping[str, Any] | None = None) -> LinkedPlan:
    """What :func:`fit_linked` will cost, without opening any data.

    Args:
        schema: what is public about both tables.
        budget: what the fit may cost; its unit must be ``schema.unit``.
        settings: of :class:`~synthkit.synthesizers.linked.Linked`.

    Raises:
        JobError, MethodError: a setting or the budget that cannot be.
    """
    if budget.unit != schema.unit:
        raise JobError(f"the budget's unit is {budget.unit}, the schemas' is {schema.unit}; they must be the same")
    budget.check_against(schema.parent.rows)
    return _recipe(settings).plan(schema, budget)


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
        progress: told what is being done.

    Raises:
        InputError: schema, settings or data must change: a child without a parent, a parent with
            two rows. Before any mechanism ran nothing is spent.
        Refused: the answer is no: unreviewed schema, budget exhausted.
    """
    plan = price_linked(schema, budget, settings)
    if not schema.reviewed and not allow_unreviewed:
        raise UnreviewedSchema(
            f"schemas {schema.parent.name} and {schema.child.name} are not both reviewed: what they declare may have "
            "been read off the private data. Review them and write 'reviewed: true', or allow it explicitly"
        )
    above, below = (data if isinstance(data, Source) else FrameSource(data) for data in (parents, children))
    check(above, schema.parent)
    check(below, schema.child)
    noise, ledger = noise or NoiseSource(), ledger or Ledger()
    session = Session(plan, noise=noise)
    reservation = ledger.reserve(dataset, plan.event, budget, purpose="fit of linked")
    try:
        rows = read_linked(above, below, schema, dataset=dataset, noise=noise)
        model = _recipe(settings).fit(rows, session, progress=progress)
    except BaseException as problem:
        if not session.trace:
            try:
                ledger.cancel(reservation, "stopped before any mechanism ran", trace=())
            except LedgerError as trouble:
                problem.add_note(f"No row was used, yet reservation {reservation} stays booked: {trouble}")
        raise
    ledger.commit(reservation, session.event)
    return model


def _recipe(settings: Mapping[str, Any] | None) -> Linked:
    try:
        return Linked(**(settings or {}))
    except TypeError as problem:
        raise JobError(f"linked tables: a setting that is not there, or of the wrong type ({problem})") from None


__all__ = ["fit_linked", "price_linked"]
