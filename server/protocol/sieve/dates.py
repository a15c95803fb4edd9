"""Date parts and zones (RFC 5260 §4).

- A date-part is always text of fixed width, so that it also compares as text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from server.protocol.mime.dates import format_date, parse_date

_ZONE = re.compile(r"([+-])([0-9]{2})([0-9]{2})")
_DATE_ZONE = re.compile(rb"[0-9][ \t\r\n]++([+-][0-9]{4})\b")
_JULIAN_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)

PARTS = frozenset(
    ("year", "month", "day", "date", "julian", "hour", "minute", "second", "time", "iso8601", "std11", "zone")
) | {"weekday"}


def parse_zone(text: str) -> timedelta | None:
    """Read `+hhmm` or `-hhmm`; None when it is no zone (RFC 5260 §4.1)."""
    match = _ZONE.fullmatch(text)
    if match is None or int(match[2]) > 23 or int(match[3]) > 59:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return -offset if match[1] == "-" else offset


def field_date(name: str, value: bytes) -> tuple[datetime, timedelta] | None:
    """The instant in a field and the zone it was written in; of Received, what follows the last semicolon."""
    if name.lower() == "received" or b";" in value:
        value = value.rpartition(b";")[2]
    instant = parse_date(value)
    if instant is None:
        return None
    zone = _DATE_ZONE.search(value)
    offset = parse_zone(zone[1].decode()) if zone is not None else None
    return instant, offset or timedelta()


def date_part(part: str, instant: datetime, offset: timedelta) -> str:
    """One part of an instant in a zone (RFC 5260 §4.2); empty when the zone leaves the calendar.

    Args:
        part: A word of `PARTS`.
    """
    try:
        local = instant.astimezone(timezone(offset))
    except OverflowError:
        return ""
    match part:
        case "julian":
            midnight = datetime(local.year, local.month, local.day, tzinfo=UTC)
            return str((midnight - _JULIAN_EPOCH).days)
        case "iso8601":
            return f"{local:%Y-%m-%dT%H:%M:%S}{_zone(offset, ':')}"
        case "std11":
            return format_date(instant, offset=offset).decode()
        case "zone":
            return _zone(offset, "")
        case "weekday":
            return str(local.isoweekday() % 7)
        case "year":
            return f"{local.year:04d}"
    return local.strftime(_FORMATS[part])


_FORMATS = {
    "month": "%m",
    "day": "%d",
    "date": "%Y-%m-%d",
    "hour": "%H",
    "minute": "%M",
    "second": "%S",
    "time": "%H:%M:%S",
}


def _zone(offset: timedelta, between: str) -> str:
    minutes = int(offset.total_seconds()) // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{sign}{minutes // 60:02d}{between}{minutes % 60:02d}"
