"""Events as JSON and back, and how they are counted."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import dp_accounting
import pytest
from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    NonPrivateDpEvent,
    NoOpDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)
from dp_accounting.dp_event import ZCDpEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from synthkit.privacy.events import (
    DiscreteGaussianDpEvent,
    ExponentialMechanismDpEvent,
    ParallelDpEvent,
    compose,
    from_json,
    key,
    parts,
    repeat,
    to_json,
)

scales = st.one_of(st.just(0.0), st.floats(1e-100, 1e100), st.integers(0, 1000))
counts = st.integers(1, 10**9)
shares = st.sampled_from([(1.0,), (0.5, 0.5), (0.25, 0.75), (0.0, 1.0), (0.2, 0.3, 0.5), (0.1,) * 10])
simple = st.one_of(
    st.just(NoOpDpEvent()),
    st.just(NonPrivateDpEvent()),
    st.builds(GaussianDpEvent, scales),
    st.builds(LaplaceDpEvent, scales),
    st.builds(ZCDpEvent, scales, scales),
    st.builds(DiscreteGaussianDpEvent, scales, counts),
    st.builds(ExponentialMechanismDpEvent, scales),
)


def _nested(inner: st.SearchStrategy[DpEvent]) -> st.SearchStrategy[DpEvent]:
    parallel = shares.flatmap(
        lambda weights: st.tuples(*[inner] * len(weights)).map(lambda events: ParallelDpEvent(weights, events))
    )
    return st.one_of(
        st.builds(PoissonSampledDpEvent, st.floats(1e-100, 1), inner),
        st.builds(SelfComposedDpEvent, inner, counts),
        st.builds(ComposedDpEvent, st.lists(inner, max_size=4)),
        parallel,
    )


anything = st.recursive(simple, _nested, max_leaves=12)
# Kinds that hash and compare by value: what can be counted by hand.
countable = st.sampled_from(
    [GaussianDpEvent(2.0), GaussianDpEvent(3.0), LaplaceDpEvent(2.0), DiscreteGaussianDpEvent(2.0, 2)]
)


# JSON


@given(anything)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_event_survives_json(event: DpEvent) -> None:
    text = json.dumps(to_json(event), allow_nan=False)
    back = from_json(json.loads(text))
    assert type(back) is type(event)
    assert to_json(back) == to_json(event)
    assert key(back) == key(event)


def test_every_field_survives_json() -> None:
    inner = GaussianDpEvent(1.25)
    read: dict[str, Any] = {
        kind: from_json(json.loads(json.dumps(to_json(event))))
        for kind, event in {
            "gaussian": inner,
            "laplace": LaplaceDpEvent(0.5),
            "zcdp": ZCDpEvent(0.25, 0.125),
            "discrete": DiscreteGaussianDpEvent(2.5, 3),
            "exponential": ExponentialMechanismDpEvent(0.1),
            "sampled": PoissonSampledDpEvent(0.01, inner),
            "repeated": SelfComposedDpEvent(inner, 7),
            "composed": ComposedDpEvent([inner, LaplaceDpEvent(3.0)]),
            "parallel": ParallelDpEvent((0.25, 0.75), (inner, NoOpDpEvent())),
        }.items()
    }
    assert read["gaussian"].noise_multiplier == 1.25 and read["laplace"].noise_multiplier == 0.5
    assert (read["zcdp"].rho, read["zcdp"].xi) == (0.25, 0.125)
    assert (read["discrete"].sigma, read["discrete"].cells) == (2.5, 3)
    assert read["exponential"].epsilon == 0.1
    assert read["sampled"].sampling_probability == 0.01 and read["sampled"].event == inner
    assert read["repeated"].count == 7 and read["repeated"].event == inner
    assert list(read["composed"].events) == [inner, LaplaceDpEvent(3.0)]
    assert read["parallel"] == ParallelDpEvent((0.25, 0.75), (inner, NoOpDpEvent()))


def test_the_text_of_an_event_does_not_change() -> None:
    """Ledgers and bundles of earlier versions hold these texts."""
    event = ComposedDpEvent(
        [
            SelfComposedDpEvent(PoissonSampledDpEvent(0.01, GaussianDpEvent(1.5)), 100),
            ParallelDpEvent((0.5, 0.5), (DiscreteGaussianDpEvent(2, 2), ExponentialMechanismDpEvent(1))),
        ]
    )
    assert key(event) == (
        '{"events":[{"count":100,"event":{"event":{"kind":"gaussian","noise_multiplier":1.5},'
        '"kind":"poisson-sampled","sampling_probability":0.01},"kind":"self-composed"},'
        '{"events":[{"cells":2,"kind":"discrete-gaussian","sigma":2.0},'
        '{"epsilon":1.0,"kind":"exponential-mechanism"}],"kind":"parallel","weights":[0.5,0.5]}],"kind":"composed"}'
    )


def test_the_same_noise_has_the_same_key_however_it_is_written() -> None:
    assert key(GaussianDpEvent(50)) == key(GaussianDpEvent(50.0))
    assert key(ComposedDpEvent([GaussianDpEvent(1)])) == key(ComposedDpEvent((GaussianDpEvent(1.0),)))
    assert key(DiscreteGaussianDpEvent(2)) == key(DiscreteGaussianDpEvent(2.0, 1))


def test_different_costs_have_different_keys() -> None:
    gaussian = GaussianDpEvent(1.0)
    all_different = [
        gaussian,
        GaussianDpEvent(1.0 + 2**-52),
        LaplaceDpEvent(1.0),
        ExponentialMechanismDpEvent(1.0),
        ZCDpEvent(1.0, 0.0),
        ZCDpEvent(1.0, 1.0),
        DiscreteGaussianDpEvent(1.0, 1),
        DiscreteGaussianDpEvent(1.0, 2),
        PoissonSampledDpEvent(0.1, gaussian),
        PoissonSampledDpEvent(0.2, gaussian),
        SelfComposedDpEvent(gaussian, 2),
        SelfComposedDpEvent(gaussian, 3),
        ComposedDpEvent([gaussian]),
        ComposedDpEvent([gaussian, gaussian]),
        ParallelDpEvent((0.5, 0.5), (gaussian, NoOpDpEvent())),
        ParallelDpEvent((0.5, 0.5), (NoOpDpEvent(), gaussian)),
        ParallelDpEvent((0.25, 0.75), (gaussian, NoOpDpEvent())),
        NoOpDpEvent(),
        NonPrivateDpEvent(),
    ]
    assert len({key(event) for event in all_different}) == len(all_different)


@pytest.mark.parametrize(
    "foreign",
    [
        dp_accounting.dp_event.UnsupportedDpEvent(),
        dp_accounting.dp_event.RepeatAndSelectDpEvent(GaussianDpEvent(1.0), 1.0, 1.0),
        dp_accounting.dp_event.SingleEpochTreeAggregationDpEvent(1.0, 1),
    ],
)
def test_an_event_that_has_no_price_here_is_refused(foreign: DpEvent) -> None:
    for event in (foreign, SelfComposedDpEvent(foreign, 2), ComposedDpEvent([foreign])):
        with pytest.raises(ValueError, match="has no price here"):
            to_json(event)


GAUSSIAN = {"kind": "gaussian", "noise_multiplier": 1.0}
HALVES = [0.5, 0.5]


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "gaussian",
        {},
        {"kind": None},
        {"kind": ["gaussian"]},
        {"kind": "uniform"},
        {"kind": "Gaussian", "noise_multiplier": 1.0},
        {"kind": "gaussian"},
        {**GAUSSIAN, "sigma": 1.0},
        {"kind": "none", "note": ""},
        {"kind": "non-private", "epsilon": 1.0},
        *({"kind": "gaussian", "noise_multiplier": bad} for bad in ("1", None, True, [1.0], {})),
        *({"kind": "gaussian", "noise_multiplier": bad} for bad in (float("nan"), float("inf"), -float("inf"))),
        *({"kind": "laplace", "noise_multiplier": bad} for bad in (-1.0, -1e-300, 5e-324, 1e101, 10**400)),
        {"kind": "zcdp", "rho": 1.0, "xi": -1.0},
        *({"kind": "poisson-sampled", "sampling_probability": bad, "event": GAUSSIAN} for bad in (-0.1, 1.1, True)),
        {"kind": "poisson-sampled", "sampling_probability": 0.5, "event": [GAUSSIAN]},
        {"kind": "poisson-sampled", "sampling_probability": 0.5, "event": None},
        *({"kind": "self-composed", "event": GAUSSIAN, "count": bad} for bad in (0, -1, 1.0, True, "2", 10**9 + 1)),
        *({"kind": "discrete-gaussian", "sigma": 1.0, "cells": bad} for bad in (0, 1.0, False, 10**400)),
        {"kind": "composed", "events": GAUSSIAN},
        {"kind": "composed", "events": [GAUSSIAN, None]},
        {"kind": "composed", "events": "gaussian"},
        {"kind": "parallel", "weights": HALVES, "events": [GAUSSIAN]},
        {"kind": "parallel", "weights": [1.0], "events": [GAUSSIAN, GAUSSIAN]},
        {"kind": "parallel", "weights": [], "events": []},
        {"kind": "parallel", "weights": [0.5, 0.4], "events": [GAUSSIAN, GAUSSIAN]},
        {"kind": "parallel", "weights": [1.5, -0.5], "events": [GAUSSIAN, GAUSSIAN]},
        {"kind": "parallel", "weights": [float("nan"), 1.0], "events": [GAUSSIAN, GAUSSIAN]},
        {"kind": "parallel", "weights": 1.0, "events": [GAUSSIAN]},
    ],
    ids=lambda document: repr(document)[:70],
)
def test_what_is_not_an_event_is_refused(document: Any) -> None:
    with pytest.raises(ValueError):
        from_json(document)
    with pytest.raises(ValueError):  # nor as a part of something
        from_json({"kind": "composed", "events": [GAUSSIAN, document]})


def test_deep_nesting_is_refused_before_the_stack_ends() -> None:
    document: dict[str, Any] = GAUSSIAN
    for _ in range(20):
        document = {"kind": "self-composed", "event": document, "count": 1}
    from_json(document)
    with pytest.raises(ValueError, match="nested too deep"):
        from_json({"kind": "self-composed", "event": document, "count": 1})
    for _ in range(100_000):
        document = {"kind": "composed", "events": [document]}
    started = time.perf_counter()
    with pytest.raises(ValueError, match="nested too deep"):
        from_json(document)
    assert time.perf_counter() - started < 1
    while "events" in document:  # taken apart by hand: Python would do it recursively
        document = document["events"].pop()


# Counting


def check_counts(composed: Callable[[Sequence[DpEvent]], DpEvent], events: Sequence[DpEvent]) -> None:
    """What composition must keep: nothing is lost, nothing is added, order does not matter."""
    expected = Counter(key(event) for event in events)
    assert parts(composed(events)) == expected
    assert key(composed(events)) == key(composed(list(reversed(events))))
    twice = composed([composed(events), composed(events)])
    assert parts(twice) == Counter({name: 2 * count for name, count in expected.items()})


@given(st.lists(countable, max_size=8))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_composition_counts(events: list[DpEvent]) -> None:
    check_counts(compose, events)


def test_broken_compositions_are_caught() -> None:
    def forgets_repetitions(events: Sequence[DpEvent]) -> DpEvent:
        return ComposedDpEvent(list({key(event): event for event in events}.values()))

    def keeps_the_order(events: Sequence[DpEvent]) -> DpEvent:
        return ComposedDpEvent(list(events))

    def loses_the_last(events: Sequence[DpEvent]) -> DpEvent:
        return compose(events[:-1])

    run = [GaussianDpEvent(2.0), LaplaceDpEvent(2.0), GaussianDpEvent(2.0)]
    check_counts(compose, run)
    for broken in (forgets_repetitions, keeps_the_order, loses_the_last):
        with pytest.raises(AssertionError):
            check_counts(broken, [*run, GaussianDpEvent(3.0)])


def test_nested_compositions_are_opened_and_multiplied() -> None:
    gaussian, laplace = GaussianDpEvent(2.0), LaplaceDpEvent(3.0)
    nested = SelfComposedDpEvent(
        ComposedDpEvent([SelfComposedDpEvent(gaussian, 3), laplace, NoOpDpEvent(), ComposedDpEvent([gaussian])]), 5
    )
    assert parts(nested) == {key(gaussian): 20, key(laplace): 5}
    assert parts(compose([nested, laplace])) == {key(gaussian): 20, key(laplace): 6}
    assert parts(NoOpDpEvent()) == parts(ComposedDpEvent([])) == Counter()


def test_sampling_and_parts_are_not_opened() -> None:
    """A sampled composition is not a composition of samples, nor is a mixture one."""
    whole = PoissonSampledDpEvent(0.1, ComposedDpEvent([GaussianDpEvent(2.0), LaplaceDpEvent(3.0)]))
    mixture = ParallelDpEvent((0.5, 0.5), (ComposedDpEvent([GaussianDpEvent(2.0)]), NoOpDpEvent()))
    assert parts(ComposedDpEvent([whole, mixture, whole])) == {key(whole): 2, key(mixture): 1}


def test_repeat() -> None:
    assert repeat(GaussianDpEvent(2.0), 1) == GaussianDpEvent(2.0)
    assert repeat(GaussianDpEvent(2.0), 3) == SelfComposedDpEvent(GaussianDpEvent(2.0), 3)


def test_composition_is_canonical() -> None:
    gaussian, laplace = GaussianDpEvent(2), LaplaceDpEvent(3.0)
    one = compose([gaussian, laplace, gaussian])
    other = compose([ComposedDpEvent([laplace, SelfComposedDpEvent(GaussianDpEvent(2.0), 2)])])
    assert key(one) == key(other) == key(compose([one]))
