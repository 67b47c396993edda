"""What a method is, what a model is, and the list of methods."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
import pandas as pd

from synthkit.data.encoding import Table, discretize, from_frame, to_frame, undiscretize
from synthkit.data.image_schema import ImageSchema
from synthkit.data.private import Private
from synthkit.data.repair import repaired, unsolvable
from synthkit.data.schema import Categorical, Column, Continuous, Datetime, Identifier, Integer, Numeric, Schema
from synthkit.documents import write_atomically
from synthkit.errors import DataError, InputError, JobError, MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.locked import Place, place, write_into

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL_VERSION = 1
_FUTILE = 200  # rejection sampling gives up after so many draws a wanted row

Progress = Callable[[float, str], None]  # share done in [0, 1], what is being done


def silent(_share: float, _what: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Synthetic:
    """Synthetic rows.

    Attributes:
        frame: values as users know them.
        codes: the same rows as codes (n, d) of the schema's modelled columns.
    """

    frame: pd.DataFrame
    codes: NDArray[np.int32]


class Model(Protocol):
    """Released values only: whatever it does is post-processing, and free."""

    @property
    def schema(self) -> Schema:
        """The public schema that it was fitted under."""

    @property
    def marginals(self) -> tuple[NoisyMarginal, ...]:
        """Noisy marginals that were released on the way; empty where there are none."""

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """``n`` synthetic rows, optionally all with ``where``'s values.

        Args:
            n: how many, 0 or more.
            where: column to value.
            seed: reproducible draws. Harmless: the model is already released.
        """

    def save(self, folder: Place) -> None:
        """Write safetensors and JSON into ``folder``, which must not exist."""


Score = Callable[["NDArray[np.int32]"], "NDArray[np.float64]"]  # codes (n, d) to (n,), each from its own row


@dataclass(frozen=True)
class Discriminator:
    """A trained discriminator as functions of codes: released values alone.

    Attributes:
        schema: whose codes it scores.
        pushed: the score that it gave rows before the generator learnt from it: what training pushed on.
        left: the score that it gives rows now: what it still sees.
        held: the column that rows were drawn for, and that stays fixed; or None.
        draw: how many, seed; to codes (n, d) of synthetic rows.
    """

    schema: Schema
    pushed: Score
    left: Score
    held: str | None
    draw: Callable[[int, int], NDArray[np.int32]]


def discriminator_of(model: object) -> Discriminator | None:
    """The model's discriminator; None where its method has none."""
    found = getattr(model, "discriminator", None)
    return None if found is None else found()


class Method(Protocol):
    """A recipe with its settings: a frozen dataclass, one per paper.

    A class attribute ``short`` may name settings that shorten post-processing alone: audits use it. One
    named ``takes`` says ``"images"`` where the method is for labelled images: then ``schema`` is an
    :class:`~synthkit.data.image_schema.ImageSchema`, ``data`` are images, and so is what the model draws.
    """

    name: ClassVar[str]

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """The price of :meth:`fit`, from public facts alone."""

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> Model:
        """Run what ``session.plan`` priced, and nothing else."""


class Named(Protocol):
    """Settings in a dataclass with a name: a method for one table, or for two linked ones."""

    name: ClassVar[str]


M = TypeVar("M", bound=Named)

METHODS: Mapping[str, tuple[str, str]] = {
    "tabular_gan": (
        "synthkit.synthesizers.tabular_gan:TabularGan",
        "DP-SGD GAN for mixed tables, warm-started on noisy marginals",
    ),
    "tabular_vae": (
        "synthkit.synthesizers.tabular_vae:TabularVae",
        "DP-SGD variational autoencoder for mixed tables, warm-started on noisy marginals",
    ),
    "aim": (
        "synthkit.synthesizers.aim:Aim",
        "adaptive, label-aware noisy marginals on a junction tree (AIM)",
    ),
    "auto": (
        "synthkit.synthesizers.portfolio:Auto",
        "the method that suits, chosen from public facts alone",
    ),
    "image_gan": (
        "synthkit.synthesizers.image_gan:ImageGan",
        "labelled images: DP-SGD GAN over public features, warm-started on noisy class moments",
    ),
    "image_vae": (
        "synthkit.synthesizers.image_vae:ImageVae",
        "labelled images: DP-SGD variational autoencoder with a public encoder and a measured latent prior",
    ),
    "image_moments": (
        "synthkit.synthesizers.image_moments:ImageMoments",
        "labelled images: noisy class moments of public features, and a decoder trained on them",
    ),
    "mst": (
        "synthkit.synthesizers.mst:Mst",
        "noisy marginals on a maximum spanning tree (MST): plain and quick",
    ),
    "independent": (
        "synthkit.synthesizers.independent:Independent",
        "noisy one-way marginals, columns drawn independently: the honest floor",
    ),
    "sdv_baseline": (
        "synthkit.synthesizers.sdv_baseline:SdvBaseline",
        "SDV without privacy, for comparison only: epsilon is infinite, so it cannot be released",
    ),
}


