"""An audit opens no data, finds what is broken and says where, and claims no more than it saw."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import synthkit.privacy.mechanisms.counts as counts_module
from synthkit.assess.reidentification import Risks
from synthkit.audit.canaries import with_and_without
from synthkit.audit.replay import replay
from synthkit.data.private import reveal
from synthkit.data.schema import Categorical, Continuous, Identifier, Integer, Schema, Unit
from synthkit.data.tables import FrameSource, Source
from synthkit.documents import canonical_json
from synthkit.errors import JobError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.release import attack
from synthkit.release.attack import Audit, Finding, audit, releasing, write
from synthkit.release.job import Job
from synthkit.synthesizers.base import METHODS
from synthkit.synthesizers.independent import Independent

SHOWN = Path(__file__).relative_to(Path(__file__).parents[2]).as_posix()
PUBLIC = Schema(
    "people",
    {
        "age": Integer(min=0, max=99, bins=4, unknown="clamp", nullable=True),
        "region": Categorical(categories=("north", "south"), unknown="other"),
    },
    5_000,
    reviewed=True,
)
QUESTIONS = ["replay", "guessing through the noise", "gradient canaries", "two runs", "planted values"]


class Closed(Source):
    """Rows that nobody may ask for."""

    null_values = ()

    @property
    def label(self) -> str:
        return "closed"

    def columns(self) -> list[str]:
        raise AssertionError("the data were opened")

    def batches(self, rows: int = 0) -> Iterator[pd.DataFrame]:
        raise AssertionError("the data were opened")

    def _batches(self, rows: int) -> Iterator[pd.DataFrame]:
        raise AssertionError("the data were opened")


def job(method: str = "independent", *, public: Schema = PUBLIC, holdout: float = 0.0, **changes: Any) -> Job:
    budget = Budget(1.0, 1e-5, unit=public.unit)
    made = Job("people", Closed(), public, budget, method, 100, Path("nowhere/release"), holdout=holdout)
    return replace(made, **changes)


def outcomes(found: Audit) -> dict[str, str]:
    return {finding.attack: finding.outcome for finding in found.findings}


def detail(found: Audit, name: str) -> str:
    return next(finding.detail for finding in found.findings if finding.attack == name)


@pytest.fixture(scope="module")
def clean() -> Audit:
    """The audit of a correct configuration, with a holdout and people of several rows."""
    public = replace(PUBLIC, columns={"person": Identifier(), **PUBLIC.columns}, unit=Unit("person", 2))
    return audit(job(public=public, holdout=0.2), rows=30)


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are not about guessing: a few draws of the noise."""
    monkeypatch.setattr(attack, "with_and_without", lambda *calls, trials: with_and_without(*calls, trials=500))


# A correct configuration


def test_nothing_is_found_and_no_data_are_opened(clean: Audit) -> None:
    assert not clean.violated
    assert outcomes(clean) == {
        "replay": "no violation found",
        "guessing through the noise": "no violation found",
        "gradient canaries": "not attempted",
        "two runs": "no violation found",
        "planted values": "no violation found",
    }
    assert clean.epsilon == pytest.approx(1.0, abs=0.01)
    assert all(name in detail(clean, "planted values") for name in ("age", "region", "person"))
    guessing = next(finding for finding in clean.findings if finding.bound is not None)
    assert guessing.claimed is not None and 0 <= guessing.bound <= guessing.claimed and guessing.confidence == 0.999


@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_a_bound_is_near_the_claim_where_the_price_is_tight(adjacency: Adjacency) -> None:
    public = replace(PUBLIC, columns={"region": PUBLIC.columns["region"]})
    found = audit(job(public=public, budget=Budget(2.0, 1e-4, adjacency)), rows=20)
    assert not found.violated, found.findings
    (guessing,) = [finding for finding in found.findings if finding.attack == "guessing through the noise"]
    assert guessing.bound is not None and guessing.bound > 0.4
    assert "the largest move was 100.0% of what was priced" in detail(found, "replay")


