"""Replay finds what leaves outside a mechanism, and every bound that does not hold."""

from __future__ import annotations

import logging
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dp_accounting
import numpy as np
import pandas as pd
import pytest
import torch

from synthkit.audit.neighbours import pairs
from synthkit.audit.programs import fitting
from synthkit.audit.replay import Divergence, Opener, deterministic, flatten, replay
from synthkit.data.schema import Unit
from synthkit.errors import DataError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import DiscreteGaussianDpEvent, ExponentialMechanismDpEvent, repeat
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients, step_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.rows import split
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import method
from tests.tables import private, schema

LEFT = pd.DataFrame({"sex": ["f", "m"] * 5})
RIGHT = pd.concat([LEFT, pd.DataFrame({"sex": ["f"]})], ignore_index=True)
COUNT = Charge(DiscreteGaussianDpEvent(5.0), "count", 1.0, "test", "rows")
OTHER = Charge(DiscreteGaussianDpEvent(7.0), "count", 1.0, "test", "rows again")
PLAN = Plan(
    Budget(1e3, 1e-5),
    dp_accounting.ComposedDpEvent([repeat(COUNT.event, 20), repeat(OTHER.event, 20)]),
)
SHOWN = Path(__file__).relative_to(Path(__file__).parents[2]).as_posix()

Leak = Callable[[int], Mapping[str, Any]]


def answer(session: Session, exact: Any, charge: Charge = COUNT) -> np.ndarray:
    """One mechanism: charge, release."""
    session.charge(charge)
    return session.release(charge, np.atleast_1d(np.asarray(exact, dtype=float)))


def counting(leak: Leak = lambda n: {}) -> Any:
    """A correct program, and one more thing that it does with the number of rows."""

    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        released = answer(open_session(PLAN), len(frame))
        return {"released": released, **leak(len(frame))}

    return program


def where(found: Any) -> set[str]:
    return {divergence.where for divergence in found.divergences}


# What passes


def test_a_correct_program_passes_and_its_bound_is_reached() -> None:
    found = replay(counting(), LEFT, RIGHT)
    assert found.passed and found.divergences == ()
    assert found.tightest == 1.0 and found.parts == (True,)
    (move,) = found.moved
    assert (move.mechanism, move.what, move.norm, move.sensitivity, move.distance) == ("count", "rows", "L2", 1.0, 1.0)
    assert move.site.startswith(f"{SHOWN}:")


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("unit", [Unit(), Unit("person", 3)], ids=["row", "person"])
def test_a_real_method_passes(unit: Unit, adjacency: Adjacency) -> None:
    public = schema(unit=unit, rows=40)
    program = fitting(method("independent"), public, Budget(2.0, 1e-5, adjacency, unit), rows=5)
    chosen = list(pairs(public, adjacency, rows=40))[:3]
    results = [replay(program, pair.left, pair.right) for pair in chosen]
    assert all(found.passed for found in results), results
    assert max(found.tightest for found in results) > 0.9


def test_dp_sgd_passes() -> None:
    public = schema(rows=40)
    plan = Plan(Budget(1e3, 1e-5), repeat(step_event(1.0, 0.5), 3))

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng(devices=[]):
                self.layer = torch.nn.Linear(7, 1)
            torch.nn.init.ones_(self.layer.weight)
            torch.nn.init.zeros_(self.layer.bias)

        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            return self.layer(codes.to(self.layer.weight.dtype)).squeeze(1)

    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        session = open_session(plan)
        gradients = NoisyGradients(
            private(frame, public), session, Linear(), lambda net, codes: net(codes),
            clipping_norm=1.0, noise_multiplier=1.0, sample_rate=0.5,
        )  # fmt: skip
        return {"gradients": [gradients.step() for _ in range(3)]}

    pair = next(iter(pairs(public, Adjacency.ADD_OR_REMOVE, rows=40)))
    results = [replay(program, pair.left, pair.right, seed=seed) for seed in range(3)]
    assert all(found.passed for found in results)
    moved = [[move.distance > 0.99 for move in found.moved] for found in results]
    assert sum(map(sum, moved)) not in (0, 9), "the newcomer joins some steps and not others"


def test_an_error_that_is_the_same_on_both_sides_is_no_divergence() -> None:
    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        raise DataError("the column is not there")

    assert replay(program, LEFT, RIGHT).passed


# What leaves outside mechanisms


def _log(n: int) -> Mapping[str, Any]:
    logging.getLogger("probe").debug("%d rows", n)
    return {}


def _warn(n: int) -> Mapping[str, Any]:
    warnings.warn(f"only {n} rows", UserWarning, stacklevel=1)
    return {}


def _print(n: int) -> Mapping[str, Any]:
    print(n)
    return {}


def _complain(n: int) -> Mapping[str, Any]:
    print(n, file=sys.stderr)
    return {}


def _stop(n: int) -> Mapping[str, Any]:
    if n > 10:
        raise DataError("too many rows")
    return {}


def _crash(n: int) -> Mapping[str, Any]:
    return {"x": [1] * (1 // (n - 10))}  # ZeroDivisionError on the left


def _say(n: int) -> Mapping[str, Any]:
    raise DataError(f"{n} rows")


LEAKS: Mapping[str, tuple[Leak, str]] = {
    "a count in an artefact": (lambda n: {"rows": n}, "artefacts.rows"),
    "its last bit": (lambda n: {"share": 0.1 if n == 10 else np.nextafter(0.1, 1)}, "artefacts.share"),
    "an artefact on one side": (lambda n: {"extra": 1} if n > 10 else {}, "artefacts.extra"),
    "deep inside": (lambda n: {"a": [{"b": (1, np.array([2, n]))}]}, "artefacts.a[0].b[1]"),
    "a log line": (_log, "log[0]"),
    "a warning": (_warn, "warnings[0]"),
    "a print": (_print, "output"),
    "a word on standard error": (_complain, "output"),
    "a refusal on one side": (_stop, "error"),
    "a crash on one side": (_crash, "error"),
    "the words of an error": (_say, "error"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_found_and_named(name: str) -> None:
    leak, place = LEAKS[name]
    found = replay(counting(leak), LEFT, RIGHT)
    assert not found.passed and place in where(found)


def test_a_divergence_shows_no_value() -> None:
    found = replay(counting(lambda n: {"rows": f"secret-{n}"}), LEFT, RIGHT)
    assert "secret" not in " ".join(map(str, found.divergences)) + repr(found)
    assert str(Divergence("a", "differs", "b.py:1")) == "a: differs [b.py:1]"


def test_a_leaked_progress_call_is_found() -> None:
    independent = method("independent")

    class Telling:
        plan = staticmethod(independent.plan)

        @staticmethod
        def fit(data: Any, session: Session, *, progress: Any = None) -> Any:
            from synthkit.data.private import reveal

            model = independent.fit(data, session, progress=progress)
            progress(1.0, f"{reveal(data).rows} rows")
            return model

    public = schema(rows=20)
    program = fitting(Telling(), public, Budget(2.0, 1e-5), rows=5)
    pair = next(iter(pairs(public, Adjacency.ADD_OR_REMOVE, rows=20)))
    found = replay(program, pair.left, pair.right)
    assert any(name.startswith("artefacts.progress") for name in where(found))


def test_a_file_that_is_written_on_one_side_is_found(tmp_path: Path) -> None:
    def write(n: int) -> Mapping[str, Any]:
        if n > 10:
            (tmp_path / "rows").write_text("more")
        return {}

    found = replay(counting(write), LEFT, RIGHT)
    assert any(name.startswith("side effects") for name in where(found))


def test_what_a_file_holds_is_compared(tmp_path: Path) -> None:
    def write(n: int) -> Mapping[str, Any]:
        (tmp_path / "rows").write_text(f"{n}")
        return {}

    assert not replay(counting(write), LEFT, RIGHT).passed
    assert replay(counting(lambda n: write(7)), LEFT, RIGHT).passed


def test_a_process_on_one_side_is_found() -> None:
    import subprocess

    def start(n: int) -> Mapping[str, Any]:
        if n > 10:
            subprocess.run([sys.executable, "-c", ""], check=True)
        return {}

    assert any(name.startswith("side effects") for name in where(replay(counting(start), LEFT, RIGHT)))


def test_replay_leaves_logging_and_output_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers), sys.stdout, sys.gettrace()
    replay(counting(_print), LEFT, RIGHT)
    replay(counting(_crash), LEFT, RIGHT)
    assert (root.level, list(root.handlers), sys.stdout, sys.gettrace()) == before
    assert capsys.readouterr().out == ""


# What mechanisms do


def both(run: Callable[[Session, int], Any]) -> Any:
    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        run(open_session(PLAN), len(frame))
        return {}

    return replay(program, LEFT, RIGHT)


def test_the_number_of_charges_must_not_depend_on_the_data() -> None:
    found = both(lambda session, n: [answer(session, 0) for _ in range(n)])
    assert {"charges[0].length", "mechanisms"} <= where(found)


def test_an_answer_that_is_charged_and_not_released_counts() -> None:
    def run(session: Session, n: int) -> None:
        session.charge(COUNT)
        if n > 10:
            session.release(COUNT, np.zeros(1))

    assert "mechanisms" in where(both(run))


def test_the_order_of_charges_must_not_depend_on_the_data() -> None:
    def run(session: Session, n: int) -> None:
        for charge in (COUNT, OTHER) if n == 10 else (OTHER, COUNT):
            answer(session, 0, charge)

    assert any("charged differently" in d.what for d in both(run).divergences)


@pytest.mark.parametrize("change", ["what", "mechanism", "source", "norm_bound", "norm"])
def test_no_word_of_a_charge_may_depend_on_the_data(change: str) -> None:
    from dataclasses import replace

    value = {"norm_bound": 2.0, "norm": "L1"}.get(change, "another")

    def run(session: Session, n: int) -> None:
        answer(session, 0, COUNT if n == 10 else replace(COUNT, **{change: value}))

    assert any("charged differently" in d.what for d in both(run).divergences)


def test_a_shape_must_not_depend_on_the_data() -> None:
    found = both(lambda session, n: answer(session, np.zeros(n)))
    assert any("another shape" in d.what and d.site.startswith(SHOWN) for d in found.divergences)


def test_the_place_of_a_release_must_not_depend_on_the_data() -> None:
    def run(session: Session, n: int) -> None:
        if n == 10:
            session.charge(COUNT)
            session.release(COUNT, np.zeros(1))
        else:
            session.charge(COUNT)
            session.release(COUNT, np.zeros(1))

    assert any("was released at" in d.what for d in both(run).divergences)


def test_the_number_of_sessions_must_not_depend_on_the_data() -> None:
    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        for _ in range(len(frame) - 9):
            answer(open_session(PLAN), 0)
        return {}

    assert "sessions" in where(replay(program, LEFT, RIGHT))


def test_the_plan_must_not_depend_on_the_data() -> None:
    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        open_session(Plan(PLAN.budget, repeat(COUNT.event, len(frame))))
        return {}

    assert "plans[0]" in where(replay(program, LEFT, RIGHT))


def test_noise_that_no_session_adds_is_no_mechanism() -> None:
    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        return {"noisy": noise.gaussian(np.array([float(len(frame))]), 3.0)}

    assert where(replay(program, LEFT, RIGHT)) == {"artefacts.noisy"}


# Bounds


@pytest.mark.parametrize(
    ("norm", "gap", "distance"),
    [
        ("L1", (0.6, -0.6), 1.2),
        ("L1", (0.5, -0.5), 1.0),
        ("L2", (0.6, -0.6), 0.72**0.5),
        ("L2", (0.8, 0.8), 1.28**0.5),
        ("Linf", (0.8, -1.0), 1.0),
        ("Linf", (0.1, 1.001), 1.001),
    ],
)
@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_an_answer_moves_within_its_bound_in_its_norm(
    norm: Any, gap: tuple[float, float], distance: float, adjacency: Adjacency
) -> None:
    charge = Charge(dp_accounting.GaussianDpEvent(5.0), "sum", 1.0, "test", norm=norm)
    reach = 2.0 if adjacency is Adjacency.REPLACE_ONE else 1.0

    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        session = open_session(Plan(Budget(1e3, 1e-5, adjacency), charge.event))
        moved = np.array(gap) * (len(frame) - 10) * reach  # under replace-one, two radii
        return {"released": answer(session, np.array([3.0, 4.0]) + moved, charge)}

    found = replay(program, LEFT, RIGHT)
    assert found.passed is (distance <= 1)
    assert found.moved[0].distance == pytest.approx(distance * reach)
    assert found.moved[0].sensitivity == reach
    assert found.tightest == pytest.approx(distance)


def test_rounding_is_forgiven_and_nothing_more() -> None:
    for excess, passes in ((1e-12, True), (1e-6, False)):

        def run(session: Session, n: int, excess: float = excess) -> None:
            answer(session, (n - 10) * (1 + excess))

        assert both(run).passed is passes


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_a_bound_that_bounds_nothing_is_an_error(bound: float) -> None:
    charge = Charge(DiscreteGaussianDpEvent(5.0), "count", bound, "test")
    found = both(lambda session, n: answer(session, 0, charge))  # though nothing moved
    assert any("declares no bound" in d.what for d in found.divergences) and not found.passed


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_answer_that_is_not_finite_exceeds_every_bound(value: float) -> None:
    found = both(lambda session, n: answer(session, value if n > 10 else 0.0, Charge(OTHER.event, "x", 1e9, "t")))
    assert any("moved by" in d.what for d in found.divergences)


def test_choices_are_bounded_in_their_scores() -> None:
    event = ExponentialMechanismDpEvent(1.0)
    charge = Charge(event, "choice", 1.0, "test", norm="Linf")
    for factor, passes in ((1.0, True), (1.5, False)):

        def program(
            frame: pd.DataFrame, open_session: Opener, noise: NoiseSource, factor: float = factor
        ) -> Mapping[str, Any]:
            session = open_session(Plan(Budget(1e3, 1e-5), event))
            session.charge(charge)
            scores = np.array([0.0, 0.0, factor * (len(frame) - 10)])
            return {"picked": session.choose(charge, scores)}

        assert all(replay(program, LEFT, RIGHT, seed=seed).passed is passes for seed in range(5))


def test_one_unit_moves_one_part_alone() -> None:
    def program(moves: tuple[int, int]) -> Any:
        def run(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
            for move in moves:
                answer(open_session(PLAN), move * len(frame))
            return {}

        return run

    assert "parts" in where(replay(program((1, 1)), LEFT, RIGHT))
    for moves in ((1, 0), (0, 1), (0, 0)):
        found = replay(program(moves), LEFT, RIGHT)
        assert found.passed and found.parts == tuple(move > 0 for move in moves)


# Frozen releases, coupled coins


def test_released_values_are_frozen() -> None:
    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        session = open_session(PLAN)
        exact = np.array([float(len(frame)), 2.0])
        session.charge(COUNT)
        released = session.release(COUNT, exact)
        shown = released.copy()
        released += 1e6  # whatever a program does with its copy, the recording keeps what was released
        exact += 1e6
        return {"shown": shown, "twice": answer(session, len(frame), OTHER)}

    found = replay(program, LEFT, RIGHT)
    assert found.passed
    (left,), (right,) = found.calls
    for one, two in zip(left, right, strict=True):
        assert one.released.tobytes() == two.released.tobytes()
        assert (one.exact != two.exact).any() and np.abs(one.exact).max() < 1e3
    assert not np.array_equal(left[0].exact[:1], left[0].released[:1])


def test_choices_are_frozen() -> None:
    event = ExponentialMechanismDpEvent(50.0)
    charge = Charge(event, "choice", 1e6, "test", norm="Linf")

    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        session = open_session(Plan(Budget(1e3, 1e-5), event))
        session.charge(charge)
        best = len(frame) - 10  # another one wins on the other side
        return {"picked": session.choose(charge, np.where(np.arange(2) == best, 1e6, 0.0))}

    assert replay(program, LEFT, RIGHT).passed


def test_coins_of_a_unit_do_not_depend_on_how_many_units_there_are() -> None:
    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        session = open_session(PLAN)
        first = noise.coins(len(frame), 0.5)[:10]
        answer(session, len(frame))  # its noise comes from elsewhere, and moves no coin
        second = session.noise.coins(len(frame), 0.3)[:10]
        return {"first": first, "second": second, "words": noise.words(4), "seed": noise.public_seed()}

    found = replay(program, LEFT, RIGHT)
    assert found.passed
    seen = []
    replay(lambda *given: seen.append(program(*given)["first"]) or {}, LEFT, RIGHT, seed=1)
    replay(lambda *given: seen.append(program(*given)["first"]) or {}, LEFT, RIGHT, seed=2)
    assert (seen[0] == seen[1]).all() and (seen[0] != seen[2]).any()


@pytest.mark.parametrize("unit", [Unit(), Unit("person", 2)], ids=["row", "person"])
def test_a_newcomer_moves_nobody_into_another_part(unit: Unit) -> None:
    public = schema(unit=unit, rows=60)

    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        from synthkit.data.private import reveal

        parts = [reveal(part) for part in split(private(frame, public), 0.5, noise)]
        for part in parts:
            answer(open_session(PLAN), part.rows, Charge(COUNT.event, "count", float(unit.max_rows), "test"))
        return {}

    pair = next(iter(pairs(public, Adjacency.ADD_OR_REMOVE, rows=60)))
    results = [replay(program, pair.left, pair.right, seed=seed) for seed in range(8)]
    assert all(found.passed and sum(found.parts) == 1 for found in results)
    assert {found.parts for found in results} == {(True, False), (False, True)}


# A program that differs from itself


def _clock(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
    doubled = 2 * len(frame)
    started = time.perf_counter_ns()
    return {"rows": doubled, "at": started}


def _environment(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
    os.environ["SYNTHKIT_PROBE"] = str(int(os.environ.get("SYNTHKIT_PROBE", "0")) + 1)
    runs = os.environ["SYNTHKIT_PROBE"]
    return {"runs": runs}


def _numpy(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
    label = "drawn"
    drawn = np.random.random(3)
    return {label: drawn}


def _python(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
    label = "drawn"
    drawn = random.random()
    return {label: drawn}


def _torch(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
    label = "drawn"
    drawn = torch.randn(2)
    return {label: drawn}


def _system(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
    label = "drawn"
    drawn = os.urandom(8)
    return {label: drawn}


@pytest.mark.parametrize(
    ("program", "line", "variable"),
    [
        (_clock, 2, "started"),
        (_environment, 2, "runs"),
        (_numpy, 2, "drawn"),
        (_python, 2, "drawn"),
        (_torch, 2, "drawn"),
        (_system, 2, "drawn"),
    ],
    ids=["clock", "environment", "numpy", "python", "torch", "system"],
)
def test_a_program_that_differs_from_itself_is_reported_with_the_line(
    program: Any, line: int, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTHKIT_PROBE", "0")
    found = deterministic(program, LEFT)
    assert found and found[0].site == f"{SHOWN}:{program.__code__.co_firstlineno + line} ({variable})"
    assert sys.gettrace() is None or "coverage" in repr(sys.gettrace())


def test_a_program_that_repeats_itself_is_deterministic() -> None:
    assert deterministic(counting(), LEFT) == ()
    assert deterministic(counting(lambda n: {"drawn": np.random.default_rng(n).random()}), LEFT) == ()


# Comparing


def equal(one: Any, two: Any) -> bool:
    return list(flatten(one)) == list(flatten(two))


def _nan(payload: int) -> float:
    return float(np.array([0x7FF8000000000000 | payload], dtype=np.uint64).view(np.float64)[0])


@dataclass(frozen=True)
class Pair:
    left: Any
    right: Any


LONG = np.zeros(5_000)
ODD = LONG.copy()
ODD[2_500] = 1e-300
DIFFERENT: Mapping[str, tuple[Any, Any]] = {
    "floats that print the same": (np.array([0.1]), np.array([0.1 + 2e-17 + 1e-16])),
    "the middle of a long array": (LONG, ODD),
    "the middle of a long frame": (pd.DataFrame({"x": LONG}), pd.DataFrame({"x": ODD})),
    "the middle of a long tensor": (torch.from_numpy(LONG), torch.from_numpy(ODD)),
    "signs of zero": (0.0, -0.0),
    "signs of zero in arrays": (np.zeros(2), np.array([0.0, -0.0])),
    "signs of zero in frames": (pd.DataFrame({"x": [0.0]}), pd.DataFrame({"x": [-0.0]})),
    "payloads of NaN": (_nan(0), _nan(1)),
    "dtypes": (np.zeros(2, np.float32), np.zeros(2, np.float64)),
    "integers and floats": (1, 1.0),
    "booleans and integers": (True, 1),
    "numbers and texts": (1, "1"),
    "texts and bytes": ("x", b"x"),
    "bytes that look like a text": ("x", b"str 'x'"),
    "bytes that look like a path": (Path("x"), b"x"),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "no rows": (np.zeros((0, 3)), np.zeros((0, 2))),
    "the order of names": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "names that print the same": ({1: 0}, {"1": 0}),
    "lengths": ([1, 2], [1, 2, None]),
    "none and missing": (None, pd.NA),
    "missing and no time": (pd.NA, pd.NaT),
    "moments": (pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-01T00:00:00.000000001")),
    "the order of rows": (pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"x": [2, 1]})),
    "the index of a frame": (pd.DataFrame({"x": [1]}, index=[5]), pd.DataFrame({"x": [1]}, index=[6])),
    "the name of an index": (pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [1]}).rename_axis("y")),
    "unused categories": (
        pd.DataFrame({"x": pd.Categorical(["a"], ["a", "b"])}),
        pd.DataFrame({"x": pd.Categorical(["a"], ["a", "c"])}),
    ),
    "dtypes of a column": (pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [1.0]})),
    "nulls of a column": (
        pd.DataFrame({"x": pd.array([1, None], "Int64")}),
        pd.DataFrame({"x": pd.array([1, 0], "Int64")}),
    ),
    "events": (DiscreteGaussianDpEvent(5.0), DiscreteGaussianDpEvent(5.000001)),
    "fields": (Pair(1, 2), Pair(1, 3)),
    "objects in an array": (np.array([1, "a"], dtype=object), np.array([1, "b"], dtype=object)),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_full_values_are_compared(name: str) -> None:
    one, two = DIFFERENT[name]
    assert equal(one, one) and equal(two, two)
    assert not equal(one, two)


def test_an_attribute_of_a_frame_counts() -> None:
    one, two = pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [1]})
    two.attrs["rows"] = 400
    assert not equal(one, two)


@pytest.mark.parametrize(
    "value",
    [_nan(0), _nan(7), np.array([_nan(7)]), pd.DataFrame({"x": [np.nan, None]}), [None, pd.NA], {}, [], b""],
    ids=repr,
)
def test_equal_values_are_equal(value: Any) -> None:
    import copy

    assert equal(value, copy.deepcopy(value)) and list(flatten(value))


def test_of_two_columns_with_one_name_both_count() -> None:
    def twice(n: int) -> Mapping[str, Any]:
        return {"frame": pd.DataFrame([[n, 0]], columns=["x", "x"])}

    assert not replay(counting(twice), LEFT, RIGHT).passed
    assert not replay(counting(lambda n: {"a": {1: n, "1": 0}}), LEFT, RIGHT).passed
    assert not replay(counting(lambda n: {"a": {"b": n}, "a.b": 0}), LEFT, RIGHT).passed


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, lambda: 0, pd.Series([1]), np.array([{1}], dtype=object), np.ma.masked_array([1], [True]), 1j],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_compared_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be compared in full"):
        list(flatten({"a": [value]}))
    with pytest.raises(TypeError, match=r"artefacts\.x"):
        replay(counting(lambda n: {"x": value}), LEFT, RIGHT)
