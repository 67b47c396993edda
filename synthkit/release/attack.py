"""Attack a release before it is made: the very configuration, on tables that nobody has.

Nothing private is opened. Neighbouring tables are drawn from the schema, the whole way of a release
(bound, split, fit, sample, assess, manifest) is replayed on them, the mechanisms' answers are guessed
at through real noise, DP-SGD is run over canaries, and a release of a table with planted values is
searched for them and thrown away. What is found is a violation. What is not found proves nothing.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import dp_accounting
import numpy as np
import pandas as pd
from dp_accounting import DpEvent

import synthkit
from synthkit.audit import bounds, forensics, images, linked, neighbours
from synthkit.audit.canaries import gradient_canaries, with_and_without
from synthkit.audit.neighbours import Pair
from synthkit.audit.programs import saved
from synthkit.audit.replay import Opener, Program, Replayed, deterministic, replay
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import ImageSource
from synthkit.data.linked import LinkedSchema, LinkedSource
from synthkit.data.schema import Categorical, Continuous, Identifier, Integer, Schema
from synthkit.data.tables import FrameSource, Source
from synthkit.documents import canonical_json, write_atomically
from synthkit.errors import JobError
from synthkit.explain.shapley import ready
from synthkit.privacy import accounting, events
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.noise import NoiseSource
from synthkit.release import bundle
from synthkit.release.job import LINKED, Job
from synthkit.release.permission import Asker
from synthkit.release.report import environment
from synthkit.release.run import facts_of, price, produce, run
from synthkit.synthesizers.base import Progress, built, method_class, silent
from synthkit.synthesizers.conditional import Conditional
from synthkit.synthesizers.linked import Linked

VERSION = 1
_ALPHA = 1e-3  # chance that a statistical finding is wrong, each
_CANARIES = 2_000
_MOST_STEPS = 400  # of DP-SGD over canaries; more are thinned, and the claim with them
_SYNTHETIC = 60  # rows that a replay draws and compares
_PLANTABLE = 2.0**52  # beyond, a number is too coarse to be told from its column's max

Outcome = Literal["no violation found", "violation", "not attempted"]


@dataclass(frozen=True)
class Finding:
    """One attack.

    Attributes:
        attack: its name.
        question: what it asks, for people.
        outcome: never more than "no violation found".
        detail: what was attempted, and what was seen.
        claimed: epsilon that the attack was against, where it is statistical.
        bound: empirical lower bound on epsilon, or None.
        confidence: of the bound.
    """

    attack: str
    question: str
    outcome: Outcome
    detail: str
    claimed: float | None = None
    bound: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Audit:
    """What was attempted against a configuration, and what came of it."""

    job: Job
    epsilon: float
    thorough: bool
    shortened: Mapping[str, Any]
    findings: tuple[Finding, ...]

    @property
    def violated(self) -> bool:
        """Whether any attack succeeded."""
        return any(finding.outcome == "violation" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """In words that claim no more than was seen."""
        if self.violated:
            count = sum(finding.outcome == "violation" for finding in self.findings)
            return f"Violation: {count} of {len(self.findings)} attacks succeeded. Do not make this release."
        tried = sum(finding.outcome != "not attempted" for finding in self.findings)
        return f"No violation found by {tried} attacks. This is not a proof: another attack may find one."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without anything that was read from data."""
        budget = self.job.budget
        return {
            "synthkit_audit": VERSION,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "synthkit": synthkit.__version__,
            "dataset": self.job.dataset,
            "schema": self.job.schema.to_dict(),
            "method": {"name": self.job.method, "settings": dict(self.job.settings)},
            "budget": budget.to_dict(),
            "claimed_epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "effort": "thorough" if self.thorough else "quick",
            "shortened": dict(self.shortened),
            "findings": [finding.__dict__ for finding in self.findings],
            "violated": self.violated,
            "verdict": self.verdict,
        }


def audit(job: Job, *, thorough: bool = False, rows: int = 200, progress: Progress = silent) -> Audit:
    """Attack the configuration of ``job``. Its data are not opened.

    Args:
        job: what a steward is about to release.
        thorough: the method's real settings in one more replay, and ten times the samples.
        rows: size of the tables that are drawn; of linked tables, parents.
        progress: told what is being done.

    Raises:
        InputError: the job contradicts itself.
    """
    priced = price(job)
    if not accounting.is_private(priced.event):
        raise JobError(f"method {job.method} claims no guarantee (its epsilon is infinite): there is nothing to attack")
    shortened = _shortened(job)
    small = _small(job, rows, {**job.settings, **shortened})
    findings: list[Finding] = []
    progress(0.0, "replaying on neighbours")
    found, last = _replays(small, rows, thorough, _part(progress, 0.0, 0.5))
    findings.append(found)
    if thorough and shortened:
        progress(0.5, "replaying with the real settings")
        findings.append(_whole_replay(_small(job, rows, job.settings), rows))
    progress(0.6, "guessing through the noise")
    findings.append(_guesses(last, small, 400_000 if thorough else 100_000))
    progress(0.75, "canaries through DP-SGD")
    findings.append(_canaries(job, thorough))
    progress(0.85, "two runs and planted values")
    findings += _thrown_away(small, rows)
    progress(1.0, "audited")
    return Audit(job, priced.epsilon, thorough, shortened, tuple(findings))


