"""Linked tables whose siblings resemble one another: what is kept of that, and what it costs the other figures.

    python benchmarks/linked.py --epsilon 1 --repeats 10

Made-up patients whose visits stay in the ward before with probability 0.7 and with the insurer before with 0.95, in order of
time; a patient's own frailty moves days and readmissions. Each repeat fits with siblings and without, on the same patients and with
the same seed of the noise; figures are exact, against 20,000 other patients of the same law. Seeded, so NON-PRIVATE.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from synthkit.assess import linked as report
from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Boolean, Categorical, Datetime, Identifier, Integer, Schema, Unit
from synthkit.data.tables import FrameSource
from synthkit.privacy.budget import Budget
from synthkit.privacy.internal import internal_linked
from synthkit.privacy.links import Linked as LinkedRows
from synthkit.privacy.links import read_linked
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.session import Session
from synthkit.synthesizers.linked import Linked, LinkedSynthetic

REGIONS = ("north", "south", "east", "west")
WARDS = ("medicine", "surgery", "maternity", "psychiatry", "oncology", "eye")
INSURERS = tuple(f"insurer {k}" for k in range(8))
SHARES = np.array([0.35, 0.25, 0.1, 0.12, 0.1, 0.08])  # of wards
DAYS = 3 * 365
HELD = 20_000


def hospital(patients: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The patients, and their visits in order of time."""
    rng = np.random.default_rng(seed)
    age, sex = rng.integers(0, 100, patients), rng.choice(["f", "m"], patients)
    chronic, region = rng.random(patients) < 0.05 + age / 200, rng.choice(4, patients, p=[0.4, 0.3, 0.2, 0.1])
    frailty = rng.normal(size=patients)
    owner = np.repeat(np.arange(patients), np.minimum(rng.poisson(1.5 + 2.5 * chronic), 8))
    visits = len(owner)
    first = np.r_[True, owner[1:] != owner[:-1]]
    ward, insurer, day = (np.zeros(visits) for _ in range(3))
    for k, patient in enumerate(owner):
        shares = SHARES.copy()
        shares[2] *= sex[patient] == "f" and age[patient] <= 55
        shares[4] *= 1 + (age[patient] > 60)
        insurers = np.roll([0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05], region[patient])
        new = first[k]
        ward[k] = rng.choice(6, p=shares / shares.sum()) if new or rng.random() > 0.7 else ward[k - 1]
        insurer[k] = rng.choice(8, p=insurers) if new or rng.random() > 0.95 else insurer[k - 1]
        day[k] = rng.uniform(0, DAYS) if new else min(day[k - 1] + rng.exponential(120), DAYS)
    frail = frailty[owner]
    return (
        pd.DataFrame({"patient": np.arange(patients), "age": age, "sex": sex, "chronic": chronic, "region": np.array(REGIONS)[region]}),
        pd.DataFrame(
            {
                "patient": owner,
                "ward": np.array(WARDS)[ward.astype(int)],
                "insurer": np.array(INSURERS)[insurer.astype(int)],
                "days": rng.poisson(np.exp(1.2 + 0.5 * frail + 0.4 * (ward == 1))),
                "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(day.astype(int), unit="D"),
                "readmitted": rng.random(visits) < 1 / (1 + np.exp(2 - chronic[owner] - 0.8 * frail)),
            }
        ),
    )  # fmt: skip


def schemas(patients: int) -> LinkedSchema:
    """What is public about them."""
    key = Identifier(release="regenerate")
    above = {
        "patient": key,
        "age": Integer(min=0, max=99, bins=10, unknown="clamp"),
        "sex": Categorical(categories=("f", "m")),
        "chronic": Boolean(),
        "region": Categorical(categories=REGIONS),
    }
    below = {
        "patient": Identifier(),
        "ward": Categorical(categories=WARDS),
        "insurer": Categorical(categories=INSURERS),
        "days": Integer(min=0, max=60, bins=(1, 2, 4, 7, 14, 30), unknown="clamp"),
        "seen": Datetime(min="2020-01-01", max="2022-12-31", bins=12),
        "readmitted": Boolean(),
    }
    visits = Schema("visits", below, round(2.6 * patients), Unit("patient", 8), target="readmitted", reviewed=True)
    return LinkedSchema(Schema("patients", above, patients, Unit("patient", 1), reviewed=True), visits)


def locked(tables: tuple[pd.DataFrame, pd.DataFrame], public: LinkedSchema, seed: int) -> LinkedRows:
    """Both tables, linked."""
    above, below = map(FrameSource, tables)
    return read_linked(above, below, public, dataset="hospital", noise=NoiseSource(test_seed=seed))


def figures(drawn: LinkedSynthetic, held: LinkedRows, public: LinkedSchema) -> dict[str, float]:
    """Exact distances, and how often neighbours are alike, or in order."""
    parents, children, _ = internal_linked(held, allowed=True)
    found = report.exact((parents, children), (parents[:0], children[:0]), drawn, public)
    named = {f.name.replace("exact_", "").replace("_training", ""): f.value for f in found}
    return {**named, **alike(drawn.children)}


def alike(visits: pd.DataFrame) -> dict[str, float]:
    """Of a visit and the one before it of the same patient."""
    pairs = visits["patient"].to_numpy()[1:] == visits["patient"].to_numpy()[:-1]

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        values = visits[name].astype(str).to_numpy() if name in ("ward", "insurer") else visits[name].to_numpy()
        return values[1:][pairs], values[:-1][pairs]

    found = {f"same {name}": float(np.mean(np.equal(*both(name)))) for name in ("ward", "insurer")}
    found["not before in time"] = float(np.mean(np.greater_equal(*both("seen"))))
    found["correlation of days"] = float(np.corrcoef(*(part.astype(float) for part in both("days")))[0, 1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    public = schemas(options.patients)
    others = hospital(HELD, 1_000)
    held = locked(others, public, 0)
    seen: dict[str, list[dict[str, float]]] = {"without": [], "with": [], "torn": []}
    for seed in range(options.repeats):
        data = locked(hospital(options.patients, 10 + seed), public, seed)
        for name, recipe in (("without", Linked(siblings=0.0)), ("with", Linked())):
            start = time.process_time()
            plan = recipe.plan(public, Budget(options.epsilon, 1e-6, unit=public.unit))
            model = recipe.fit(data, Session(plan, noise=NoiseSource(test_seed=seed)))
            fitted = time.process_time()
            drawn = model.sample(HELD, seed=seed)
            times = {"seconds to fit": fitted - start, "seconds to draw": time.process_time() - fitted}
            seen[name].append({**figures(drawn, held, public), **times})
        seen["torn"].append(figures(replace(model, siblings=()).sample(HELD, seed=seed), held, public))
    truth = alike(others[1])
    print(
        f"| epsilon {options.epsilon:g} | without | with | with, before places change | real |\n| --- | --- | --- | --- | --- |"
    )
    for name in seen["with"][0]:
        cells = []
        for one in seen.values():
            values = np.array([run.get(name, np.nan) for run in one])
            cells.append(
                f"{values.mean():.4f} ± {values.std(ddof=1) / np.sqrt(len(values)):.4f}"
                if len(values) > 1
                else f"{values[0]:.4f}"
            )
        print(f"| {name} | {' | '.join(cells)} | {truth.get(name, float('nan')):.4f} |")


if __name__ == "__main__":
    main()
