"""Encryption at rest: sources opened in memory alone, internal figures for those who may read them, and their end."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import synthkit as sk
from synthkit.cli import main
from synthkit.data import vault
from synthkit.data.tables import FileSource
from synthkit.errors import DataError, JobError, Refused
from synthkit.privacy.ledger import Ledger
from synthkit.release.internal import membership
from synthkit.release.job import Job
from synthkit.release.retention import destroy
from synthkit.release.run import run
from synthkit.secret_files import shred
from tests.release.test_job import write
from tests.tables import frame


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A key pair whose identity is at hand."""
    monkeypatch.setenv(vault.IDENTITY, str(tmp_path / "steward.identity"))
    return vault.new_identity(tmp_path / "steward.identity")


def rows_of(path: Path) -> pd.DataFrame:
    return pd.concat(list(FileSource(path).batches()), ignore_index=True)


@pytest.mark.parametrize("name", ["people.csv", "people.csv.gz", "people.tsv", "people.parquet"])
def test_an_encrypted_source_reads_as_the_open_one(tmp_path: Path, public: str, name: str) -> None:
    path, table = tmp_path / name, frame()
    if name.endswith(".parquet"):
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    vault.lock(path, tmp_path / f"{name}.age", (public,))
    locked = tmp_path / f"{name}.age"
    pd.testing.assert_frame_equal(rows_of(locked), rows_of(path))
    assert FileSource(locked).columns() == FileSource(path).columns()
    assert locked.stat().st_mode & 0o777 == 0o600
    assert b"region" not in locked.read_bytes() and locked.read_bytes().startswith(b"age-encryption.org/v1")


def test_a_release_of_an_encrypted_source_leaves_no_plaintext(
    tmp_path: Path, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    marked = frame().assign(region="north").to_csv(index=False).encode()
    (tmp_path / "people.csv.age").write_bytes(vault.encrypt(marked, (public,)))
    monkeypatch.setenv(vault.RECIPIENTS, public)
    job = Job.read(write(tmp_path, data={"path": "people.csv.age"}, internal="allow"))
    made = run(job, Ledger(tmp_path / "ledger.sqlite"))
    assert sk.verify(made.folder).private and made.internal is not None
    inside = {path.name for path in made.internal.iterdir()}
    assert inside == {
        "internal.json.age", "associations_real.csv.age", "associations_synthetic.csv.age", "parts.parquet.age",
    }  # fmt: skip
    assert all(path.stat().st_mode & 0o077 == 0 for path in made.internal.iterdir())
    figures = vault.get(made.internal / "internal.json")
    assert figures is not None and json.loads(figures)["evidence"]
    assert membership(made.folder) and (made.internal / "membership.json.age").is_file()
    assert list(elsewhere.iterdir()) == []
    line = marked.splitlines()[1]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and line in path.read_bytes()]


def test_without_recipients_internal_figures_are_for_their_owner(tmp_path: Path) -> None:
    path = vault.put(tmp_path / "figures.json", b"{}")
    assert path.stat().st_mode & 0o777 == 0o600 and vault.get(path) == b"{}"
    assert vault.get(tmp_path / "other.json") is None


def test_who_may_not_read(tmp_path: Path, public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "people.csv.age"
    locked.write_bytes(vault.encrypt(b"a,b\n1,SECRET\n", (public,)))
    vault.new_identity(tmp_path / "other.identity")
    monkeypatch.setenv(vault.IDENTITY, str(tmp_path / "other.identity"))
    with pytest.raises(DataError, match="for other recipients, or damaged"):
        rows_of(locked)
    (tmp_path / "other.identity").chmod(0o644)
    with pytest.raises(JobError, match="others may read or write this key"):
        rows_of(locked)
    monkeypatch.setenv(vault.IDENTITY, str(tmp_path / "none"))
    with pytest.raises(JobError, match="no such key"):
        rows_of(locked)
    monkeypatch.delenv(vault.IDENTITY)
    with pytest.raises(JobError, match="is encrypted; name the file of your identity in SYNTHKIT_IDENTITY"):
        rows_of(locked)


@pytest.mark.parametrize("damage", [b"", b"hello", gzip.compress(b"hello")])
def test_what_is_not_encrypted_though_its_name_says_so(tmp_path: Path, public: str, damage: bytes) -> None:
    (tmp_path / "people.csv.age").write_bytes(damage)
    with pytest.raises(DataError, match="cannot be decrypted"):
        rows_of(tmp_path / "people.csv.age")


def test_bad_recipients(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nobody is named"):
        vault.encrypt(b"", ())
    with pytest.raises(JobError, match="no public key of age"):
        vault.encrypt(b"", ("age1hello",))
    with pytest.raises(JobError, match="cannot be read"):
        vault.lock(tmp_path / "none", tmp_path / "none.age", ("age1",))


# The end


def bundle_kept(folder: Path, **handling: Any) -> Path:
    frame().to_csv(folder / "people.csv", index=False)
    job = Job.read(write(folder, holdout=0, **({"handling": handling} if handling else {})))
    return run(job, Ledger(folder / "ledger.sqlite")).folder


def test_a_bundle_goes_when_its_time_is_over(tmp_path: Path) -> None:
    folder, later = bundle_kept(tmp_path, retention_days=30), datetime.now(UTC) + timedelta(days=31)
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(Refused, match="is kept until"):
        destroy([tmp_path / "notes.txt", folder])
    assert (tmp_path / "notes.txt").exists() and sk.verify(folder).private
    assert destroy([folder, tmp_path / "notes.txt"], now=later) > 8
    assert not folder.exists() and not (tmp_path / "notes.txt").exists()


def test_a_bundle_without_a_retention_goes_only_early(tmp_path: Path) -> None:
    folder = bundle_kept(tmp_path)
    words = ["shred", str(folder), "--yes"]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1 and "kept without end" in refused.output
    assert CliRunner().invoke(main, [*words, "--early"]).exit_code == 0 and not folder.exists()


def test_bytes_are_overwritten_before_the_name_goes(tmp_path: Path) -> None:
    path, other = tmp_path / "secret", tmp_path / "link"
    path.write_bytes(b"secret" * 1000)
    os.link(path, other)  # the same bytes under a second name
    shred(path)
    assert not path.exists() and other.read_bytes() == bytes(6000)
    (tmp_path / "symbolic").symlink_to(other)
    with pytest.raises(JobError, match="is a link"):
        destroy([tmp_path / "symbolic"])


def test_the_command_line(tmp_path: Path) -> None:
    def command(*words: object) -> str:
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return str(done.output)

    public = json.loads(command("vault", "new", "-o", tmp_path / "a.identity", "--json"))["public"]
    (tmp_path / "a.csv").write_text("a\n1\n")
    command("vault", "lock", tmp_path / "a.csv", "--to", public)
    assert (tmp_path / "a.csv.age").is_file()
    command("shred", tmp_path / "a.csv", "--yes")
    assert not (tmp_path / "a.csv").exists()
