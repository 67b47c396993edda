"""Record and replay: does anything leave but through a mechanism, and is every mechanism's bound true?

After "Re:cord-play" (arXiv:2602.17454). A program runs on a table and every mechanism's exact answer
and released value are recorded. It runs again on a neighbour, and every mechanism is made to release
what it released before. Then

    outside mechanisms  everything is bit-identical: charges and their order, shapes, progress,
                        logs, warnings, prints, files, saved models, samples, errors
    at every mechanism  the exact answers differ by no more than the declared sensitivity,
                        in the declared norm, for the budget's adjacency

A deterministic check: it needs no statistics, finds an error of a factor two as surely as a missing
noise, and says where. It does not look at the noise itself (``bounds.py`` and ``canaries.py`` do).

Coins (Poisson sampling, holdouts) come from a coupled source: every draw has a stream of its own, so
that the i-th unit has the same coin in both runs, as the proof of a sampled mechanism has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthkit.errors import SynthkitError
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOLERANCE = 1 + 1e-9  # rounding of a float comparison, not a gift
_EVENTS = ("open", "socket.connect", "sqlite3.connect", "subprocess.Popen", "os.rename", "os.remove", "os.mkdir")
_PACKAGE = Path(__file__).parents[1]
_MOST_STEPS = 300_000  # lines watched where a program differs from itself

Opener = Callable[[Plan], Session]
Program = Callable[[pd.DataFrame, Opener, NoiseSource], Mapping[str, Any]]


@dataclass(frozen=True)
class Call:
    """One answer at one mechanism.

    Attributes:
        charge: what it was charged.
        exact: the exact answer: private.
        released: what was given out.
        sensitivity: how far a neighbour may move the exact answer, by its declaration.
        site: where in the code it was released.
    """

    charge: Charge
    exact: NDArray[np.float64]
    released: NDArray[np.float64]
    sensitivity: float
    site: str


@dataclass(frozen=True)
class Moved:
    """How far the neighbour moved one mechanism's exact answer."""

    mechanism: str
    what: str
    norm: str
    sensitivity: float
    distance: float
    site: str


@dataclass(frozen=True)
class Divergence:
    """One way in which the two runs differ that the guarantee does not cover.

    Attributes:
        where: which artefact, log or mechanism.
        what: how they differ; never a value.
        site: the place in the code, where it is known.
    """

    where: str
    what: str
    site: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" [{self.site}]" if self.site else "")


@dataclass(frozen=True)
class Replayed:
    """What a replay found.

    Attributes:
        divergences: empty where the two runs cannot be told apart outside mechanisms, and every
            bound held.
        moved: every mechanism's answer, in order.
        parts: for every session, whether any of its answers moved.
        calls: every answer of both runs, session by session: (left, right).
    """

    divergences: tuple[Divergence, ...]
    moved: tuple[Moved, ...]
    parts: tuple[bool, ...]
    calls: tuple[list[list[Call]], list[list[Call]]] = field(repr=False)

    @property
    def passed(self) -> bool:
        """No violation was found. (That is not a proof that there is none.)"""
        return not self.divergences

    @property
    def tightest(self) -> float:
        """The largest share of its declared sensitivity that any answer moved by."""
        return max((move.distance / move.sensitivity for move in self.moved if move.sensitivity > 0), default=0.0)


