"""The way of the data: price, decide, reserve, fit, sample, assess, bundle, commit.

Nothing here looks at a private value: boxes are handed from readers to mechanisms. What can be
refused from public facts is refused before the ledger is asked, and the ledger is asked before the
data open.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from dp_accounting import DpEvent

from synthkit.data import vault
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images, ImageSource
from synthkit.data.schema import Schema
from synthkit.data.tables import FrameSource, Source
from synthkit.errors import (
    BudgetExceeded,
    DataError,
    JobError,
    LedgerError,
    NotReleasable,
    SynthkitError,
    UnreviewedSchema,
)
from synthkit.evidence import Evidence
from synthkit.explain.images import ImageExplanation
from synthkit.explain.model import Explanation
from synthkit.policy.decide import Decision
from synthkit.privacy import accounting
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import ParallelDpEvent
from synthkit.privacy.internal import internal_codes
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.release import bundle, explaining, permission, sampling, sign
from synthkit.release.charged import Charged
from synthkit.release.credentials import Credentials, read_credentials
from synthkit.release.hand_out import Release, hand_out, held_for
from synthkit.release.image_job import with_folder
from synthkit.release.job import Job
from synthkit.release.kinds import Kind, OneTable, kind_of
from synthkit.release.permission import Asker
from synthkit.release.pictures import MOST_FILES
from synthkit.synthesizers.base import Model, Progress, settings_of, silent
from synthkit.synthesizers.linked import LinkedModel, LinkedSynthetic

_DECLARED = "What the schema declares (columns, categories, bounds, about how many rows) is taken as public."
_DECLARED_IMAGES = "What the schema declares (size, classes, about how many images) is taken as public."
_UNITS = "What belongs to the same person but carries different identifiers, or none, count as different units."
_SETTINGS = (
    "Choices made by people who saw the private data (which method, which settings, whether to release) are not priced."
)


@dataclass(frozen=True)
class Price:
    """What a release will cost, from public facts alone.

    Attributes:
        training: plan of the fit.
        holdout: plan of the quality report, or None without a holdout.
        share: probability of the holdout.
        cells: rows times columns of the synthetic table, or of both; of images, about as much work.
        explaining: forecast of the explanation's time, in seconds; 0 where none is asked for.
    """

    training: Plan
    holdout: Plan | None
    share: float
    cells: int
    explaining: float = 0.0

    @property
    def event(self) -> DpEvent:
        """Everything that the release will run; training and holdout in parallel."""
        if self.holdout is None:
            return self.training.event
        return ParallelDpEvent((1 - self.share, self.share), (self.training.event, self.holdout.event))

    @property
    def seconds(self) -> float:
        """Forecast for two cores: the fit, quality report, explanation, and drawing, writing, verifying the table."""
        return sum(plan.seconds or 0.0 for plan in self._plans) + 1e-6 * self.cells + self.explaining

    @property
    def megabytes(self) -> float:
        """Forecast of peak memory: the larger of the plans, or the table in the forms that are compared."""
        return max(*(plan.megabytes or 0.0 for plan in self._plans), 300 + 1.5e-4 * self.cells)

    @property
    def _plans(self) -> list[Plan]:
        return [plan for plan in (self.training, self.holdout) if plan]

    @property
    def epsilon(self) -> float:
        """Epsilon of :attr:`event` at the budget's delta."""
        budget = self.training.budget
        return accounting.epsilon(self.event, budget.delta, budget.adjacency)


@dataclass(frozen=True)
class Made:
    """What :func:`produce` made, before it is written anywhere.

    Attributes:
        kind: one table, two, or images.
        model, synthetic, evidence: released values.
        training, held: the locked rows of both parts; ``held`` is None without a holdout.
        charged: what the explanation asked of held-out rows.
    """

    kind: Kind
    model: Any
    synthetic: Any
    evidence: tuple[Evidence, ...]
    training: Any
    held: Any
    charged: Charged = Charged()

    @property
    def frames(self) -> Sequence[pd.DataFrame | Images]:
        """The synthetic tables as they are released; or the images."""
        return self.kind.frames(self.synthetic)

    @property
    def child_rows(self) -> int | None:
        """Synthetic children, of linked tables."""
        return len(self.synthetic.children) if isinstance(self.synthetic, LinkedSynthetic) else None