_AROUND: Mapping[str, str] = {  # saved models that are no method's own: those that hold others, or are held
    "shaped": "synthkit.synthesizers.shaped",
    "linked": "synthkit.synthesizers.linked",
    "conditional": "synthkit.synthesizers.conditional",
}


def method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """The method called ``name``, with its settings.

    Raises:
        JobError: no such method, or a setting that it does not have.
    """
    return built(method_class(name), settings)


def built(kind: type[M], settings: Mapping[str, Any] | None) -> M:
    """A method of ``kind`` with its settings.

    Raises:
        JobError: a setting that it does not have, or of a wrong type.
    """
    name, settings = kind.name, dict(settings or {})
    known = {field.name for field in fields(kind) if field.init}  # type: ignore[arg-type]
    if unknown := sorted(set(settings) - known):
        raise JobError(
            f"method {name} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known)) or 'none'}"
        )
    try:
        return kind(**settings)
    except TypeError as problem:
        raise JobError(f"method {name}: a setting has the wrong type ({problem})") from None


def method_class(name: str) -> type[Method]:
    """The class behind a method's name."""
    if name not in METHODS:
        raise JobError(f"there is no method {name!r}; there are {', '.join(sorted(METHODS))}")
    module, _, attribute = METHODS[name][0].partition(":")
    kind: type[Method] = getattr(importlib.import_module(module), attribute)
    return kind


