"""The way of true records: code, name anew, generalize, suppress, microaggregate; then count again what leaves.

    CODE            top- and bottom-coding, one value at a time
    SEARCH          the levels that meet the models at the least loss (lattice.py)
    SUPPRESS        records of classes that fail are left out: kept as a class of their own they would stand out
    MICROAGGREGATE  within each class, so that the numbers tell no two records of it apart: groups of the size asked for,
                    or the whole class where a group fails a model
    NAME            direct identifiers become pseudonyms
    REDACT          free text loses what is found in it (free_text.py)
    SORT            rows by their values: the order of the source would tell where a record stood in it (before
                    microaggregation, too: how ties and rounding fall would tell something)

Merging two groups of microaggregated records that happen to have equal means harms no model: each of them that holds in
two classes holds in their union.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthkit.anonymize.classes import Groups, classes_of, coded, groups_of, met, sensitive_of
from synthkit.anonymize.free_text import Finder, redact
from synthkit.anonymize.hierarchies import Hierarchy
from synthkit.anonymize.lattice import search
from synthkit.anonymize.models import Classes, Model, Risk, risks
from synthkit.anonymize.pseudonyms import Key
from synthkit.anonymize.recipe import Limits, Order, Recipe
from synthkit.anonymize.recoding import clamped, microaggregated
from synthkit.data.schema import Continuous, Schema
from synthkit.errors import DataError, JobError

_DECIMALS = 6  # of a mean, where the schema keeps all
_SLACK = 1e-9


@dataclass(frozen=True)
class Anonymized:
    """True records that may be looked at by whoever the policy lets.

    Attributes:
        frame: what leaves, rows sorted.
        levels: of each quasi-identifier.
        records: how many were read.
        suppressed: how many of them were left out.
        loss: of the whole table, before microaggregation.
        nodes, counted: of the lattice.
        optimal: False where a beam searched.
        population: ``(classes,)`` persons of the population in each class of ``frame``, as :func:`measured` numbers
            them; None where there is none.
    """

    frame: pd.DataFrame
    levels: Mapping[str, int]
    records: int
    suppressed: int
    loss: float
    nodes: int
    counted: int
    optimal: bool
    population: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Measured:
    """What is counted in a table as it leaves.

    Attributes:
        attained: by model, the figure of the worst class.
        failing: models that a class fails.
        risks: by attacker.
        over: limits of risk that are passed, in words.
        classes: how many.
    """

    attained: tuple[float, ...]
    failing: tuple[Model, ...]
    risks: Mapping[str, Risk | float]
    over: tuple[str, ...]
    classes: int


def anonymize(
    frame: pd.DataFrame,
    recipe: Recipe,
    schema: Schema,
    *,
    key: Key | None = None,
    finder: Finder | None = None,
    population: pd.DataFrame | None = None,
) -> Anonymized:
    """Carry out a recipe.

    Args:
        frame: the records, in the schema's columns; a row is a person.
        recipe: what to do.
        schema: what is public about them.
        key: for pseudonyms, where the recipe has any.
        finder: for free text, where the recipe has any.
        population: everybody, in the quasi-identifiers' columns, where the recipe names a table of them.

    Raises:
        JobError: no levels will do, or a risk is above its limit; says what would.
        DataError: values that a hierarchy misses, that are no numbers, or that have no place in an order.
    """
    frame = _coded(frame, recipe)
    everybody = None if population is None else _coded(population, recipe)
    found = {name: one.build(_values(frame, everybody, name)) for name, one in recipe.generalizations.items()}
    codes = {name: hierarchy.encode(frame[name]) for name, hierarchy in found.items()}
    orders = {name: one.order for name, one in recipe.sensitive.items()}
    sensitive = {
        name: coded(frame[name], orders[name], ordered=ordered)[0]
        for name, ordered in sensitive_of(recipe.models).items()
    }
    solution = search(
        codes,
        found,
        recipe.models,
        sensitive=sensitive,
        suppression=recipe.suppression,
        loss=recipe.loss,
        average_risk=recipe.limits.average,
        levels=recipe.levels,
    )
    kept = frame[solution.kept].reset_index(drop=True)
    columns: dict[str, Any] = {}
    for name in schema.columns:
        if name in found:
            columns[name] = generalized(kept[name], found[name], solution.levels[name])
        elif recipe.pseudonyms and name in recipe.pseudonyms.columns:
            assert key is not None, "pseudonyms need a key"
            columns[name] = key.names(kept[name], domain=name)
        elif recipe.redaction and name in recipe.redaction.columns:
            assert finder is not None, "free text needs a finder"
            columns[name] = redact(kept[name], finder, _namer(key) if recipe.redaction.pseudonyms else None)
        elif name not in recipe.dropped:
            columns[name] = kept[name]
    made = _sorted(pd.DataFrame(columns))
    if recipe.microaggregated:
        made[list(recipe.microaggregated)] = _means(made, recipe, schema, orders)
        made = _sorted(made)
    return Anonymized(
        frame=made,
        levels=solution.levels,
        records=len(frame),
        suppressed=int((~solution.kept).sum()),
        loss=solution.loss,
        nodes=solution.nodes,
        counted=solution.counted,
        optimal=solution.optimal,
        population=None if everybody is None else _population(made, everybody, found, solution.levels, recipe),
    )


def measured(
    frame: pd.DataFrame,
    quasi: tuple[str, ...],
    models: tuple[Model, ...],
    limits: Limits,
    orders: Mapping[str, Order] | None = None,
    population: NDArray[np.int64] | None = None,
) -> Measured:
    """Count classes in a table as it leaves, and hold them against models and limits.

    Args:
        frame: the table, one row at least.
        quasi: the columns by which classes are told apart.
        models: what each class must meet.
        limits: how right an attacker may be.
        orders: per sensitive column.
        population: ``(classes,)`` persons per class, where they were counted.
    """
    classes = classes_of(groups_of(frame, quasi), frame, models, orders)
    found = risks(classes.size, threshold=limits.threshold, population=population)
    return Measured(
        attained=tuple(model.attained(classes) for model in models),
        failing=tuple(model for model in models if not model.holds(classes).all()),
        risks=found,
        over=tuple(over(found, limits)),
        classes=len(classes.size),
    )


def over(found: Mapping[str, Risk | float], limits: Limits) -> list[str]:
    """Which limits risks are above, in words."""
    told = []
    for attacker in ("prosecutor", "journalist", "marketer"):
        risk = found[attacker]
        if isinstance(risk, Risk):
            figures = {
                figure: (getattr(risk, figure), getattr(limits, f"{attacker}_{figure}"))
                for figure in ("highest", "average")
            }
        else:
            figures = {"success": (risk, limits.marketer)}
        told += [
            f"{attacker}: {figure} risk {value:.4g} is above {limit:g}"
            for figure, (value, limit) in figures.items()
            if value > limit + _SLACK
        ]
    return told


def generalized(values: pd.Series[Any], hierarchy: Hierarchy, level: int) -> pd.Series[Any]:
    """What ``values`` become at ``level``: text; at level 0 the values themselves, moments as dates."""
    if level == 0 and not pd.api.types.is_datetime64_any_dtype(values):
        return values
    labels = np.array(hierarchy.labels[level], object)
    labels[labels == ""] = None
    told: pd.Series[Any] = pd.Series(
        labels[hierarchy.maps[level][hierarchy.encode(values)]], index=values.index, name=values.name, dtype="string"
    )
    return told


# Steps -----------------------------------------------------------------------------------------


def _namer(key: Key | None) -> Callable[[str, str], str]:
    assert key is not None, "pseudonyms need a key"
    return lambda kind, found: str(key.names(pd.Series([found]), domain=f"<{kind}>")[0])


def _coded(frame: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    return frame.assign(
        **{
            name: clamped(frame[name], low=low, high=high)
            for name, (low, high) in recipe.coding.items()
            if name in frame
        }
    )


def _values(frame: pd.DataFrame, everybody: pd.DataFrame | None, name: str) -> pd.Series[Any]:
    return frame[name] if everybody is None else pd.concat([frame[name], everybody[name]], ignore_index=True)


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by their values; whatever is not numbers as text."""

    def key(values: pd.Series[Any]) -> pd.Series[Any]:
        return values if pd.api.types.is_numeric_dtype(values) else values.astype("string")

    return frame.sort_values(list(frame.columns), kind="stable", key=key, ignore_index=True)


