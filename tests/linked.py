"""Patients and their visits: small public linked tables that tests share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Datetime, Identifier, Integer, Schema, Unit
from synthkit.data.tables import FrameSource
from synthkit.privacy.links import Linked, read_linked
from synthkit.privacy.noise import NoiseSource

PATIENTS: dict[str, Column] = {
    "patient": Identifier(release="regenerate"),
    "age": Integer(min=0, max=99, bins=5, unknown="clamp"),
    "sex": Categorical(categories=("f", "m")),
    "chronic": Boolean(nullable=True),
}
VISITS: dict[str, Column] = {
    "visit": Identifier(),
    "patient": Identifier(),
    "ward": Categorical(categories=("medicine", "surgery", "maternity"), unknown="other"),
    "days": Integer(min=0, max=30, bins=4, unknown="clamp", nullable=True),
    "cost": Continuous(min=0, max=1000, decimals=1, bins=3, unknown="clamp", nullable=True),
    "seen": Datetime(min="2020-01-01", max="2020-12-31", bins=2, nullable=True),
    "readmitted": Boolean(nullable=True),
}


def linked(*, max_children: int = 3, target: str | None = "readmitted", parents: int = 400) -> LinkedSchema:
    """Every kind of column."""
    return LinkedSchema(
        Schema("patients", PATIENTS, parents, Unit("patient", 1), reviewed=True),
        Schema("visits", VISITS, 2 * parents, Unit("patient", max_children), target=target, reviewed=True),
    )


def frames(parents: int = 400, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Chronic patients come more often and are readmitted; only women are in maternity."""
    rng = np.random.default_rng(seed)
    chronic, sex = rng.random(parents) < 0.3, rng.choice(["f", "m"], parents)
    patients = pd.DataFrame(
        {
            "patient": [f"patient {k}" for k in range(parents)],
            "age": rng.integers(0, 100, parents),
            "sex": sex,
            "chronic": pd.array(chronic, dtype="boolean"),
        }
    )
    owner = np.repeat(np.arange(parents), np.where(chronic, rng.integers(2, 6, parents), rng.integers(0, 3, parents)))
    visits = len(owner)
    maternity = (sex[owner] == "f") & (rng.random(visits) < 0.6)
    days = rng.integers(0, 31, visits)
    return patients, pd.DataFrame(
        {
            "visit": [f"visit {k}" for k in range(visits)],
            "patient": patients["patient"].to_numpy()[owner],
            "ward": np.where(maternity, "maternity", rng.choice(["medicine", "surgery"], visits)),
            "days": days,
            "cost": np.round(np.minimum(30.0 * days + rng.gamma(2, 20, visits), 1000), 1),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 366, visits), unit="D"),
            "readmitted": rng.random(visits) < 0.1 + 0.7 * chronic[owner],
        }
    )


def private(patients: pd.DataFrame, visits: pd.DataFrame, public: LinkedSchema) -> Linked:
    """Locked rows, bounded and joined."""
    above, below = FrameSource(patients), FrameSource(visits)
    return read_linked(above, below, public, dataset="hospital", noise=NoiseSource(test_seed=0))
