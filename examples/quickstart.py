import tempfile

import pandas as pd

import synthkit as sk
from synthkit.data import samples

frame, schema = pd.read_parquet(samples.path("adult")), samples.schema("adult")
ledger = sk.Ledger(f"{tempfile.mkdtemp()}/ledger.sqlite")
budget = sk.Budget(epsilon=1.0, delta=1e-6)
model = sk.fit(frame, schema, budget, dataset="adult", name="independent", ledger=ledger)
women = model.sample(1000, where={"sex": "Female"}).frame
print(women[["age", "education", "hours_per_week", "income"]].head())
print(f"spent on adult: epsilon {ledger.spent('adult').epsilon:.3f}")