def replay(program: Program, left: pd.DataFrame, right: pd.DataFrame, *, seed: int = 0) -> Replayed:
    """Run ``program`` on ``left``, then on its neighbour ``right`` with released values frozen.

    Args:
        program: reads a table, opens sessions for plans by the function that it is given (and for
            the noise that splits and samples, uses the source that it is given), and returns what
            it would give out, by name: models, tables, bytes, numbers.
        left, right: neighbouring tables.
        seed: of the coupled coins.

    Returns:
        what diverged and how far every answer moved. Errors that the program raises are compared,
        too; an error on both sides that is the same to the letter is no divergence.
    """
    first = _run(program, left, _Recorder(seed))
    second = _run(program, right, _Recorder(seed, first.calls))
    found = [*_compare_calls(first.calls, second.calls), *_compare(first.seen, second.seen)]
    moved = tuple(_moves(first.calls, second.calls))
    found += [
        Divergence(f"mechanism {move.mechanism} ({move.what})", text, move.site)
        for move in moved
        if (text := _broken(move))
    ]
    parts = tuple(
        any(move.distance > 0 for move in _moves([calls], [others]))
        for calls, others in zip(first.calls, second.calls, strict=False)
    )
    if sum(parts) > 1:
        found.append(Divergence("parts", "one unit moved answers of several parts that are priced as disjoint"))
    return Replayed(tuple(found), moved, parts, (first.calls, second.calls))


def deterministic(program: Program, data: pd.DataFrame, *, seed: int = 0) -> tuple[Divergence, ...]:
    """What differs between two runs on the *same* table: a clock, the environment, a global random state.

    A program that differs from itself cannot be told from one that leaks: it is not replayable, and
    not passed. The first divergence names the line after which a variable differed.
    """
    found = replay(program, data, data.copy(), seed=seed).divergences
    if not found:
        return ()
    site = _first_differing_line(program, data, seed)
    return tuple(Divergence(d.where, d.what, site or d.site) for d in found)


# Running


@dataclass
class _Seen:
    calls: list[list[Call]]
    seen: dict[str, Any] = field(default_factory=dict)


class _Coupled(NoiseSource):
    """Every draw has a stream of its own: the first n words do not depend on how many more are drawn."""

    def __init__(self, seed: int) -> None:
        super().__init__(test_seed=seed)
        self._seed, self._draws = seed, 0

    def words(self, size: int) -> NDArray[np.uint64]:
        self._draws += 1
        self._restart(hashlib.sha256(f"{self._seed}/{self._draws}".encode()).digest())
        return super().words(size)


class _Recorder:
    """Opens sessions that record, or that replay what another recorder holds."""

    def __init__(self, seed: int, frozen: Sequence[Sequence[Call]] | None = None) -> None:
        self.noise = _Coupled(seed)
        self.frozen = frozen
        self.sessions: list[_Watched] = []

    def open(self, plan: Plan) -> Session:
        k = len(self.sessions)
        frozen = None if self.frozen is None else self.frozen[k] if k < len(self.frozen) else ()
        session = _Watched(plan, self.noise, frozen)
        self.sessions.append(session)
        return session