def _means(made: pd.DataFrame, recipe: Recipe, schema: Schema, orders: Mapping[str, Order]) -> pd.DataFrame:
    """The microaggregated columns: means of groups within each class, or of the class."""
    names = list(recipe.microaggregated)
    values = made[names].to_numpy(np.float64, na_value=np.nan)
    if wrong := int((~np.isfinite(values)).any(1).sum()):
        raise DataError(f"columns {', '.join(names)}: {wrong} rows have no value; microaggregation needs one in each")
    classes = groups_of(made, tuple(recipe.generalizations))
    groups = _within(values, classes, recipe.groups)
    holds = met(classes_of(groups, made, recipe.models, orders), recipe.models)
    failing = np.unique(classes[~holds[groups]])  # there, the class as a whole is the group
    groups = np.where(np.isin(classes, failing), groups.max() + 1 + classes, groups)
    _, groups = np.unique(groups, return_inverse=True)
    size = np.bincount(groups)
    means = np.stack([np.bincount(groups, weights=column) / size for column in values.T], 1)[groups]
    rounded = {}
    for place, name in enumerate(names):
        column = schema.columns[name]
        decimals = (
            (column.decimals if column.decimals is not None else _DECIMALS) if isinstance(column, Continuous) else 1
        )
        rounded[name] = np.round(means[:, place], decimals) + 0.0  # no minus zero
    return pd.DataFrame(rounded, index=made.index)


