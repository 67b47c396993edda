"""Would it pay to fit two methods and choose between them with privacy? A bound, on the tables of the comparison.

    python benchmarks/tabular/choice.py -o choice.json

Whoever fits two methods gives each half of the budget (as zero-concentrated DP counts it) and pays for the choice besides. So
it can pay only where the better of both, on half of the budget, beats the method that the rule picks, on all of it.
Here the better of both is taken by the exact figures on test rows, for nothing: no choice does better.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from adult import figures  # noqa: E402
from common import report  # noqa: E402
from tables import NAMES, split  # noqa: E402

from synthkit.data.encoding import undiscretize  # noqa: E402
from synthkit.data.private import Private  # noqa: E402
from synthkit.privacy.accounting import calibrate  # noqa: E402
from synthkit.privacy.budget import Budget  # noqa: E402
from synthkit.privacy.mechanisms.counts import counts_event  # noqa: E402
from synthkit.privacy.session import Session  # noqa: E402
from synthkit.synthesizers.base import method  # noqa: E402

DELTA = 1e-6
FIGURES = ("auc_logistic", "auc_boosting", "tvd_1way", "tvd_2way")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=NAMES, default=[name for name in NAMES if name != "caravan"])
    parser.add_argument("--methods", nargs="+", default=["aim", "mst"])
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first", type=int, default=100, help="the first seed: other splits than the comparison's")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "synthkit-benchmarks")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for table in options.tables:
        for name in options.methods:
            for share, epsilon in ((1.0, options.epsilon), (0.5, halved(options.epsilon))):
                every = [fit(table, name, epsilon, options.first + k, options.cache) for k in range(options.seeds)]
                row: dict[str, Any] = {"table": table, "method": name, "share": share, "epsilon": epsilon}
                for key in FIGURES:
                    values = [one[key] for one in every]
                    row |= {
                        key: float(np.mean(values)),
                        f"{key}_se": float(np.std(values, ddof=1) / len(values) ** 0.5),
                    }
                rows.append(row)
                print(" ".join(f"{key}={value}" for key, value in row.items()), file=sys.stderr, flush=True)
    report(f"half of the budget for each of two methods, epsilon {options.epsilon:g}", rows, options.output)


def halved(epsilon: float) -> float:
    """The epsilon of a Gaussian mechanism that costs half as much zCDP as one of ``epsilon``."""

    def sigma(of: float) -> float:
        budget = Budget(of, DELTA)
        return calibrate(lambda scale: counts_event(scale, budget), budget)

    low, high, wanted = 0.0, epsilon, sigma(epsilon) * math.sqrt(2)
    while high - low > 1e-4 * epsilon:
        middle = (low + high) / 2
        low, high = (middle, high) if sigma(middle) > wanted else (low, middle)
    return low


def fit(table: str, name: str, epsilon: float, seed: int, cache: Path) -> dict[str, float]:
    """Exact figures of one fit; where the synthetic target has one class, its AUC is 0.5."""
    data = split(table, seed, cache)
    recipe = method(name)
    session = Session(recipe.plan(data.schema, Budget(epsilon, DELTA)))
    rows = undiscretize(data.train, data.schema, np.random.default_rng(seed))
    model = recipe.fit(Private(rows, dataset=table, schema=data.schema), session)
    found = figures(model.sample(len(data.train), seed=seed).codes, data.train, data.test, data.schema)
    return {key: 0.5 for key in FIGURES if key.startswith("auc")} | found


if __name__ == "__main__":
    main()
