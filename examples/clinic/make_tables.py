"""Write patients.csv and visits.csv: two linked tables, made up. Nobody real is in them.

    python examples/clinic/make_tables.py

Chronic patients come more often and are readmitted more often; only women are in maternity. A few
patients have more visits than the schema uses, and some have none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

PATIENTS = 10_000


def clinic(patients: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The patients, and their visits."""
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


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    patients, visits = clinic(PATIENTS, seed=1)
    patients.to_csv(folder / "patients.csv", index=False)
    visits.to_csv(folder / "visits.csv", index=False)
    print(f"{len(patients)} made-up patients and their {len(visits)} visits written to {folder}")


if __name__ == "__main__":
    main()
