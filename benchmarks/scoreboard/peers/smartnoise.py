"""smartnoise-synth: MST, AIM, DPCTGAN and PATECTGAN.

Where there is no `save`, or it fails, the model is pickled, and where that fails, the fitted object is looked at.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pandas as pd

PACKAGE = "smartnoise-synth"
EPSILON = 2.0
PREPROCESSING = 0.5  # for bounds, where they are not declared; it is subtracted from EPSILON
SETTINGS: dict[str, dict[str, Any]] = {
    "mst": {},
    "aim": {"max_model_size": 1, "rounds": 20},
    "dpctgan": {"epochs": 2, "batch_size": 100, "cuda": False},
    "patectgan": {"epochs": 1, "batch_size": 100, "cuda": False},
}


def fit(
    method: str,
    frame: pd.DataFrame,
    kinds: dict[str, str],
    public: dict[str, Any] | None,
    seed: int | None,
    folder: Path,
) -> tuple[pd.DataFrame, dict[str, Any], Any]:
    from snsynth import Synthesizer

    synthesizer = Synthesizer.create(method, epsilon=EPSILON, **SETTINGS[method])
    if public is None:
        numeric = [name for name, kind in kinds.items() if kind != "categorical"]
        synthesizer.fit(
            frame,
            preprocessor_eps=PREPROCESSING,
            categorical_columns=[name for name in kinds if name not in numeric],
            continuous_columns=numeric,
        )
    else:
        synthesizer.fit(frame, transformer=_declared(method, frame, public))
    synthetic = synthesizer.sample(len(frame))
    loaded, kept_as = _saved(synthesizer, folder)
    domain: dict[str, Any] = {}
    for name, transformer in zip(frame.columns, loaded._transformer.transformers, strict=True):
        for part in getattr(transformer, "transformers", [transformer]):
            if getattr(part, "categories", None) is not None:
                kept = part.categories.values() if isinstance(part.categories, dict) else part.categories
                domain[name] = {"categories": list(map(str, kept))}
            if getattr(part, "fit_lower", None) is not None:
                domain[name] = {"lower": float(part.fit_lower), "upper": float(part.fit_upper)}
    sampler = getattr(loaded, "_data_sampler", None) or getattr(loaded, "cond_generator", None)
    if getattr(sampler, "_data", None) is not None:  # the training rows in the transformer's form, which it undoes
        rebuilt = loaded._transformer.inverse_transform([tuple(row) for row in sampler._data])
        pd.DataFrame(rebuilt, columns=list(frame.columns)).to_csv(folder.parent / "rebuilt.csv", index=False)
    facts: dict[str, Any] = {"domain": domain, "asked": EPSILON, "kept_as": kept_as}
    spent = getattr(synthesizer, "epsilon_list", None)
    if spent:
        before = EPSILON - float(synthesizer.epsilon)
        facts |= {"reported": before + float(spent[-1]), "how": f"preprocessing {before:g}, and its own epsilon_list"}
    return synthetic, facts, loaded


def _declared(method: str, frame: pd.DataFrame, public: dict[str, Any]) -> Any:
    """Bounds can be declared. Categories cannot: a fitted transformer is made from the declared ones."""
    from snsynth.transform import (
        BinTransformer,
        ChainTransformer,
        LabelTransformer,
        MinMaxTransformer,
        OneHotEncoder,
        TableTransformer,
    )

    gan = method.endswith("gan")
    parts = []
    for column in public.values():
        if "categories" in column:
            label = LabelTransformer(nullable=False)
            parts.append(ChainTransformer([label, OneHotEncoder()]) if gan else label)
        else:
            kind, settings = (MinMaxTransformer, {}) if gan else (BinTransformer, {"bins": 10})
            parts.append(kind(lower=column["lower"], upper=column["upper"], nullable=False, **settings))
    transformer = TableTransformer(parts)
    longest = max(len(column.get("categories", ())) for column in public.values())
    rows = {}
    for name, column in public.items():
        values = list(column.get("categories", ())) or [column["lower"], column["upper"]]
        rows[name] = [values[k % len(values)] for k in range(longest)]
    transformer.fit(pd.DataFrame(rows)[list(frame.columns)])  # on the public domain, never on rows
    return transformer


def _saved(synthesizer: Any, folder: Path) -> tuple[Any, str]:
    """What was saved, loaded again, and how: by the peer's own `save`, or by pickle, or not at all."""
    import torch

    path = folder / "synthesizer"
    if hasattr(synthesizer, "save"):
        try:
            synthesizer.save(str(path))
            return torch.load(path, weights_only=False), "saved model"
        except Exception as error:
            path.unlink(missing_ok=True)
            how = f"saved model (by pickle; its own save raises {type(error).__name__})"
    else:
        how = "saved model (by pickle; it has no save)"
    try:
        content = pickle.dumps(synthesizer)
    except Exception:
        return synthesizer, "fitted object (neither save nor pickle works)"
    path.write_bytes(content)
    return pickle.loads(content), how
