"""The quality report on a holdout of two linked tables: each table by itself, and the link between them.

    parents   all 1- and 2-way marginals, the number of children among the columns
    children  the same of the child's own columns; what predicts the target may be its parent's, too
    link      how many children a parent has; every column of the parent with every column of the child;
              every column of a child with the same of the sibling before it

One unit has one row of the parents and at most ``max_children`` of the children, so that noise on the
children is so many times larger. One session pays for both tables, since one unit is in both.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from synthkit.assess import fidelity, holdout, similarity, utility
from synthkit.assess.fidelity import Distance
from synthkit.assess.holdout import Beside
from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Schema
from synthkit.evidence import Evidence
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.links import Linked, LinkedPlan, table_budgets
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray


_LINK = "link."  # names of figures that are of both tables

Codes = tuple["NDArray[np.int32]", "NDArray[np.int32]"]  # of parents, of children


class Drawn(Protocol):
    """Two synthetic tables as codes.

    Attributes:
        parent_codes: (n, d) of ``schema.counted``.
        child_codes: (m, e) of ``schema.widened``.
        owner: (m,) place of each child's parent, in order.
    """

    @property
    def parent_codes(self) -> NDArray[np.int32]: ...
    @property
    def child_codes(self) -> NDArray[np.int32]: ...
    @property
    def owner(self) -> NDArray[np.int64]: ...


def plan(schema: LinkedSchema, budget: Budget) -> LinkedPlan:
    """The price of the report.

    Args:
        schema: the holdout's (its numbers of rows are the holdout's share).
        budget: what the holdout may cost; the same as the training's.
    """
    sigma = calibrate(lambda scale: _plan(schema, budget, scale).event, budget)
    return _plan(schema, budget, sigma)


def assess(held: Linked, session: Session, synthetic: Drawn, *, progress: Progress = silent) -> tuple[Evidence, ...]:
    """Run the report.

    Args:
        held: parents, with all their children, that no generator saw.
        session: its plan is :func:`plan`'s.
        synthetic: the very tables that are to be released.
        progress: told what is being done.

    Returns:
        figures of the parents and of the children, each named after its table, then those of the link.
    """
    schema, plan = held.schema, session.plan
    assert isinstance(plan, LinkedPlan), "the session was opened for another report"
    parents = holdout.assess_table(
        held.parents,
        session.part(plan.parents, schema.parent.name),
        synthetic.parent_codes,
        _of_parents(schema),
        progress=lambda share, what: progress(share / 2, f"{schema.parent.name}: {what}"),
    )
    children = holdout.assess_table(
        held.children,
        session.part(plan.children, schema.child.name),
        synthetic.child_codes,
        _of_children(schema),
        owner=synthetic.owner,
        beside=Beside(held.chained, schema.in_chain(synthetic.child_codes, synthetic.owner), _of_siblings(schema)),
        progress=lambda share, what: progress(0.5 + share / 2, f"{schema.child.name}: {what}"),
    )
    found = [*_named(parents, schema.parent.name), *_named(children, schema.child.name)]
    return tuple(sorted(found, key=lambda figure: figure.name.startswith(_LINK)))


def exact(training: Codes, holdout: Codes, synthetic: Drawn, schema: LinkedSchema) -> tuple[Evidence, ...]:
    """Exact distances, TSTR beside TRTR, and similarity, table by table; then the link's. Internal.

    Args:
        training, holdout: codes of the parents (by ``schema.counted``) and of the children (by ``schema.chained``);
            those of the holdout may be empty.
        synthetic: the tables that are to be released.
        schema: of both.
    """
    tables = (
        (schema.parent.name, schema.counted, _of_parents(schema), synthetic.parent_codes),
        (schema.child.name, schema.widened, _of_children(schema), synthetic.child_codes),
    )
    width = len(schema.widened.modelled)
    own = [(training[0], holdout[0]), (training[1][:, :width], holdout[1][:, :width])]
    found: list[Evidence] = []
    for (name, public, asked, codes), (real, held) in zip(tables, own, strict=True):
        figures = _exact_distances(real, held, codes, public, asked)
        if len(codes) and len(real) and len(held):
            figures += utility.exact(codes, held, public, "tstr")
            figures += utility.exact(real, held, public, "trtr")
            figures += similarity.exact(real, held, codes, public)
        found += _named(tuple(figures), name)
    chained = schema.in_chain(synthetic.child_codes, synthetic.owner)
    found += _exact_distances(training[1], holdout[1], chained, schema.chained, _of_siblings(schema))
    return tuple(sorted(found, key=lambda figure: figure.name.startswith(_LINK)))


def _exact_distances(
    training: NDArray[np.int32],
    holdout: NDArray[np.int32],
    synthetic: NDArray[np.int32],
    schema: Schema,
    asked: list[Distance],
) -> list[Evidence]:
    found = []
    for against, rows in (("training", training), ("holdout", holdout)) if len(synthetic) else ():
        for distance in asked if len(rows) else ():
            value = fidelity.mean_distance(rows, synthetic, schema, distance.queries)
            how = f"exact mean total variation distance of {distance.what}, synthetic against {against}"
            called = distance.name.replace("tvd", "exact_tvd")
            found.append(Evidence(f"{called}_{against}", value, None, how, "internal"))
    return found


def _plan(schema: LinkedSchema, budget: Budget, sigma: float) -> LinkedPlan:
    """The price with noise ``sigma`` for what one row can change, on either table."""
    above, below = table_budgets(schema, budget)
    return LinkedPlan.of(
        budget,
        holdout.plan_table(schema.counted, above, sigma, _of_parents(schema)),
        holdout.plan_table(
            schema.widened, below, sigma * schema.max_children, [*_of_children(schema), *_of_siblings(schema)]
        ),
    )


def _of_parents(schema: LinkedSchema) -> list[Distance]:
    number = Distance(f"{_LINK}tvd_number", [(schema.count,)], f"the {schema.count} of one {schema.key}")
    return [*fidelity.distances(schema.counted), number]


def _of_children(schema: LinkedSchema) -> list[Distance]:
    own = fidelity.distances(schema.child)  # its columns are called the same in the widened schema
    pairs = fidelity.thinned(schema.widened, itertools.product(schema.brought.values(), schema.child.modelled))
    what = f"{len(pairs)} 2-way marginals, one column of {schema.parent.name} and one of {schema.child.name}"
    return [*own, Distance(f"{_LINK}tvd_2way", pairs, what)]


def _of_siblings(schema: LinkedSchema) -> list[Distance]:
    """Of the chained children: what neighbours in the chain have in common."""
    pairs = fidelity.thinned(schema.chained, ((called, name) for name, called in schema.previous.items()))
    what = f"{len(pairs)} 2-way marginals, a column of {schema.child.name} and the same of the sibling before"
    return [Distance(f"{_LINK}tvd_siblings", pairs, what)] if pairs else []


def _named(figures: tuple[Evidence, ...], table: str) -> list[Evidence]:
    """The figures, named after their table where they are not of the link."""
    return [f if f.name.startswith(_LINK) else replace(f, name=f"{table}.{f.name}") for f in figures]


__all__ = ["Codes", "Drawn", "assess", "exact", "plan"]
