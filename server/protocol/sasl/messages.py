"""SASL PLAIN and LOGIN messages, and base64 as the mail protocols carry it (RFC 4616, RFC 4648, RFC 4954 §4).

- Nothing is guessed: what is no base64 is refused, never taken as a login or a password.
- Logins come out as text, passwords as octets; neither is written anywhere by this module.
"""

from __future__ import annotations

import binascii
import unicodedata
from dataclasses import dataclass, field

LOGIN_MAX = 512
"""Octets of a login name: an address fits twice."""

PASSWORD_MAX = 1024
"""Octets of a password (security.md §4)."""

LOGIN_USERNAME_CHALLENGE = b"Username:"
LOGIN_PASSWORD_CHALLENGE = b"Password:"


class SaslSyntaxError(Exception):
    """A client's message is outside the mechanism's grammar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainMessage:
    """One PLAIN message. `authorization` is empty when the client asks for no other identity."""

    authorization: str
    login: str
    password: bytes = field(repr=False)


def decode_base64(octets: bytes) -> bytes:
    """Decode one line of base64, padding required; `=` alone is the empty message (RFC 4954 §4).

    Raises:
        SaslSyntaxError: Anything else.
    """
    if octets == b"=":
        return b""
    try:
        return binascii.a2b_base64(octets, strict_mode=True)
    except binascii.Error:
        raise SaslSyntaxError("not base64") from None


def encode_base64(octets: bytes) -> bytes:
    """Encode as one line without a line end."""
    return binascii.b2a_base64(octets, newline=False)


def parse_plain(message: bytes) -> PlainMessage:
    """Parse `[authzid] NUL authcid NUL passwd` (RFC 4616 §2).

    Raises:
        SaslSyntaxError: Not two NULs, an empty or overlong part, or a login that is no text.
    """
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise SaslSyntaxError("not three parts")
    authorization, login, password = parts
    return PlainMessage(
        authorization=parse_login(authorization) if authorization else "",
        login=parse_login(login),
        password=parse_password(password),
    )


def parse_login(octets: bytes) -> str:
    """A login name: printable UTF-8 of 1 to LOGIN_MAX octets, in NFC.

    Raises:
        SaslSyntaxError: Anything else.
    """
    if not 0 < len(octets) <= LOGIN_MAX:
        raise SaslSyntaxError("login name empty or too long")
    try:
        text = unicodedata.normalize("NFC", octets.decode("utf-8"))
    except UnicodeDecodeError:
        raise SaslSyntaxError("login name is not UTF-8") from None
    if not text.isprintable():
        raise SaslSyntaxError("login name holds controls")
    return text


def parse_password(octets: bytes) -> bytes:
    """A password as sent: 1 to PASSWORD_MAX octets without NUL.

    Raises:
        SaslSyntaxError: Anything else.
    """
    if not 0 < len(octets) <= PASSWORD_MAX or b"\0" in octets:
        raise SaslSyntaxError("password empty, too long, or with NUL")
    return octets
