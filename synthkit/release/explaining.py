"""Explanations as files: one page for people, JSON for machines. Public ones, and the internal one beside a release."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import synthkit
from synthkit.data import vault
from synthkit.data.image_schema import ImageSchema
from synthkit.documents import write_atomically
from synthkit.errors import ExplanationError, JobError
from synthkit.explain import agreement, defects, figures
from synthkit.explain.images import ImageExplanation, explain_images
from synthkit.explain.linked import explain_linked
from synthkit.explain.model import Explanation, explain_model
from synthkit.release import report
from synthkit.release.sampling import home_of
from synthkit.release.verify_alone import MANIFEST
from synthkit.synthesizers.base import Progress, discriminator_of, load, silent
from synthkit.synthesizers.image_model import ImageModel
from synthkit.synthesizers.linked import LinkedModel
from synthkit.synthesizers.locked import place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from synthkit.data.schema import Schema

PAGE, DATA = "explanation.html", "explanation.json"
_WARNING = "INTERNAL. Made of exact values of real rows; it carries no guarantee and must not be shared."


def render(explained: Explanation | ImageExplanation) -> str:
    """The explanation as one self-contained HTML page: no script, no request to anywhere."""
    page: str = (
        report.environment()
        .get_template("explanation.html.j2" if isinstance(explained, Explanation) else "image_explanation.html.j2")
        .render(
            e=explained,
            internal=explained.payment == "internal",
            figures=figures,
            warning=_WARNING,
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=synthkit.__version__,
        )
    )
    return page


def contents(explained: Explanation | ImageExplanation) -> dict[str, bytes]:
    """Both files, by name."""
    document = explained.to_dict()
    if explained.payment == "internal":
        document = {"warning": _WARNING, **document}
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    return {PAGE: render(explained).encode(), DATA: text.encode()}


def write(folder: Path, explained: Explanation | ImageExplanation) -> None:
    """Write both files into ``folder``, which is made where it does not exist."""
    made = contents(explained)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in made.items():
            write_atomically(folder / name, content)
    except OSError as problem:
        raise JobError(f"{folder}: cannot be written: {problem.strerror}; name another folder, or make room") from None


def explain_saved(
    folder: Path, *, rows: int, seeds: int, seed: int, progress: Progress = silent
) -> Explanation | ImageExplanation:
    """Explain a model folder, or the model in a bundle. Free.

    Raises:
        JobError: no such folder, or a bundle without a model.
        InputError: damaged, or of another version.
        ExplanationError: a model that cannot be explained.
    """
    if (folder / MANIFEST).exists() and not (folder / "model").is_dir() and (folder / PAGE).exists():
        raise JobError(f"{folder}: this bundle holds no model; its explanation is {folder / PAGE}")
    home = place(home_of(folder))  # an encrypted file is opened once
    return public(load(home), rows=rows, seeds=seeds, seed=seed, progress=progress)


def forecast(schema: Schema | ImageSchema) -> float:
    """About how many seconds the free explanation takes on two cores, without further rows for an order in doubt.

    By ``benchmarks/explain.py``: 4 s for 8 columns, 7 s for 15 (23 s where they have many values), 21 s for 60.
    """
    if isinstance(schema, ImageSchema):
        return 10.0 + 2e-3 * schema.values
    return 3.0 + 0.3 * len(schema.modelled) + 5e-3 * sum(schema.domain.values())


def public(
    model: Any, *, rows: int = 200, seeds: int = 5, seed: int = 0, progress: Progress = silent
) -> Explanation | ImageExplanation:
    """The free explanation of a released model of any kind: of one table, of two linked ones, or of images.

    Args:
        model: as fitting released it.
        rows, seeds, seed, progress: as for :func:`~synthkit.explain.model.explain_model`; of images, ``seed`` alone.

    Raises:
        ExplanationError: a model that cannot be explained.
    """
    if isinstance(model, ImageModel):
        judge = discriminator_of(model)
        return explain_images(model, seed=seed, judge=None if judge is None else judge.pushed)
    if isinstance(model, LinkedModel):
        return explain_linked(model, rows=rows, seeds=seeds, seed=seed, progress=progress)
    return explain_model(model, rows=rows, seeds=seeds, seed=seed, progress=progress)


def internal(
    folder: Path,
    public: Explanation,
    real: tuple[NDArray[np.int32], NDArray[np.int32]],
    synthetic: NDArray[np.int32],
    schema: Schema,
) -> None:
    """The explanation with what only real rows can tell, into the folder beside a release.

    Args:
        folder: the internal folder.
        public: the public explanation, which it begins with.
        real: codes of training and holdout; the second may be empty.
        synthetic: codes of the released table.
        schema: the public schema.
    """
    training, held = real
    missing, same, found = list(public.missing), None, public.defects
    try:
        found = (defects.internal(held if len(held) >= 40 else training, synthetic, schema), *found)
        same = agreement.compare(training, held, synthetic, schema)
    except ExplanationError as problem:
        missing.append(f"Not compared with real rows: {problem}.")
    whole = replace(public, defects=found, agreement=same, missing=tuple(missing), payment="internal")
    for name, content in contents(whole).items():
        vault.put(folder / name, content)


def check_public(raw: bytes) -> str | None:
    """What is wrong with an ``explanation.json`` that stands in a bundle; None where nothing is."""
    try:
        document = json.loads(raw)
        payments = list(_payments(document))
    except (ValueError, RecursionError):
        return f"{DATA} is damaged"
    if not isinstance(document, dict) or document.get("synthkit_explanation") != 1:
        return f"{DATA} is not an explanation of version 1"
    if not payments or any(payment not in ("free", "charged") for payment in payments):
        return f"{DATA} holds what was not paid for: internal figures never enter a bundle"
    return None


def _payments(value: Any) -> Any:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "payment":
                yield inner
            yield from _payments(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _payments(inner)


__all__ = ["DATA", "PAGE", "check_public", "contents", "explain_saved", "internal", "render", "write"]