class _Watched(Session):
    """A session whose releases are recorded and, where a recording is given, repeated."""

    def __init__(self, plan: Plan, noise: NoiseSource, frozen: Sequence[Call] | None) -> None:
        super().__init__(plan, noise=noise)
        self._frozen = frozen
        self._private = NoiseSource(test_seed=1)  # noise of its own: the coupled source is for coins
        self.calls: list[Call] = []

    def release(self, charge: Charge, exact: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._watch(charge, exact, lambda: super(_Watched, self).release(charge, exact))

    def choose(self, charge: Charge, scores: NDArray[np.float64], rules: Sequence[Callable[[int], bool]] = ()) -> int:
        def draw() -> NDArray[np.float64]:
            return np.array([super(_Watched, self).choose(charge, scores, rules)], dtype=np.float64)

        return int(self._watch(charge, scores, draw)[0])

    def _watch(
        self, charge: Charge, exact: NDArray[np.float64], draw: Callable[[], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        k, coins = len(self.calls), self.noise
        self.noise = self._private
        try:
            released = draw()  # also where it is not used: a session's own checks run in both runs
        finally:
            self.noise = coins
        if self._frozen is not None and k < len(self._frozen) and self._frozen[k].released.shape == released.shape:
            released = self._frozen[k].released.copy()
        allowed = charge.sensitivity(self.plan.budget.adjacency)
        self.calls.append(Call(charge, np.array(exact, dtype=np.float64), released.copy(), allowed, _site()))
        return released


def _run(program: Program, data: pd.DataFrame, recorder: _Recorder) -> _Seen:
    seen: dict[str, Any] = {}
    log, out, steps = _Log(), io.StringIO(), []
    tempfile.gettempdir()  # probes folders by writing to them, once in a process
    root = logging.getLogger()
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            _side_effects() as effects,
        ):
            warnings.simplefilter("always")
            try:
                seen["artefacts"] = program(data, recorder.open, recorder.noise)
            except SynthkitError as problem:
                seen["error"] = f"{type(problem).__name__}: {problem}"
            except Exception as problem:  # a crash is compared as well, wherever it came from
                last = traceback.extract_tb(problem.__traceback__)[-1]
                seen["error"] = f"{type(problem).__name__}: {problem}"
                steps.append(f"{_short(last.filename)}:{last.lineno}")
    finally:
        root.removeHandler(log)
        root.setLevel(level)
    seen |= {
        "log": log.lines,
        "warnings": [f"{w.category.__name__}: {w.message} ({_short(w.filename)}:{w.lineno})" for w in warned],
        "output": out.getvalue(),
        "side effects": effects,
        "crash": steps,
        "charges": [[charge.to_dict() for charge in session.trace] for session in recorder.sessions],
        "plans": [session.plan.event for session in recorder.sessions],
    }
    return _Seen([session.calls for session in recorder.sessions], seen)


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.levelname} {record.getMessage()}")


_active: list[tuple[list[str], dict[str, None]]] = []  # what was noted, and the files that were written


def _audit_hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _active or event not in _EVENTS or _is_importing():
        return
    if event == "open":
        path, mode = arguments[0], str(arguments[1] or "")
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        writes = any(c in mode for c in "wax+") or bool(flags & 0x3)
        if writes:
            noted, written = _active[-1]
            noted.append(f"writes {_kind_of_path(path)}")
            if not isinstance(path, int):
                written[os.path.abspath(os.fsdecode(path))] = None
    else:
        place = _kind_of_path(arguments[0]) if event.startswith(("os.", "sqlite3.")) else ""
        _active[-1][0].append(f"{event} {place}".strip())


_hooked = False


@contextlib.contextmanager
def _side_effects() -> Iterator[list[str]]:
    """Files written (with what they hold in the end), processes started, connections made."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_audit_hook)  # cannot be taken away again; silent while nobody listens
        _hooked = True
    noted: list[str] = []
    written: dict[str, None] = {}
    _active.append((noted, written))
    try:
        yield noted
    finally:
        _active.pop()
        for path in map(Path, written):
            if path.is_file():
                noted.append(f"{_kind_of_path(path)} holds {hashlib.sha256(path.read_bytes()).hexdigest()}")


def _is_importing() -> bool:
    """A module's first import writes caches and probes folders; it happens once, in either run."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _kind_of_path(path: object) -> str:
    """A file's place, without the random part of temporary names."""
    if isinstance(path, int):
        return "a descriptor"
    text = str(path)
    return "a temporary file" if "tmp" in text or Path(text).name.startswith(".") else text


def _site() -> str:
    """The innermost place outside this module and the session: the mechanism's caller is above it."""
    here = {__file__, str(_PACKAGE / "privacy" / "session.py")}
    for frame in reversed(traceback.extract_stack()):
        if frame.filename not in here:
            return f"{_short(frame.filename)}:{frame.lineno}"
    return ""


def _short(filename: str) -> str:
    try:
        return str(Path(filename).relative_to(_PACKAGE.parent))
    except ValueError:
        return Path(filename).name


# Comparing


def _compare_calls(left: list[list[Call]], right: list[list[Call]]) -> Iterator[Divergence]:
    if len(left) != len(right):
        yield Divergence("sessions", f"{len(left)} were opened on one side, {len(right)} on the other")
    for ours, theirs in zip(left, right, strict=False):
        for k, (one, two) in enumerate(zip(ours, theirs, strict=False)):
            name = f"mechanism {k + 1}, {one.charge.mechanism} ({one.charge.what})"
            if one.charge != two.charge:
                yield Divergence(name, "was charged differently", two.site)
            if one.exact.shape != two.exact.shape:
                yield Divergence(name, "its answer has another shape", two.site)
            if one.site != two.site:
                yield Divergence(name, f"was released at {one.site} on one side", two.site)
        if len(ours) != len(theirs):
            odd = max(ours, theirs, key=len)[min(len(ours), len(theirs))]
            yield Divergence("mechanisms", "more answers were released on one side", odd.site)


def _moves(left: list[list[Call]], right: list[list[Call]]) -> Iterator[Moved]:
    for ours, theirs in zip(left, right, strict=False):
        for one, two in zip(ours, theirs, strict=False):
            if one.exact.shape != two.exact.shape:
                continue
            charge = one.charge
            gap = (one.exact - two.exact).ravel()
            order = {"L1": 1, "L2": 2, "Linf": np.inf}[charge.norm]
            distance = float(np.linalg.norm(gap, order)) if gap.size else 0.0
            yield Moved(charge.mechanism, charge.what, charge.norm, one.sensitivity, distance, two.site)


def _broken(move: Moved) -> str:
    if not (np.isfinite(move.sensitivity) and move.sensitivity > 0):
        return "declares no bound"
    if not move.distance <= move.sensitivity * _TOLERANCE:
        return f"its exact answer moved by {move.distance:.6g} ({move.norm}), and {move.sensitivity:.6g} is declared at most"
    return ""


def _compare(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Divergence]:
    ours, theirs = _gathered(left), _gathered(right)
    found = [Divergence(name, "exists on one side alone") for name in sorted(ours.keys() ^ theirs.keys())]
    found += [Divergence(name, "differs") for name in ours if name in theirs and ours[name] != theirs[name]]
    return found


def _gathered(value: Any) -> dict[str, list[bytes]]:
    """Leaves by name; those of one name (two columns that are called the same, say) all count."""
    found: dict[str, list[bytes]] = {}
    for where, leaf in flatten(value):
        found.setdefault(where, []).append(leaf)
    return found


def flatten(value: Any, where: str = "") -> Iterator[tuple[str, bytes]]:
    """A value as named leaves of bytes: equal where, and only where, the full values are bit-identical.

    Arrays, tensors and frames enter with dtype, shape and all their bytes, floats with their bits, so
    that no printed form hides a difference.

    Raises:
        TypeError: a value of a kind whose equality is not known here. Nothing is passed over.
    """
    match value:
        case None | bool() | int() | str():
            yield where, f"{type(value).__name__} {value!r}".encode()
        case float():
            yield where, b"float " + np.float64(value).tobytes()
        case bytes():
            yield where, b"bytes " + value
        case Path():
            yield where, f"path {value}".encode()
        case np.ma.MaskedArray():
            raise TypeError(f"{where}: two masked arrays cannot be compared in full; return arrays or bytes")
        case np.ndarray() if value.dtype == object:
            yield where, f"array {value.shape}".encode()
            for k, item in enumerate(value.ravel().tolist()):
                yield from flatten(item, f"{where}[{k}]")
        case np.ndarray() | np.generic():
            array = np.asarray(value)
            yield where, f"array {array.dtype} {array.shape} ".encode() + array.tobytes()
        case pd.DataFrame():
            yield from flatten(value.index.to_numpy(dtype=object), f"{where}.index")
            yield f"{where}.names", repr([*value.index.names, *value.columns]).encode()
            yield from flatten(value.attrs, f"{where}.attrs")
            for k, name in enumerate(value.columns):
                kind = value.iloc[:, k].dtype
                yield f"{where}[{name}].dtype", str(kind).encode()
                if isinstance(kind, pd.CategoricalDtype):  # unused categories count as well
                    yield from flatten(kind.categories.to_numpy(dtype=object), f"{where}[{name}].categories")
                yield from flatten(value.iloc[:, k].to_numpy(dtype=object), f"{where}[{name}]")
        case Mapping():
            yield f"{where}.names", repr(list(value)).encode()
            for name, item in value.items():
                yield from flatten(item, f"{where}.{name}" if where else str(name))
        case list() | tuple():
            yield f"{where}.length", str(len(value)).encode()
            for k, item in enumerate(value):
                yield from flatten(item, f"{where}[{k}]")
        case pd.Timestamp() | np.datetime64():
            yield where, str(value).encode()
        case _ if value is pd.NA or value is pd.NaT:
            yield where, repr(value).encode()
        case _ if is_dataclass(value) and not isinstance(value, type):
            for item in fields(value):
                yield from flatten(getattr(value, item.name), f"{where}.{item.name}")
        case _ if type(value).__module__.startswith("dp_accounting") or type(value).__module__.endswith(
            "privacy.events"
        ):
            from synthkit.privacy.events import key

            yield where, key(value).encode()
        case _ if hasattr(value, "detach"):
            yield from flatten(value.detach().cpu().numpy(), where)
        case _:
            raise TypeError(f"{where}: two {type(value).__name__} cannot be compared in full; return arrays or bytes")


# Which line


class _Steps:
    """Every line that runs outside the mechanisms and the libraries, with what its variables hold."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, tuple[tuple[str, bytes], ...]]] = []

    def __call__(self, frame: Any, event: str, _: object) -> Any:
        file = frame.f_code.co_filename
        if not _is_watched(file):
            return None
        if event in ("line", "return") and len(self.taken) < _MOST_STEPS:
            held = tuple(
                (name, digest)
                for name, value in sorted(frame.f_locals.items())
                if (digest := _digest(value)) is not None
            )
            self.taken.append((f"{_short(file)}:{frame.f_lineno}", held))
        return self


def _is_watched(file: str) -> bool:
    if "site-packages" in file or file.startswith((sys.base_prefix, "<")):
        return False
    inside = Path(file)
    return not any(folder in inside.parents for folder in (_PACKAGE / "privacy", _PACKAGE / "audit"))


def _digest(value: object) -> bytes | None:
    """What a variable holds, where it is a plain value; None for everything else."""
    if isinstance(value, (bool, int, float, str, bytes, np.ndarray, np.generic)) or hasattr(value, "detach"):
        try:
            return hashlib.sha256(b"".join(leaf for _, leaf in flatten(value))).digest()
        except (TypeError, RuntimeError):
            return None
    return None


def _first_differing_line(program: Program, data: pd.DataFrame, seed: int) -> str:
    """The last line that ran before two runs on the same table differed in where they were or what they held."""
    runs: list[list[tuple[str, tuple[tuple[str, bytes], ...]]]] = []
    frozen: Sequence[Sequence[Call]] | None = None
    before = sys.gettrace()
    for _ in range(2):
        steps = _Steps()
        sys.settrace(steps)
        try:
            frozen = _run(program, data.copy(), _Recorder(seed, frozen)).calls
        finally:
            sys.settrace(before)
        runs.append(steps.taken)
    last = ""
    for one, two in zip(*runs, strict=False):
        if one != two:
            names = [name for (name, held), (_, other) in zip(one[1], two[1], strict=False) if held != other]
            return last + (f" ({', '.join(names)})" if names else "")
        last = one[0]
    return ""


__all__ = [
    "Call",
    "Divergence",
    "Moved",
    "Opener",
    "Program",
    "Replayed",
    "deterministic",
    "flatten",
    "replay",
]
