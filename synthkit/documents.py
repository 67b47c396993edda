"""The files that people write (YAML) and machines write (JSON), read strictly.

YAML is read as YAML 1.2 would: only ``true`` and ``false`` are booleans, so a category named
``no`` or ``on`` stays a string. Keys are text, as in JSON: a column may be called ``2020``.
Duplicate keys are refused: the parser would silently keep the last one. So are aliases (``*name``):
a few lines of them can stand for billions of values. Writing is atomic: a reader sees the old file or
the new one, never a half.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

import yaml

from synthkit.errors import InputError


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader without YAML 1.1's surprises."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node that is written out; an alias is none."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias (*name) is not read; write the value out", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_add = _StrictLoader.add_implicit_resolver


_add("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_add("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_add(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, f"line {line}: a key must be a plain word")
        key = str(key_node.value)
        if key in mapping:
            raise yaml.constructor.ConstructorError(
                None, None, f"line {line}: the key {key!r} appears twice (first on line {lines[key]}); keep one"
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
        lines[key] = line
    return mapping


def _integer(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if len(text) > 300:  # no float is as large, and everything that is computed here goes through floats
        line = node.start_mark.line + 1
        raise yaml.constructor.ConstructorError(None, None, f"line {line}: a number of {len(text)} digits; at most 300")
    return int(text)  # 010 is ten, not eight


# What JSON has, and nothing else: a tag such as !!binary or !!timestamp is an error.
_StrictLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.endswith((":null", ":bool", ":float", ":seq", ":str"))
}
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_yaml(text: str, *, source: str, error: type[InputError] = InputError) -> dict[str, Any]:
    """Parse one YAML document that must be a mapping.

    Args:
        text: the document.
        source: its name, for messages.
        error: the kind of error to raise.
    """
    try:
        document = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (derives from SafeLoader)
    except yaml.YAMLError as problem:
        raise error(f"{source}: not valid YAML: {_brief(problem)}") from None
    except (KeyError, ValueError, RecursionError):  # an explicit tag that its value does not fit, or absurd nesting
        raise error(f"{source}: not valid YAML: a value does not fit its tag, or the nesting is too deep") from None
    if not isinstance(document, dict):
        raise error(f"{source}: expected a mapping of settings (key: value), got {_kind(document)}")
    return document


def yaml_lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line on which each value starts, by the keys and positions that lead to it.

    Args:
        text: a document that :func:`parse_yaml` reads.
    """
    lines: dict[tuple[str | int, ...], int] = {}

    def walk(node: yaml.Node, path: tuple[str | int, ...]) -> None:
        lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, (*path, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                walk(value, (*path, position))

    if (root := yaml.compose(text, Loader=_StrictLoader)) is not None:
        walk(root, ())
    return lines


def read_yaml(path: Path, *, error: type[InputError] = InputError) -> dict[str, Any]:
    """Read and parse a YAML file; see :func:`parse_yaml`."""
    return parse_yaml(read_text(path, error=error), source=str(path), error=error)


def read_text(path: Path, *, error: type[InputError] = InputError) -> str:
    """Read a UTF-8 text file, with an error that says which file and what to do."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise error(
            f"{path}: no such file; check the path (relative paths start at the file that names them)"
        ) from None
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not UTF-8 (byte {problem.start}); save it as UTF-8") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from None


def validate(document: Mapping[str, Any], schema_name: str, *, source: str, error: type[InputError]) -> None:
    """Check ``document`` against one of the packaged JSON Schemas.

    Args:
        document: plain JSON values.
        schema_name: ``"package/file"`` under ``synthkit``, e.g. ``"data/schema.v1.json"``.
        source: the document's name, for messages.
        error: the kind of error to raise; all problems are listed, at most ten.
    """
    import jsonschema

    problems = sorted(_validator(schema_name).iter_errors(document), key=lambda p: [str(x) for x in p.absolute_path])
    if not problems:
        return
    lines = []
    for problem in problems[:10]:
        deepest = _deepest(jsonschema.exceptions.best_match([problem]) or problem, json_schema(schema_name))
        where = ".".join(str(part) for part in deepest.absolute_path) or "(top)"
        lines.append(f"  {where}: {_told(deepest, json_schema(schema_name))}")
    more = f"\n  ... and {len(problems) - 10} more" if len(problems) > 10 else ""
    raise error(f"{source} does not follow {schema_name}:\n" + "\n".join(lines) + more)


def _deepest(problem: Any, root: Mapping[str, Any]) -> Any:
    """Among several allowed forms, the problem with the one that was probably meant; or ``problem``."""
    while problem.validator == "oneOf":
        forms: dict[int, list[Any]] = {}
        for inner in problem.context:
            forms.setdefault(inner.schema_path[0], []).append(inner)
        meant = {
            number: len(
                set(problem.instance) & set(_resolved(problem.validator_value[number], root).get("properties", {}))
            )
            for number in forms
            if isinstance(problem.instance, dict)
        }
        if not any(meant.values()):
            return problem
        problem = forms[max(meant, key=lambda number: (meant[number], -number))][0]
    return problem


def _told(problem: Any, root: Mapping[str, Any]) -> str:
    """A problem for people. Of what was written, single words are quoted, and never a URL: it may hold a password."""
    instance, wanted = problem.instance, problem.validator_value
    if problem.validator == "oneOf":
        forms = "; ".join(_form(_resolved(form, root)) for form in wanted)
        return f"{_quoted(instance)} is none of what may stand here: {forms}"
    message = _quoted(instance) + str(problem.message).removeprefix(repr(instance))
    if problem.validator == "additionalProperties":
        return f"{str(problem.message)[:300]}; known are {', '.join(problem.schema['properties'])}"
    if problem.validator == "const":
        return f"{_quoted(instance)} stands where {_quoted(wanted)} was expected"
    if problem.validator == "required":
        return str(problem.message)
    return message[:300]


def _quoted(value: Any) -> str:
    if isinstance(value, (dict, list)) or (isinstance(value, str) and "://" in value):
        return "what is written" if isinstance(value, str) else _kind(value)
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing (it is empty)"
    return {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}.get(type(value), "a number")


def _form(form: Mapping[str, Any]) -> str:
    if "const" in form:
        return str(form["const"])
    if "enum" in form:
        return " or ".join(map(str, form["enum"]))
    if form.get("type") == "object":
        return f"a mapping with {' and '.join(form['required'])}" if form.get("required") else "a mapping"
    kind = form.get("type", "what its description says")
    kinds = [kind] if isinstance(kind, str) else kind
    told = {"array": "a list", "integer": "a whole number", "string": "text", "null": "nothing"}
    return " or ".join(told.get(name, name) for name in kinds)


def _resolved(form: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """An allowed form written out, where it stands as a reference into its own schema (``#/$defs/name``)."""
    while "$ref" in form:
        target: Any = root
        for step in str(form["$ref"]).removeprefix("#/").split("/"):
            target = target[step]
        form = {**target, **{name: value for name, value in form.items() if name != "$ref"}}
    return form


def json_schema(name: str) -> dict[str, Any]:
    """The packaged JSON Schema ``name``, for editors and for checks."""
    loaded: dict[str, Any] = json.loads(resources.files("synthkit").joinpath(name).read_text("utf-8"))
    return loaded


@cache
def _validator(name: str) -> Any:
    import jsonschema

    # JSON Schema takes 16.0 for an integer, Python does not: an integer must be written as one.
    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    extend: Any = jsonschema.validators.extend
    return extend(base, type_checker=types)(json_schema(name))


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN. Used where text is compared or hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``content`` so that no reader ever sees a part of it, even after a crash."""
    with replacing(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes take the place of ``path`` once all are written and safe on the disk."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o666 & ~umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def completing(folder: Path, *, mode: int | None = None) -> Iterator[Path]:
    """A folder that takes the name ``folder`` once all is in it; ``mode``: who may read it then, None: as usual."""
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield partial
        partial.chmod(0o777 & ~umask() if mode is None else mode)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def umask() -> int:
    """What new files may not be, by default."""
    current = os.umask(0)
    os.umask(current)
    return current


def _brief(problem: yaml.YAMLError) -> str:
    mark = getattr(problem, "problem_mark", None)
    text = getattr(problem, "problem", None) or str(problem).splitlines()[0]
    return f"line {mark.line + 1}: {text}" if mark else str(text)


__all__ = [
    "canonical_json",
    "completing",
    "json_schema",
    "parse_yaml",
    "read_text",
    "read_yaml",
    "replacing",
    "validate",
    "write_atomically",
    "yaml_lines",
]
