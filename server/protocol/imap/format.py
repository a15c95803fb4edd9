"""Responses on the wire (RFC 9051 §7, §9); each returns octets without the final CRLF unless it says so."""

from __future__ import annotations

import re

from server.protocol.imap.utf7 import encode_utf7

_ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+\Z')
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*\Z")
_SPECIAL = re.compile(rb'(["\\])')
_QUOTED_MAX = 1000


def format_string(data: bytes) -> bytes:
    """string: quoted when it can be, else a literal."""
    if len(data) <= _QUOTED_MAX and _QUOTABLE.match(data):
        if b'"' in data or b"\\" in data:
            data = _SPECIAL.sub(rb"\\\1", data)
        return b'"%b"' % data
    return b"{%d}\r\n%s" % (len(data), data)


def format_nstring(data: bytes | None) -> bytes:
    return b"NIL" if data is None else format_string(data)


def format_astring(data: bytes) -> bytes:
    """astring: an atom when it can be and does not read as NIL."""
    if _ATOM.match(data) and data.upper() != b"NIL":
        return data
    return format_string(data)


def format_mailbox(name: str, *, utf8: bool = False) -> bytes:
    """mailbox: the name in modified UTF-7, or as quoted UTF-8 for clients that speak it (RFC 6855 §3)."""
    if not utf8:
        return format_astring(encode_utf7(name))
    data = name.encode("utf-8")
    return format_astring(data) if data.isascii() else b'"' + _SPECIAL.sub(rb"\\\1", data) + b'"'


def format_status_line(tag: bytes, status: bytes, text: str, code: bytes = b"") -> bytes:
    """resp-cond-state with tag or "*": status [SP "[" code "]"] SP text CRLF."""
    bracket = b"[" + code + b"] " if code else b""
    printable = text.encode("ascii", "replace").replace(b"\r", b" ").replace(b"\n", b" ")
    return b"%s %s %s%s\r\n" % (tag, status, bracket, printable or b"-")