def price(job: Job, ledger: Ledger | None = None) -> Price:
    """Price a job without opening its data.

    Args:
        job: what to price.
        ledger: where to look up what its dataset cost so far, for a policy that limits it; None: not known.

    Raises:
        JobError, MethodError: the job contradicts itself, or the method cannot do it.
        PolicyDenied: the asker may not plan it.
    """
    priced = _price(job)
    total = ledger.forecast(job.dataset, priced.event, job.budget) if ledger else None
    permission.permit(job, priced.event, ["plan"], total=total, unreviewed=True)
    return priced


def _price(job: Job) -> Price:
    kind = kind_of(job)
    job.budget.check_against(job.schema.units)
    if not 0 <= job.holdout < 1:
        raise JobError(f"holdout is {job.holdout:g}; it must be 0 or more and below 1")
    held = round(job.schema.rows * job.holdout)
    plan: Callable[[Any, Budget], Plan] = kind.training if isinstance(kind, OneTable) else kind.recipe.plan
    training = plan(job.schema.with_rows(job.schema.rows - held), job.budget)
    report = kind.report(job.schema.with_rows(held), job.budget) if job.holdout > 0 else None
    seconds = sum(explaining.forecast(schema) for schema in kind.schemas) if job.explain else 0.0
    return Price(training, report, job.holdout, kind.cells(job.rows), seconds)


def run(
    job: Job,
    ledger: Ledger,
    *,
    allow_unreviewed: bool = False,
    noise: NoiseSource | None = None,
    progress: Progress = silent,
) -> Release:
    """Make a release, or refuse.

    Args:
        job: what to release.
        ledger: where its cost is booked.
        allow_unreviewed: go on although nobody vouched for the schema; the bundle says so.
        noise: a seeded source makes the release reproducible and NON-PRIVATE, for tests.
        progress: told what is being done.

    Raises:
        InputError: job, schema or data must change. Before any mechanism ran nothing is spent.
        Refused: the answer is no: unreviewed schema, no guarantee, budget exhausted, or the policy.
    """
    progress(0.0, "pricing")
    priced = _price(job)
    _refuse_beforehand(job, priced, allow_unreviewed)
    vault.check_recipients()  # what cannot be used is found out before anything is paid for
    if job.trust is not None:
        sign.trusted(job.trust)
    stamping = _credentials(job)
    actions = ["plan", "train"]
    actions += ["assess-internal"] if job.internal else []
    actions += ["explain"] if job.explain else []
    actions += ["release"]

    def decide(total: float) -> Decision:
        return permission.permit(job, priced.event, actions, total=total, unreviewed=allow_unreviewed)[-1]

    first = decide(ledger.forecast(job.dataset, priced.event, job.budget))
    kind_of(job).check()
    noise = noise or NoiseSource()
    sessions = [Session(plan, noise=noise) for plan in (priced.training, priced.holdout) if plan]
    reservation = ledger.reserve(
        job.dataset, priced.event, job.budget, purpose=f"release by {job.method}", use=job.asker.purpose
    )
    try:
        first = decide(ledger.spent(job.dataset).epsilon)  # others may have reserved meanwhile
        return _run_reserved(
            job, priced, first, sessions, ledger, reservation, noise, allow_unreviewed, stamping, progress
        )
    except BaseException as problem:
        if not any(session.trace for session in sessions):
            _give_back(ledger, reservation, problem)
        raise


def fit(
    data: pd.DataFrame | Source | ImageSource,
    schema: Schema | ImageSchema,
    budget: Budget,
    *,
    dataset: str,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    ledger: Ledger | None = None,
    noise: NoiseSource | None = None,
    allow_unreviewed: bool = False,
    asker: Asker = Asker(),
    progress: Progress = silent,
) -> Model:
    """Fit a model on a table or on labelled images: booked, charged, and free to sample from ever after.

    Args:
        data: a frame or any source, of a table or of images.
        schema: what is public about it.
        budget: what the fit may cost; its unit must be the schema's.
        dataset: the ledger's name for the data.
        name: the method; None: ``auto`` for tables, ``image_moments`` for images.
        settings: its settings.
        ledger: where to book; None: the default ledger of this account.
        noise: a seeded source makes the model reproducible and NON-PRIVATE, for tests.
        allow_unreviewed: go on although nobody vouched for the schema.
        asker: who asks, under which policy; by default the steward, under the packaged one.
        progress: told what is being done.

    Raises:
        InputError, Refused: as :func:`run`.
    """
    source = data if isinstance(data, (Source, ImageSource)) else FrameSource(data)
    name = name or ("image_moments" if isinstance(schema, ImageSchema) else "auto")
    job = Job(dataset, source, schema, budget, name, 0, Path(), settings or {}, holdout=0.0, asker=asker)
    model: Model = fit_job(job, ledger, noise=noise, allow_unreviewed=allow_unreviewed, progress=progress)
    return model


