"""Two linked tables, one to many: patients and their visits. The unit of privacy is a patient with all visits.

    PARENTS    any method, on the parent table with one more column: how many children
    CHILDREN   noisy marginals of the child table, with the parent's columns beside each child
               (``conditional.py``), fitted to a distribution of a child given its parent
    SIBLINGS   noisy tables of a child's value beside that of the sibling before (``siblings.py``)
    GENERATE   draw parents; for each, as many children as it says, given its columns; let children of parents that are
               alike change places, until siblings are as the tables say; then number them

One neighbouring change touches both tables, so mechanisms on both compose, each with its sensitivity
under its own table's unit: one row of the parents, ``max_children`` of the children
(``Session.part``). What is done with rows beforehand looks at one unit at a time (``privacy/links.py``).

Keys are running numbers. That every child has a parent is true by construction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from dp_accounting import GaussianDpEvent

from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Schema
from synthkit.errors import InputError, JobError, MethodError
from synthkit.privacy.accounting import calibrate, is_private
from synthkit.privacy.budget import Budget, Remainder
from synthkit.privacy.links import Linked as LinkedRows
from synthkit.privacy.links import LinkedPlan, table_budgets
from synthkit.privacy.session import Session
from synthkit.synthesizers import base, siblings
from synthkit.synthesizers.base import Method, Model, Progress, Synthetic, check_settings, method, silent
from synthkit.synthesizers.conditional import Conditional, sample_given
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.shaped import ShapedModel
from synthkit.synthesizers.siblings import Siblings
from synthkit.synthesizers.tree_model import TreeModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_PARENTS = 20_000  # drawn for what the children's model is told of their columns
_MOST_KNOWN = 200_000  # and so many children of them


@dataclass(frozen=True, kw_only=True)
class Linked:
    """Settings. All are public.

    Attributes:
        parents: the method for the parent table.
        parent_settings: its settings.
        child_settings: of the children's :class:`~synthkit.synthesizers.conditional.Conditional`.
        share: of the budget (as zCDP counts it) for the parents; the children get what they leave.
        siblings: share of what the children get, for what siblings have in common beyond their parent; 0: nothing,
            and they are drawn independently.
    """

    name: ClassVar[str] = "linked"
    parents: str = "aim"
    parent_settings: Mapping[str, Any] = field(default_factory=dict)
    child_settings: Mapping[str, Any] = field(default_factory=dict)
    share: float = 0.5
    siblings: float = 0.05

    def __post_init__(self) -> None:
        check_settings(self, share=(0.01, 0.99), siblings=(0.0, 0.9))
        for name in ("parent_settings", "child_settings"):
            if not isinstance(getattr(self, name), Mapping):
                raise MethodError(f"Linked: {name} is {getattr(self, name)!r}; it must be settings by their names")
        self._recipe()
        self._conditional(())

    def plan(self, schema: LinkedSchema, budget: Budget) -> LinkedPlan:
        """Parents by their share of the budget, children by what they leave; priced together.

        Raises:
            MethodError: the budget protects something else, or the parents' method nothing.
        """
        if budget.unit != schema.unit:
            raise MethodError(f"the budget protects one {budget.unit}; one parent with its children is {schema.unit}")
        # Gaussian noise that costs the children's share stands for them until they are priced themselves.
        alone = calibrate(GaussianDpEvent, budget)
        others = GaussianDpEvent(alone / math.sqrt(1 - self.share))
        above, below = table_budgets(schema, budget)
        parents = self._recipe().plan(schema.counted, Remainder.of(above, others))
        if not is_private(parents.event):
            raise MethodError(f"method {self.parents} has no privacy guarantee; the parents need one that has")
        rest = Remainder.of(below, parents.event)
        told = self._conditional(tuple(schema.brought.values()))
        count = len(siblings.columns(schema)) if self.siblings else 0
        if not count:
            return LinkedPlan.of(budget, parents, told.plan(schema.widened, rest))
        sigma, left = siblings.noise(self.siblings, count, rest)
        children = siblings.priced(told.plan(schema.widened, left), rest, sigma, count)
        return LinkedPlan.of(budget, parents, children)

    def fit(self, data: LinkedRows, session: Session, *, progress: Progress = silent) -> LinkedModel:
        """PARENTS, then CHILDREN, then SIBLINGS.

        Args:
            data: both tables, bounded and joined.
            session: its plan is this method's; both tables are charged to it.
            progress: told what is being done.
        """
        schema, plan = data.schema, session.plan
        if not isinstance(plan, LinkedPlan):
            raise MethodError("the session's plan is not one of linked tables; open it for Linked.plan's")
        parents = self._recipe().fit(
            data.parents,
            session.part(plan.parents, schema.parent.name),
            progress=lambda done, what: progress(done / 2, f"parents: {what}"),
        )
        rng = np.random.default_rng(session.noise.public_seed())
        told = replace(self._conditional(tuple(schema.brought.values())), known=_known(parents, schema, rng))
        part = session.part(plan.children, schema.child.name)
        children = told.fit(
            data.children,
            part,
            progress=lambda done, what: progress(0.5 + done / 2, f"children: {what}"),
        )
        tables = siblings.measured(data.chained, part, schema) if siblings.NOISE in plan.children.noise else ()
        return LinkedModel(schema, parents, children, tables)

    def _recipe(self) -> Method:
        return method(self.parents, self.parent_settings)

    def _conditional(self, given: tuple[str, ...]) -> Conditional:
        known = {"marginals", "rounds", "selection", "model_megabytes", "iterations"}
        if unknown := sorted(set(self.child_settings) - known):
            raise JobError(f"children have no setting {', '.join(unknown)}; they have {', '.join(sorted(known))}")
        return Conditional(given=given, **self.child_settings)


@dataclass(frozen=True)
class LinkedSynthetic:
    """Synthetic rows of both tables.

    Attributes:
        parents: values as users know them; the key counts from 1.
        children: the same, in the order of their parents; each one's key is a parent's.
        parent_codes: the parents as codes (n, d) of ``schema.counted``'s modelled columns.
        child_codes: the children as codes (m, e) of ``schema.widened``'s.
        owner: (m,) place of each child's parent.
    """

    parents: pd.DataFrame
    children: pd.DataFrame
    parent_codes: NDArray[np.int32]
    child_codes: NDArray[np.int32]
    owner: NDArray[np.int64]


@dataclass(frozen=True)
class LinkedModel:
    """Released values only: whatever it does is post-processing, and free.

    Attributes:
        schema: of both tables.
        parents: model of the parents with the number of their children.
        children: model of a child given its parent.
        siblings: what was released of siblings; none where they are drawn independently.
    """

    schema: LinkedSchema
    parents: Model
    children: Model
    siblings: tuple[Siblings, ...] = ()

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> LinkedSynthetic:
        """GENERATE ``n`` parents and their children.

        Children are drawn independently of each other, given their parents' columns; then those of parents that are
        alike change places. Of few parents, more are drawn, and as many of them taken by lot.

        Args:
            n: how many parents, 0 or more.
            where: what all parents have: column to value.
            seed: reproducible draws.
        """
        count = max(n, siblings.POOL) if n and self.siblings else n
        drawn = self.parents.sample(count, where=where, seed=seed)
        owner = np.repeat(np.arange(count), _numbers(drawn, self.schema))  # (children,)
        known = _beside(drawn, owner, self.schema)
        rows = sample_given(self.children, known, len(owner), None if seed is None else seed + 1)
        if self.siblings:
            rng = np.random.default_rng(None if seed is None else [seed, 2])
            places = siblings.arranged(rows.codes, owner, self._alike(known), self.schema, self.siblings, rng)
            rows = _taken(rows, places)
            # A child brings its own columns, and finds those of its new parent there.
            for j, values in known.items():
                rows.codes[:, j] = values
            if n < count:
                chosen = np.sort(rng.permutation(count)[:n])
                drawn, rows = _taken(drawn, chosen), _taken(rows, np.flatnonzero(np.isin(owner, chosen)))
                owner = np.searchsorted(chosen, owner[np.isin(owner, chosen)])
        return LinkedSynthetic(
            _keyed(drawn.frame, np.arange(1, n + 1), self.schema.parent, self.schema.key),
            _keyed(rows.frame, owner + 1, self.schema.child, self.schema.key),
            drawn.codes,
            rows.codes,
            owner,
        )

    def _alike(self, known: Mapping[int, NDArray[np.int32]]) -> NDArray[np.int64]:
        """(m,) equal for children whose parents are the same to the children's model."""
        names = list(self.schema.widened.modelled)
        asked = {names.index(name) for marginal in self.children.marginals for name in marginal.columns}
        matter = [values for j, values in known.items() if j in asked]
        if not matter:
            return np.zeros(len(next(iter(known.values()))), dtype=np.int64)
        _, alike = np.unique(np.stack(matter, axis=1), axis=0, return_inverse=True)
        return alike.reshape(-1)

    def save(self, folder: Place) -> None:
        """Write both models, each in a folder of its own, and the schema. ``folder`` must not exist."""
        from safetensors.numpy import save

        arrays = {f"siblings.{k}": table.counts for k, table in enumerate(self.siblings)}
        parameters = {"linked": self.schema.to_dict(), "siblings": self.siblings[0].sigma if self.siblings else None}
        base.write_model_card(folder, Linked.name, self.schema.counted, parameters, save(arrays))
        self.parents.save(folder / "parents")
        self.children.save(folder / "children")


