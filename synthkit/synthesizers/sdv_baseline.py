"""SDV as a comparison, without privacy: GaussianCopula, CTGAN or TVAE.

The only module that imports sdv (Business Source License; the extra ``synthkit[sdv]``). Its event
has an infinite epsilon: no budget admits it, no ledger takes it, no bundle is written from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import dp_accounting
import pandas as pd

from synthkit.data.encoding import Table, discretize, from_frame, to_frame
from synthkit.data.private import Private
from synthkit.data.repair import repaired
from synthkit.data.schema import Column, Continuous, Datetime, Integer, Schema
from synthkit.data.sdv_metadata import to_sdv
from synthkit.errors import JobError, MethodError, NotReleasable
from synthkit.privacy.budget import Budget
from synthkit.privacy.internal import unprotected_frame
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, Synthetic, check_settings, silent
from synthkit.synthesizers.locked import Place

_KINDS = {"gaussian_copula": "GaussianCopulaSynthesizer", "ctgan": "CTGANSynthesizer", "tvae": "TVAESynthesizer"}


@dataclass(frozen=True, kw_only=True)
class SdvBaseline:
    """Which of SDV's synthesizers, and for how many epochs (CTGAN, TVAE)."""

    name: ClassVar[str] = "sdv_baseline"
    kind: str = "gaussian_copula"
    epochs: int = 100

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise MethodError(f"sdv_baseline: kind is {self.kind!r}; use {', '.join(_KINDS)}")
        check_settings(self, epochs=(1, 100_000))

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """No noise, no guarantee: epsilon is infinite."""
        return Plan(budget, dp_accounting.NonPrivateDpEvent())

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> SdvModel:
        """Fit SDV on the rows themselves."""
        try:
            from sdv import single_table
            from sdv.metadata import Metadata
        except ImportError:
            raise MethodError("sdv_baseline needs sdv; install synthkit[sdv]") from None
        progress(0.0, f"fitting SDV's {_KINDS[self.kind]}")
        frame = _plain(unprotected_frame(data, session))
        metadata = Metadata.load_from_dict(to_sdv(data.schema))
        settings = {} if self.kind == "gaussian_copula" else {"epochs": self.epochs}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SDV's advice on saving metadata and on its own deprecations
            synthesizer = getattr(single_table, _KINDS[self.kind])(metadata, **settings)
            synthesizer.fit({_table(data.schema): frame})
        progress(1.0, "fitted")
        return SdvModel(data.schema, synthesizer)


@dataclass(frozen=True)
class SdvModel:
    """A fitted SDV synthesizer. It holds real values: it can't be saved here."""

    schema: Schema
    synthesizer: Any
    marginals: tuple[NoisyMarginal, ...] = ()

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """Rows for comparison; SDV keeps a random state of its own, so ``seed`` is not supported."""
        if seed is not None or where:
            raise JobError("sdv_baseline samples without seed and conditions; use SDV itself for those")
        frame: pd.DataFrame = self.synthesizer.sample(num_rows=max(1, n))[_table(self.schema)].iloc[:n]
        table = from_frame(frame[list(self.schema.modelled)], _modelled_only(self.schema), source="SDV's sample")
        if self.schema.constraints:  # SDV knows nothing of them
            table = replace(table, columns=repaired(table.columns, self.schema))
            frame = to_frame(table, self.schema)
        return Synthetic(frame, discretize(table, self.schema))

    def save(self, folder: Place) -> None:
        """Refused: SDV's models are pickles and keep training rows."""
        raise NotReleasable("an SDV model keeps real rows and has no guarantee; it is for comparison and is not saved")


def load(folder: Place, parameters: Mapping[str, Any], schema: Schema) -> SdvModel:
    """Refused, as saving is."""
    raise NotReleasable("SDV models are not saved here, so none can be loaded")


def _table(schema: Schema) -> str:
    """The one table's name in SDV's metadata."""
    return str(next(iter(to_sdv(schema)["tables"])))


def _modelled_only(schema: Schema) -> Schema:
    """The modelled columns alone, numbers clamped: SDV may leave the declared bounds."""
    columns: dict[str, Column] = {
        name: replace(column, unknown="clamp") if isinstance(column, Integer | Continuous | Datetime) else column
        for name, column in schema.modelled.items()
    }
    return Schema(name=schema.name, columns=columns, rows=schema.rows)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({name: object for name in frame.columns if str(frame[name].dtype) in ("string", "boolean")})


__all__ = ["SdvBaseline", "SdvModel", "load"]