def releasing(job: Job) -> Program:
    """The whole way of ``job``'s release as a program to replay; only ledger and disk are left out."""
    priced = price(job)
    if job.explain_charged:
        ready()

    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        steps: list[tuple[float, str]] = []
        sessions = [open_session(plan) for plan in (priced.training, priced.holdout) if plan]
        given = replace(job, source=_source(frame, job.schema))
        made = produce(given, priced, sessions, noise, lambda share, what: steps.append((share, what)))
        facts = facts_of(job, priced, sessions, made, noise, allow_unreviewed=True)
        manifest = bundle.manifest_of(facts)
        return {
            "progress": steps,
            "model": saved(made.model),
            "synthetic": made.frames,
            "evidence": made.evidence,
            "defects": made.charged.defects and made.charged.defects.to_dict(),
            "manifest": {name: entry for name, entry in manifest.items() if name != "created"},
        }

    return program


# The attacks


def _small(job: Job, rows: int, settings: Mapping[str, Any]) -> Job:
    """The job for a made-up table of ``rows`` rows, which no policy is about: same schema, budget and method."""
    return replace(
        job, schema=job.schema.with_rows(rows), settings=settings, rows=_SYNTHETIC, internal=False, asker=Asker()
    )


def _shortened(job: Job) -> dict[str, Any]:
    """Settings with which what comes after the last read is shorter."""
    if job.method != LINKED:
        return {**getattr(method_class(job.method), "short", {})}
    recipe = built(Linked, job.settings)
    parents = {**recipe.parent_settings, **getattr(method_class(recipe.parents), "short", {})}
    return {"parent_settings": parents, "child_settings": {**recipe.child_settings, **Conditional.short}}


# Two linked tables go through a replay as one frame, stacked.


def _table(schema: Schema | LinkedSchema | ImageSchema, rows: int) -> pd.DataFrame:
    if isinstance(schema, ImageSchema):
        return images.table(schema, rows)
    return neighbours.table(schema, rows) if isinstance(schema, Schema) else linked.table(schema, rows)


def _pairs(job: Job, rows: int) -> list[Pair]:
    schema, adjacency = job.schema, job.budget.adjacency
    if isinstance(schema, ImageSchema):
        return list(images.pairs(schema, adjacency, images=rows))
    if isinstance(schema, Schema):
        return list(neighbours.pairs(schema, adjacency, rows=rows))
    return list(linked.pairs(schema, adjacency, parents=rows))


def _source(frame: pd.DataFrame, schema: Schema | LinkedSchema | ImageSchema) -> Source | LinkedSource | ImageSource:
    if isinstance(schema, ImageSchema):
        return images.source(frame, schema)
    if isinstance(schema, Schema):
        return FrameSource(frame)
    above, below = linked.unstacked(frame, schema)
    return LinkedSource(FrameSource(above), FrameSource(below))


def _replays(job: Job, rows: int, thorough: bool, progress: Progress) -> tuple[Finding, Replayed | None]:
    question = "Does anything leave but through a mechanism, and does one unit move answers by no more than was priced?"
    program = releasing(job)
    probe = _table(job.schema, rows)
    if unstable := deterministic(program, probe):
        detail = f"two runs on the same table differ, so it cannot be replayed: {unstable[0]}"
        return Finding("replay", question, "violation", detail), None
    chosen = _pairs(job, rows)
    seeds = range(3 if thorough else 1)
    last, tightest = None, 0.0
    for k, pair in enumerate(chosen):
        progress(k / len(chosen), f"replay: {pair.name}")
        for seed in seeds:
            found = replay(program, pair.left, pair.right, seed=seed)
            if not found.passed:
                shown = "; ".join(str(divergence) for divergence in found.divergences[:5])
                return Finding("replay", question, "violation", f"{pair.name}: {shown}"), None
            if found.tightest >= tightest:
                last, tightest = found, found.tightest
    detail = (
        f"{len(chosen)} pairs of neighbouring tables of about {rows} rows drawn from the schema, {len(seeds)} draw(s) of "
        f"the coins each: {len(last.moved) if last else 0} answers compared a pair; the largest move was "
        f"{tightest:.1%} of what was priced"
    )
    return Finding("replay", question, "no violation found", detail), last