def load(folder: Place, parameters: Mapping[str, Any], _: Schema) -> LinkedModel:
    """Read a saved model; its digests have been checked."""
    from safetensors.numpy import load as load_bytes

    schema = LinkedSchema.from_dict(parameters["linked"], source=str(folder))
    parents, children = base.load(folder / "parents"), base.load(folder / "children")
    inner = children.inner if isinstance(children, ShapedModel) else children
    conditional = isinstance(inner, TreeModel) and inner.method == Conditional.name
    if parents.schema != schema.counted or children.schema != schema.widened or not conditional:
        raise InputError(f"{folder}: its parts belong to another model; restore it or fit again")
    arrays = load_bytes((folder / "weights.safetensors").read_bytes())
    sigma = float(parameters.get("siblings") or 0.0)
    asked = siblings.relations(schema, sigma) if sigma else []
    counts = {f"siblings.{k}": (relation.count,) for k, relation in enumerate(asked)}
    if {name: array.shape for name, array in arrays.items()} != counts:
        raise InputError(f"{folder}: the weights do not fit the schema")
    tables = (Siblings(relation, arrays[f"siblings.{k}"].copy(), sigma) for k, relation in enumerate(asked))
    return LinkedModel(schema, parents, children, tuple(tables))


def load_linked(folder: str | Place) -> LinkedModel:
    """Open a saved model of linked tables.

    Raises:
        InputError: not such a model, damaged, or of another version.
    """
    model: object = base.load(folder)
    if not isinstance(model, LinkedModel):
        raise InputError(f"{folder}: a model of one table; open it with load()")
    return model


