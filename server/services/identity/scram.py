"""SCRAM-SHA-256 keys of a password (RFC 5802 §3, RFC 7677).

- Kept beside the Argon2 hash and made from the same password, so a login may use either.
- The password is prepared by SASLprep (RFC 4013) where it can be; a password outside of it is taken in NFC.
"""

from __future__ import annotations

import hmac
import os
import stringprep
import unicodedata

from server.protocol.sasl.scram import ScramCredential, derive_credential

ITERATIONS = 10_000
"""PBKDF2 rounds of new keys; RFC 7677 §4 asks for at least 4096."""
SALT_OCTETS = 16


def derive(password: bytes, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> ScramCredential:
    """Derive keys; some milliseconds of CPU.

    Args:
        password: UTF-8 octets as the user typed them.
        salt: None makes a fresh one.
    """
    salt = os.urandom(SALT_OCTETS) if salt is None else salt
    return derive_credential(prepare(password), salt=salt, iterations=iterations)


def imitation(login: str, secret: bytes) -> ScramCredential:
    """Keys for a login that does not exist: the same each time, so that nothing tells it from a real one."""

    def part(label: bytes) -> bytes:
        return hmac.digest(secret, label + b"\x00" + login.encode("utf-8", "replace"), "sha256")

    return ScramCredential(
        salt=part(b"salt")[:SALT_OCTETS],
        iterations=ITERATIONS,
        stored_key=part(b"stored"),
        server_key=part(b"server"),
    )


def prepare(password: bytes) -> bytes:
    """SASLprep (RFC 4013 §2) as for stored strings; what it forbids comes back in NFC, as typed."""
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    if text.isascii():
        return password
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    folded = unicodedata.normalize("NFKC", mapped)
    if any(_forbidden(c) for c in folded) or not _bidi_right(folded):
        return unicodedata.normalize("NFC", text).encode()
    return folded.encode()


def _forbidden(c: str) -> bool:
    return (
        stringprep.in_table_c12(c)
        or stringprep.in_table_c21_c22(c)
        or stringprep.in_table_c3(c)
        or stringprep.in_table_c4(c)
        or stringprep.in_table_c5(c)
        or stringprep.in_table_c6(c)
        or stringprep.in_table_c7(c)
        or stringprep.in_table_c8(c)
        or stringprep.in_table_c9(c)
        or stringprep.in_table_a1(c)
    )


def _bidi_right(text: str) -> bool:
    """RFC 3454 §6: right-to-left text stands alone and at both ends."""
    if not any(stringprep.in_table_d1(c) for c in text):
        return True
    return (
        not any(stringprep.in_table_d2(c) for c in text)
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )
