"""Signatures: who may give them, what they are about, what damages them; and the verifier that stands alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import synthkit as sk
from synthkit.cli import main
from synthkit.errors import JobError, LedgerError, PolicyDenied, VerificationFailed
from synthkit.release import log, sign, verify_alone
from synthkit.release.run import resume, run
from synthkit.secret_files import write_secret
from tests.release.signed import house, ledger_in, signed_job

NOW = datetime.now(UTC)


def approve(folder: Path, keys: Path, *who: tuple[str, str] | tuple[str, str, str]) -> None:
    for name, role, *statement in who:
        sign.attest(folder, sign.read_key(keys / f"{name}.key"), role, *statement)


EVERYBODY: tuple[Any, ...] = (
    ("dora", "officer"), ("eva", "board"), ("finn", "board"), ("eva", "board", "study-is-registered"),
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house with a release that is held (``release.held``), and two that were handed out (``first``, ``second``)."""
    folder = tmp_path_factory.mktemp("house")
    house(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(log.KEY, str(folder / "house.key"))
        for name in ("first", "second"):
            job = signed_job(folder, name)
            held = run(job, ledger_in(folder))
            approve(held.folder, folder, *EVERYBODY)
            assert not resume(job, ledger_in(folder)).held
    assert run(signed_job(folder), ledger_in(folder)).held
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of the house."""
    return shutil.copytree(made, tmp_path / "house")


def alone(folder: Path, trust: Path, *, at: Path, offline: bool = False) -> subprocess.CompletedProcess[str]:
    """The verifier that stands alone, in a folder from which synthkit cannot be imported."""
    verifier = at / "carried.py"
    verifier.write_bytes(Path(verify_alone.__file__).read_bytes())
    words = ["unshare", "-rn"] if offline else []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [*words, sys.executable, "-I", str(verifier), str(folder), "--trust", str(trust)],
        cwd=at, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


# The gate


def test_signatures_open_the_gate_one_after_the_other(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(log.KEY, str(place / "house.key"))
    job, held = signed_job(place), place / "release.held"
    for entry in EVERYBODY:
        waiting = resume(job, ledger_in(place))
        assert waiting.held and not job.output.exists()
        approve(held, place, entry)
    approve(held, place, ("dora", "officer"))  # once more: she is still one person
    released = resume(job, ledger_in(place))
    assert not released.held and not held.exists()
    assert [item.state for item in released.gate.items if item.people] == ["attested"] * 3
    found = sk.verify(job.output, trust=place / "keys.toml", policy=place / "house.yaml")
    assert found.policy is not None and found.policy["name"] == "house"
    assert ([seal for seal in found.seals if "by dora" in seal] and "not signed" in found.seals[-1]) or found.seals


def test_the_command_line_from_held_to_handed_out(place: Path) -> None:
    def command(*words: object, code: int = 0) -> str:
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == code, done.output
        return str(done.output)

    held, file, ledger = place / "release.held", place / "release.yaml", ["--ledger", place / "ledger.sqlite"]
    assert "is missing: the bundle was not handed out" in command("verify", held, code=1)
    assert "approved by at least 2 of: board" in command("release", file, "--resume", *ledger, code=1)
    command("sign", held, "--key", place / "dora.key", "--as", "officer")
    command("sign", held, "--key", place / "eva.key", "--as", "board")
    command("sign", held, "--key", place / "finn.key", "--as", "board", "--days", 30)
    command("attest", held, "study-is-registered", "--key", place / "finn.key", "--as", "board")
    command("release", file, "--resume", *ledger)
    told = command(
        "verify", place / "release", "--trust", place / "keys.toml", "--policy", place / "house.yaml", code=1
    )
    assert "the log's head is not signed, and a key for it is trusted" in told
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(log.KEY, str(place / "house.key"))
        assert "entry 3 of 3" in command("log", "prove", place / "release", *ledger)
    told = command("verify", place / "release", "--trust", place / "keys.toml", "--policy", place / "house.yaml")
    assert "policy house, asked as steward for research" in told and "officer: approves, by dora" in told
    assert "signed by house" in told
    assert "3 entries" in command("log", "verify", "--head", place / "first/log.json", *ledger)
    assert json.loads(command("log", "prove", "--since", 2, *ledger))["second"] == 3
    command("verify", "--write-verifier", place / "verify_alone.py")
    assert (place / "verify_alone.py").read_bytes() == Path(verify_alone.__file__).read_bytes()


def test_what_does_not_count(place: Path) -> None:
    job, held = signed_job(place), place / "release.held"
    sign.new_key(place / "stranger.key", "dora", ("officer",))
    approve(held, place, ("stranger", "officer"), ("eva", "officer"), ("dora", "board"))
    sign.attest(held, sign.read_key(place / "dora.key"), "officer", days=1, now=NOW - timedelta(days=2))
    waiting = resume(job, ledger_in(place))
    people = {item.what: item.found for item in waiting.gate.items if item.people}
    assert all(found.startswith(("0 of", "nobody")) for found in people.values()), people
    assert "4 not counted" in people["approved by at least 1 of: officer"]


def test_a_statement_about_another_bundle_is_refused(place: Path) -> None:
    shutil.copy(place / "first" / verify_alone.ATTESTATIONS, place / "release.held")
    waiting = resume(signed_job(place), ledger_in(place))
    assert waiting.held and not any(item.met for item in waiting.gate.items if item.people)


# Verification


def test_a_signed_bundle_verifies_with_and_without_synthkit(place: Path, tmp_path: Path) -> None:
    told = alone(place / "first", place / "keys.toml", at=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "entry 1 of 1 in the log" in told.stdout and "signed by house" in told.stdout
    assert sk.verify(place / "first").seals[0].endswith("no keys to hold it against)")
    later = NOW + timedelta(days=400)
    with pytest.raises(VerificationFailed, match=r"approved by 0 of the 1 needed in role officer(.|\n)*expired"):
        sk.verify(place / "first", trust=place / "keys.toml", now=later)


def test_no_network_is_needed(place: Path, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody switch the network off")
    told = alone(place / "first", place / "keys.toml", at=tmp_path, offline=True)
    assert told.returncode == 0, told.stderr
    script = (
        "import socket, sys; from pathlib import Path; import synthkit as sk; here = Path(sys.argv[1]);"
        "from tests.release.signed import signed_job; sk.verify(here / 'first', trust=here / 'keys.toml');"
        "assert sk.run(signed_job(here, 'offline'), sk.Ledger(here / 'ledger.sqlite')).held;"
        "assert [name for _, name in socket.if_nameindex()] == ['lo']"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", script, str(place)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


FILES = ("manifest.json", "report.html", "data.csv", "data.parquet", "gate.json", "log.json", verify_alone.ATTESTATIONS)


@pytest.mark.parametrize("name", FILES)
def test_any_byte(place: Path, name: str) -> None:
    """Flipped at many places, the verifier that stands alone notices each time, and says which file."""
    path, trust = place / "first" / name, verify_alone.read_trust(place / "keys.toml")
    whole = path.read_bytes()
    step = max(1, len(whole) // 150)
    for position in range(0, len(whole), step):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(verify_alone.Doubt) as doubt:
            verify_alone.check_files(place / "first")
            verify_alone.check_seals(place / "first", trust, NOW)
        assert doubt.value.args[0]
    path.write_bytes(whole)
    sk.verify(place / "first", trust=place / "keys.toml")
    path.write_bytes(whole[: len(whole) // 2] + b"\0" + whole[len(whole) // 2 :])
    with pytest.raises(VerificationFailed, match=name.replace(".", r"\.")):
        sk.verify(place / "first", trust=place / "keys.toml")


def test_a_signature_by_another_hand(tmp_path: Path) -> None:
    """Well-formed in all its parts, and not by the key that it names."""
    for name in ("dora", "eva"):
        sign.new_key(tmp_path / name, name, ("officer",))
    dora, eva = (sign.read_key(tmp_path / name) for name in ("dora", "eva"))
    payload = {"key": verify_alone.public_text(dora.public), "size": 1}
    good, bad = (json.loads(signer.envelope(verify_alone.HEAD_TYPE, payload)) for signer in (dora, eva))
    bad["signatures"][0]["keyid"] = good["signatures"][0]["keyid"]
    assert verify_alone.open_envelope(verify_alone.canonical(good), verify_alone.HEAD_TYPE) == (payload, dora.public)
    with pytest.raises(verify_alone.Doubt, match="is not by the key that it names"):
        verify_alone.open_envelope(verify_alone.canonical(bad), verify_alone.HEAD_TYPE)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing(place: Path, tmp_path: Path, name: str) -> None:
    (place / "first" / name).unlink()
    expected = "approved by 0 of the 1 needed" if name == verify_alone.ATTESTATIONS else name
    with pytest.raises(VerificationFailed, match=expected):
        sk.verify(place / "first", trust=place / "keys.toml")
    told = alone(place / "first", place / "keys.toml", at=tmp_path)
    assert told.returncode == 1 and expected in told.stderr


def test_a_file_that_was_added(place: Path, tmp_path: Path) -> None:
    (place / "first/extra.txt").write_text("hello")
    with pytest.raises(VerificationFailed, match=r"extra\.txt"):
        sk.verify(place / "first")
    assert "not in the manifest: extra.txt" in alone(place / "first", place / "keys.toml", at=tmp_path).stderr


@pytest.mark.parametrize("name", ["manifest.json", "gate.json", "log.json", verify_alone.ATTESTATIONS])
def test_two_bundles_exchange_a_file(place: Path, tmp_path: Path, name: str) -> None:
    one, other = place / "first" / name, place / "second" / name
    one.rename(place / "kept")
    other.rename(one)
    (place / "kept").rename(other)
    for folder in ("first", "second"):
        with pytest.raises(VerificationFailed):
            sk.verify(place / folder, trust=place / "keys.toml")
        assert alone(place / folder, place / "keys.toml", at=tmp_path).returncode == 1


def test_another_policy_is_noticed(place: Path) -> None:
    (place / "other.yaml").write_text((place / "house.yaml").read_text() + "# other\n")
    with pytest.raises(VerificationFailed, match="another policy decided"):
        sk.verify(place / "first", policy=place / "other.yaml")


# Keys


def test_a_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    entry = sign.new_key(tmp_path / "a.key", "anna", ("steward",))
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600 and "PRIVATE" not in entry
    with pytest.raises(JobError, match="nothing is overwritten"):
        sign.new_key(tmp_path / "a.key", "anna", ("steward",))
    (tmp_path / "a.key").chmod(0o640)
    with pytest.raises(JobError, match=r"others may read or write this key .mode 640"):
        sign.read_key(tmp_path / "a.key")
    assert "_private" not in repr(sign.Signer(b"x" * 32, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_key(tmp_path: Path, content: bytes) -> None:
    write_secret(tmp_path / "a.key", content)
    with pytest.raises(JobError, match="no Ed25519 private key"):
        sign.read_key(tmp_path / "a.key")
    with pytest.raises(JobError, match="no such key"):
        sign.read_key(tmp_path / "b.key")


KEY = 'public = "ed25519:{}="\nroles = ["steward"]\nexpires = 2030-01-01T00:00:00Z\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "write 'version = 1'"),
        ("version = 2", "write 'version = 1'"),
        ("version = 1", "holds no key"),
        ("version = 1\nother = 2", "unknown other"),
        ("version = ", "cannot be read as TOML"),
        ("version = 1\n[keys.a]\npublic = 'x'", "write 'public', 'roles' and 'expires'"),
        ("version = 1\n[keys.a]\npublic = 'x'\nroles = ['r']\nexpires = 2030-01-01T00:00:00Z", "keys.a.public: "),
        ("version = 1\n[keys.a]\n" + KEY.format("A" * 42 + "A").replace("['steward']", "[]").replace('["steward"]', "[]"), "keys.a.roles"),
        ("version = 1\n[keys.a]\n" + KEY.format("A" * 43).replace("T00:00:00Z", ""), "keys.a.expires"),
        ("version = 1\n[keys.a]\n" + KEY.format("A" * 43) + "[keys.b]\n" + KEY.format("A" * 43), "b and a have the same key"),
        ("version = 1\n[approvals]\nboard = 1\n[keys.a]\n" + KEY.format("A" * 43), "approvals.board asks for 1, and 0 keys"),
        ("version = 1\n[approvals]\nsteward = 0\n[keys.a]\n" + KEY.format("A" * 43), "approvals.steward is 0"),
    ],
)  # fmt: skip
def test_files_of_keys_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(JobError, match=told):
        sign.trusted(tmp_path / "keys.toml")


def test_a_file_of_keys_is_read_before_anything_is_paid_for(place: Path) -> None:
    (place / "keys.toml").write_text("version = 1\n")
    before = ledger_in(place).entries()
    with pytest.raises(JobError, match="holds no key"):
        run(signed_job(place, "third"), ledger_in(place))
    assert ledger_in(place).entries() == before


def test_an_expired_key_does_not_count(place: Path) -> None:
    text = (place / "keys.toml").read_text()
    year = (NOW + timedelta(days=365)).strftime("%Y")
    (place / "keys.toml").write_text(text.replace(f"expires = {year}", "expires = 2020"))
    with pytest.raises(VerificationFailed, match="whose key expired"):
        sk.verify(place / "first", trust=place / "keys.toml")


def test_bad_words_are_refused(place: Path) -> None:
    signer = sign.read_key(place / "dora.key")
    with pytest.raises(JobError, match="no name may have"):
        sign.attest(place / "first", signer, "off/icer")
    with pytest.raises(JobError, match="holds never"):
        sign.attest(place / "first", signer, "officer", days=0)
    (place / "first/data.csv").write_text("changed\n")
    with pytest.raises(VerificationFailed):
        sign.attest(place / "first", signer, "officer")


def test_an_edited_policy_shuts_the_gate_though_signed(place: Path) -> None:
    approve(place / "release.held", place, *EVERYBODY)
    job = signed_job(place)
    (place / "house.yaml").write_text((place / "house.yaml").read_text() + "# edited\n")
    with pytest.raises(PolicyDenied, match="it was edited"):
        resume(job, ledger_in(place))


# The log

DISARM = [
    f"DROP TRIGGER {table}_no_{verb}" for table in ("log", "log_heads") for verb in ("update", "delete", "replace")
]


def test_the_clock_does_not_run_backwards(place: Path) -> None:
    with pytest.raises(LedgerError, match="before the log's head"):
        log.enter(ledger_in(place), place / "first", dataset="people", now=NOW - timedelta(days=1))


def test_a_bundle_that_was_never_handed_out(place: Path) -> None:
    with pytest.raises(VerificationFailed, match="is not in the log"):
        log.prove(ledger_in(place), place / "release.held")


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["UPDATE log SET leaf = replace(leaf, 'people', 'others') WHERE position = 0"], "entry 1 was changed"),
        (["UPDATE log SET position = 9 WHERE position = 0", "UPDATE log SET position = 0 WHERE position = 1",
          "UPDATE log SET position = 1 WHERE position = 9"], "entry 1 was changed, moved"),
        (["DELETE FROM log WHERE position = 1"], "missing"),
        (["DELETE FROM log_heads WHERE size = 1"], "missing"),
        (["DELETE FROM log WHERE position = 0", "DELETE FROM log_heads WHERE size = 2",
          "UPDATE log SET position = 0"], "entry 1 was changed"),
        (["UPDATE log_heads SET at = '2020-01-01T00:00:00Z' WHERE size = 2"], "older than the one before"),
        (["UPDATE log_heads SET at = '2020-01-01T00:00:00Z' WHERE size = 1"], "another head was signed"),
    ],
)  # fmt: skip
def test_a_log_that_was_tampered_with(place: Path, statements: list[str], told: str) -> None:
    ledger = ledger_in(place)
    assert log.verify(ledger, trust=sign.trusted(place / "keys.toml")) == 2
    with ledger.transaction(write=True) as connection:
        for statement in (*DISARM, *statements):
            connection.exec_driver_sql(statement)
    with pytest.raises(LedgerError, match=told):
        log.verify(ledger)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log SET leaf = 'other'",
        "DELETE FROM log WHERE position = 1",
        "INSERT OR REPLACE INTO log SELECT * FROM log WHERE position = 0",
        "UPDATE log_heads SET at = '2020-01-01T00:00:00Z'",
        "DELETE FROM log_heads",
        "INSERT OR REPLACE INTO log_heads SELECT * FROM log_heads WHERE size = 2",
    ],
)
def test_the_database_refuses_to_change_the_log(place: Path, statement: str) -> None:
    ledger = ledger_in(place)
    with pytest.raises(LedgerError, match="append-only"), ledger.transaction(write=True) as connection:
        connection.exec_driver_sql(statement)
    assert log.verify(ledger) == 2


def test_a_hand_out_that_was_cut_short_is_entered_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, held, ledger = signed_job(place), place / "release.held", ledger_in(place)
    monkeypatch.setenv(log.KEY, str(place / "house.key"))
    approve(held, place, *EVERYBODY)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(JobError, match=r"cannot be put in place: No space left .* --resume"):
            resume(job, ledger)
    assert log.verify(ledger) == 3 and held.stat().st_mode & 0o077 == 0 and not job.output.exists()
    assert not resume(job, ledger).held and log.verify(ledger) == 3
    assert sk.verify(job.output, trust=place / "keys.toml").seals


def test_a_log_that_began_anew_is_told_by_an_old_head(place: Path) -> None:
    ledger = ledger_in(place)
    head = log.read_head(place / "second/log.json")
    with ledger.transaction(write=True) as connection:
        for statement in (*DISARM, "DELETE FROM log", "DELETE FROM log_heads"):
            connection.exec_driver_sql(statement)
    for gate in ("{}", "[]", "0"):
        (place / "first/gate.json").write_text(gate)
        log.enter(ledger, place / "first", dataset="people")
    assert log.verify(ledger) == 3
    with pytest.raises(LedgerError, match="kept elsewhere"):
        log.verify(ledger, head=head)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 11])
def test_proofs_hold_for_every_entry_and_every_beginning(size: int) -> None:
    leaves = [f"leaf {k}" for k in range(size)]
    hashes = [verify_alone.leaf_hash(leaf.encode()) for leaf in leaves]
    root, roots = log._root(hashes), list(log._roots(leaves))
    assert roots[-1] == root
    for index, leaf in enumerate(leaves):
        path = log._inclusion(index, hashes)
        assert verify_alone.included(leaf.encode(), index, size, path, root)
        assert not verify_alone.included(b"other", index, size, path, root)
        assert not verify_alone.included(leaf.encode(), (index + 1) % (size + 1), size, path, root)
        assert not verify_alone.included(leaf.encode(), index, size, [*path, root], root)
    for first in range(1, size + 1):
        path = list(log._consistency(first, hashes)) if first < size else []
        assert verify_alone.consistent(first, size, roots[first - 1], root, path)
        assert first == size or not verify_alone.consistent(first, size, roots[0] if first > 1 else root, root, path)


def test_the_tree_is_that_of_the_rfc() -> None:
    """Reference roots of RFC 6962's tree, as Certificate Transparency's own tests have them."""
    leaves = [b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"\x40\x41\x42\x43"]
    hashes = [verify_alone.leaf_hash(leaf) for leaf in leaves]
    assert hashes[0].hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert log._root(hashes[:2]).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert log._root(hashes[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert log._root(hashes[:4]).hex() == "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
