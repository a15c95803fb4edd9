"""Mailbox names in modified UTF-7 (RFC 3501 §5.1.3).

- Printable ASCII stands for itself, "&" is "&-"; everything else is "&" + modified base64 of UTF-16BE + "-".
- Decoding is strict: a name has one encoding only, so that two spellings can't mean one mailbox.
"""

from __future__ import annotations

import binascii
import re

from server.protocol.imap.cursor import ImapSyntaxError

_OTHER = re.compile(r"[^\x20-\x7e]+|&")
_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")


def encode_utf7(name: str) -> bytes:
    """Encode a name without lone surrogates."""

    def shift(found: re.Match[str]) -> str:
        text = found.group()
        if text == "&":
            return "&-"
        packed = binascii.b2a_base64(text.encode("utf-16-be"), newline=False)
        return "&" + packed.decode("ascii").rstrip("=").replace("/", ",") + "-"

    return _OTHER.sub(shift, name).encode("ascii")


def decode_utf7(data: bytes) -> str:
    """Decode a name. Raises ImapSyntaxError when it is not what `encode_utf7` would have written."""
    parts: list[str] = []
    pos = 0
    while True:
        amp = data.find(b"&", pos)
        if amp < 0:
            parts.append(_plain(data[pos:]))
            break
        parts.append(_plain(data[pos:amp]))
        found = _SHIFTED.match(data, amp)
        if found is None:
            raise ImapSyntaxError("mailbox name is not modified UTF-7")
        parts.append(_unshift(found.group(1)))
        pos = found.end()
    name = "".join(parts)
    if encode_utf7(name) != data:
        raise ImapSyntaxError("mailbox name is not in its shortest modified UTF-7")
    return name


def _plain(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise ImapSyntaxError("mailbox name has 8-bit octets outside modified UTF-7") from None


def _unshift(packed: bytes) -> str:
    if not packed:
        return "&"
    try:
        padded = packed.replace(b",", b"/") + b"=" * (-len(packed) % 4)
        return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise ImapSyntaxError("mailbox name is not modified UTF-7") from None