def test_progress_goes_from_nothing_to_done(briefly: None) -> None:
    told: list[tuple[float, str]] = []
    public = replace(PUBLIC, columns={"region": Categorical(categories=("north", "south"))})
    found = audit(job(public=public), rows=10, progress=lambda share, what: told.append((share, what)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and (shares[0], shares[-1]) == (0.0, 1.0)
    assert outcomes(found)["planted values"] == "not attempted", "every value is public"


@pytest.mark.slow
def test_the_gan_is_attacked_with_canaries() -> None:
    """Thoroughly: its real settings are replayed as well."""
    public = replace(PUBLIC, target="region", columns={**PUBLIC.columns, "sex": Categorical(categories=("f", "m"))})
    asked = job("tabular_gan", public=public, settings={"iterations": 5, "batch": 32, "width": 8, "latent": 4})
    found = audit(asked, rows=60, thorough=True)
    assert not found.violated, found.findings
    assert set(outcomes(found)) == {*QUESTIONS, "replay, real settings"}
    assert set(outcomes(found).values()) == {"no violation found"}


def test_wide_columns_can_be_audited(briefly: None) -> None:
    columns = {
        "large": Integer(min=0, max=2**52, unknown="clamp"),
        "huge": Continuous(min=0.0, max=1e25, unknown="clamp"),
    }
    found = audit(job(public=replace(PUBLIC, columns=columns)), rows=10)
    assert not found.violated, found.findings


def test_a_method_without_a_guarantee_is_refused() -> None:
    with pytest.raises(JobError, match="claims no guarantee"):
        audit(job("sdv_baseline"))


def test_a_contradictory_job_is_refused() -> None:
    with pytest.raises(JobError, match="no method 'unheard_of'"):
        audit(job("unheard_of"))
    with pytest.raises(JobError, match="delta"):
        audit(job(budget=Budget(1.0, 0.4)))


def test_the_whole_release_is_what_is_replayed() -> None:
    frame = pd.DataFrame({"age": [30, 40] * 10, "region": ["north", "south"] * 10})
    found = replay(releasing(job(rows=5)), frame, frame.iloc[:-1])
    assert found.passed and found.tightest == 1.0
    assert {move.what for move in found.moved} == {"age", "region"}


# Broken methods


@dataclass(frozen=True, kw_only=True)
class Logging(Independent):
    """Tells the log how many rows there are."""

    name: ClassVar[str] = "broken"

    def fit(self, data: Any, session: Any, *, progress: Any = None) -> Any:
        logging.getLogger("broken").info("fitting %d rows", reveal(data).rows)
        return super().fit(data, session)


@dataclass(frozen=True, kw_only=True)
class Stopping(Independent):
    """Gives up on small tables, before it charges."""

    name: ClassVar[str] = "broken"

    def fit(self, data: Any, session: Any, *, progress: Any = None) -> Any:
        if reveal(data).rows < 15:
            raise JobError("too few rows")
        return super().fit(data, session)


@dataclass(frozen=True, kw_only=True)
class Rolling(Independent):
    """Draws from numpy's global state."""

    name: ClassVar[str] = "broken"

    def fit(self, data: Any, session: Any, *, progress: Any = None) -> Any:
        lucky = np.random.random()
        progress(lucky, "rolling")
        return super().fit(data, session)


def test_what_an_explanation_asks_of_the_holdout_is_replayed() -> None:
    """Its reads are among the calls, and on neighbours nothing else differs."""
    public = replace(PUBLIC, target="region")
    asked = job(public=public, holdout=0.5, explain=True, explain_charged=("importance", "defects"), rows=60)
    frame = pd.DataFrame({"age": [30, 40, 50] * 20, "region": ["north", "south"] * 30})
    found = replay(releasing(asked), frame, frame.iloc[:-1])
    assert found.passed, [str(divergence) for divergence in found.divergences[:3]]
    (_, holdout), _ = found.calls
    assert any("attributions" in call.charge.what for call in holdout)


def test_attacks_on_training_rows_are_replayed_and_audited() -> None:
    """They read training rows after the fit, and held-out ones: all are among the calls."""
    asked = job(public=replace(PUBLIC, target="region"), holdout=0.5, risks=Risks(), rows=60)
    frame = pd.DataFrame({"age": [30, 40, 50] * 20, "region": ["north", "south"] * 30})
    found = replay(releasing(asked), frame, frame.iloc[:-1])
    assert found.passed, [str(divergence) for divergence in found.divergences[:3]]
    for part in found.calls[0]:
        assert {"noisy isolations", "noisy sum"} <= {call.charge.mechanism for call in part}
    assert not audit(asked, rows=15).violated


def line_of(text: str) -> int:
    return 1 + Path(__file__).read_text("utf-8").splitlines().index(text)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers a method under the name "broken"; gives a job that asks for it."""

    def registered(kind: type) -> Job:
        module = ModuleType("broken_methods")
        module.Broken = kind  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "broken_methods", module)
        monkeypatch.setitem(METHODS, "broken", ("broken_methods:Broken", "a mistake"))  # type: ignore[arg-type]
        return job("broken")

    return registered


def test_a_leak_into_the_log_is_a_violation(broken: Any) -> None:
    found = audit(broken(Logging), rows=15)
    assert found.violated and outcomes(found)["replay"] == "violation"
    assert "log[0]: differs" in detail(found, "replay") and "added" in detail(found, "replay")
    assert outcomes(found)["guessing through the noise"] == "not attempted"
    assert found.verdict == "Violation: 1 of 5 attacks succeeded. Do not make this release."


def test_giving_up_on_a_small_table_is_a_violation(broken: Any) -> None:
    found = replay(releasing(broken(Stopping)), rows_of(15), rows_of(14))
    assert {divergence.where for divergence in found.divergences} >= {"error", "mechanisms"}


def rows_of(count: int) -> pd.DataFrame:
    return pd.DataFrame({"age": [30] * count, "region": ["north"] * count})


def test_a_method_that_differs_from_itself_is_a_violation_with_its_line(broken: Any) -> None:
    found = audit(broken(Rolling), rows=15)
    where = f"{SHOWN}:{line_of('        lucky = np.random.random()')} (lucky)"
    assert outcomes(found)["replay"] == "violation"
    assert "cannot be replayed" in detail(found, "replay") and where in detail(found, "replay")


def test_a_bound_that_is_too_small_is_a_violation_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    original = counts_module.exact_marginals
    monkeypatch.setattr(counts_module, "exact_marginals", lambda *given: [2 * table for table in original(*given)])
    found = audit(job(), rows=15)
    assert outcomes(found)["replay"] == "violation"
    assert "moved by 2 (L2), and 1 is declared at most" in detail(found, "replay")
    assert "synthkit/privacy/mechanisms/counts.py:" in detail(found, "replay")


def test_too_little_noise_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    original = NoiseSource.discrete_gaussian
    monkeypatch.setattr(NoiseSource, "discrete_gaussian", lambda self, sigma, size: original(self, sigma / 2, size))
    found = audit(job(), rows=15)
    assert outcomes(found) == {**outcomes(found), "replay": "no violation found"}
    assert outcomes(found)["guessing through the noise"] == "violation"
    (guessing,) = [finding for finding in found.findings if finding.attack == "guessing through the noise"]
    assert guessing.claimed == pytest.approx(1.0, abs=0.01)


def test_noise_that_repeats_is_a_violation(briefly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthkit.release.run.NoiseSource", lambda: NoiseSource(test_seed=7))
    found = audit(job(), rows=15)
    assert outcomes(found)["two runs"] == "violation"
    assert detail(found, "two runs") == "two releases of the same data are equal to the byte"


def test_a_planted_value_that_is_found_is_a_violation(briefly: None, monkeypatch: pytest.MonkeyPatch) -> None:
    original = attack.run

    def careless(asked: Job, ledger: Any, **options: Any) -> Any:
        made = original(asked, ledger, **options)
        assert isinstance(asked.source, FrameSource)
        next(iter(asked.source.batches())).to_csv(asked.output / "debug.csv")
        return made

    monkeypatch.setattr(attack, "run", careless)
    found = audit(job(), rows=15)
    assert outcomes(found)["planted values"] == "violation"
    shown = detail(found, "planted values")
    assert "age in release/release-1/debug.csv (digits)" in shown and "region" in shown
    assert "zq-planted" not in shown, "the place is named, the value is not"


# What is written

KEYS = {
    "synthkit_audit",
    "created",
    "synthkit",
    "dataset",
    "schema",
    "method",
    "budget",
    "claimed_epsilon",
    "effort",
    "shortened",
    "findings",
    "violated",
    "verdict",
}


def test_the_document_is_canonical_and_has_its_keys(clean: Audit, tmp_path: Path) -> None:
    write(tmp_path / "some/audit", clean)
    folder = tmp_path / "some/audit"
    assert {path.name for path in folder.iterdir()} == {"audit.json", "audit.html"}
    text = (folder / "audit.json").read_text("utf-8")
    document = json.loads(text)
    assert text == canonical_json(document) + "\n"
    assert set(document) == KEYS and document["synthkit_audit"] == 1
    assert [finding["attack"] for finding in document["findings"]] == QUESTIONS
    for finding in document["findings"]:
        assert set(finding) == {"attack", "question", "outcome", "detail", "claimed", "bound", "confidence"}
        assert finding["outcome"] in ("no violation found", "violation", "not attempted")
    assert document["effort"] == "quick" and document["violated"] is False
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["created"])
    assert Schema.from_dict(document["schema"]) == clean.job.schema


def page(found: Audit, folder: Path) -> str:
    write(folder, found)
    return (folder / "audit.html").read_text("utf-8")


def test_the_page_holds_all_that_it_needs(clean: Audit, tmp_path: Path) -> None:
    shown = page(clean, tmp_path / "audit")
    assert "://" not in shown and "<script" not in shown and "<link" not in shown
    assert not re.search(r"""\b(src|href|action)=["'](?!#)""", shown) and "url(" not in shown and "@import" not in shown
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', shown)
    assert policy.startswith("default-src 'none'")
    (style,) = re.findall(r"<style>(.*?)</style>", shown, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy.replace("&#39;", "'")
    for finding in clean.findings:
        assert finding.attack in shown and finding.outcome in shown
    assert 'role="alert"' not in shown


def test_the_page_of_a_violation_says_so_and_escapes(clean: Audit, tmp_path: Path) -> None:
    bad = Finding("replay", "Is <it> so?", "violation", "<script>alert(1)</script>", 1.0, 2.0, 0.999)
    shown = page(replace(clean, findings=(bad,)), tmp_path / "audit")
    assert "Violation found: do not make this release" in shown and 'role="alert"' in shown
    assert "<script" not in shown and "&lt;script&gt;" in shown and "99.9% sure" in shown


def test_an_existing_folder_is_refused(clean: Audit, tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    with pytest.raises(JobError, match="exists"):
        write(tmp_path / "audit", clean)
    assert list((tmp_path / "audit").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="cannot be written"):
        write(tmp_path / "file/audit", clean)


def test_no_word_claims_more_than_was_seen(clean: Audit, tmp_path: Path) -> None:
    claims = re.compile(r"\b(proved|proven|proves that|safe|secure|guaranteed|certified|anonymous)\b", re.IGNORECASE)
    violated = replace(clean, findings=(replace(clean.findings[0], outcome="violation"),))
    for k, found in enumerate((clean, violated, replace(clean, findings=()))):
        assert not claims.search(found.verdict)
        assert not any(claims.search(finding.outcome + finding.question) for finding in found.findings)
        body = re.sub(r"<style>.*?</style>", "", page(found, tmp_path / f"audit-{k}"), flags=re.DOTALL)
        assert not claims.search(re.sub(r"<[^>]*>", " ", body))
    assert clean.verdict == "No violation found by 4 attacks. This is not a proof: another attack may find one."


# The page of the documentation


def test_the_examples_of_the_audit_page_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root / "examples/hospital")
    text = (root / "docs/audit.md").read_text("utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    exec(compile("\n".join(examples), "docs/audit.md", "exec"), {"__name__": "audit_page"})
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) > 10 and any("100%" in line for line in shown)