def _within(values: NDArray[np.float64], classes: Groups, least: int) -> Groups:
    """Groups of near records inside each class, by MDAV; a class of fewer than twice ``least`` is one group."""
    groups = np.empty(len(values), np.int64)
    order = np.argsort(classes, kind="stable")
    number = 0
    for rows in np.split(order, np.flatnonzero(np.diff(classes[order])) + 1):
        if len(rows) < 2 * least:
            groups[rows] = number
            number += 1
            continue
        means = microaggregated(values[rows], least)
        _, inside = np.unique(means, axis=0, return_inverse=True)
        groups[rows] = number + inside.reshape(-1)
        number += int(inside.max()) + 1
    return groups


def _population(
    made: pd.DataFrame,
    everybody: pd.DataFrame,
    found: Mapping[str, Hierarchy],
    levels: Mapping[str, int],
    recipe: Recipe,
) -> NDArray[np.int64]:
    """Persons of the population in each class of what leaves."""
    names = tuple(recipe.generalizations)
    coarse = pd.DataFrame({name: generalized(everybody[name], found[name], levels[name]) for name in names})
    both = pd.concat([made[list(names)].astype(object), coarse.astype(object)], ignore_index=True)
    groups = groups_of(both, names)
    persons = np.bincount(groups[len(made) :], minlength=int(groups.max()) + 1)
    finer = groups_of(made, recipe.quasi)
    counted = np.empty(int(finer.max()) + 1, np.int64)
    counted[finer] = persons[groups[: len(made)]]
    if (counted < np.bincount(finer)).any():
        raise JobError(
            "the population holds fewer persons of a class than the table does: it is not of the same people"
        )
    return counted


__all__ = ["Anonymized", "Classes", "Measured", "anonymize", "generalized", "measured", "over"]
