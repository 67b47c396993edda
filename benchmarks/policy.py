"""Speed of policy decisions: reading and compiling once, then deciding, for policies of several sizes.

python benchmarks/policy.py -o policy.json
"""

from __future__ import annotations

import argparse
import statistics
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import report

from synthkit.evidence import Evidence
from synthkit.policy.cedar import compiled
from synthkit.policy.decide import decide
from synthkit.policy.document import Policy
from synthkit.policy.gate import Attestation, Parcel, gate
from synthkit.policy.request import Request

ROOT = Path(__file__).parents[1]
REQUEST = Request(
    role="steward", action="release", dataset="hospital-visits-2025", purpose="research", epsilon=1.0, delta=1e-6,
    adjacency="add-or-remove", unit="person", unit_column="person_id", rows=5000, spent=0.0, schema="reviewed",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=500)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    text = (ROOT / "policies/hospital.yaml").read_text("utf-8")
    rows: list[dict[str, Any]] = []
    own = len(Policy.parse(text, source="hospital.yaml").rules)
    for extra in (0, 100 - own, 1000 - own):
        forbid = "  - {forbid: researcher, to: export, on: tumours, for: teaching}\n"
        start = time.perf_counter()
        policy = Policy.parse(text + forbid * extra, source="hospital.yaml")
        read = time.perf_counter()
        compiled(policy)
        ready = time.perf_counter()
        assert decide(policy, REQUEST).allowed
        rows.append(
            {
                "rules": len(policy.rules),
                "read_ms": 1e3 * (read - start),
                "compile_ms": 1e3 * (ready - read),
                **timed("decide", lambda policy=policy: decide(policy, REQUEST), options.repeat),
                **timed("gate", lambda policy=policy: leave(policy), options.repeat),
            }
        )
    report("policy", rows, options.output)


def leave(policy: Policy) -> bool:
    """A gate with a check, a signature, a count and a label."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    signature = Attestation("Dora", "data-protection-officer", "approves", "a" * 64, datetime(2027, 1, 1, tzinfo=UTC))
    parcel = Parcel(bundle="a" * 64, attempts=1, labels=("synthetic",))
    figure = Evidence("fidelity.tvd_2way", 0.05, (0.04, 0.06), "how", "charged")
    first = decide(policy, REQUEST)
    opened = gate(policy, first, REQUEST, parcel, [figure], [signature], verify=lambda _: True, now=now)
    assert opened.allowed
    return opened.allowed


def timed(name: str, call: Callable[[], Any], repeat: int) -> dict[str, float]:
    """Median and 95th percentile of a warm call, in milliseconds."""
    call()
    times = sorted(1e3 * seconds for seconds in timeit.repeat(call, number=1, repeat=repeat))
    return {f"{name}_ms": statistics.median(times), f"{name}_p95_ms": times[int(0.95 * len(times))]}


if __name__ == "__main__":
    main()
