"""IMAP commands as values (RFC 9051 §6)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.protocol.imap.acl import OnAcl, SetAcl
from server.protocol.imap.compress import Compress
from server.protocol.imap.create import Create
from server.protocol.imap.fetch import ANY_CHANGE, FetchItem, FetchModifiers
from server.protocol.imap.flags import FlagSet
from server.protocol.imap.listing import List, StatusItem
from server.protocol.imap.metadata import GetMetadata, SetMetadata
from server.protocol.imap.multisearch import MultiSearch
from server.protocol.imap.notify import Notify
from server.protocol.imap.quota import GetQuota, GetQuotaRoot
from server.protocol.imap.search import Search
from server.protocol.imap.select import Select
from server.protocol.imap.sequence import SequenceSet
from server.protocol.imap.sort import Sort, Thread


class Word(StrEnum):
    """Commands without arguments."""

    CAPABILITY = "CAPABILITY"
    NOOP = "NOOP"
    LOGOUT = "LOGOUT"
    STARTTLS = "STARTTLS"
    NAMESPACE = "NAMESPACE"
    CHECK = "CHECK"
    CLOSE = "CLOSE"
    UNSELECT = "UNSELECT"
    EXPUNGE = "EXPUNGE"
    IDLE = "IDLE"


class MailboxVerb(StrEnum):
    """Commands whose one argument is a mailbox."""

    DELETE = "DELETE"
    SUBSCRIBE = "SUBSCRIBE"
    UNSUBSCRIBE = "UNSUBSCRIBE"


@dataclass(frozen=True, slots=True)
class Login:
    login: bytes
    password: bytes


@dataclass(frozen=True, slots=True)
class Authenticate:
    """`initial` is the initial response as sent, still base64, None without one (RFC 4959)."""

    mechanism: str
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class OnMailbox:
    verb: MailboxVerb
    mailbox: str


@dataclass(frozen=True, slots=True)
class Rename:
    mailbox: str
    to: str


@dataclass(frozen=True, slots=True)
class Lsub:
    query: List


@dataclass(frozen=True, slots=True)
class Status:
    mailbox: str
    items: tuple[StatusItem, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    numbers: SequenceSet
    items: tuple[FetchItem, ...]
    uid: bool
    modifiers: FetchModifiers = ANY_CHANGE


class StoreMode(StrEnum):
    REPLACE = ""
    ADD = "+"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class Store:
    """`unchanged_since` is a modseq (RFC 7162 §3.1.3), None for any."""

    numbers: SequenceSet
    mode: StoreMode
    flags: FlagSet
    silent: bool
    uid: bool
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY, or MOVE when `move` (RFC 6851)."""

    numbers: SequenceSet
    mailbox: str
    move: bool
    uid: bool


@dataclass(frozen=True, slots=True)
class UidExpunge:
    """RFC 4315 §2.1"""

    numbers: SequenceSet


@dataclass(frozen=True, slots=True)
class Id:
    """RFC 2971; what the client says of itself is not kept."""


@dataclass(frozen=True, slots=True)
class Enable:
    """RFC 5161; names in upper case."""

    names: tuple[bytes, ...]


Command = (
    Word
    | OnMailbox
    | Select
    | Login
    | Authenticate
    | Rename
    | List
    | Lsub
    | Status
    | Fetch
    | Store
    | Copy
    | Search
    | MultiSearch
    | Notify
    | Sort
    | Thread
    | UidExpunge
    | Id
    | Enable
    | Create
    | GetQuota
    | Compress
    | SetAcl
    | OnAcl
    | GetMetadata
    | SetMetadata
    | GetQuotaRoot
)


@dataclass(frozen=True, slots=True)
class Tagged:
    """A command with its tag; `name` is upper case, with "UID " in front where it was."""

    tag: bytes
    name: str
    command: Command
