"""What several commands share: their options, and how results are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synthkit.errors import JobError

if TYPE_CHECKING:
    from synthkit.release.anonymize_job import AnonymizeJob
    from synthkit.release.job import Job
    from synthkit.release.permission import Asker

    AnyJob = TypeVar("AnyJob", Job, AnonymizeJob)

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines instead of text.")
LEDGER = click.option(
    "--ledger",
    "ledger_location",
    metavar="PATH|URL",
    envvar="SYNTHKIT_LEDGER",
    help="The ledger: an SQLite file or a PostgreSQL URL.  [default: the account's own]",
)


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """The options ``--policy``, ``--as`` and ``--for``, handed on as one :class:`Asked`."""

    @click.option(
        "--policy", type=click.Path(path_type=Path), help="The policy file that is asked.  [default: packaged]"
    )
    @click.option("--as", "role", metavar="ROLE", help="In which of its roles you ask.")
    @click.option("--for", "purpose", metavar="PURPOSE", help="For which of its purposes.")
    @wraps(command)
    def asked(policy: Path | None, role: str | None, purpose: str | None, **arguments: Any) -> None:
        if policy is not None and (role is None or purpose is None):
            raise JobError("--policy needs --as ROLE and --for PURPOSE")
        command(asked=Asked(policy, role, purpose), **arguments)

    return asked


class Asked:
    """Who asks, as the command line says it."""

    def __init__(self, policy: Path | None, role: str | None, purpose: str | None) -> None:
        self._policy, self._role, self._purpose = policy, role, purpose

    @property
    def asker(self) -> Asker:
        """By default the steward, under the packaged policy."""
        from synthkit.release.permission import Asker

        return self._over(Asker())

    def over(self, job: AnyJob) -> AnyJob:
        """``job``, asked for as the command line says, where it says so."""
        from dataclasses import replace

        return replace(job, asker=self._over(job.asker))

    def _over(self, asker: Asker) -> Asker:
        from synthkit.release.permission import Asker

        role, purpose = self._role or asker.role, self._purpose or asker.purpose
        if self._policy is not None:
            return Asker.under(self._policy, role=role, purpose=purpose)
        return Asker(asker.policy, role, purpose)


def show(facts: dict[str, Any], text: str, as_json: bool) -> None:
    """Facts for machines, or text for people, on standard output."""
    try:
        click.echo(json.dumps(facts, indent=2) if as_json else text)
    except BrokenPipeError:  # the reader has seen enough
        raise
    except OSError as problem:
        raise JobError(f"done, yet standard output cannot be written: {problem.strerror}") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An error of the disk as one of the caller's, with the path."""
    try:
        yield
    except OSError as problem:
        raise JobError(f"{path}: cannot be written: {problem.strerror}; name another place, or make room") from None


def refuse_existing(path: Path) -> None:
    """Nothing is overwritten."""
    if path.exists():
        raise JobError(f"{path} exists; name another file, or move it away")


__all__ = ["JSON", "LEDGER", "Asked", "asking", "refuse_existing", "show", "writing"]
