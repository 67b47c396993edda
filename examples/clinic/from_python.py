"""Two linked tables, modelled and drawn from in Python. One patient with all visits is protected.

python examples/clinic/from_python.py
"""

import tempfile
from pathlib import Path

import pandas as pd
from make_tables import clinic

import synthkit as sk


def told(patients: pd.DataFrame, visits: pd.DataFrame) -> str:
    """What depends on the patient, in a line."""
    both = visits.merge(patients, on="patient").astype({"readmitted": float, "chronic": bool})
    women, rate = both["sex"].eq("f"), both.groupby("chronic")["readmitted"].mean()
    return (
        f"{len(visits) / len(patients):.2f} visits a patient; maternity: women {both['ward'][women].eq('maternity').mean():.2f}, "
        f"men {both['ward'][~women].eq('maternity').mean():.2f}; readmitted: chronic {rate[True]:.2f}, others {rate[False]:.2f}"
    )


here = Path(__file__).parent
schema = sk.LinkedSchema.read(here / "patients.schema.yaml", here / "visits.schema.yaml")
patients, visits = clinic(10_000, seed=1)
ledger = sk.Ledger(f"{tempfile.mkdtemp()}/ledger.sqlite")
budget = sk.Budget(epsilon=3.0, delta=1e-6, unit=schema.unit)
model = sk.fit_linked(patients, visits, schema, budget, dataset="clinic-2024", ledger=ledger)
tables = model.sample(10_000, seed=1)
assert tables.children["patient"].isin(tables.parents["patient"]).all()
print("real:     ", told(patients, visits))
print("synthetic:", told(tables.parents, tables.children))
print(f"spent on clinic-2024: epsilon {ledger.spent('clinic-2024').epsilon:.3f}")
