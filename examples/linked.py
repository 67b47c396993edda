"""Two linked tables: made-up patients and their visits. One patient with all visits is protected.

python examples/linked.py
"""

import tempfile

import numpy as np
import pandas as pd

import synthkit as sk

PATIENTS = {
    "version": 1,
    "name": "patients",
    "reviewed": True,
    "rows": 5000,
    "unit": {"column": "patient", "max_rows": 1},
    "columns": {
        "patient": {"kind": "identifier"},
        "age": {"kind": "integer", "min": 0, "max": 99, "bins": 10, "unknown": "clamp"},
        "sex": {"kind": "categorical", "categories": ["f", "m"]},
        "chronic": {"kind": "boolean"},
    },
}
VISITS = {
    "version": 1,
    "name": "visits",
    "reviewed": True,
    "rows": 15000,
    "unit": {"column": "patient", "max_rows": 8},
    "target": "readmitted",
    "columns": {
        "patient": {"kind": "identifier"},
        "ward": {"kind": "categorical", "categories": ["medicine", "surgery", "maternity"]},
        "days": {"kind": "integer", "min": 0, "max": 60, "bins": [1, 2, 4, 7, 14, 30], "unknown": "clamp"},
        "readmitted": {"kind": "boolean"},
    },
}


def hospital(patients: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Chronic patients come more often and are readmitted more often; only women are in maternity."""
    rng = np.random.default_rng(seed)
    age, sex = rng.integers(0, 100, patients), rng.choice(["f", "m"], patients)
    chronic = rng.random(patients) < 0.05 + age / 200
    owner = np.repeat(np.arange(patients), rng.poisson(2 + 3 * chronic))
    visits = len(owner)
    mother = (sex[owner] == "f") & (age[owner] < 50) & (rng.random(visits) < 0.5)
    ward = np.where(mother, "maternity", rng.choice(["medicine", "surgery"], visits))
    return (
        pd.DataFrame({"patient": np.arange(patients), "age": age, "sex": sex, "chronic": chronic}),
        pd.DataFrame(
            {
                "patient": owner,
                "ward": ward,
                "days": rng.poisson(np.where(ward == "surgery", 9, 4)),
                "readmitted": rng.random(visits) < 0.1 + 0.3 * chronic[owner],
            }
        ),
    )


def told(patients: pd.DataFrame, visits: pd.DataFrame) -> str:
    """What depends on the patient, in a line."""
    both = visits.merge(patients, on="patient").astype({"readmitted": float, "chronic": bool})
    women, rate = both["sex"].eq("f"), both.groupby("chronic")["readmitted"].mean()
    return (
        f"{len(visits) / len(patients):.2f} visits a patient; maternity: women {both['ward'][women].eq('maternity').mean():.2f}, "
        f"men {both['ward'][~women].eq('maternity').mean():.2f}; readmitted: chronic {rate[True]:.2f}, others {rate[False]:.2f}"
    )


schema = sk.LinkedSchema(sk.Schema.from_dict(PATIENTS), sk.Schema.from_dict(VISITS))
patients, visits = hospital(5000, seed=1)
ledger = sk.Ledger(f"{tempfile.mkdtemp()}/ledger.sqlite")
budget = sk.Budget(epsilon=3.0, delta=1e-6, unit=schema.unit)
model = sk.fit_linked(patients, visits, schema, budget, dataset="hospital", ledger=ledger)
tables = model.sample(5000, seed=1)
assert tables.children["patient"].isin(tables.parents["patient"]).all()
print("real:     ", told(patients, visits))
print("synthetic:", told(tables.parents, tables.children))
print(f"spent on hospital: epsilon {ledger.spent('hospital').epsilon:.3f}")
