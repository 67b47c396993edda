"""What a mechanism costs, in the accountant's algebra; and the same as JSON.

An event is a :class:`dp_accounting.DpEvent`: the library's own, and three that its release 0.6
lacks. The *radius* convention of the library is used throughout: a ``GaussianDpEvent``'s noise
multiplier is noise / r, where r bounds one unit's contribution around a centre that does not
depend on the data. Adding or removing a unit moves the sum by at most r, replacing one by 2 r.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import dp_accounting
from dp_accounting import DpEvent

from synthkit.documents import canonical_json


@attrs.frozen
class DiscreteGaussianDpEvent(DpEvent):
    """Discrete Gaussian noise on integers (Canonne, Kamath and Steinke 2020, arXiv:2004.00010).

    Attributes:
        sigma: scale of the noise, in the units of the counts.
        cells: how many counts one neighbouring change moves, each by exactly 1. The privacy loss
            is then a sum of ``cells`` independent one-dimensional losses, so the PLD is exact.
    """

    sigma: float
    cells: int = 1


@attrs.frozen
class ExponentialMechanismDpEvent(DpEvent):
    """Exponential mechanism (McSherry and Talwar 2007): epsilon-DP and epsilon^2/8-zCDP."""

    epsilon: float


@attrs.frozen
class ParallelDpEvent(DpEvent):
    """Each unit is assigned by a coin of its own to one of several parts; each part is released.

    Parallel composition (McSherry 2009) for random assignment. Telling the adversary every coin
    can only help; given the coins, the neighbouring change touches one part alone. By joint
    convexity of the hockey-stick divergence, delta(eps) <= sum_i weight_i * delta_i(eps): the
    privacy loss distribution is the mixture.

    Attributes:
        weights: probability of each part; they sum to 1.
        events: the event of each part.
    """

    weights: tuple[float, ...]
    events: tuple[DpEvent, ...]


def repeat(event: DpEvent, count: int) -> DpEvent:
    """``event``, ``count`` times."""
    return event if count == 1 else dp_accounting.SelfComposedDpEvent(event, count)


def parts(event: DpEvent) -> Counter[str]:
    """What ``event`` composes, as counts of :func:`key`: nested compositions are opened."""
    return Counter({name: count for name, (_, count) in _parts([event]).items()})


def compose(events: Sequence[DpEvent]) -> DpEvent:
    """All of ``events``. Equal ones are counted, and their order is fixed: the same mechanisms have the
    same price to the last bit, in whatever order they ran."""
    found = _parts(events)
    return dp_accounting.ComposedDpEvent([repeat(*found[name]) for name in sorted(found)])


def _parts(events: Sequence[DpEvent]) -> dict[str, tuple[DpEvent, int]]:
    found: dict[str, tuple[DpEvent, int]] = {}

    def open_(event: DpEvent, times: int) -> None:
        match event:
            case dp_accounting.NoOpDpEvent():
                return
            case dp_accounting.ComposedDpEvent():
                for part in event.events:
                    open_(part, times)
            case dp_accounting.SelfComposedDpEvent():
                open_(event.event, times * event.count)
            case _:
                name = key(event)
                found[name] = (event, found.get(name, (event, 0))[1] + times)

    for event in events:
        open_(event, 1)
    return found


_FIELDS: Mapping[str, tuple[type[DpEvent], tuple[str, ...]]] = {
    "none": (dp_accounting.NoOpDpEvent, ()),
    "non-private": (dp_accounting.NonPrivateDpEvent, ()),
    "gaussian": (dp_accounting.GaussianDpEvent, ("noise_multiplier",)),
    "laplace": (dp_accounting.LaplaceDpEvent, ("noise_multiplier",)),
    "zcdp": (dp_accounting.dp_event.ZCDpEvent, ("rho", "xi")),
    "discrete-gaussian": (DiscreteGaussianDpEvent, ("sigma", "cells")),
    "exponential-mechanism": (ExponentialMechanismDpEvent, ("epsilon",)),
    "poisson-sampled": (dp_accounting.PoissonSampledDpEvent, ("sampling_probability", "event")),
    "self-composed": (dp_accounting.SelfComposedDpEvent, ("event", "count")),
    "composed": (dp_accounting.ComposedDpEvent, ("events",)),
    "parallel": (ParallelDpEvent, ("weights", "events")),
}
_WHOLE = ("count", "cells")
_MOST = 10**9  # of a whole number: more is a mistake, or meant to keep a reader busy
_DEEPEST = 20  # levels of nesting
_NAMES = {kind: name for name, (kind, _) in _FIELDS.items()}


def to_json(event: DpEvent) -> dict[str, Any]:
    """``event`` as plain JSON values, for ledgers and manifests.

    Raises:
        ValueError: an event of a kind that has no price here.
    """
    name = _NAMES.get(type(event))
    if name is None:
        raise ValueError(f"{type(event).__name__} has no price here; use one of {', '.join(sorted(_FIELDS))}")
    return {"kind": name, **{field: _plain(field, getattr(event, field)) for field in _FIELDS[name][1]}}


def from_json(document: Mapping[str, Any]) -> DpEvent:
    """The inverse of :func:`to_json`. Strict: unknown kinds, fields and values are refused.

    Raises:
        ValueError: the document is not an event.
    """
    return _read(document, 0)


def _read(document: Any, depth: int) -> DpEvent:
    if depth > _DEEPEST:
        raise ValueError("an event is nested too deep")
    if (
        not isinstance(document, Mapping)
        or not isinstance(document.get("kind"), str)
        or document["kind"] not in _FIELDS
    ):
        raise ValueError("not a known event")
    kind, fields = _FIELDS[document["kind"]]
    if set(document) != {"kind", *fields}:
        raise ValueError(f"event {document['kind']} needs exactly the fields {', '.join(fields) or '(none)'}")
    event = kind(**{field: _parsed(field, document[field], depth + 1) for field in fields})
    if isinstance(event, ParallelDpEvent) and len(event.weights) != len(event.events):
        raise ValueError("a parallel event needs one weight for each of its events")
    return event


def key(event: DpEvent) -> str:
    """One text per event, to count equal ones."""
    return canonical_json(to_json(event))


def _plain(field: str, value: Any) -> Any:
    if isinstance(value, DpEvent):
        return to_json(value)
    if isinstance(value, (list, tuple)):
        return [_plain(field, item) for item in value]
    return int(value) if field in _WHOLE else float(value)  # 50 and 50.0 are the same noise


def _parsed(field: str, value: Any, depth: int) -> Any:
    if field == "event":
        return _read(value, depth)
    if field in ("events", "weights") and not isinstance(value, list):
        raise ValueError(f"{field} must be a list")
    if field == "events":
        return tuple(_read(item, depth) for item in value)
    if field == "weights":
        weights = tuple(_number(field, item) for item in value)
        if abs(sum(weights) - 1) > 1e-9:
            raise ValueError("weights must sum to 1")
        return weights
    if field in _WHOLE:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
            raise ValueError(f"{field} must be a whole number from 1 to {_MOST}")
        return value
    return _number(field, value)


def _number(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value == 0 or 1e-100 <= value <= 1e100):
        raise ValueError(f"{field} must be 0, or a number from 1e-100 to 1e100")
    if field == "sampling_probability" and value > 1:
        raise ValueError("sampling_probability must be at most 1")
    return float(value)


__all__ = [
    "DiscreteGaussianDpEvent",
    "ExponentialMechanismDpEvent",
    "ParallelDpEvent",
    "compose",
    "from_json",
    "key",
    "parts",
    "repeat",
    "to_json",
]
