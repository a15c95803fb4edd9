"""The mbox format: messages one after the other, each behind a From_ line (RFC 4155, appendix A).

- Reading takes what programs write: mboxrd, mboxo, mboxcl and mboxcl2, LF and CRLF, any date in the From_ line. A
  From_ line begins the file or follows an empty line, and shows a time and a year; others are text.
- A Content-Length is believed only when a From_ line, or the end, stands where it points.
- Writing is mboxrd with LF: every quoted line is unquoted exactly, so octets come back as they were.
- Linear in the octets; nothing is copied but the messages themselves.

Flags stand in Status and X-Status (R, A, F, D, T), X-Keywords, and Mozilla's X-Mozilla-Status. A Status, X-Status and
X-Keywords that end the header section, in this order, are the mbox's own and are taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from server.domain.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from server.protocol.mime.dates import parse_date

FROM_LINE_MAX = 1000
"""Octets of a From_ line; a longer one is text."""
STATUS_SCAN = 64 * 1024
"""Octets of a header section in which the mbox's own fields are looked for."""

WINDOW = 256 * 1024
"""Octets that one search goes over: a search of a whole piece would not let other threads run meanwhile."""

_FROM = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From ")
_MARK = len(b"From ")
_TIME = re.compile(rb"[0-9]:[0-9]{2}")
_YEAR = re.compile(rb"[0-9]{4}")
_ASCTIME = re.compile(
    rb"([A-Za-z]{3}) +([0-9]{1,2}) +([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)(?: +([+-][0-9]{4}|[A-Z]{1,5}))?"
    rb" +([0-9]{4})(?: +([+-][0-9]{4}))?"
)
_OWN = re.compile(
    rb"^(content-length|status|x-status|x-keywords|x-mozilla-status|x-mozilla-keys):[ \t]*([^\r\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_LAST_FIELD = re.compile(rb"(?:\A|\n)(status|x-status|x-keywords):[^\n]*\n?\Z", re.IGNORECASE)
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_TO_QUOTE = re.compile(rb"^(>*From )", re.MULTILINE)
_LETTERS = {ord("R"): SEEN, ord("A"): ANSWERED, ord("F"): FLAGGED, ord("D"): DELETED, ord("T"): DRAFT}
_MOZILLA = ((0x0001, SEEN), (0x0002, ANSWERED), (0x0004, FLAGGED))
_MOZILLA_EXPUNGED = 0x0008
_INTERNAL = b"DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class MboxMessage:
    """One message of an mbox.

    Attributes:
        start, end: Where it stands in the octets given, its From_ line first.
        octets: Unquoted, lines as they are in the file; empty when there is nothing to store (`internal`, or no text).
        date: The From_ line's, None when it shows none.
        internal: Not mail: a program's own data, or a message that Mozilla expunged.
    """

    start: int
    end: int
    octets: bytes
    date: datetime | None
    flags: int
    keywords: tuple[str, ...]
    internal: bool = False


def split_mbox(data: bytes, *, final: bool) -> Iterator[MboxMessage]:
    """Yield the messages of a piece of an mbox, in order.

    Args:
        data: A piece of a file; octets before its first From_ line are passed over.
        final: Whether the file ends with it. If not, its last message is left for the next piece, which begins at the
            `end` of the last one yielded.
    """
    start = _separator(data, 0)
    while start >= 0:
        head = data.find(b"\n", start) + 1
        following = _end_by_length(data, head, final=final)
        if following < 0:
            following = _separator(data, head)
        if following < 0:
            if not final:
                return
            following = len(data)
        yield _message(data, start, head, following)
        start = following if following < len(data) else -1


def format_mbox(octets: bytes, *, sender: bytes, date: datetime, flags: int, keywords: tuple[str, ...]) -> bytes:
    """One message as mboxrd, its From_ line and the empty line after it included; CRLF becomes LF.

    Args:
        sender: The envelope sender, or empty; white space in it ends it.
    """
    name = (sender.split() or [b"MAILER-DAEMON"])[0]
    text = date.astimezone(UTC).strftime("%a %b %e %H:%M:%S %Y").encode("ascii")
    body = _replaced(_TO_QUOTE, rb">\1", octets.replace(b"\r\n", b"\n"))
    head, empty, rest = body.partition(b"\n\n")
    letters = "".join(chr(letter) for letter, bit in _LETTERS.items() if flags & bit and bit != SEEN)
    own = f"Status: {'RO' if flags & SEEN else 'O'}\nX-Status: {letters}\nX-Keywords: {' '.join(keywords)}\n"
    if not empty:
        head, rest = head.removesuffix(b"\n"), b""
    if body.startswith(b"\n"):
        head, rest = b"", body[1:]
    whole = (head + b"\n" if head else b"") + own.encode("utf-8") + b"\n" + rest
    return b"From " + name + b" " + text + b"\n" + whole + (b"\n" if whole.endswith(b"\n") else b"\n\n")


def _separator(data: bytes, at: int) -> int:
    """Where the next From_ line begins, -1 when there is none; its line is whole."""
    for window in range(at, len(data), WINDOW):
        # A mark that begins in this window may end in the next one.
        for match in _FROM.finditer(data, window, window + WINDOW + _MARK - 1):
            start = match.start()
            end = data.find(b"\n", start, start + FROM_LINE_MAX)
            if end < 0:
                continue
            line = data[start:end]
            if _TIME.search(line) and _YEAR.search(line):
                return start
    return -1


def _replaced(pattern: re.Pattern[bytes], by: bytes, octets: bytes) -> bytes:
    """`octets` with what a pattern of line starts finds replaced, some lines at a time."""
    pieces: list[bytes] = []
    at = 0
    while at < len(octets):
        stop = octets.find(b"\n", at + WINDOW) + 1 or len(octets)
        pieces.append(pattern.sub(by, octets[at:stop]))
        at = stop
    return b"".join(pieces)


def _end_by_length(data: bytes, head: int, *, final: bool) -> int:
    """Where the message ends that says its length, at the From_ line after it; -1 when it doesn't, or can't be so."""
    body = _body(data, head)
    found = [value for name, value in _OWN.findall(data[head : min(body, head + STATUS_SCAN)]) if len(name) == 14]
    if not found or not found[-1].strip().isdigit() or len(found[-1]) > 12:
        return -1
    end = body + int(found[-1])
    if end > len(data):
        return -1
    while data[end : end + 1] in (b"\n", b"\r") and end < body + int(found[-1]) + 4:
        end += 1
    if end == len(data):
        return end if final else -1
    return end if data.startswith(b"From ", end) and data[end - 1 : end] == b"\n" else -1


def _body(data: bytes, head: int) -> int:
    """Where the body begins of the message whose header section begins at `head`."""
    if data.startswith(b"\n", head):
        return head + 1
    if data.startswith(b"\r\n", head):
        return head + 2
    stop = min(len(data), head + STATUS_SCAN)
    plain = data.find(b"\n\n", head, stop)
    other = data.find(b"\n\r\n", head, stop if plain < 0 else plain)
    if other >= 0:
        return other + 3
    return stop if plain < 0 else plain + 2


def _message(data: bytes, start: int, head: int, end: int) -> MboxMessage:
    text = data[head:end]
    if text.endswith(b"\r\n\r\n"):
        text = text[:-2]
    elif text.endswith(b"\n\n"):
        text = text[:-1]
    elif text in (b"\n", b"\r\n"):
        text = b""
    body = _body(text, 0)
    fields = {name.lower(): value for name, value in _OWN.findall(text[: min(body, STATUS_SCAN)])}
    mozilla = _hexadecimal(fields.get(b"x-mozilla-status", b""))
    flags = sum({bit for field in (b"status", b"x-status") for x in fields.get(field, b"") if (bit := _LETTERS.get(x))})
    flags |= sum(bit for mask, bit in _MOZILLA if mozilla & mask)
    words = fields.get(b"x-keywords", b"") + b" " + fields.get(b"x-mozilla-keys", b"")
    internal = bool(mozilla & _MOZILLA_EXPUNGED) or (_INTERNAL in text[:body] and b"X-IMAP" in text[:body])
    return MboxMessage(
        start=start,
        end=end,
        octets=b"" if internal else _unquoted(_without_own(text, body), b"content-length" in fields),
        date=_date(data[start + 5 : head]),
        flags=flags,
        keywords=tuple(words.decode("utf-8", "replace").split()),
        internal=internal,
    )


def _without_own(text: bytes, body: int) -> bytes:
    """Take out the mbox's own fields where they end the header section."""
    end = body - 2 if text[:body].endswith(b"\r\n") else body - 1
    if body > STATUS_SCAN or not text[:body].endswith((b"\n\n", b"\n\r\n")):
        return text
    head, rest = text[:end], text[end:]
    for wanted in (b"x-keywords", b"x-status", b"status"):
        match = _LAST_FIELD.search(head)
        if match is not None and match[1].lower() == wanted:
            head = head[: match.start(1)]
    return head + rest


def _unquoted(text: bytes, has_length: bool) -> bytes:
    """Undo the quoting of From_ lines; mboxcl2, which has unquoted ones, is left as it is."""
    if b">From " not in text or (has_length and b"\nFrom " in text):
        return text
    return _replaced(_QUOTED, rb"\1", text)


def _hexadecimal(value: bytes) -> int:
    try:
        return int(value.strip()[:8] or b"0", 16)
    except ValueError:
        return 0


def _date(line: bytes) -> datetime | None:
    """The instant in a From_ line, UTC unless it names a zone."""
    match = _ASCTIME.search(line)
    if match is None:
        return None
    month, day, time, zone, year, late_zone = match.groups()
    return parse_date(b" ".join((day, month, year, time, zone or late_zone or b"+0000")))
