"""Times and sizes: what people read, and what they may type.

- The API speaks RFC 3339 in UTC and plain octets; only this module turns them into words and back.
- Every function takes `now` so that nothing depends on the clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})(?:\.(\d{1,3}))?\s*([KMGT]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
_STEPS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_time(text: str) -> datetime | None:
    """An API time as an aware datetime; None when it is not one."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def span(seconds: float) -> str:
    """A span in its largest whole unit: `9m`, `2h`, `6d`; negative spans lose their sign."""
    left = int(abs(seconds))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= size:
            return f"{left // size}{unit}"
    return f"{left}s"


def span_words(seconds: float) -> str:
    """Like `span`, set apart for running text: `2 h`, `6 d`."""
    text = span(seconds)
    return f"{text[:-1]} {text[-1]}"


def age(text: str, now: datetime) -> str:
    """How long ago an API time was (`2h`), or the text itself when it is no time."""
    moment = parse_time(text)
    return text if moment is None else span((now - moment).total_seconds())


def ago(text: str, now: datetime) -> str:
    """`2h ago`, `in 9m`, or the text itself."""
    moment = parse_time(text)
    if moment is None:
        return text
    seconds = (now - moment).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(seconds)}"


def local_iso(text: str) -> str:
    """An API time in the local zone, ISO 8601 with offset, to the second."""
    moment = parse_time(text)
    return text if moment is None else moment.astimezone().isoformat(timespec="seconds")


def clock(text: str) -> str:
    """The local time of day of an API time, `12:14:03`."""
    moment = parse_time(text)
    return text if moment is None else moment.astimezone().strftime("%H:%M:%S")


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds and `Z`, as the API writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_moment(text: str, now: datetime) -> datetime:
    """Read `2h` (ago), `now`, `today`, `yesterday`, a date, or a date with a time (local unless it has an offset).

    Raises:
        ValueError: None of these.
    """
    word = text.strip().lower()
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if word in named:
        return named[word]
    if _SPAN.fullmatch(word):
        try:
            return now - timedelta(seconds=read_span(word))
        except OverflowError:
            raise ValueError(f"'{text}' is too long ago") from None
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is no time; write 2h, yesterday or 2026-11-22T14:00") from None


def read_span(text: str) -> int:
    """Read `90s`, `5m`, `2h`, `7d` or `2w` as seconds.

    Raises:
        ValueError: Not such a span.
    """
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"'{text}' is no span; write 90s, 5m, 2h, 7d or 2w")
    return int(match.group(1)) * _UNITS[match.group(2)]


def size_words(octets: int) -> str:
    """Octets in binary units: `48 KiB`, `5 GiB`, `912 B`."""
    value = float(octets)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return (
                f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f}".removesuffix(".0") + f" {unit}"
            )
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + " TiB"


def read_size(text: str) -> int:
    """Read `500M`, `5G`, `50MiB` or plain octets; units are binary.

    Raises:
        ValueError: Not a size, or 2**53 octets and more.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is no size; write 500M or 5G")
    step = _STEPS[match.group(3).upper()]
    fraction = match.group(2) or ""
    octets = int(match.group(1)) * step + (int(fraction) * step // 10 ** len(fraction) if fraction else 0)
    if octets >= 1 << 53:
        raise ValueError(f"'{text}' is too large")
    return octets


def now() -> datetime:
    """This instant, aware, UTC."""
    return datetime.now(UTC)
