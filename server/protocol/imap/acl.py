"""SETACL, DELETEACL, GETACL, LISTRIGHTS and MYRIGHTS (RFC 4314 §3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.domain.rights import parse_rights
from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.names import parse_mailbox


class AclVerb(StrEnum):
    """Commands on a mailbox, and on one identifier of it where they name one."""

    DELETEACL = "DELETEACL"
    GETACL = "GETACL"
    LISTRIGHTS = "LISTRIGHTS"
    MYRIGHTS = "MYRIGHTS"


class RightsChange(StrEnum):
    """What SETACL does with the rights given."""

    REPLACE = ""
    ADD = "+"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class SetAcl:
    mailbox: str
    identifier: str
    change: RightsChange
    rights: str


@dataclass(frozen=True, slots=True)
class OnAcl:
    """`identifier` is empty for GETACL and MYRIGHTS."""

    verb: AclVerb
    mailbox: str
    identifier: str = ""


def parse_set_acl(cursor: Cursor) -> SetAcl:
    """setacl = "SETACL" SP mailbox SP identifier SP mod-rights; unknown rights are BAD (RFC 4314 §2.1, §3.1)"""
    cursor.space()
    mailbox = parse_mailbox(cursor)
    cursor.space()
    identifier = _identifier(cursor)
    cursor.space()
    text = cursor.astring().decode("latin-1")
    change = RightsChange(text[:1]) if text[:1] in ("+", "-") else RightsChange.REPLACE
    try:
        rights = parse_rights(text.removeprefix(change.value))
    except ValueError:
        raise ImapSyntaxError("unknown right") from None
    return SetAcl(mailbox, identifier, change, rights)


def parse_on_acl(cursor: Cursor, verb: AclVerb) -> OnAcl:
    """The other commands: SP mailbox [SP identifier]"""
    cursor.space()
    mailbox = parse_mailbox(cursor)
    if verb not in (AclVerb.DELETEACL, AclVerb.LISTRIGHTS):
        return OnAcl(verb, mailbox)
    cursor.space()
    return OnAcl(verb, mailbox, _identifier(cursor))


def _identifier(cursor: Cursor) -> str:
    try:
        return cursor.astring().decode("utf-8")
    except UnicodeDecodeError:
        raise ImapSyntaxError("identifier is not text") from None