def _taken(rows: Synthetic, places: NDArray[np.int64]) -> Synthetic:
    return Synthetic(rows.frame.iloc[places].reset_index(drop=True), rows.codes[places])


def _numbers(drawn: Synthetic, schema: LinkedSchema) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = drawn.frame[schema.count].to_numpy(dtype=np.int64)
    return numbers


def _beside(drawn: Synthetic, owner: NDArray[np.int64], schema: LinkedSchema) -> dict[int, NDArray[np.int32]]:
    """Codes of each child's parent, by their place in the widened schema."""
    ours, theirs = list(schema.counted.modelled), list(schema.widened.modelled)
    return {theirs.index(called): drawn.codes[owner, ours.index(name)] for name, called in schema.brought.items()}


def _known(parents: Model, schema: LinkedSchema, rng: np.random.Generator) -> NDArray[np.int32]:
    """Codes (m, brought) of the columns of the children's parents, by the parents' model."""
    drawn = parents.sample(min(_MOST_PARENTS, 4 * schema.parent.rows), seed=int(rng.integers(2**62)))
    owner = np.repeat(np.arange(len(drawn.codes)), _numbers(drawn, schema))
    if not len(owner):
        owner = np.arange(len(drawn.codes))  # nobody has any child; whom they would have does not matter
    owner = rng.permutation(owner)[:_MOST_KNOWN]
    beside = _beside(drawn, owner, schema)
    names = list(schema.widened.modelled)
    return np.stack([beside[names.index(called)] for called in schema.brought.values()], axis=1)


def _keyed(frame: pd.DataFrame, keys: NDArray[np.int64], schema: Schema, key: str) -> pd.DataFrame:
    """The schema's columns that are released, the key among them."""
    columns = {name: keys if name == key else frame[name] for name in schema.columns if name == key or name in frame}
    return pd.DataFrame(columns)


__all__ = ["Linked", "LinkedModel", "LinkedSynthetic", "load", "load_linked"]
