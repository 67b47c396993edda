"""SDV: GaussianCopula and CTGAN. It claims no differential privacy: artefacts and copies are looked at, nothing else.

CTGAN's sampler keeps, for every discrete column and category, the numbers of the rows that have it.
`_discrete_rows` puts them together again: a table that was never saved as such.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PACKAGE = "sdv"
EPOCHS = 2  # what is looked for is there after one


def fit(
    method: str,
    frame: pd.DataFrame,
    kinds: dict[str, str],
    public: dict[str, Any] | None,
    seed: int | None,
    folder: Path,
) -> tuple[pd.DataFrame, dict[str, Any], Any]:
    from sdv.metadata import Metadata
    from sdv.single_table import CTGANSynthesizer, GaussianCopulaSynthesizer
    from sdv.utils import load_synthesizer

    columns = {
        name: {"sdtype": "categorical" if kind == "categorical" else "numerical"} for name, kind in kinds.items()
    }
    metadata = Metadata.load_from_dict({"tables": {"table": {"columns": columns}}, "relationships": []})
    if method == "ctgan":
        synthesizer = CTGANSynthesizer(metadata, epochs=EPOCHS, enable_gpu=False)
    else:
        synthesizer = GaussianCopulaSynthesizer(metadata)
    synthesizer.fit({"table": frame})
    synthetic = synthesizer.sample(len(frame))
    synthetic = synthetic["table"] if isinstance(synthetic, dict) else synthetic
    path = folder / "synthesizer.pkl"
    synthesizer.save(str(path))
    loaded = load_synthesizer(str(path))
    facts: dict[str, Any] = {"domain": _domain(loaded, kinds)}
    if method == "ctgan":
        rebuilt = _discrete_rows(loaded, kinds)
        if rebuilt is not None:
            rebuilt.to_csv(folder.parent / "rebuilt.csv", index=False)
    return synthetic, facts, loaded


def _domain(loaded: Any, kinds: dict[str, str]) -> dict[str, Any]:
    domain: dict[str, Any] = {}
    for name, kind in kinds.items():
        transformer = loaded.get_transformers().get(name)
        formatter = getattr(loaded._data_processor, "formatters", {}).get(name)
        if kind == "categorical":
            kept = getattr(transformer, "frequencies", None) or getattr(transformer, "intervals", None)
            if kept is not None:
                domain[name] = {"categories": list(map(str, kept))}
        else:
            low, high = (getattr(transformer, end, None) for end in ("_min_value", "_max_value"))
            if low is None and formatter is not None:
                low, high = (getattr(formatter, end, None) for end in ("_min_value", "_max_value"))
            if low is not None:
                domain[name] = {"lower": float(low), "upper": float(high)}
    return domain


def _discrete_rows(loaded: Any, kinds: dict[str, str]) -> pd.DataFrame | None:
    """The training rows' discrete columns, in their order, from the saved model alone."""
    model = loaded._model
    sampler, transformer = getattr(model, "_data_sampler", None), model._transformer
    if sampler is None or not hasattr(sampler, "_rid_by_cat_cols"):
        return None
    discrete = [info for info in transformer._column_transform_info_list if info.column_type == "discrete"]
    columns = {}
    for info, by_category in zip(discrete, sampler._rid_by_cat_cols, strict=True):
        values = np.full(sum(len(rows) for rows in by_category), "", dtype=object)
        for category, rows in enumerate(by_category):
            hot = np.zeros((1, len(by_category)))
            hot[0, category] = 1
            frame = pd.DataFrame(hot, columns=list(info.transform.get_output_sdtypes()))
            values[np.asarray(rows, dtype=int)] = info.transform.reverse_transform(frame)[info.column_name].iloc[0]
        columns[info.column_name] = values
    return pd.DataFrame(columns) if columns else None
