"""Content Credentials: the C2PA manifest in every PNG file of a bundle, which says that a trained model made it.

A credential is one chunk of the PNG file (``caBX``) with a signed statement about the rest of the file. Its digital source
type is IPTC's ``trainedAlgorithmicMedia``. Signing and checking need the package ``c2pa-python`` (the extra ``c2pa``)
and no network: the key's certificates may be the house's own. Pixels and every other byte of the file stay as they are.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import synthkit
from synthkit.documents import write_atomically
from synthkit.errors import JobError
from synthkit.secret_files import read_secret, write_secret

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_SIGNATURE, _CHUNK = b"\x89PNG\r\n\x1a\n", b"caBX"
_PNG = "image/png"
_OWN = "signingCredential.untrusted"  # its root is the house's own, which c2pa does not know
_YEARS = 10  # of the root certificate, whose key nobody keeps


@dataclass(frozen=True)
class Credentials:
    """A key that signs images, with its certificates.

    Attributes:
        issuer: the organization that the certificate names.
        serial: the certificate's number, in decimal.
        expires: it does not sign from then on.
        chain: certificates in PEM form, the key's own first.
    """

    issuer: str
    serial: str
    expires: datetime
    chain: bytes = field(repr=False)
    _key: bytes = field(repr=False)
    _algorithm: str = field(repr=False)

    def to_dict(self) -> dict[str, str]:
        """What a bundle's manifest says of them."""
        return {"standard": "C2PA", "digital_source_type": SOURCE_TYPE, "issuer": self.issuer, "serial": self.serial}

    def stamp(self, images: list[bytes]) -> list[bytes]:
        """PNG files with a credential each."""
        import c2pa

        info = c2pa.C2paSignerInfo(getattr(c2pa.C2paSigningAlg, self._algorithm), self.chain, self._key, None)
        action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
        claim = {
            "claim_generator_info": [{"name": "synthkit", "version": synthkit.__version__}],
            "format": _PNG,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
        stamped = []
        with c2pa.Signer.from_info(info) as signer, _context() as context:
            for content in images:
                made = io.BytesIO()
                with c2pa.Builder(claim, context=context) as builder:
                    builder.sign(signer, _PNG, io.BytesIO(content), made)
                stamped.append(made.getvalue())
        return stamped


def new_credentials(path: Path, organization: str, *, days: int = 365) -> Path:
    """Make a key that signs images, and certificates for it: a root of the house's own, and one for the key.

    The root's key signs once and is forgotten.

    Args:
        path: to be written: key and certificates, readable by its owner alone.
        organization: whom the certificates name.
        days: for how long the key is to be used.

    Returns:
        the file of the root certificate, for those who are to trust it: ``path`` with ``.root``.

    Raises:
        JobError: a file exists or cannot be written, or a name that no certificate can have.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    beside = path.with_name(path.name + ".root")
    if beside.exists():
        raise JobError(f"{beside} exists; nothing is overwritten: name another file")
    if not 1 <= len(organization.strip()) <= 64:
        raise JobError("an organization's name has 1 to 64 characters in a certificate")
    root_key, key, now = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), datetime.now(UTC)

    def named(what: str) -> x509.Name:
        words = ((NameOID.ORGANIZATION_NAME, organization.strip()), (NameOID.COMMON_NAME, what))
        return x509.Name([x509.NameAttribute(kind, word) for kind, word in words])

    def certificate(of: Ed25519PrivateKey, name: str, until: timedelta, *, root: bool) -> Certificate:
        public = of.public_key()
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        usage |= {"digital_signature": not root, "key_cert_sign": root, "crl_sign": root}
        made = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("Root of image credentials"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + until)
            .add_extension(x509.BasicConstraints(root, 0 if root else None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        if not root:
            uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])  # one that C2PA's profile lists
            made = made.add_extension(uses, critical=False)
        return made.sign(root_key, None)

    root = certificate(root_key, "Root of image credentials", timedelta(days=366 * _YEARS), root=True)
    own = certificate(key, "Synthetic images", timedelta(days=days), root=False)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(path, pem + own.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
    write_atomically(beside, root.public_bytes(Encoding.PEM))
    return beside


def read_credentials(path: Path, *, now: datetime | None = None) -> Credentials:
    """Read a key with its certificates, one PEM file: the key, its certificate, those that vouch for it.

    Args:
        path: the file; a key of Ed25519, or of ECDSA on P-256.
        now: the time; default: the clock's.

    Raises:
        JobError: others may read it; it holds no such key, or certificates of another; they are expired; or the package
            ``c2pa-python`` is not there.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
    from cryptography.x509.oid import NameOID

    content = read_secret(path)
    try:
        key = load_pem_private_key(content, password=None)
        chain = x509.load_pem_x509_certificates(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise JobError(
            f"{path}: is no private key with its certificates in PEM form; 'synthkit keys images' makes one"
        ) from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = "ED25519"
    elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = "ES256"
    else:
        raise JobError(f"{path}: its key must be Ed25519, or ECDSA on the curve P-256")
    own = chain[0]
    if own.public_key() != key.public_key():
        raise JobError(f"{path}: the first certificate is another key's; the key's own comes first")
    if (now or datetime.now(UTC)) >= own.not_valid_after_utc:
        raise JobError(f"{path}: its certificate expired on {own.not_valid_after_utc:%Y-%m-%d}; make a new one")
    names = own.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    _needed()
    return Credentials(
        issuer=str(names[0].value) if names else own.subject.rfc4514_string(),
        serial=str(own.serial_number),
        expires=own.not_valid_after_utc,
        chain=b"".join(one.public_bytes(Encoding.PEM) for one in chain),
        _key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        _algorithm=algorithm,
    )


def plain(content: bytes) -> tuple[bytes, int]:
    """A PNG file without its credentials, and how many it had; every other byte as it is."""
    if not content.startswith(_SIGNATURE):
        return content, 0
    kept, found, at = [_SIGNATURE], 0, len(_SIGNATURE)
    while at < len(content):
        length = struct.unpack(">I", content[at : at + 4].rjust(4, b"\0"))[0]
        chunk = content[at : at + 12 + length]
        if chunk[4:8] == _CHUNK:
            found += 1
        else:
            kept.append(chunk)
        at += 12 + length
    return b"".join(kept), found


def examine(images: Mapping[str, bytes], stated: Mapping[str, Any]) -> str:
    """Check the credentials of a bundle's images, as far as this machine can. Returns what was found, in words.

    Args:
        images: PNG files, by name.
        stated: what the manifest says of them.

    Raises:
        ValueError: one is damaged, signed by another key, or says something else; names the file.
    """
    told = f"content credentials (C2PA) of {len(images)} images, by {stated['issuer']}"
    try:
        _needed()
    except JobError:
        return f"{told}: there, and not checked (needs the package c2pa-python)"
    for name, content in images.items():
        if problem := _doubt(content, stated):
            raise ValueError(f"{name}: {problem}")
    return f"{told}: each is intact"


def _doubt(content: bytes, stated: Mapping[str, Any]) -> str | None:
    import c2pa

    try:
        with c2pa.Reader(_PNG, io.BytesIO(content)) as reader:
            found = json.loads(reader.json())
        active = found["manifests"][found["active_manifest"]]
        signed, status = active["signature_info"], found.get("validation_status", [])
        actions = [
            one
            for part in active["assertions"]
            if part["label"].startswith("c2pa.actions")
            for one in part["data"]["actions"]
        ]
    except (c2pa.C2paError, KeyError, TypeError, ValueError):
        return "its content credential cannot be read"
    if wrong := sorted({entry["code"] for entry in status} - {_OWN}):
        return f"its content credential does not hold ({', '.join(wrong)})"
    if (str(signed.get("cert_serial_number")), signed.get("issuer")) != (stated["serial"], stated["issuer"]):
        return "its content credential is signed by another key than the manifest says"
    if [one.get("digitalSourceType") for one in actions] != [stated["digital_source_type"]]:
        return "its content credential does not say that a trained model made it"
    return None


def _context() -> Any:
    """Without a thumbnail, which would be larger than the image."""
    import c2pa

    return c2pa.Context.from_dict({"builder": {"thumbnail": {"enabled": False}}})


def _needed() -> None:
    try:
        import c2pa  # noqa: F401
    except ImportError:
        raise JobError("content credentials need the package c2pa-python: pip install 'synthkit[c2pa]'") from None


__all__ = ["SOURCE_TYPE", "Credentials", "examine", "new_credentials", "plain", "read_credentials"]
