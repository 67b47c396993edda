"""Content credentials (C2PA) in the PNG files of a bundle: made offline, read back, and held against the pixels."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import synthkit as sk
from synthkit.cli import main
from synthkit.errors import DataError, JobError, VerificationFailed
from synthkit.release import bundle, credentials, pictures
from synthkit.release.credentials import SOURCE_TYPE, new_credentials, plain, read_credentials
from synthkit.release.job import Job
from synthkit.release.run import run
from tests.images import images, schema, write
from tests.release.test_job import write as write_table

HERE = importlib.util.find_spec("c2pa") is not None
needs = pytest.mark.skipif(not HERE, reason="needs c2pa-python: pip install 'synthkit[c2pa]'")


def picture(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def made(folder: Path, **changes: Any) -> Path:
    new_credentials(folder / "images.pem", "General Hospital")
    job = Job.read(write(folder, holdout=0, credentials="images.pem", **changes))
    return run(job, sk.Ledger(folder / "ledger.sqlite")).folder


def forge(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file and make every digest fit, as a careful forger would."""
    path, manifest = folder / name, json.loads((folder / "manifest.json").read_text())
    path.write_bytes(change(path.read_bytes()))
    manifest["files"][name] = bundle._describe(path)
    manifest["manifest_sha256"] = bundle._digest(manifest)
    (folder / "manifest.json").write_bytes(bundle._serialise(manifest))


def test_a_file_without_credentials_is_as_it_was() -> None:
    assert plain(picture()) == (picture(), 0) and plain(b"GIF89a") == (b"GIF89a", 0)
    for cut in range(len(picture())):
        assert plain(picture()[:cut])[1] == 0


@pytest.mark.skipif(HERE, reason="c2pa-python is there")
def test_without_the_package_it_is_said_before_anything_is_paid_for(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"need the package c2pa-python: pip install 'synthkit\[c2pa\]'"):
        made(tmp_path)
    assert sk.Ledger(tmp_path / "ledger.sqlite").entries() == []


@pytest.mark.parametrize("kind", ["table", "many"])
def test_what_carries_no_credentials(tmp_path: Path, kind: str) -> None:
    new_credentials(tmp_path / "images.pem", "House")
    if kind == "table":
        (tmp_path / "people.csv").write_text("a\n")
        job, told = Job.read(write_table(tmp_path, credentials="images.pem")), "credentials are for images"
    else:
        job, told = Job.read(write(tmp_path, credentials="images.pem")), "too many for files of their own"
        job = replace(job, rows=10_001)
    with pytest.raises(JobError, match=told):
        run(job, sk.Ledger(tmp_path / "ledger.sqlite"))


def fake(images: list[bytes]) -> list[bytes]:
    """One more chunk where a credential would be; its content is not looked at here."""
    chunk = b"\0\0\0\4caBXdata" + (0).to_bytes(4, "big")
    return [content[:33] + chunk + content[33:] for content in images]  # after the header


def test_every_form_is_compared_with_credentials_as_without(tmp_path: Path) -> None:
    drawn = images(schema(), rows=6)
    sheet = pictures.Pictures(schema(), 6)
    pictures.write(tmp_path, drawn, sheet, {}, fake)
    contents = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    names = [name for name in contents if name.endswith(".png")]
    assert len(names) == 6 and all(plain(contents[name])[1] == 1 for name in names)
    pictures.check(sheet, contents, stamped=True)
    for change, stamped in (
        ({}, False),
        ({names[0]: plain(contents[names[0]])[0]}, True),
        ({names[0]: fake([contents[names[0]]])[0]}, True),
        ({names[0]: contents[names[1]]}, True),
    ):
        with pytest.raises(DataError, match="differ in"):
            pictures.check(sheet, {**contents, **change}, stamped=stamped)


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    key, now = tmp_path / "images.pem", datetime.now(UTC)
    new_credentials(key, "House", days=3)
    with pytest.raises(JobError, match="its certificate expired on"):
        read_credentials(key, now=now + timedelta(days=4))
    new_credentials(tmp_path / "other.pem", "Other")
    mixed = tmp_path / "mixed.pem"
    marker = b"-----BEGIN CERTIFICATE-----"
    mixed.write_bytes(
        key.read_bytes().partition(marker)[0] + marker + (tmp_path / "other.pem").read_bytes().partition(marker)[2]
    )
    mixed.chmod(0o600)
    with pytest.raises(JobError, match="the first certificate is another key's"):
        read_credentials(mixed)
    mixed.write_bytes(key.read_bytes().partition(marker)[0])
    with pytest.raises(JobError, match="no private key with its certificates"):
        read_credentials(mixed)
    key.chmod(0o644)
    with pytest.raises(JobError, match="others may read or write this key"):
        read_credentials(key)
    with pytest.raises(JobError, match="exists; nothing is overwritten"):
        new_credentials(key, "House")
    with pytest.raises(JobError, match="1 to 64 characters"):
        new_credentials(tmp_path / "empty.pem", " ")