def fit_job(
    job: Job,
    ledger: Ledger | None = None,
    *,
    noise: NoiseSource | None = None,
    allow_unreviewed: bool = False,
    progress: Progress = silent,
) -> Any:
    """The model that ``job`` asks for, fitted to all rows; of a job without a holdout.

    Args:
        job: from which data, at which price; its rows and its output are not looked at.
        ledger, noise, allow_unreviewed, progress: as for :func:`fit`.

    Raises:
        InputError, Refused: as :func:`run`.
    """
    if job.budget.unit != job.schema.unit:
        raise JobError(
            f"the budget's unit is {job.budget.unit}, the schema's is {job.schema.unit}; they must be the same"
        )
    priced, kind = _price(job), kind_of(job)
    _refuse_price(job, priced, allow_unreviewed)
    noise, ledger = noise or NoiseSource(), ledger or Ledger()
    total = ledger.forecast(job.dataset, priced.event, job.budget)
    permission.permit(job, priced.event, ["train"], total=total, unreviewed=allow_unreviewed)
    kind.check()
    session = Session(priced.training, noise=noise)
    reservation = ledger.reserve(
        job.dataset, priced.event, job.budget, purpose=f"fit of {job.method}", use=job.asker.purpose
    )
    try:
        total = ledger.spent(job.dataset).epsilon
        permission.permit(job, priced.event, ["train"], total=total, unreviewed=allow_unreviewed)
        model = kind.recipe.fit(kind.read(job.dataset, noise), session, progress=progress)
    except BaseException as problem:
        if not session.trace:
            _give_back(ledger, reservation, problem)
        raise
    ledger.commit(reservation, session.event)
    return model


def _credentials(job: Job) -> Credentials | None:
    """What signs each image, found to be usable before anything is paid for."""
    if job.credentials is None:
        return None
    if not isinstance(job.schema, ImageSchema):
        raise JobError("credentials are for images: a table carries its label in other ways; leave them out")
    if job.rows > MOST_FILES:
        raise JobError(
            f"credentials go into PNG files, and {job.rows} images are too many for files of their own (at most {MOST_FILES})"
        )
    return read_credentials(job.credentials)


def _refuse_beforehand(job: Job, priced: Price, allow_unreviewed: bool) -> None:
    _refuse_price(job, priced, allow_unreviewed)
    if os.path.lexists(job.output):
        raise JobError(f"{job.output} exists; name another output, or move it away (a release is never overwritten)")
    if job.internal and os.path.lexists(_beside(job.output, "internal")):
        raise JobError(f"{_beside(job.output, 'internal')} exists; move it away")
    if job.keep_model and os.path.lexists(sampling.kept_at(job.output)):
        raise JobError(f"{sampling.kept_at(job.output)} exists; move it away")
    if os.path.lexists(held_for(job.output)):
        raise JobError(
            f"{held_for(job.output)} exists: a release was held there; hand it out with --resume, or move it away"
        )
    if not job.output.parent.is_dir():
        raise JobError(f"{job.output.parent}: no such folder; create it, the release is written into it")
    # A name that the system refuses, a folder that is read-only: found out before anything is paid for.
    trial = job.output.with_name(f".{job.output.name}.partial-{secrets.token_hex(8)}")
    try:
        trial.mkdir()
        trial.rmdir()
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "the name holds a character that no file may have"
        raise JobError(f"{job.output}: cannot be written: {why}; name another output, or make room for it") from None


def _refuse_price(job: Job, priced: Price, allow_unreviewed: bool) -> None:
    unreviewed = [schema.name for schema in kind_of(job).schemas if not schema.reviewed]
    if unreviewed and not allow_unreviewed:
        raise UnreviewedSchema(
            f"schema {unreviewed[0]} is not reviewed: what it declares may have been read off the private data. "
            "Review it and write 'reviewed: true', or allow it explicitly; the release will then say so"
        )
    if not accounting.is_private(priced.event):
        raise NotReleasable(
            f"method {job.method} has no privacy guarantee (epsilon is infinite); it is for comparison and cannot be released"
        )
    if priced.epsilon > job.budget.epsilon * (1 + 1e-9):
        raise BudgetExceeded(
            f"training and holdout together cost epsilon {priced.epsilon:.6g}, above the budget of {job.budget.epsilon:g}: "
            f"a defect of method {job.method}; nothing was read or spent"
        )


