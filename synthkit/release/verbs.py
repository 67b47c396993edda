"""The verbs of Python that go with no job: each asks the policy first, and then calls what does it."""

from __future__ import annotations

import pandas as pd

from synthkit.data import drafts, images
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images, ImageSource
from synthkit.data.private import Private
from synthkit.data.tables import Source
from synthkit.errors import JobError
from synthkit.explain import model as explaining
from synthkit.explain.model import Explanation
from synthkit.release.permission import Asker
from synthkit.synthesizers.base import Model, Progress, silent


def draft_schema(data: pd.DataFrame | Source, *, name: str, dataset: str | None = None, asker: Asker = Asker()) -> str:
    """Propose a schema for ``data``, as the YAML text of a schema file; see :func:`synthkit.data.drafts.draft`.

    Args:
        data: a frame, or any source; it is read batch by batch.
        name: the schema's name.
        dataset: the ledger's name for the data; None: the schema's.
        asker: who asks, under which policy; by default the steward, under the packaged one.

    Raises:
        PolicyDenied: the asker may not draft. Nothing was opened.
        DataError: the data cannot be read.
    """
    asker.may("draft", dataset or name)
    return drafts.draft(data, name=name)


def read_images(
    source: ImageSource,
    schema: ImageSchema,
    *,
    dataset: str,
    batch_images: int = images.BATCH_IMAGES,
    asker: Asker = Asker(),
) -> Private[Images, ImageSchema]:
    """Read, check and lock away all images; see :func:`synthkit.data.images.read_images`.

    Args:
        source, schema, dataset, batch_images: as there.
        asker: who asks, under which policy: as for a draft, since whether images fit a schema is read off them.

    Raises:
        PolicyDenied: the asker may not. Nothing was opened.
        DataError: as there.
    """
    asker.may("draft", dataset)
    return images.read_images(source, schema, dataset=dataset, batch_images=batch_images)


def explain_model(
    model: Model,
    *,
    rows: int = 200,
    seeds: int = 5,
    seed: int = 0,
    dataset: str | None = None,
    asker: Asker = Asker(),
    progress: Progress = silent,
) -> Explanation:
    """Explain a released model of one table by rows that it draws; see :func:`synthkit.explain.model.explain_model`.

    Args:
        model, rows, seeds, seed, progress: as there.
        dataset: the ledger's name for the data behind it; needed where a policy is named.
        asker: who asks, under which policy; by default the steward, under the packaged one.

    Raises:
        JobError: a policy is named, and no dataset.
        PolicyDenied: the asker may not explain it.
        ExplanationError: as there.
    """
    if dataset is None and asker.policy is not None:
        raise JobError("a model does not say from which data it is; name the dataset")
    asker.may("explain", dataset or "model")  # the packaged policy is about any dataset
    return explaining.explain_model(model, rows=rows, seeds=seeds, seed=seed, progress=progress)


__all__ = ["draft_schema", "explain_model", "read_images"]
