"""Nobody looks into Private, and only synthkit.privacy opens it."""

from __future__ import annotations

import ast
import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import synthkit
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Categorical, Identifier, Integer, Schema, Unit
from synthkit.errors import PrivateAccess, SchemaError

PACKAGE = Path(synthkit.__file__).parent
SCHEMA = Schema(name="people", columns={"a": Categorical(categories=("x",))}, rows=10)


@pytest.fixture
def box(planted: str) -> Private[list[str]]:
    return Private([planted], dataset="people-2024", schema=SCHEMA)


WAYS: dict[str, Callable[[Any], object]] = {
    "len": len,
    "iter": iter,
    "list": list,
    "next": lambda box: next(iter(box)),
    "bool": bool,
    "item": lambda box: box[0],
    "contains": lambda box: "x" in box,
    "equal": lambda box: box == [],
    "unequal": lambda box: box != [],
    "less": lambda box: box < [],
    "less or equal": lambda box: box <= [],
    "greater": lambda box: box > [],
    "greater or equal": lambda box: box >= [],
    "pickle": pickle.dumps,
    "old pickle": lambda box: pickle.dumps(box, protocol=0),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "state": lambda box: box.__getstate__(),
    "dir": dir,
    "array": np.asarray,
    "array of objects": lambda box: np.array(box, dtype=object),
    "unpacking": lambda box: [*box],
    "json of its items": lambda box: json.dumps(list(box)),
    "json with a default": lambda box: json.dumps(box, default=list),
    "reversed": lambda box: reversed(box),
    "interchange": lambda box: box.__dataframe__(),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_looking_in_is_refused(way: str, box: Private[list[str]], refusal: Callable[..., str]) -> None:
    assert "people-2024" in refusal(lambda: WAYS[way](box), PrivateAccess)


@pytest.mark.parametrize("way", [json.dumps, vars, pd.DataFrame, lambda box: f"{box:>10}", lambda box: box.columns])
def test_what_python_itself_refuses_shows_nothing(way: Callable[..., object], box: Any, planted: str) -> None:
    with pytest.raises((PrivateAccess, TypeError, ValueError, AttributeError)) as caught:
        way(box)
    assert planted not in str(caught.value)


def test_words_about_it_are_public(box: Private[list[str]], planted: str) -> None:
    for text in (repr(box), str(box), f"{box}", f"{box!r}", f"{[box]}", "%s" % box):  # noqa: UP031
        assert "people-2024" in text
        assert planted not in text


def test_it_can_be_handed_around(box: Private[list[str]], planted: str) -> None:
    assert {box: 1}[box] == 1  # by identity
    assert box.schema is SCHEMA
    assert reveal(box) == [planted]


def test_another_schema_may_code_it_otherwise_and_nothing_else() -> None:
    columns = {"id": Identifier(), "a": Categorical(categories=("x", "y")), "b": Integer(min=0, max=9)}
    schema = Schema(name="s", columns=columns, rows=10, unit=Unit("id", 2))
    box = Private([1], dataset="d", schema=schema, bounded=True)
    other = replace(
        schema, columns={**columns, "a": replace(columns["a"], rare=("y",)), "b": replace(columns["b"], bins=2)}
    )
    seen = box.under(other)
    assert seen.schema is other and seen.bounded and reveal(seen) is reveal(box)
    assert not Private([1], dataset="d", schema=schema).under(other).bounded
    for wrong in (
        replace(schema, unit=Unit("id", 3)),
        replace(schema, unit=Unit()),
        replace(schema, columns={**columns, "b": Integer(min=0, max=8)}),
        replace(schema, columns={**columns, "a": Categorical(categories=("y", "x"))}),
        replace(schema, columns={name: columns[name] for name in ("id", "b", "a")}),
    ):
        with pytest.raises(SchemaError, match="the columns and the unit"):
            box.under(wrong)


def test_only_privacy_opens_it() -> None:
    """Reads every file of the package: who imports reveal, or reaches for the value itself?"""
    openers = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name != "data/private.py" and _opens(ast.parse(path.read_text())):
            openers.add(name)
    assert {name for name in openers if not name.startswith("privacy/")} == set()


@pytest.mark.parametrize(
    "code",
    [
        "from synthkit.data.private import Private, reveal",
        "from synthkit.data.private import *",
        "from synthkit.data import private\nprivate.reveal(box)",
        "import synthkit.data.private as p\np.reveal(box)",
        "box._Private__value",
        "getattr(box, '_Private__value')",
        "getattr(private, 'reveal')(box)",
        "from .private import reveal",
    ],
)
def test_the_reader_of_imports_can_fail(code: str) -> None:
    assert _opens(ast.parse(code))


def _opens(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if (node.module or "").endswith("private") and {alias.name for alias in node.names} & {"reveal", "*"}:
                return True
        elif (getattr(node, "attr", None) or getattr(node, "value", None)) in ("reveal", "_Private__value"):
            return True
    return False
