"""Pseudonyms depend on a secret key, one per purpose and recipient, that only its owner may read."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pandas as pd
import pytest

from synthkit.anonymize.pseudonyms import Key, current, earlier, rotate
from synthkit.errors import JobError

PEOPLE = pd.Series(["ann", None, "bob", "ann"], name="person")


def test_a_name_is_the_hmac_of_purpose_recipient_domain_and_value() -> None:
    key = Key("research", "lab", 1, bytes(range(32)))
    names = key.names(PEOPLE, domain="person")
    message = b'["research","lab","name","person","ann"]'
    assert names[0] == hmac.new(bytes(range(32)), message, hashlib.sha256).hexdigest()[:32]
    assert names[0] == names[3] != names[2]
    assert names[1] is None


def test_each_recipient_purpose_and_domain_has_names_of_its_own(tmp_path: Path) -> None:
    keys = [current(tmp_path / "keys", *words) for words in (("a", "x"), ("a", "y"), ("b", "x"))]
    names = {key.names(PEOPLE, domain=domain)[0] for key in keys for domain in ("person", "card")}
    assert len(names) == 6
    assert len({key.fingerprint for key in keys}) == 3
    same = Key("a", "y", 1, keys[0].secret)  # even a key that is used twice by mistake
    assert same.names(PEOPLE, domain="person")[0] != keys[0].names(PEOPLE, domain="person")[0]


def test_a_key_is_kept_for_its_owner_alone_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = current(folder, "research", "lab")
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert current(folder, "research", "lab") == first
    assert first.secret.hex() not in repr(first)
    file.chmod(0o644)
    with pytest.raises(JobError, match="others may read"):
        current(folder, "research", "lab")


def test_rotation_gives_new_names_and_keeps_the_old_key(tmp_path: Path) -> None:
    first = current(tmp_path, "research", "lab")
    for version in range(2, 12):  # 10 comes after 9
        newest = rotate(tmp_path, "research", "lab")
        assert newest.version == version
    assert current(tmp_path, "research", "lab") == newest
    assert earlier(tmp_path, "research", "lab", 1) == first
    assert newest.names(PEOPLE, domain="p")[0] != first.names(PEOPLE, domain="p")[0]
    with pytest.raises(JobError, match="no such key"):
        earlier(tmp_path, "research", "lab", 99)


def test_keys_that_are_short_shared_or_garbled_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="120 bits; at least 128"):
        Key("a", "b", 1, bytes(15))
    current(tmp_path, "a", "x")
    copy = tmp_path / "a.y.1.key"
    copy.write_bytes((tmp_path / "a.x.1.key").read_bytes())
    copy.chmod(0o600)
    with pytest.raises(JobError, match="hold the same key"):
        current(tmp_path, "a", "y")
    copy.write_bytes(b"not hexadecimal")
    with pytest.raises(JobError, match="not a key"):
        current(tmp_path, "a", "y")
    with pytest.raises(JobError, match=r"recipient '\.\./y'"):
        current(tmp_path, "a", "../y")