def method_for(schema: Schema | ImageSchema, name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """The method called ``name``, with its settings, for data of ``schema``'s kind.

    Raises:
        JobError: as :func:`method`; or the method is for images and the schema a table's, or the other way round.
    """
    kind = method_class(name)
    images = isinstance(schema, ImageSchema)
    if images != for_images(kind):
        theirs, ours = ("a table", "images") if images else ("images", "a table")
        suitable = sorted(other for other in METHODS if for_images(method_class(other)) == images)
        raise JobError(
            f"method {name} is for {theirs}, and schema {schema.name} declares {ours}; there are {', '.join(suitable)}"
        )
    return built(kind, settings)


def for_images(kind: type[Method]) -> bool:
    """Whether a method takes labelled images; others take tables."""
    return getattr(kind, "takes", "a table") == "images"


def settings_of(fitted: Named) -> dict[str, Any]:
    """A method's settings as plain values."""
    return {field.name: getattr(fitted, field.name) for field in fields(fitted)}  # type: ignore[arg-type]


def check_settings(owner: object, **bounds: tuple[float, float]) -> None:
    """Refuse settings that are not numbers within their bounds; whole where the bounds are.

    Raises:
        MethodError: names the setting, its bounds and its value.
    """
    for name, (low, high) in bounds.items():
        value = getattr(owner, name)
        whole = isinstance(low, int) and isinstance(high, int)
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise MethodError(
                f"{type(owner).__name__}: {name} is {value!r}; it must be {kind} from {low:g} to {high:g}"
            )


def load(folder: str | Place) -> Model:
    """Open a saved model, of a table or of images: a folder, or an encrypted file, which is opened in memory alone.

    Raises:
        InputError: not a model, damaged, or of another version; or encrypted for somebody else.
    """
    folder = place(folder)
    document = read_model_card(folder)
    home = _AROUND.get(document["method"]) or method_class(document["method"]).__module__
    loader: Callable[[Place, dict[str, Any], Schema | ImageSchema], Model]
    loader = getattr(importlib.import_module(home), "load")  # noqa: B009
    kind = Schema if "columns" in document["schema"] else ImageSchema
    return loader(folder, document["parameters"], kind.from_dict(document["schema"], source=str(folder)))


class Writable(Protocol):
    """A schema of any kind."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""


def write_model_card(
    folder: Place, method_name: str, schema: Writable, parameters: Mapping[str, Any], weights: bytes
) -> None:
    """Write ``weights.safetensors`` and ``model.json`` with its digests, the card last."""
    write: Callable[[Any, bytes], None] = write_into
    if isinstance(folder, Path):
        folder.mkdir(parents=True)
        write = write_atomically
    write(folder / "weights.safetensors", weights)
    card: dict[str, Any] = {
        "synthkit_model": MODEL_VERSION,
        "method": method_name,
        "schema": schema.to_dict(),
        "parameters": dict(parameters),
        "weights_sha256": sha256(weights).hexdigest(),
    }
    card["card_sha256"] = _digest(card)
    write(folder / "model.json", _text(card).encode())


def read_model_card(folder: Place) -> dict[str, Any]:
    """The card of a saved model, after its digests have been checked."""
    path = folder / "model.json"
    try:
        content = path.read_bytes()
        card = json.loads(content)
        weights = (folder / "weights.safetensors").read_bytes()
    except FileNotFoundError as problem:
        missing = Path(str(problem.filename or problem.args[0])).name  # an archive's error has no file name
        raise InputError(f"{folder}: not a saved model (no {missing})") from None
    except (ValueError, OSError):
        raise InputError(f"{path}: damaged; restore it or fit again") from None
    if not isinstance(card, dict) or card.get("synthkit_model") != MODEL_VERSION:
        raise InputError(f"{path}: not a model of version {MODEL_VERSION}")
    as_written = _text(card).encode()
    stated = card.pop("card_sha256", None)
    # The digest is of values; a number has several spellings, of which one was written.
    if stated != _digest(card) or content != as_written:
        raise InputError(f"{path}: damaged (its digest differs); restore it or fit again")
    if card["weights_sha256"] != sha256(weights).hexdigest():
        raise InputError(f"{folder / 'weights.safetensors'}: damaged (its digest differs); restore it or fit again")
    return card


def _text(card: Mapping[str, Any]) -> str:
    return json.dumps(card, indent=1) + "\n"


def _digest(card: Mapping[str, Any]) -> str:
    """Over the values in their order: the order of columns is part of a schema."""
    return sha256(json.dumps(card, allow_nan=False).encode()).hexdigest()


def finish(codes: NDArray[np.integer], schema: Schema, rng: np.random.Generator, fixed: Mapping[str, Any]) -> Synthetic:
    """Codes to rows, numbers drawn within their bins; columns in ``fixed`` get exactly that value.

    Rows that break one of the schema's constraints are repaired, and their codes with them.
    """
    table = undiscretize(codes, schema, rng)
    values = {name: _line_value(name, value, schema) for name, value in fixed.items()}
    for name, value in values.items():
        table.columns[name][:] = value
    if schema.constraints:
        table = replace(table, columns=repaired(table.columns, schema, fixed=values, rng=rng))
        codes = discretize(table, schema)
    return Synthetic(to_frame(table, schema), codes.astype(np.int32))


def codes_of(where: Mapping[str, Any], schema: Schema) -> dict[int, int]:
    """A condition as column positions and codes.

    Raises:
        JobError: an unknown column, a value outside its domain, or values that no row can have
            that meets the schema's constraints.
    """
    names = list(schema.modelled)
    wanted = {}
    for name, value in where.items():
        if name not in names:
            raise JobError(f"--where {name}: no such modelled column; there are {', '.join(names[:20])}")
        wanted[names.index(name)] = int(discretize(_single(name, value, schema), _only(name, schema))[0, 0])
    if wanted and schema.constraints:
        fixed = {name: _line_value(name, value, schema) for name, value in where.items()}
        if broken := unsolvable(schema, fixed):
            meant = "; ".join(map(str, broken))
            raise JobError(f"--where: no row with these values meets {meant}; relax the condition")
    return wanted


def sample_where(draw: Callable[[int], NDArray[np.integer]], n: int, wanted: Mapping[int, int]) -> NDArray[np.integer]:
    """Rows (n, d) from ``draw`` that meet the condition, by rejection.

    Raises:
        JobError: the model (almost) never draws such a row.
    """
    if not wanted:
        return draw(n)
    parts: list[NDArray[np.integer]] = []
    missing, drawn = n, 0
    while missing > 0:
        batch = draw(max(1024, min(4 * missing, 65_536)))
        drawn += len(batch)
        met = batch[np.logical_and.reduce([batch[:, j] == code for j, code in wanted.items()])][:missing]
        parts.append(met)
        missing -= len(met)
        if missing and drawn > _FUTILE * max(n, 1024):
            raise JobError(
                f"the condition is met by fewer than 1 in {_FUTILE} synthetic rows "
                f"({n - missing} of {n} found); relax it or ask for fewer rows"
            )
    return np.concatenate(parts) if parts else draw(0)


def _only(name: str, schema: Schema) -> Schema:
    """The column alone, strict: a condition that would be clamped or mapped is a mistake."""
    column = schema.columns[name]
    strict = replace(column, unknown="error") if isinstance(column, (Categorical, Numeric)) else column
    return Schema(name=schema.name, columns={name: strict}, rows=schema.rows)


def _single(name: str, value: Any, schema: Schema) -> Table:
    if isinstance(schema.columns[name], Identifier):
        raise JobError(f"--where {name}: identifiers and free text are not modelled")
    try:
        return from_frame(pd.DataFrame({name: pd.Series([value], dtype=object)}), _only(name, schema), source="--where")
    except DataError:
        domain = _domain(schema.columns[name])
        raise JobError(f"--where {name}={value}: not in the column's domain, which is {domain}") from None


def _domain(column: Column) -> str:
    if isinstance(column, Categorical):
        listed = ", ".join(map(str, column.categories[:20]))
        return listed + (f" and {len(column.categories) - 20} more" if len(column.categories) > 20 else "")
    return f"{column.min} to {column.max}" if isinstance(column, Integer | Continuous | Datetime) else "true and false"


def _line_value(name: str, value: Any, schema: Schema) -> float:
    return float(_single(name, value, schema).columns[name][0])


__all__ = [
    "METHODS",
    "Discriminator",
    "Method",
    "Model",
    "Progress",
    "Score",
    "Synthetic",
    "built",
    "check_settings",
    "codes_of",
    "discriminator_of",
    "finish",
    "for_images",
    "load",
    "method",
    "method_class",
    "method_for",
    "read_model_card",
    "sample_where",
    "settings_of",
    "silent",
    "write_model_card",
]
