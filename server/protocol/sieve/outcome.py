"""What a run decided: actions as values, in the order the script took them.

- Nothing here was done yet: whoever runs scripts carries the actions out, or keeps the mail when there was an error.
- `header` is the whole header section after `editheader` with its empty line, None when it is unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Store in the default mailbox (RFC 5228 §4.3); `implicit` when no action took its place."""

    flags: tuple[str, ...] = ()
    implicit: bool = False
    header: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInto:
    """Store in a mailbox (RFC 5228 §4.1).

    Attributes:
        mailbox: Its name in UTF-8 with `/` between levels.
        mailbox_id: Wins over the name where such a mailbox exists (RFC 9042 §4).
        special_use: As `\\Junk`: wins over the name where a mailbox has it (RFC 8579 §4).
        create: Make the mailbox when it is missing (RFC 5490 §3.2).
        copy: The implicit keep was not cancelled (RFC 3894).
    """

    mailbox: str
    mailbox_id: str | None = None
    special_use: str | None = None
    create: bool = False
    copy: bool = False
    flags: tuple[str, ...] = ()
    header: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Send on to an address (RFC 5228 §4.2), which parsed as one."""

    address: str
    copy: bool = False
    header: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Drop silently (RFC 5228 §4.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Refuse with a text (RFC 5429); `extended` for ereject, which wants a reply in the protocol."""

    reason: str
    extended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacation:
    """Answer the sender once a period (RFC 5230), if RFC 3834 lets us.

    Attributes:
        handle: What counts as the same answer.
        own_addresses: Those of `:addresses`, beside the account's.
        mime: The reason is a MIME part with its header.
    """

    reason: str
    seconds: int
    handle: str
    subject: str | None = None
    sender: str | None = None
    own_addresses: tuple[str, ...] = ()
    mime: bool = False


class Importance(StrEnum):
    HIGH = "1"
    NORMAL = "2"
    LOW = "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Tell somebody by mail (RFC 5435, RFC 5436).

    Attributes:
        recipients: Addresses of the mailto URI.
        fields: Header fields the URI asks for, names lower case: subject, cc, x-*.
    """

    recipients: tuple[str, ...]
    message: str | None
    sender: str | None
    importance: Importance
    fields: tuple[tuple[str, str], ...] = ()
    body: str | None = None


Action = Keep | FileInto | Redirect | Discard | Reject | Vacation | Notify


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A unique id to remember once the actions are done (RFC 7352 §3)."""

    key: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run.

    Attributes:
        keeps: Whether the message is to be kept in the default mailbox: what a following script starts from.
        flags: The internal flag variable at the end (RFC 5232 §3).
        work: Units spent.
    """

    actions: tuple[Action, ...]
    keeps: bool
    flags: tuple[str, ...] = ()
    seen: tuple[Seen, ...] = ()
    work: int = 0
