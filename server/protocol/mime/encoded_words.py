"""Header text: RFC 2047 encoded words and raw 8-bit octets to text, and text back to encoded words.

- Decoding never fails: a word that is not well-formed stays as it is written.
- Neighbouring words of one charset are joined before they are decoded, so a character cut in two is whole again.
- Decoded text for people has no control characters: they would end a line in a log or a database's patience (NUL).

RFC 2047, RFC 2231 §5 (language in the charset), RFC 6532 §3.2 (UTF-8 in header fields).
"""

from __future__ import annotations

import binascii
import re

from server.protocol.mime.charset import decode_charset, decode_unlabelled
from server.protocol.mime.headers import unfold
from server.protocol.mime.transfer import decode_base64

WORD_MAX = 75
"""Octets of one encoded word (RFC 2047 §2)."""

_WORD = re.compile(rb"=\?([!->@-~]{1,64})\?([bBqQ])\?([^?]*+)\?=")
_BLANK = re.compile(rb"[ \t]*+\Z")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")


def decode_text(value: bytes) -> str:
    """Decode a field's raw value as unstructured text, unfolded and without control characters.

    Args:
        value: At most `headers.FIELD_MAX` octets, folding included.
    """
    value = unfold(value)
    if b"=?" in value:
        text = decode_words(value)
    elif value.isascii() and b"\x1b" not in value:
        text = value.decode("ascii")
    else:
        text = decode_unlabelled(value)
    return text if text.isprintable() else clean_text(text)


def clean_text(text: str) -> str:
    """Replace runs of control characters and line separators by a space."""
    return _CONTROL.sub(" ", text)


def decode_words(value: bytes) -> str:
    """Decode the encoded words in unfolded octets; all else is UTF-8 or windows-1252 (RFC 2047 §6.2)."""
    pieces: list[str] = []
    pending: list[bytes] = []
    charset = ""
    end = 0
    for word in _WORD.finditer(value):
        between = value[end : word.start()]
        adjacent = end > 0 and _BLANK.match(between) is not None
        label = word[1].decode("ascii").partition("*")[0].lower()
        if pending and not (adjacent and label == charset):
            pieces.append(decode_charset(b"".join(pending), charset))
            pending = []
        if not adjacent:
            pieces.append(decode_unlabelled(between))
        charset = label
        pending.append(_word_octets(word[2], word[3]))
        end = word.end()
    if pending:
        pieces.append(decode_charset(b"".join(pending), charset))
    pieces.append(decode_unlabelled(value[end:]))
    return "".join(pieces)


def _word_octets(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"bB":
        return decode_base64(text)
    return binascii.a2b_qp(text.rstrip(b"\r\n"), header=True)


def encode_words(text: str) -> list[bytes]:
    """Encode text as UTF-8 encoded words of at most 75 octets, never cutting a character (RFC 2047 §5).

    The caller puts one space, or a fold, between words. Safe in a phrase and in unstructured text.
    """
    octets = text.encode("utf-8")
    unsafe = sum(octet not in _Q_SAFE and octet != 0x20 for octet in octets)
    quoted = unsafe * 3 < len(octets)
    room = WORD_MAX - len(b"=?utf-8?q??=") if quoted else (WORD_MAX - len(b"=?utf-8?b??=")) // 4 * 3
    words: list[bytes] = []
    chunk: list[bytes] = []
    used = 0
    for char in text:
        piece = char.encode("utf-8")
        if quoted:
            piece = b"".join(_q_octet(octet) for octet in piece)
        if used + len(piece) > room:
            words.append(b"".join(chunk))
            chunk, used = [], 0
        chunk.append(piece)
        used += len(piece)
    words.append(b"".join(chunk))
    if quoted:
        return [b"=?utf-8?q?" + word + b"?=" for word in words]
    return [b"=?utf-8?b?" + binascii.b2a_base64(word, newline=False) + b"?=" for word in words]


def _q_octet(octet: int) -> bytes:
    if octet == 0x20:
        return b"_"
    return bytes((octet,)) if octet in _Q_SAFE else b"=%02X" % octet
