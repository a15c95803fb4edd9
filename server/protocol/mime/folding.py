"""Header fields written: folded, encoded where needed, ending in CRLF.

- Values reparse to exactly what was given; what could not is refused with `InvalidInput`, never altered: control
  characters, line and paragraph separators, lone surrogates, text over the limits.
- Lines are at most 78 octets where the text allows it and never over 998 (RFC 5322 §2.1.1).
- Non-ASCII text becomes encoded words and RFC 2231 parameters; only an address itself is raw UTF-8 (RFC 6532).

RFC 5322 §2.2.3, §3.6; RFC 2047; RFC 2231; RFC 6532 §3.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.domain.address import ATEXT, Address, format_local
from server.domain.errors import InvalidInput
from server.protocol.mime.encoded_words import encode_words
from server.protocol.mime.message_ids import is_message_id

LINE_MAX = 78
"""Octets of a line we write, where its words allow it (RFC 5322 §2.1.1)."""
TEXT_MAX = 10_000
"""Characters of one written field: encoded they stay below `headers.FIELD_MAX`."""
_WORD_MAX = 900
"""Octets of a word that may stand unencoded: with its name it fits a line of 998."""
_QUOTED_MAX = 60
"""Characters of a name or file name that may stand in quotes, so that no quoted string needs a fold."""

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CHUNK = re.compile(r" +[^ ]+")
_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[A-Za-z0-9.:-]+\]")
_TOKEN_OCTETS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")


@dataclass(frozen=True, slots=True)
class NamedAddress:
    """An address with a display name, empty for none."""

    address: Address
    name: str = ""


def check_text(text: str, pointer: str, *, at_most: int = TEXT_MAX) -> str:
    """Return the text when a header field can carry it.

    Raises:
        InvalidInput: Control characters, separators, lone surrogates, or more than `at_most` characters.
    """
    if len(text) > at_most:
        raise InvalidInput(f"longer than {at_most} characters", pointer=pointer)
    if not text.isprintable() and _FORBIDDEN.search(text):
        raise InvalidInput("control characters are not allowed", pointer=pointer)
    return text


def write_text(name: bytes, text: str, pointer: str) -> bytes:
    """Write an unstructured field (RFC 5322 §3.6.5), as encoded words when plain octets would not come back.

    Raises:
        InvalidInput: See `check_text`.
    """
    check_text(text, pointer)
    if text and _needs_words(text):
        return _fold(name, [b" " + word for word in encode_words(text)])
    return _fold(name, [chunk.encode("ascii") for chunk in _CHUNK.findall(" " + text)])


def write_addresses(name: bytes, addresses: Sequence[NamedAddress], pointer: str) -> bytes:
    """Write an address list field; `pointer` names the list, its elements are `pointer/0`... (RFC 5322 §3.4).

    Raises:
        InvalidInput: A name or an address no field can carry.
    """
    chunks: list[bytes] = []
    for index, entry in enumerate(addresses):
        chunks += _address_chunks(entry, f"{pointer}/{index}")
        if index < len(addresses) - 1:
            chunks[-1] += b","
    return _fold(name, chunks)


def write_message_ids(name: bytes, identifiers: Sequence[str], pointer: str) -> bytes:
    """Write Message-ID, In-Reply-To or References (RFC 5322 §3.6.4).

    Raises:
        InvalidInput: An identifier that is not `<id-left@id-right>`.
    """
    for identifier in identifiers:
        if not is_message_id(identifier):
            raise InvalidInput("not a message identifier", pointer=pointer)
    return _fold(name, [b" " + identifier.encode("ascii") for identifier in identifiers])


def write_parameterised(name: bytes, value: bytes, parameters: Sequence[tuple[bytes, str]], pointer: str) -> bytes:
    """Write Content-Type or Content-Disposition, parameters in RFC 2231 form where needed.

    Raises:
        InvalidInput: A parameter value no field can carry.
    """
    chunks = [b" " + value]
    for key, text in parameters:
        check_text(text, pointer)
        pieces = _parameter(key, text)
        for piece in pieces:
            chunks[-1] += b";"
            chunks.append(b" " + piece)
    return _fold(name, chunks)


def quote(text: str) -> str:
    """Write a quoted-string (RFC 5322 §3.2.4); the text is printable ASCII or, in an address, UTF-8."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _needs_words(text: str) -> bool:
    """Whether unstructured text comes back only from encoded words: 8-bit, look-alikes, outer spaces, endless words."""
    if not text.isascii() or "=?" in text or text[0] == " " or text[-1] == " ":
        return True
    return len(text) > _WORD_MAX and any(len(word) > _WORD_MAX for word in _CHUNK.findall(" " + text))


def _address_chunks(entry: NamedAddress, pointer: str) -> list[bytes]:
    address = entry.address
    check_text(entry.name, pointer + "/name", at_most=998)
    check_text(address.local, pointer + "/address", at_most=64)
    if not address.local or len(address.domain) > 255 or _DOMAIN.fullmatch(address.domain) is None:
        raise InvalidInput("not a mail address", pointer=pointer + "/address")
    spec = f"{format_local(address.local)}@{address.domain}".encode()
    if not entry.name:
        return [b" " + spec]
    return [*_phrase_chunks(entry.name), b" <" + spec + b">"]


def _phrase_chunks(name: str) -> list[bytes]:
    """Write a display name: atoms, else a short quoted string, else encoded words (RFC 5322 §3.2.5)."""
    if not name.isascii() or "=?" in name or len(name) > _QUOTED_MAX:
        return [b" " + word for word in encode_words(name)]
    if all(word and all(char in ATEXT for char in word) for word in name.split(" ")):
        return [b" " + name.encode("ascii")]
    return [b" " + quote(name).encode("ascii")]


def _parameter(key: bytes, text: str) -> list[bytes]:
    """One parameter as quoted-string, or in one or more RFC 2231 sections of at most 60 octets each."""
    if text.isascii() and len(text) <= _QUOTED_MAX and "=?" not in text:
        return [key + b"=" + quote(text).encode("ascii")]
    sections: list[bytes] = []
    section = b"UTF-8''"
    for octet in text.encode("utf-8"):
        piece = bytes((octet,)) if octet in _TOKEN_OCTETS else b"%%%02X" % octet
        if len(section) + len(piece) > _QUOTED_MAX:
            sections.append(section)
            section = b""
        section += piece
    sections.append(section)
    if len(sections) == 1:
        return [key + b"*=" + section]
    return [b"%b*%d*=%b" % (key, number, part) for number, part in enumerate(sections)]


def _fold(name: bytes, chunks: Sequence[bytes]) -> bytes:
    """Put chunks, each beginning with its space, on lines of at most 78 octets; the first stays beside the name."""
    line = name + b":"
    if not chunks:
        return line + b" \r\n"
    lines = [line + chunks[0]]
    for chunk in chunks[1:]:
        if len(lines[-1]) + len(chunk) > LINE_MAX:
            lines.append(chunk)
        else:
            lines[-1] += chunk
    return b"\r\n".join(lines) + b"\r\n"
