"""The tar format, as much of it as mail in and out needs (POSIX.1-2001 pax, ustar, GNU long names).

- Only regular files come out; links, devices and folders are passed over, and a name that leads out of the archive is
  refused: no name from an archive ever becomes a path here, but what is refused is seen by whoever made it.
- What a pax header says beats the header after it. Sizes are checked against the octets there are before use.
- Members are written with a pax header when name, size, time or a keyword of ours needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

BLOCK = 512
PAX_MAX = 64 * 1024
"""Octets of a pax header or a long name."""
NAME_MAX = 4096
_PAX = re.compile(rb"([0-9]{1,7}) ([^=\n]{1,100})=")
END = bytes(2 * BLOCK)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TarSyntaxError(ValueError):
    """Not a tar archive, or a broken one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A regular file.

    Attributes:
        end: Where the next member begins in the octets given.
        safe: False when its name is absolute or climbs.
        extra: Pax keywords beginning with a vendor's name and a dot.
    """

    name: str
    octets: bytes
    modified: datetime | None
    end: int
    safe: bool
    extra: Mapping[str, str] = field(default_factory=dict)


def read_tar(data: bytes) -> Iterator[Member]:
    """Yield the regular files of a whole archive. Raises TarSyntaxError."""
    at = 0
    pax: dict[str, str] = {}
    long_name = ""
    while at + BLOCK <= len(data):
        header = data[at : at + BLOCK]
        if not header.strip(b"\0"):
            return
        _check(header)
        size = _size(pax.get("size"), header)
        body = at + BLOCK
        kind = header[156:157]
        if size > len(data) - body:
            raise TarSyntaxError("the archive ends inside a member")
        following = body + (size + BLOCK - 1) // BLOCK * BLOCK
        if kind in (b"x", b"g", b"L", b"K"):
            if size > PAX_MAX:
                raise TarSyntaxError("a header of the archive is too long")
            if kind == b"x":
                pax = _pax(data[body : body + size])
            elif kind == b"L":
                long_name = data[body : body + size].rstrip(b"\0").decode("utf-8", "replace")
        else:
            if kind in (b"0", b"\0", b"7"):
                yield _member(header, data[body : body + size], pax, long_name, following)
            pax, long_name = {}, ""
        at = following
    if at < len(data) and data[at:].strip(b"\0"):
        raise TarSyntaxError("the archive ends inside a header")


def format_member(name: str, octets: bytes, *, modified: datetime, extra: Mapping[str, str] | None = None) -> bytes:
    """One regular file, padded to whole blocks."""
    return format_head(name, len(octets), modified=modified, extra=extra) + octets + bytes(-len(octets) % BLOCK)


def format_head(name: str, size: int, *, modified: datetime, extra: Mapping[str, str] | None = None) -> bytes:
    """The header blocks of a regular file."""
    raw = name.encode("utf-8")
    since = modified - _EPOCH
    seconds, micros = max(0, since.days * 86_400 + since.seconds), since.microseconds
    records = dict(extra or {})
    if len(raw) > 100 or not raw.isascii():
        records["path"] = name
    if micros:
        records["mtime"] = f"{seconds}.{micros:06d}"
    head = b""
    if records:
        text = b"".join(_record(key, value) for key, value in records.items())
        head = _header(b"pax", len(text), seconds, b"x") + text + bytes(-len(text) % BLOCK)
    return head + _header(raw[:100], size, seconds, b"0")


def _record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def _header(name: bytes, size: int, seconds: int, kind: bytes) -> bytes:
    fields = b"".join(
        (
            name.ljust(100, b"\0"),
            b"0000600\0" + b"0000000\0" * 2,
            b"%011o\0" % size,
            b"%011o\0" % min(seconds, 0o77777777777),
            b" " * 8,
            kind,
            bytes(100),
            b"ustar\x0000",
        )
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def _check(header: bytes) -> None:
    stated = _octal(header[148:156])
    if stated != sum(header) - sum(header[148:156]) + 8 * 32:
        raise TarSyntaxError("not a tar archive, or a damaged one")


def _octal(digits: bytes) -> int:
    try:
        return int(digits.strip(b" \0") or b"0", 8)
    except ValueError:
        raise TarSyntaxError("a number of the archive can't be read") from None


def _size(pax: str | None, header: bytes) -> int:
    if pax is not None:
        if not (pax.isascii() and pax.isdigit() and len(pax) < 16):
            raise TarSyntaxError("a size of the archive can't be read")
        return int(pax)
    digits = header[124:136]
    return int.from_bytes(digits[1:], "big") if digits[0] == 0x80 else _octal(digits)


def _pax(text: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAX.match(text, at)
        if match is None or not match.end() < at + int(match[1]) <= len(text):
            raise TarSyntaxError("a pax header can't be read")
        value = text[match.end() : at + int(match[1]) - 1]
        found[match[2].decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at += int(match[1])
    return found


def _member(header: bytes, octets: bytes, pax: Mapping[str, str], long_name: str, end: int) -> Member:
    name = header[:100].split(b"\0")[0]
    if header[257:262] == b"ustar" and header[345:346] != b"\0":
        name = header[345:500].split(b"\0")[0] + b"/" + name
    text = pax.get("path") or long_name or name.decode("utf-8", "replace")
    levels = text.split("/")
    safe = bool(text) and len(text) <= NAME_MAX and not text.startswith("/") and ".." not in levels and "\0" not in text
    return Member(
        name="/".join(level for level in levels if level not in ("", ".")),
        octets=octets,
        modified=_time(pax.get("mtime"), header),
        end=end,
        safe=safe,
        extra={key: value for key, value in pax.items() if "." in key},
    )


def _time(pax: str | None, header: bytes) -> datetime | None:
    whole, _, part = (pax or "").partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) < 12):
        whole, part = str(_octal(header[136:148])) if header[136] < 0x80 else "0", ""
    if not int(whole):
        return None
    micros = int(part[:6].ljust(6, "0")) if part.isascii() and part.isdigit() else 0
    try:
        return datetime.fromtimestamp(int(whole), UTC).replace(microsecond=micros)
    except (ValueError, OverflowError, OSError):
        return None
