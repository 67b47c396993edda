"""Models that stay in the house: kept beside a release, encrypted, opened by Python and by the commands, destroyed."""

from __future__ import annotations

import inspect
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import synthkit as sk
from synthkit.cli import main
from synthkit.data import vault
from synthkit.errors import InputError, JobError, PolicyDenied
from synthkit.privacy.ledger import Ledger
from synthkit.release import sampling
from synthkit.release.job import Job
from synthkit.release.permission import Asker
from synthkit.release.run import run
from tests import images as bars
from tests.linked import linked
from tests.release.test_job import write
from tests.tables import frame, schema

POLICY = """\
version: 1
name: house
roles: {steward: keeps the data, guest: looks}
purposes: {research: }
datasets: {people: [people, hospital, bars]}
rules:
  - {name: all, allow: steward, to: any, on: any, for: research}
"""


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A key pair whose identity is at hand, and to which what stays is encrypted."""
    public = vault.new_identity(tmp_path / "steward.identity")
    monkeypatch.setenv(vault.IDENTITY, str(tmp_path / "steward.identity"))
    monkeypatch.setenv(vault.RECIPIENTS, public)
    return public


def release(folder: Path, **changes: Any) -> Path:
    frame().to_csv(folder / "people.csv", index=False)
    return run(Job.read(write(folder, holdout=0, **changes)), Ledger(folder / "ledger.sqlite")).folder


def command(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return str(done.output)


def test_a_release_keeps_its_model_encrypted(tmp_path: Path, public: str) -> None:
    folder = release(tmp_path, model="keep")
    kept = tmp_path / "release.model.age"
    assert kept.stat().st_mode & 0o777 == 0o600 and not (folder / "model").exists()
    assert not [path for path in tmp_path.iterdir() if "model-" in path.name], "nothing in the open is left"
    command("sample", kept, "--rows", 20, "--seed", 1, "-o", tmp_path / "drawn.csv")
    assert len(pd.read_csv(tmp_path / "drawn.csv")) == 20
    command("explain", kept, "--rows", 20, "--seeds", 2, "-o", tmp_path / "why")
    assert json.loads((tmp_path / "why/explanation.json").read_text())["payment"] == "free"
    assert len(sk.load(kept).sample(5).frame) == 5
    told = command("shred", folder, "--yes", "--early")
    assert f"Still there, of the same release: {kept}" in told and kept.exists()
    command("shred", kept, "--yes")
    assert not kept.exists()


def test_without_recipients_it_is_a_folder(tmp_path: Path) -> None:
    folder = release(tmp_path, model="keep")
    assert (tmp_path / "release.model/model.json").is_file() and not (folder / "model").exists()
    with pytest.raises(JobError, match=r"release\.model exists; move it away"):
        run(Job.read(write(tmp_path, holdout=0, model="keep", output="release")), Ledger(tmp_path / "l.sqlite")) if (
            folder.rename(tmp_path / "moved")
        ) else None


def test_a_model_in_a_bundle_is_open_though_the_house_encrypts(tmp_path: Path, public: str) -> None:
    folder = release(tmp_path, model=True)
    assert sk.verify(folder).private and (folder / "model/model.json").is_file()
    assert not [path for path in tmp_path.iterdir() if "model" in path.name]


def test_a_fit_that_was_paid_for_is_kept_encrypted(
    tmp_path: Path, public: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthkit.release.bundle.write", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError) as problem:
        release(tmp_path)
    (kept,) = tmp_path.glob("release.model-*")
    assert kept.suffix == ".age" and str(kept) in problem.value.__notes__[0]
    command("sample", kept, "--rows", 3, "-o", tmp_path / "drawn.csv")


def test_recipients_are_checked_before_anything_is_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vault.RECIPIENTS, "age1hello")
    with pytest.raises(JobError, match="no public key of age"):
        release(tmp_path, model="keep")
    assert Ledger(tmp_path / "ledger.sqlite").entries() == []


def test_a_saved_folder_is_locked_by_command(tmp_path: Path, public: str) -> None:
    folder = release(tmp_path, model=True)
    command("vault", "lock", folder / "model", "--to", public, "-o", tmp_path / "people.model.age")
    one, two = (sk.load(path).sample(20, seed=1).frame for path in (folder, tmp_path / "people.model.age"))
    pd.testing.assert_frame_equal(one, two)
    assert "holds no saved model" in command("vault", "lock", folder, "--to", public, code=2)


def test_save_from_python(tmp_path: Path, public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sk.load(release(tmp_path, model=True))
    assert sk.save(model, tmp_path / "one.model") == tmp_path / "one.model.age"
    monkeypatch.delenv(vault.RECIPIENTS)
    assert sk.save(model, tmp_path / "two.age", to=[public]) == tmp_path / "two.age"
    assert sk.save(model, tmp_path / "three") == tmp_path / "three"
    for name in ("one.model.age", "two.age", "three"):
        assert sk.load(tmp_path / name).schema == model.schema
    for name, told in (("four.age", "nobody is named"), ("three", "three exists"), ("one.model.age", "nobody")):
        with pytest.raises(JobError, match=told):
            sk.save(model, tmp_path / name)
    with pytest.raises(JobError, match=r"two\.age exists"):
        sk.save(model, tmp_path / "two", to=[public])


def test_who_may_not_open_it(tmp_path: Path, public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "release.model.age"
    release(tmp_path, model="keep")
    monkeypatch.setenv(vault.IDENTITY, str(tmp_path / "other"))
    vault.new_identity(tmp_path / "other")
    assert "for other recipients, or damaged" in command("sample", kept, "--rows", 1, "-o", tmp_path / "x.csv", code=2)
    monkeypatch.delenv(vault.IDENTITY)
    assert "name the file of your identity" in command("explain", kept, "-o", tmp_path / "why", code=2)
    (tmp_path / "house.yaml").write_text(POLICY)
    under = ["--policy", tmp_path / "house.yaml", "--as", "guest", "--for", "research", "--on", "people"]
    told = command("sample", kept, "--rows", 1, "-o", tmp_path / "x.csv", *under, code=1)
    assert "no rule allows guest to sample" in told, "asked before it is decrypted"


def test_what_is_encrypted_and_no_model(tmp_path: Path, public: str) -> None:
    bomb, empty = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", b"0" * 10_000)
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("other", b"")
    for content, told in (
        (b"hello", "no model as"),
        (bomb.getvalue(), "no model as"),
        (empty.getvalue(), "not a saved model"),
    ):
        (tmp_path / "x.age").write_bytes(vault.encrypt(content, (public,)))
        with pytest.raises(InputError, match=told):
            sk.load(tmp_path / "x.age")
    with pytest.raises(JobError, match="no such folder"):
        sk.load(tmp_path / "none.age")


# Every verb asks

PRICED_BY_JOB = {"price", "run", "resume"}  # a job carries its asker
OPEN_NOTHING = {
    "images_at",
    "method",
    "save",
    "verify",
}  # names a source or a method; writes a model; checks what was released


def test_every_verb_of_python_asks() -> None:
    """By its signature, so that a new verb cannot be forgotten; and then by calling it as somebody who may not."""
    verbs = {name for name in sk.__all__ if inspect.isfunction(getattr(sk, name))}
    asking = {name for name in verbs if "asker" in inspect.signature(getattr(sk, name)).parameters}
    assert asking | PRICED_BY_JOB | OPEN_NOTHING == verbs and not asking & OPEN_NOTHING


def test_who_may_not_is_refused_by_every_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "house.yaml").write_text(POLICY)
    guest = Asker.under(tmp_path / "house.yaml", role="guest", purpose="research")
    folder = release(tmp_path, model=True)
    model, public = sk.load(folder), linked()
    budget = sk.Budget(1.0, 1e-6)
    of_patients = sk.Budget(1.0, 1e-6, unit=public.unit)
    source = sk.images_at(tmp_path / "none.npz")
    calls: dict[str, Any] = {
        "draft": lambda: sk.draft_schema(frame(), name="people", asker=guest),
        "draft images": lambda: sk.read_images(source, bars.schema(), dataset="bars", asker=guest),
        "sample": lambda: sk.load(folder, asker=guest),
        "sample both": lambda: sk.load_linked(folder, asker=guest),
        "explain": lambda: sk.explain_model(model, dataset="people", asker=guest),
        "plan": lambda: sk.price_linked(public, of_patients, dataset="hospital", asker=guest),
        "train": lambda: sk.fit(frame(), schema(), budget, dataset="people", asker=guest, ledger=Ledger(tmp_path / "l.sqlite")),
    }  # fmt: skip
    monkeypatch.setattr(sampling.base, "load", lambda *_: pytest.fail("opened"))
    for action, call in calls.items():
        with pytest.raises(PolicyDenied, match=f"no rule allows guest to {action.split()[0]}"):
            call()
    nameless = Asker.under(tmp_path / "house.yaml", role="steward", purpose="research")
    for call in (
        lambda: sk.explain_model(model, asker=nameless),
        lambda: sk.price_linked(public, of_patients, asker=nameless),
    ):
        with pytest.raises(JobError, match="name the dataset"):
            call()
    assert sk.price_linked(public, of_patients, dataset="hospital", asker=nameless).epsilon <= 1


def test_images_are_checked_under_the_policy_too(tmp_path: Path) -> None:
    (tmp_path / "house.yaml").write_text(POLICY)
    bars.write(tmp_path)
    under = ["--policy", tmp_path / "house.yaml", "--as", "guest", "--for", "research"]
    told = command("schema", "check", tmp_path / "bars.schema.yaml", tmp_path / "bars.npz", *under, code=1)
    assert "no rule allows guest to draft" in told