@needs
def test_a_release_of_images_carries_them(tmp_path: Path) -> None:
    import c2pa

    folder = made(tmp_path)
    found = sk.verify(folder)
    assert "content credentials (C2PA) of 50 images, by General Hospital: each is intact" in found.seals
    files = sorted((folder / "images").rglob("*.png"))
    assert len(files) == 50
    for path in files:
        content = path.read_bytes()
        with c2pa.Reader("image/png", io.BytesIO(content)) as reader:
            document = json.loads(reader.json())
        (action,) = document["manifests"][document["active_manifest"]]["assertions"][0]["data"]["actions"]
        assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", SOURCE_TYPE)
        assert document["validation_state"] == "Valid"
        same, count = plain(content)
        assert count == 1 and len(content) - len(same) < 5_000
        with Image.open(io.BytesIO(content)) as one, Image.open(io.BytesIO(same)) as two:
            assert np.array_equal(np.array(one), np.array(two))


@needs
def test_pixels_are_compared_as_without(tmp_path: Path) -> None:
    """A forger who makes every digest fit is found by what the pixels say, or by the credential itself."""
    folder = made(tmp_path)
    one, other = (path.relative_to(folder).as_posix() for path in sorted((folder / "images").rglob("*.png"))[:2])
    first, second = ((folder / name).read_bytes() for name in (one, other))

    def doubt(change: Callable[[bytes], bytes], told: str) -> None:
        (folder / one).write_bytes(first)
        forge(folder, one, change)
        with pytest.raises(VerificationFailed, match=told):
            bundle.verify(folder)

    doubt(lambda content: plain(content)[0], "differ in 1 images")
    doubt(lambda content: second, "differ in 1 images")
    doubt(lambda content: content[:-12] + b"\0\0\0\0tEXt\0\0\0\0" + content[-12:], "differ in 1 images")
    with pytest.raises(ValueError, match="does not hold"):  # the pixels of one image under the credential of another
        at, end = first.index(b"caBX") - 4, first.index(b"IDAT") - 4
        taken = second[second.index(b"caBX") - 4 : second.index(b"IDAT") - 4]
        credentials.examine({one: first[:at] + taken + first[end:]}, stated(folder))


def stated(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["credentials"]
    return found


@needs
def test_another_key_or_another_source_is_noticed(tmp_path: Path) -> None:
    new_credentials(tmp_path / "a.pem", "House")
    signer = read_credentials(tmp_path / "a.pem")
    (content,) = signer.stamp([picture()])
    assert credentials.examine({"x": content}, signer.to_dict()).endswith("each is intact")
    for change, told in (
        ({"serial": "1"}, "by another key"),
        ({"issuer": "Other"}, "by another key"),
        ({"digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"}, "does not say"),
    ):
        with pytest.raises(ValueError, match=told):
            credentials.examine({"x": content}, {**signer.to_dict(), **change})
    with pytest.raises(ValueError, match="cannot be read"):
        credentials.examine({"x": picture()}, signer.to_dict())
    position = content.rindex(b"IDAT") + 20
    with pytest.raises(ValueError, match=r"dataHash\.mismatch"):
        credentials.examine({"x": content[:position] + b"\0" + content[position + 1 :]}, signer.to_dict())


@needs
def test_a_chain_of_p256_signs_too(tmp_path: Path) -> None:
    """As houses have them that keep a certificate authority: made here by openssl's usual profile."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    new_credentials(tmp_path / "a.pem", "House")
    template = x509.load_pem_x509_certificates((tmp_path / "a.pem").read_bytes())
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = b""
    for old, public in zip(template, (key, root), strict=True):
        builder = (
            x509.CertificateBuilder().subject_name(old.subject).issuer_name(old.issuer).public_key(public.public_key())
        )
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(old.not_valid_before_utc).not_valid_after(old.not_valid_after_utc)
        for extension in old.extensions:
            value: Any = extension.value
            if isinstance(value, x509.SubjectKeyIdentifier):
                value = x509.SubjectKeyIdentifier.from_public_key(public.public_key())
            if isinstance(value, x509.AuthorityKeyIdentifier):
                value = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
            builder = builder.add_extension(value, extension.critical)
        chain += builder.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "b.pem").write_bytes(pem + chain)
    (tmp_path / "b.pem").chmod(0o600)
    signer = read_credentials(tmp_path / "b.pem")
    assert credentials.examine({"x": signer.stamp([picture()])[0]}, signer.to_dict()).endswith("each is intact")


def test_the_command_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["keys", "images", "House", "-o", str(tmp_path / "images.pem"), "--json"])
    told = json.loads(done.output)
    assert Path(told["private"]).stat().st_mode & 0o777 == 0o600
    assert Path(told["root"]).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE" not in Path(told["root"]).read_bytes()
