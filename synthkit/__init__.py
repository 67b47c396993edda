"""synthkit: synthetic data that may leave the house, with the evidence that it may.

    import synthkit as sk

    schema = sk.Schema.read("patients.schema.yaml")
    budget = sk.Budget(epsilon=1.0, delta=1e-6)
    model = sk.fit(frame, schema, budget, dataset="patients-2026")
    table = model.sample(10_000, where={"sex": "Female"}).frame

Names are imported when they are first used, so that ``import synthkit`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthkit.data.image_files import images_at
    from synthkit.data.image_schema import ImageSchema
    from synthkit.data.images import Images, ImageSource
    from synthkit.data.linked import LinkedSchema
    from synthkit.data.schema import Schema, Unit
    from synthkit.evidence import Evidence
    from synthkit.explain.model import Explanation
    from synthkit.policy.document import Policy
    from synthkit.privacy.budget import Adjacency, Budget
    from synthkit.privacy.ledger import Ledger
    from synthkit.release.export import Exported, export
    from synthkit.release.hand_out import Release
    from synthkit.release.handling import Handling
    from synthkit.release.job import Job
    from synthkit.release.linked import fit_linked, price_linked
    from synthkit.release.permission import Asker
    from synthkit.release.run import Price, fit, price, resume, run
    from synthkit.release.sampling import load, load_linked, save
    from synthkit.release.seals import verify
    from synthkit.release.verbs import draft_schema, explain_model, read_images
    from synthkit.synthesizers.base import Synthetic, method

__version__ = "0.1.0"

_HOMES = {
    "Adjacency": "synthkit.privacy.budget:Adjacency",
    "Asker": "synthkit.release.permission:Asker",
    "Budget": "synthkit.privacy.budget:Budget",
    "Evidence": "synthkit.evidence:Evidence",
    "Explanation": "synthkit.explain.model:Explanation",
    "Exported": "synthkit.release.export:Exported",
    "Handling": "synthkit.release.handling:Handling",
    "ImageSchema": "synthkit.data.image_schema:ImageSchema",
    "ImageSource": "synthkit.data.images:ImageSource",
    "Images": "synthkit.data.images:Images",
    "Job": "synthkit.release.job:Job",
    "Ledger": "synthkit.privacy.ledger:Ledger",
    "LinkedSchema": "synthkit.data.linked:LinkedSchema",
    "Policy": "synthkit.policy.document:Policy",
    "Price": "synthkit.release.run:Price",
    "Release": "synthkit.release.hand_out:Release",
    "Schema": "synthkit.data.schema:Schema",
    "Synthetic": "synthkit.synthesizers.base:Synthetic",
    "Unit": "synthkit.data.schema:Unit",
    "draft_schema": "synthkit.release.verbs:draft_schema",
    "explain_model": "synthkit.release.verbs:explain_model",
    "export": "synthkit.release.export:export",
    "fit": "synthkit.release.run:fit",
    "fit_linked": "synthkit.release.linked:fit_linked",
    "images_at": "synthkit.data.image_files:images_at",
    "load": "synthkit.release.sampling:load",
    "load_linked": "synthkit.release.sampling:load_linked",
    "method": "synthkit.synthesizers.base:method",
    "price": "synthkit.release.run:price",
    "price_linked": "synthkit.release.linked:price_linked",
    "read_images": "synthkit.release.verbs:read_images",
    "resume": "synthkit.release.run:resume",
    "run": "synthkit.release.run:run",
    "save": "synthkit.release.sampling:save",
    "verify": "synthkit.release.seals:verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'synthkit' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


__all__ = [
    "Adjacency",
    "Asker",
    "Budget",
    "Evidence",
    "Explanation",
    "Exported",
    "Handling",
    "ImageSchema",
    "ImageSource",
    "Images",
    "Job",
    "Ledger",
    "LinkedSchema",
    "Policy",
    "Price",
    "Release",
    "Schema",
    "Synthetic",
    "Unit",
    "__version__",
    "draft_schema",
    "explain_model",
    "export",
    "fit",
    "fit_linked",
    "images_at",
    "load",
    "load_linked",
    "method",
    "price",
    "price_linked",
    "read_images",
    "resume",
    "run",
    "save",
    "verify",
]