def _whole_replay(job: Job, rows: int) -> Finding:
    pair = _pairs(job, rows)[0]
    found = replay(releasing(job), pair.left, pair.right)
    shown = "; ".join(str(divergence) for divergence in found.divergences[:5])
    outcome: Outcome = "no violation found" if found.passed else "violation"
    return Finding(
        "replay, real settings",
        "Is the same true with the settings as they are, training in full?",
        outcome,
        shown or f"one pair ({pair.name}), nothing shortened",
    )


def _guesses(found: Replayed | None, job: Job, trials: int) -> Finding:
    question = "Who sees every answer with its real noise: how well can they tell whether one unit was there?"
    name = "guessing through the noise"
    if found is None:
        return Finding(name, question, "not attempted", "the replay did not pass")
    inside, outside = with_and_without(*found.calls, trials=trials)
    delta, priced = job.budget.delta, price(job)
    # The unit was in one part, and is told by the answers of that part alone.
    part = priced.holdout if priced.holdout and len(found.parts) > 1 and found.parts[1] else priced.training
    claimed = part.epsilon
    bound = bounds.multi_run(inside, outside, delta, alpha=_ALPHA)
    curve = bounds.gaussian(inside, outside, delta, alpha=_ALPHA)
    detail = (
        f"{bound.how}. Under the assumption of a Gaussian trade-off curve, the bound is epsilon {curve.epsilon:.3f}; "
        "the answers are those of one replayed pair, released again and again by the session's own noise"
    )
    outcome: Outcome = "violation" if bound.refutes(claimed) or curve.refutes(claimed * 1.05) else "no violation found"
    return Finding(name, question, outcome, detail, claimed, bound.epsilon, bound.confidence)


