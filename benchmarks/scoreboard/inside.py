"""Runs inside a peer's own virtual environment: one fit, and everything that came of it, in a folder.

    python -P inside.py peers/dpmm.py --method mst --table table.csv --kinds kinds.json --out folder

It knows the standard library, numpy and pandas, and the adapter that it is given by path (so that a
file called `dpmm.py` does not hide the package of that name). An adapter has

    PACKAGE                                          the peer's distribution
    fit(method, frame, kinds, public, seed, folder)  -> (synthetic rows, facts, model)

where `folder` is where the peer saves what it saves, and `model` is what came back when that was
loaded again (or the fitted object, where the peer has no way to save). Facts are what the peer says of
itself: `domain` (by column: categories, or a lower and an upper bound), `asked` and `reported` epsilon.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import sys
from collections import deque
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_MOST_OBJECTS = 300_000
_MOST_DEPTH = 14
_MOST_VALUES = 400  # longer vectors hold rows or weights, not frequencies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--method", required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--kinds", type=Path, required=True, help="by column: categorical, integer or continuous")
    parser.add_argument("--public", type=Path, help="the domain to declare; without it the peer finds its own")
    parser.add_argument("--seed", type=int, help="without it no source of randomness is touched")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    adapter = _load(options.adapter)
    kinds = json.loads(options.kinds.read_text())
    public = json.loads(options.public.read_text()) if options.public else None
    frame = _read(options.table, kinds)
    folder = options.out / "model"
    folder.mkdir(parents=True, exist_ok=True)
    if options.seed is not None:
        _seed(options.seed)
    synthetic, facts, model = adapter.fit(options.method, frame, kinds, public, options.seed, folder)
    synthetic.to_csv(options.out / "synthetic.csv", index=False)
    write(options.out / "walk.json", json.dumps(walk(model)))
    if not any(path.is_file() for path in folder.rglob("*")):
        _dump(model, options.out / "object.bin")
        facts = {**facts, "saves": False}
    write(options.out / "facts.json", json.dumps({**facts, "version": version(adapter.PACKAGE)}, default=str))


def write(path: Path, text: str) -> None:
    """Write all or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def walk(root: Any) -> dict[str, Any]:
    """Every number, short vector and array's shape that hangs on an object, by its path."""
    found: dict[str, Any] = {"numbers": {}, "vectors": {}, "shapes": {}}
    for path, value in _objects(root):
        if isinstance(value, bool | np.bool_):
            continue
        if isinstance(value, int | float | np.integer | np.floating):
            found["numbers"][path] = float(value)
        elif isinstance(value, np.ndarray):
            found["shapes"][path] = list(value.shape)
            if value.dtype.kind in "iuf" and 0 < value.size <= 4 * _MOST_VALUES and value.ndim <= 2:
                for k, row in enumerate(np.atleast_2d(value)):
                    found["vectors"][f"{path}[{k}]" if value.ndim == 2 else path] = [float(v) for v in row]
        elif isinstance(value, list | tuple | dict):
            items = list(value.values()) if isinstance(value, dict) else list(value)
            found["shapes"][path] = [len(items)]
            if 2 < len(items) <= _MOST_VALUES and all(_is_number(v) for v in items):
                found["vectors"][path] = [float(v) for v in items]
    return found


def _objects(root: Any) -> Iterator[tuple[str, Any]]:
    """Breadth first, so that what is near the top is seen before any limit is reached."""
    seen: set[int] = set()
    keep: list[Any] = []  # no id is given twice while its object lives
    queue: deque[tuple[str, Any, int]] = deque([("", root, 0)])
    while queue and len(keep) < _MOST_OBJECTS:
        path, value, depth = queue.popleft()
        if value is None or isinstance(value, bool | type) or depth > _MOST_DEPTH:
            continue
        if isinstance(value, int | float | np.integer | np.floating | str | bytes):
            yield path, value
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        keep.append(value)
        for name, item in _parts(value):
            queue.append((path + name, item, depth + 1))
        array = _array(value)
        yield path, value if array is None else array


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if _array(value) is not None:
        return
    if isinstance(value, dict):
        yield from ((f"[{key!r}]"[:80], item) for key, item in list(value.items()))
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from ((f"[{k}]", item) for k, item in enumerate(value))
    elif isinstance(value, pd.DataFrame):
        yield from ((f"[{name!r}]", value[name].to_numpy()) for name in value.columns)
    elif isinstance(value, pd.Series | pd.Index):
        yield ".values", value.to_numpy()
    elif not isinstance(value, np.random.RandomState | np.random.Generator) and not callable(value):
        yield from _attributes(value)
    elif hasattr(value, "__self__") or hasattr(value, "__closure__"):
        cells = getattr(value, "__closure__", None) or ()
        yield from ((f"<closure {k}>", cell.cell_contents) for k, cell in enumerate(cells) if _filled(cell))
    else:
        yield from _attributes(value)  # models may be callable


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    try:
        own = dict(vars(value))
    except TypeError:
        own = {}
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if isinstance(name, str) and hasattr(value, name):
                own.setdefault(name, getattr(value, name, None))
    yield from ((f".{name}", item) for name, item in own.items() if not name.startswith("__"))


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, np.ndarray):
        return value
    if type(value).__module__.split(".")[0] in ("torch", "jaxlib", "jax") and hasattr(value, "shape"):
        try:
            return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        except Exception:  # an exotic layout: nothing that this walk could read
            return None
    return None


def _filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _dump(model: Any, path: Path) -> None:
    """The texts and numbers of an object that the peer cannot save, as bytes that can be searched."""
    with path.open("wb") as out:
        for _, value in _objects(model):
            if isinstance(value, str | bytes):
                out.write((value.encode() if isinstance(value, str) else value) + b"\n")
            elif isinstance(value, dict):
                out.write("\n".join(map(str, value)).encode() + b"\n")
            elif isinstance(value, float | np.floating):
                out.write(np.float64(value).tobytes())
            elif isinstance(value, np.ndarray):
                out.write("\n".join(map(str, value.ravel())).encode() if value.dtype == object else value.tobytes())


def _read(path: Path, kinds: dict[str, str]) -> pd.DataFrame:
    frame = pd.read_csv(path)
    for name, kind in kinds.items():
        frame[name] = frame[name].astype({"categorical": object, "integer": np.int64, "continuous": np.float64}[kind])
    return frame[list(kinds)]


def _seed(seed: int) -> None:
    """Every global source that a peer may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    try:
        import torch
    except ImportError:
        return
    torch.manual_seed(seed)


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"adapter_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
