"""Date fields (RFC 5322 §3.3, §4.3).

- Reading accepts what mail holds: obsolete zones, two-digit years, missing seconds or weekday, comments.
- A date that does not exist is None, never an exception.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from server.protocol.mime.headers import unfold

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTH_NUMBER = {name.encode(): number for number, name in enumerate(_MONTHS, 1)}
_ZONES_H = {b"ut": 0, b"gmt": 0, b"utc": 0, b"z": 0, b"est": -5, b"edt": -4, b"cst": -6, b"cdt": -5}
_ZONES_H |= {b"mst": -7, b"mdt": -6, b"pst": -8, b"pdt": -7}

_DATE = re.compile(
    rb"[ \t]*+(?:[A-Za-z]{2,9}\.?[ \t]*+,?[ \t]*+)?(\d{1,2})[ \t-]++([A-Za-z]{3})[A-Za-z]{0,6}[ \t.-]++(\d{2,4}),?"
    rb"[ \t]++(\d{1,2})[ \t]*+:[ \t]*+(\d{2})(?:[ \t]*+:[ \t]*+(\d{2})(?:\.\d{1,9})?)?"
    rb"(?:[ \t]*+([+-]\d{4})|[ \t]*+([A-Za-z]{1,5}))?"
)
_COMMENT = re.compile(rb"\([^()]*+\)")
_DATE_MAX = 256


def parse_date(value: bytes) -> datetime | None:
    """Parse a raw Date value into an aware UTC instant.

    Args:
        value: The first 256 octets are looked at, which no date exceeds.

    Returns:
        The instant, or None when there is no date in the value. An unknown zone, and none, mean UTC (RFC 5322 §4.3).
    """
    text = unfold(value[:_DATE_MAX])
    if b"(" in text:
        text = _COMMENT.sub(b" ", text).strip(b" \t")
    match = _DATE.match(text)
    if match is None:
        return None
    day, month, year, hour, minute, second, offset, zone = match.groups()
    number = _MONTH_NUMBER.get(month.lower())
    if number is None:
        return None
    full_year = int(year)
    if len(year) == 2:
        full_year += 2000 if full_year < 50 else 1900
    elif len(year) == 3:
        full_year += 1900
    shift = timedelta(hours=_ZONES_H.get(zone.lower(), 0)) if zone else timedelta()
    if offset:
        shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5])) * (-1 if offset[:1] == b"-" else 1)
    try:
        # A leap second has no datetime; the second before it is near enough.
        naive = datetime(full_year, number, int(day), int(hour), int(minute), min(int(second or 0), 59), tzinfo=UTC)
        return naive - shift
    except (ValueError, OverflowError):
        return None


def format_date(instant: datetime, *, offset: timedelta = timedelta()) -> bytes:
    """Write an aware instant as RFC 5322 §3.3 date-time in the zone that is `offset` east of UTC (whole minutes)."""
    local = instant.astimezone(timezone(offset))
    minutes = int(offset.total_seconds()) // 60
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    text = (
        f"{_DAYS[local.weekday()]}, {local.day:02d} {_MONTHS[local.month - 1].title()} {local.year:04d} "
        f"{local.hour:02d}:{local.minute:02d}:{local.second:02d} {sign}{minutes // 60:02d}{minutes % 60:02d}"
    )
    return text.encode("ascii")