def _canaries(job: Job, thorough: bool) -> Finding:
    question = "Do gradients of single records stay hidden in DP-SGD's noise?"
    step = _sampled(price(job).training.event)
    if step is None:
        return Finding("gradient canaries", question, "not attempted", "the method runs no DP-SGD")
    (rate, multiplier), steps = step
    steps = min(steps, _MOST_STEPS)
    event = events.repeat(dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(multiplier)), steps)
    delta = job.budget.delta
    claimed = accounting.epsilon(event, delta, job.budget.adjacency)
    best = bounds.Bound(0.0, delta, 1 - _ALPHA, "")
    runs = 5 if thorough else 1
    for _ in range(runs):
        seen = gradient_canaries(
            canaries=_CANARIES, steps=steps, sample_rate=rate, noise_multiplier=multiplier, clipping="ghost"
        )
        right, made = bounds.guesses(seen.score, seen.included, _CANARIES // 4)
        # The first holds for any mechanism and is blind where delta is large; the second knows the noise's curve.
        for bound_by in (bounds.one_run, bounds.one_run_gaussian):
            bound = bound_by(right, made, _CANARIES, delta, alpha=_ALPHA / (2 * runs))
            best = max(best, bound, key=lambda b: b.epsilon)
    outcome: Outcome = "violation" if best.refutes(claimed) else "no violation found"
    detail = f"{steps} steps at the release's noise and sampling rate, {runs} run(s): {best.how or 'nothing learnt'}"
    return Finding("gradient canaries", question, outcome, detail, claimed, best.epsilon, 1 - _ALPHA)


def _sampled(event: DpEvent) -> tuple[tuple[float, float], int] | None:
    """Rate, noise multiplier and number of the plan's DP-SGD steps."""
    for name, count in events.parts(event).items():
        part = events.from_json(json.loads(name))
        if isinstance(part, dp_accounting.PoissonSampledDpEvent) and isinstance(
            part.event, dp_accounting.GaussianDpEvent
        ):
            return (part.sampling_probability, part.event.noise_multiplier), count
    return None


def _thrown_away(job: Job, rows: int) -> list[Finding]:
    """Two whole releases of a table with planted values, in a folder that is gone afterwards."""
    if isinstance(job.schema, ImageSchema):
        return _thrown_away_images(job, job.schema, rows)
    frame, planted = _planted(job.schema, rows)
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for k in (1, 2):
            trial = replace(job, source=_source(frame, job.schema), output=place / f"release-{k}", model=True)
            run(trial, Ledger(place / "ledger.sqlite"), allow_unreviewed=True)
            seen.append([path.read_bytes() for path in sorted(trial.output.glob("*.csv"))])
        found = forensics.search({"release": place}, planted) if planted else []
    fresh = _fresh(seen[0] != seen[1])
    question = "Is any real value found in what is written: bundle, model, ledger?"
    if not planted:
        none = "every value of the schema's columns is public by declaration: there is nothing to plant"
        return [fresh, Finding("planted values", question, "not attempted", none)]
    where = ", ".join(sorted({f"{item.planted} in {item.where} ({item.form})" for item in found})[:5])
    detail = where or f"unique values planted in {', '.join(sorted(planted))}: none found in any form"
    return [fresh, Finding("planted values", question, "violation" if found else "no violation found", detail)]


def _fresh(differ: bool) -> Finding:
    outcome: Outcome = "no violation found" if differ else "violation"
    detail = "two releases of the same data " + ("differ" if differ else "are equal to the byte")
    return Finding("two runs", "Is the noise fresh every time?", outcome, detail)


def _thrown_away_images(job: Job, schema: ImageSchema, rows: int) -> list[Finding]:
    """As :func:`_thrown_away`, with a planted pattern; synthetic images that look like it count as it, too."""
    frame, pattern = images.planted(schema, rows)
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for k in (1, 2):
            trial = replace(job, source=images.source(frame, schema), output=place / f"release-{k}", model=True)
            run(trial, Ledger(place / "ledger.sqlite"), allow_unreviewed=True)
            seen.append((trial.output / "images.npz").read_bytes())
        found = forensics.search_bytes({"release": place}, {"an image": images.forms(pattern)})
        drawn = np.load(io.BytesIO(seen[0]), allow_pickle=False)["images"].reshape(
            -1, schema.height, schema.width, schema.channels
        )
    like = images.alike(pattern, np.moveaxis(drawn, -1, 1))
    where = ", ".join(sorted({f"{item.where} ({item.form})" for item in found})[:5])
    where = where or (f"{like} synthetic images look like the planted one" if like else "")
    detail = (
        where
        or "an image of random pixels was planted: its pixels are found in no form, and no synthetic one is like it"
    )
    outcome: Outcome = "violation" if where else "no violation found"
    question = "Is any real image found in what is written: bundle, model, ledger?"
    return [_fresh(seen[0] != seen[1]), Finding("planted values", question, outcome, detail)]


def _planted(schema: Schema | LinkedSchema, rows: int) -> tuple[pd.DataFrame, dict[str, str | float | int]]:
    """A table with planted values; of linked tables, a parent and a child of its own, stacked."""
    frame = _table(schema, rows)
    if isinstance(schema, Schema):
        return _plant(frame, schema)
    above, below = linked.unstacked(frame, schema)
    (above, of_parent), (below, of_child) = _plant(above, schema.parent), _plant(below, schema.child)
    key = schema.key
    of_parent[key] = of_child[key] = above.loc[0, key] = below.loc[0, key] = "zq-planted-key-77281"
    planted = {f"{schema.parent.name}.{name}": value for name, value in of_parent.items()}
    planted |= {f"{schema.child.name}.{name}": value for name, value in of_child.items()}
    return linked.stacked(above, below[below[key].isin(above[key])]), planted


def _plant(frame: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, dict[str, str | float | int]]:
    """One record with unique values wherever the schema takes values that it does not list."""
    planted: dict[str, str | float | int] = {}
    for k, (name, column) in enumerate(schema.columns.items()):
        if isinstance(column, Identifier) or (isinstance(column, Categorical) and column.unknown == "other"):
            planted[name] = f"zq-planted-{k}-77281"
        elif isinstance(column, Integer | Continuous) and column.unknown == "clamp" and abs(column.max) < _PLANTABLE:
            planted[name] = column.max + 10_000_019 if isinstance(column, Integer) else column.max + 10_000_019.5
    frame = frame.copy()
    for name, value in planted.items():
        frame.loc[0, name] = value
    return frame, planted


def _part(progress: Progress, low: float, high: float) -> Callable[[float, str], None]:
    return lambda share, what: progress(low + (high - low) * share, what)


# The page


def write(folder: Path, found: Audit) -> None:
    """Write ``audit.json`` (canonical, ready to be signed) and ``audit.html`` into a new folder.

    Raises:
        JobError: the folder exists, or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise JobError(f"{folder} exists; name another output, or move it away") from None
    except OSError as problem:
        raise JobError(f"{folder}: cannot be written: {problem.strerror}") from None
    document = found.to_dict()
    write_atomically(folder / "audit.json", canonical_json(document) + "\n")
    page = environment().get_template("audit.html.j2").render(a=document, violated=found.violated)
    write_atomically(folder / "audit.html", page)


__all__ = ["Audit", "Finding", "audit", "releasing", "write"]