def _run_reserved(
    job: Job,
    priced: Price,
    first: Decision,
    sessions: list[Session],
    ledger: Ledger,
    reservation: str,
    noise: NoiseSource,
    allow_unreviewed: bool,
    stamping: Credentials | None,
    progress: Progress,
) -> Release:
    kept: list[Path] = []
    try:
        made = produce(job, priced, sessions, noise, progress, keep=lambda model: kept.append(_keep(model, job.output)))
        ledger.commit(reservation, _ran(priced, sessions))
        facts = facts_of(job, priced, sessions, made, noise, allow_unreviewed)
        explained = _explained(made, _within(progress, 0.95, 0.96)) if job.explain else None
        facts = replace(facts, policy=permission.record(first, job.asker), credentials=stamping)
        beside = _internal(job, made, progress, explained) if job.internal else None
        progress(0.97, "writing the bundle")
        held = held_for(job.output)
        bundle.write(
            held,
            facts,
            *made.frames,
            figures=made.kind.figures(made.model, made.synthetic),
            model=_open_model(kept[0], made.model) if job.model else None,
            beside=explaining.contents(explained) if explained else {},
            mode=0o700,
        )
        progress(0.99, "asking the gate")
        released = hand_out(job, priced.event, ledger, internal=beside)
    except (Exception, KeyboardInterrupt) as problem:
        if not kept:
            raise
        raise _with_note(problem, kept[0], job.rows) from problem.__cause__
    _end(kept[0], job)
    progress(1.0, "done")
    return released


def resume(job: Job, ledger: Ledger) -> Release:
    """Hand out a release that was held until people had signed it. Opens no data and costs nothing.

    Args:
        job: what was released.
        ledger: where it was booked.

    Raises:
        JobError, VerificationFailed, PolicyDenied: as :func:`~synthkit.release.hand_out.hand_out`.
    """
    event = _price(job).event
    if (held := held_for(job.output)).is_dir():
        bundle.verify(held)
    return hand_out(job, event, ledger)


def produce(
    job: Job,
    priced: Price,
    sessions: Sequence[Session],
    noise: NoiseSource,
    progress: Progress = silent,
    *,
    keep: Callable[[Any], None] = lambda model: None,
) -> Made:
    """Read, bound, split, fit, sample, assess: everything that touches the rows. Writes nothing itself.

    Args:
        job: what to make.
        priced: its price.
        sessions: one for the training, and one for the holdout where there is one.
        noise: of coins and lots.
        progress: told what is being done.
        keep: called with the model as soon as it is paid for.
    """
    kind = kind_of(job)
    progress(0.01, "reading")
    everything = kind.read(job.dataset, noise)
    training, held = kind.split(everything, job.holdout, noise) if priced.holdout else (everything, None)
    model = kind.recipe.fit(training, sessions[0], progress=_within(progress, 0.02, 0.75))
    keep(model)
    synthetic = model.sample(job.rows, seed=noise.public_seed())
    evidence: tuple[Evidence, ...] = ()
    if held is not None:
        evidence = kind.assess(held, sessions[1], synthetic, _within(progress, 0.75, 0.95))
    asked = Charged()
    if job.explain_charged:
        progress(0.95, "explaining held-out rows")
        asked = kind.explain(held, sessions[1], synthetic)
    attacked: tuple[Evidence, ...] = ()
    if isinstance(kind, OneTable) and held is not None and kind.risks:
        progress(0.95, "attacking training rows and held-out ones")
        attacked = kind.attack(training, held, sessions, synthetic, job.holdout, noise)
    return Made(kind, model, synthetic, (*evidence, *asked.evidence, *attacked), training, held, asked)


def _ran(priced: Price, sessions: Sequence[Session]) -> DpEvent:
    if priced.holdout is None:
        return sessions[0].event
    return ParallelDpEvent((1 - priced.share, priced.share), (sessions[0].event, sessions[1].event))


