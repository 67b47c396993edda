"""Neighbouring linked tables to attack with, and a fit of linked tables as a program to replay.

A replay hands a program one frame. Both tables are stacked into one, the table's name in the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthkit.audit import neighbours
from synthkit.audit.neighbours import Pair, unit
from synthkit.audit.programs import Fits, program_of
from synthkit.audit.replay import Program
from synthkit.data.linked import LinkedSchema
from synthkit.data.tables import FrameSource
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.links import Linked, read_linked
from synthkit.privacy.noise import NoiseSource


def fitting(method: Fits, schema: LinkedSchema, budget: Budget, *, rows: int = 50) -> Program:
    """``method`` as a program on a stacked frame: read, link, fit, save, sample.

    Args:
        method: what is attacked.
        schema, budget: under which.
        rows: synthetic parents that are drawn and compared, with their children.
    """

    def locked(both: pd.DataFrame, noise: NoiseSource) -> Linked:
        above, below = map(FrameSource, unstacked(both, schema))
        return read_linked(above, below, schema, dataset=schema.parent.name, noise=noise)

    def drawn(model: Any) -> Mapping[str, Any]:
        made = model.sample(rows, seed=0)
        return {"parents": made.parents, "children": made.children}

    return program_of(method, method.plan(schema, budget), locked, drawn)


def pairs(schema: LinkedSchema, adjacency: Adjacency, *, parents: int = 60, seed: int = 0) -> Iterator[Pair]:
    """Pairs of stacked frames that differ in one parent with all its children.

    The parent that is added, removed or replaced has no child, one, as many as are used, or more;
    ordinary ones, extreme ones, or nothing but nulls.

    Args:
        schema: the public domain of both tables.
        adjacency: what a neighbour is.
        parents: how many others there are.
        seed: of the draws.
    """
    most, public, child = schema.max_children, schema.parent, schema.child
    newcomer = neighbours.people(public, parents)[-1]
    others, theirs = _tables(schema, parents, seed)

    def one(kind: str, children: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        return unit(public, newcomer, kind, 1, seed=seed + 2), unit(child, newcomer, kind, children, seed=seed + 3)

    def joined(kind: str, children: int) -> pd.DataFrame:
        parent, own = one(kind, children)
        return stacked(_joined(others, parent), _joined(theirs, own))

    numbers = {"no child": 0, "one child": 1, "all children": most, "one child too many": most + 1}
    units = [(kind, words) for kind in ("ordinary", "last", "null") for words in numbers]
    if adjacency is Adjacency.REPLACE_ONE:
        base, childless = joined("ordinary", most), joined("ordinary", 0)
        for kind, words in units:
            if (kind, words) != ("ordinary", "all children"):
                yield Pair(f"replaced: {kind}, {words}", base, joined(kind, numbers[words]))
        yield Pair("replaced: childless", childless, joined("last", most))
        return
    without = stacked(others, theirs)
    for kind, words in units:
        yield Pair(f"added: {kind}, {words}", without, joined(kind, numbers[words]))
    yield Pair("removed: ordinary, all children", joined("ordinary", most), without)
    parent, own = one("ordinary", most)
    yield Pair("added to empty tables", stacked(others.iloc[:0], theirs.iloc[:0]), stacked(parent, own))
    yield Pair("added: the only children", stacked(others, theirs.iloc[:0]), stacked(_joined(others, parent), own))


def table(schema: LinkedSchema, parents: int, *, seed: int = 0) -> pd.DataFrame:
    """Both tables, stacked: so many parents with no child up to one too many; every code equally likely."""
    return stacked(*_tables(schema, parents, seed))


def _tables(schema: LinkedSchema, parents: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = np.array(neighbours.people(schema.parent, parents)[:-1], dtype=object)
    owned = np.repeat(names, np.random.default_rng(seed).integers(0, schema.max_children + 2, parents))
    above, below = (
        neighbours.table(schema.parent, parents, seed=seed),
        neighbours.table(schema.child, len(owned), seed=seed + 1),
    )
    return above.assign(**{schema.key: names}), below.assign(**{schema.key: owned})


def stacked(parents: pd.DataFrame, children: pd.DataFrame) -> pd.DataFrame:
    """Both tables as one frame: the first level of its index says which."""
    parts = {0: parents.astype(object), 1: children.astype(object)}
    columns = list(dict.fromkeys([*parents.columns, *children.columns]))
    return pd.concat({k: part.reindex(columns=columns).astype(object) for k, part in parts.items()})


def unstacked(both: pd.DataFrame, schema: LinkedSchema) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The inverse of :func:`stacked`: parents, children."""
    which, parts = both.index.get_level_values(0), (schema.parent, schema.child)
    above, below = (both.loc[which == k, list(part.columns)].reset_index(drop=True) for k, part in enumerate(parts))
    return above, below


def _joined(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


__all__ = ["fitting", "pairs", "stacked", "table", "unstacked"]
