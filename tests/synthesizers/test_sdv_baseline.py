"""The baseline has no guarantee, and every gate must notice by arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from synthkit.errors import MethodError, NotReleasable
from synthkit.privacy.budget import Budget
from synthkit.privacy.ledger import Ledger
from synthkit.release.run import fit
from synthkit.synthesizers.base import method
from synthkit.synthesizers.sdv_baseline import SdvBaseline
from tests.synthesizers.contract import fitted
from tests.tables import frame, schema


def test_its_price_is_infinite() -> None:
    assert math.isinf(SdvBaseline().plan(schema(), Budget(1.0, 1e-6)).epsilon)


def test_it_cannot_be_released(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(NotReleasable, match="no privacy guarantee"):
        fit(frame(), schema(), Budget(1.0, 1e-6), dataset="people", name="sdv_baseline", ledger=ledger)
    assert ledger.entries() == []


def test_kinds_are_checked() -> None:
    with pytest.raises(MethodError, match="gaussian_copula"):
        method("sdv_baseline", {"kind": "gpt"})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["gaussian_copula", "ctgan", "tvae"])
def test_it_fits_and_samples_for_comparison(kind: str, tmp_path: Path) -> None:
    model, session = fitted(SdvBaseline(kind=kind, epochs=1), data=frame(200))
    assert math.isinf(session.spent)
    drawn = model.sample(50)
    assert drawn.codes.shape == (50, 7)
    with pytest.raises(NotReleasable):
        model.save(tmp_path / "model")