def facts_of(
    job: Job,
    priced: Price,
    sessions: Sequence[Session],
    made: Made,
    noise: NoiseSource,
    allow_unreviewed: bool,
) -> bundle.Facts:
    """What the manifest says of a release."""
    share = priced.share if priced.holdout else 0.0
    parts = [bundle.Part("training", 1 - share, sessions[0].trace)]
    if priced.holdout:
        parts.append(bundle.Part("holdout", share, sessions[1].trace))
    declared = _DECLARED_IMAGES if isinstance(job.schema, ImageSchema) else _DECLARED
    not_covered = [declared, _SETTINGS] + ([_UNITS] if job.schema.unit.column else [])
    return bundle.Facts(
        dataset=job.dataset,
        schema=job.schema,
        budget=job.budget,
        parts=tuple(parts),
        method=job.method,
        settings=with_folder(settings_of(made.kind.recipe), lambda public: Path(public).name),
        note=priced.training.note,
        rows=job.rows,
        child_rows=made.child_rows,
        evidence=made.evidence,
        randomness=noise.description,
        seeded=noise.seeded,
        not_covered=tuple(not_covered),
        unreviewed_allowed=allow_unreviewed,
        handling=job.handling,
    )


def _explained(made: Made, progress: Progress) -> Explanation | ImageExplanation:
    """The public explanation, with what was paid for."""
    found = explaining.public(made.model, progress=progress)
    return made.charged.beside(found) if isinstance(found, Explanation) else found


def _internal(job: Job, made: Made, progress: Progress, explained: Explanation | ImageExplanation | None) -> Path:
    """Exact figures, in a folder beside the bundle. Nothing of them returns here."""
    progress(0.96, "exact figures (internal)")
    folder = _beside(job.output, "internal")
    made.kind.internal(folder, made.training, made.held, made.synthetic, allowed=job.internal)
    if isinstance(explained, Explanation) and isinstance(made.kind, OneTable):
        real = internal_codes(made.training, allowed=job.internal)
        control = internal_codes(made.held, allowed=job.internal) if made.held is not None else real[:0]
        explaining.internal(folder, explained, (real, control), made.synthetic.codes, made.model.schema)
    return folder


def _keep(model: Model | LinkedModel, output: Path) -> Path:
    """The fitted model on disk before anything else can fail: its budget is spent."""
    name = f"model-{secrets.token_hex(4)}"
    beside, elsewhere = _beside(output, name), Path(tempfile.gettempdir()) / f"synthkit.{name}"
    trouble: str | None = None
    for folder in (beside, elsewhere):  # a full disk may not be the only one
        try:
            return sampling.save(model, folder)
        except BaseException as problem:
            shutil.rmtree(folder, ignore_errors=True)
            if not isinstance(problem, OSError):
                raise
            trouble = trouble or problem.strerror
    raise DataError(
        f"{beside}: the fitted model cannot be written ({trouble}), neither there nor in {elsewhere.parent}. It is lost, "
        "and its price stays booked; make room before the next release"
    )


def _open_model(kept: Path, model: Any) -> Path | Callable[[Path], None]:
    """What a bundle's model is made of: the folder that was kept; where that is encrypted, the model itself."""
    if kept.is_dir():
        return kept

    def write(folder: Path) -> None:
        folder.rmdir()  # saving makes it
        model.save(folder)

    return write


def _end(kept: Path, job: Job) -> None:
    """The kept model at the end of a release that succeeded: it stays in the house where that was asked for."""
    if job.keep_model:
        kept.rename(sampling.kept_at(job.output))
    elif kept.is_dir():
        shutil.rmtree(kept)
    else:
        kept.unlink()


def _give_back(ledger: Ledger, reservation: str, problem: BaseException) -> None:
    """Cancel, since no mechanism ran; where the ledger fails too, ``problem`` remains what is told first."""
    try:
        ledger.cancel(reservation, "stopped before any mechanism ran", trace=())
    except LedgerError as trouble:
        problem.add_note(f"No row was used, yet reservation {reservation} stays booked: {trouble}")


def _with_note(problem: BaseException, kept: Path, rows: int) -> BaseException:
    note = f"the fit was paid for and is kept in {kept}; 'synthkit sample {kept}' draws from it at no cost"
    if isinstance(problem, SynthkitError):
        return type(problem)(f"{problem}. But {note}")
    if isinstance(problem, OSError):
        return DataError(f"writing the release failed ({problem.strerror}); {note}")
    if isinstance(problem, MemoryError):
        return JobError(f"not enough memory for {rows} synthetic rows and their report: ask for fewer. But {note}")
    problem.add_note(note)
    return problem


def _beside(output: Path, suffix: str) -> Path:
    return output.with_name(f"{output.name}.{suffix}")


def _within(progress: Progress, low: float, high: float) -> Progress:
    return lambda share, what: progress(low + (high - low) * share, what)


__all__ = ["Made", "Price", "Release", "facts_of", "fit", "fit_job", "price", "produce", "resume", "run"]
