"""Dates of IMAP (RFC 9051 §9 "date", "date-time")."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

from server.protocol.imap.cursor import Cursor, ImapSyntaxError

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH = {name.upper(): number for number, name in enumerate(MONTHS, 1)}

_DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1(?=[ )]|\Z)')
_DATE_TIME = re.compile(
    rb'"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)


def parse_date(cursor: Cursor) -> date:
    """date = date-text / DQUOTE date-text DQUOTE; date-text = 1*2DIGIT "-" month "-" 4DIGIT"""
    found = _DATE.match(cursor.data, cursor.pos)
    if found is None:
        raise ImapSyntaxError("expected a date")
    cursor.pos = found.end()
    try:
        return date(int(found[4]), _month(found[3]), int(found[2]))
    except ValueError:
        raise ImapSyntaxError("no such date") from None


def parse_date_time(cursor: Cursor) -> datetime:
    """date-time = DQUOTE date-day-fixed "-" month "-" 4DIGIT SP time SP zone DQUOTE; an aware UTC instant."""
    found = _DATE_TIME.match(cursor.data, cursor.pos)
    if found is None:
        raise ImapSyntaxError("expected a date and time")
    cursor.pos = found.end()
    sign = -1 if found[7] == b"-" else 1
    offset = timedelta(hours=int(found[8]), minutes=int(found[9])) * sign
    try:
        zone = timezone(offset)
        clock = (int(found[4]), int(found[5]), min(int(found[6]), 59))
        return datetime(int(found[3]), _month(found[2]), int(found[1]), *clock, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ImapSyntaxError("no such date and time") from None


def format_date_time(instant: datetime) -> bytes:
    """date-time of a UTC instant."""
    return b'"%2d-%s-%04d %02d:%02d:%02d +0000"' % (
        instant.day,
        MONTHS[instant.month - 1],
        instant.year,
        instant.hour,
        instant.minute,
        instant.second,
    )


def _month(name: bytes) -> int:
    number = _MONTH.get(name.upper())
    if number is None:
        raise ImapSyntaxError("no such month")
    return number
