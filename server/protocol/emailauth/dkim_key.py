"""DKIM keys: the public record in DNS, and the private side that we make (RFC 6376 §3.6.1, RFC 8463, RFC 8301).

- RSA of 1024 to 4096 bits verifies, nothing else (RFC 8301 §3.2, product item 12); ours have 2048.
- Making an RSA key takes up to a second of CPU: run `make_key` in a worker.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from server.protocol.emailauth.taglist import TagListError, parse_tags, without_space

MAX_RECORD_OCTETS = 4096
"""Longest key record looked at; RSA-4096 needs 740 octets (threat T18)."""
MIN_RSA_BITS = 1024
MAX_RSA_BITS = 4096
OWN_RSA_BITS = 2048

PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class KeyRecordError(Exception):
    """The record can't be used; the text says why."""


class KeyKind(StrEnum):
    """What `mailauth.dkim_algorithms` names."""

    RSA_2048 = "rsa-2048"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A usable public key.

    Attributes:
        bits: RSA modulus length; 256 for Ed25519.
        testing: Flag t=y: the signer is testing.
        strict_identity: Flag t=s: i= must have exactly the domain d=.
    """

    public: PublicKey
    bits: int
    testing: bool
    strict_identity: bool

    @property
    def algorithm(self) -> str:
        """The a= word that fits the key."""
        return "rsa-sha256" if isinstance(self.public, rsa.RSAPublicKey) else "ed25519-sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A fresh key pair: `private` is PKCS #8 PEM to be sealed, `record` the TXT value to publish."""

    kind: KeyKind
    private: bytes
    record: str


def is_key_record(record: bytes) -> bool:
    """Whether a TXT record at a selector is meant as a DKIM key: it has a p= tag and no other version."""
    head = record[:MAX_RECORD_OCTETS].translate(None, b" \t")
    return (b";p=" in head or head.startswith(b"p=")) and (not head.startswith(b"v=") or head.startswith(b"v=DKIM1"))


@lru_cache(maxsize=1024)
def parse_key_record(record: bytes) -> KeyRecord:
    """Parse a key record for mail.

    Raises:
        KeyRecordError: Outside the grammar, revoked, for another service or hash, or a key we don't verify with.

    RFC 6376 §3.6.1 and §6.1.2 (steps 5 to 9).
    """
    if len(record) > MAX_RECORD_OCTETS:
        raise KeyRecordError("key record too long")
    try:
        tags = parse_tags(record)
    except TagListError as error:
        raise KeyRecordError(f"key record malformed: {error}") from error
    if "v" in tags and (tags["v"] != b"DKIM1" or next(iter(tags)) != "v"):
        raise KeyRecordError("key record of another version")
    if "p" not in tags:
        raise KeyRecordError("key record without p=")
    if not tags["p"]:
        raise KeyRecordError("key revoked")
    if "h" in tags and b"sha256" not in _words(tags["h"]):
        raise KeyRecordError("key does not allow sha256")
    if not _words(tags.get("s", b"*")) & {b"*", b"email"}:
        raise KeyRecordError("key is not for mail")
    flags = _words(tags.get("t", b""))
    public, bits = _load_public(tags.get("k", b"rsa"), tags["p"])
    return KeyRecord(public=public, bits=bits, testing=b"y" in flags, strict_identity=b"s" in flags)


def _words(value: bytes) -> set[bytes]:
    return set(without_space(value).split(b":"))


def _load_public(kind: bytes, value: bytes) -> tuple[PublicKey, int]:
    try:
        octets = base64.b64decode(without_space(value), validate=True)
        if kind == b"ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(octets), 256
        if kind != b"rsa":
            raise KeyRecordError("unknown key type")
        # RFC 6376 names SubjectPublicKeyInfo; erratum 3017 and practice also know the bare RSAPublicKey.
        key = serialization.load_der_public_key(octets)
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise KeyRecordError("key not readable") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise KeyRecordError("key is not RSA")
    if key.key_size < MIN_RSA_BITS:
        raise KeyRecordError(f"key of {key.key_size} bits is too short")
    if key.key_size > MAX_RSA_BITS:
        raise KeyRecordError(f"key of {key.key_size} bits is too long")
    return key, key.key_size


def make_key(kind: KeyKind) -> NewKey:
    """Make a key pair. CPU-heavy for RSA: never on the event loop."""
    private: PrivateKey
    if kind is KeyKind.ED25519:
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=OWN_RSA_BITS)
    octets = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return NewKey(kind=kind, private=octets, record=key_record(private))


def load_private_key(octets: bytes) -> PrivateKey:
    """Load what `make_key` made.

    Raises:
        KeyRecordError: Not a private key of a kind we sign with.
    """
    try:
        key = serialization.load_pem_private_key(octets, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyRecordError("private key not readable") from error
    if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise KeyRecordError("private key of another kind")
    return key


def key_record(private: PrivateKey) -> str:
    """The TXT value to publish for a private key (RFC 6376 §3.6.1, RFC 8463 §4)."""
    public = private.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        octets = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return "v=DKIM1; k=ed25519; p=" + base64.b64encode(octets).decode("ascii")
    octets = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "v=DKIM1; k=rsa; p=" + base64.b64encode(octets).decode("ascii")


def zone_text(value: str) -> str:
    """Write a TXT value for a zone file: quoted strings of at most 255 octets (RFC 1035 §3.3.14)."""
    return " ".join(f'"{value[i : i + 255]}"' for i in range(0, len(value), 255))
