"""Write visits.csv: made-up hospital visits of fictional persons. Nobody real is in it.

    python examples/hospital/make_visits.py

A person has one to seven visits, so that the schema's bound of four rows a person matters. Some
values are missing, one temperature is impossible and one ward is unknown: what a schema must cope
with.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
import sys
from pathlib import Path

PERSONS = 3_000
WARDS = {"medicine": 5, "surgery": 3, "paediatrics": 2, "maternity": 2, "psychiatry": 1}
FIRST, DAYS = dt.datetime(2024, 1, 1), 366


def visits(persons: int, seed: int) -> list[dict[str, object]]:
    """The rows, in order of admission."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    for person in range(persons):
        age = min(99, max(0, round(rng.gauss(48, 24))))
        for _ in range(min(7, 1 + int(rng.expovariate(0.9)))):
            ward = "paediatrics" if age < 16 else rng.choices(list(WARDS), WARDS.values())[0]
            emergency = rng.random() < (0.5 if ward == "medicine" else 0.25)
            admitted = FIRST + dt.timedelta(hours=rng.randrange(24 * DAYS))
            days = int(rng.expovariate(0.25))
            rows.append(
                {
                    "person_id": f"P{person:05d}",
                    "age": age,
                    "ward": ward,
                    "admitted": admitted.isoformat(timespec="minutes"),
                    "days": days,
                    "temperature": "" if rng.random() < 0.15 else round(rng.gauss(37.9 if emergency else 36.9, 0.7), 1),
                    "emergency": "true" if emergency else "false",
                    "follow_up": "" if rng.random() < 0.4 else (admitted + dt.timedelta(days=days + 14)).date(),
                    "readmitted": "yes" if rng.random() < 0.08 + 0.2 * emergency + 0.002 * age else "no",
                }
            )
    rows[10]["temperature"] = 400.1  # a comma too far; the schema clamps it
    rows[20]["ward"] = "helipad"  # not in the schema's list; becomes 'other'
    return sorted(rows, key=lambda row: (str(row["admitted"]), str(row["person_id"])))


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "visits.csv"
    rows = visits(PERSONS, seed=1)
    with output.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} visits of {PERSONS} made-up persons written to {output}")


if __name__ == "__main__":
    main()
