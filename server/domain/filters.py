"""What an account does with its mail, as it is kept: scripts and the vacation answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.domain.ids import AccountId


class Place(StrEnum):
    """Where a script runs; INCLUDED ones run only when another script includes them."""

    USER = "user"
    BEFORE = "before"
    AFTER = "after"
    INCLUDED = "included"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRow:
    """A stored script; `active` of an account's scripts is true for at most one."""

    id: str
    account_id: AccountId | None
    place: Place
    name: str
    octets: bytes
    active: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VacationRow:
    """An account's vacation answer; `days` is how long a sender hears it once."""

    enabled: bool
    starts_at: datetime | None
    ends_at: datetime | None
    subject: str
    text: str
    html: str | None
    days: int
    revision: int
    updated_at: datetime
