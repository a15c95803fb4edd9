"""Tests of what is round the message: mailboxes, environment (RFC 5183), duplicates (RFC 7352)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from server.protocol.sieve.arguments import Kind, Signature, TagKind
from server.protocol.sieve.context import MATCH_TAGS, Context, TestKind
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.limits import DUPLICATE_SECONDS_MAX
from server.protocol.sieve.outcome import Seen
from server.protocol.sieve.session import Session, Test, Unknown
from server.protocol.sieve.strings import Text
from server.protocol.sieve.tests import Matching

DUPLICATE_SECONDS = 7 * 86_400
"""How long an id is remembered without `:seconds` (RFC 7352 §3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(Matching):
    """RFC 5183 §4; an unknown item fails."""

    item: Text

    def values(self, session: Session) -> Sequence[str] | None:
        value = session.facts.environment.get(session.text(self.item).lower())
        return None if value is None else [value]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxesExist:
    """`mailboxexists`, `mailboxidexists`, `specialuse_exists` (RFC 5490 §3.1, RFC 9042 §5, RFC 8579 §4.2).

    Attributes:
        kind: The test's name.
        mailbox: For `specialuse_exists`: the mailbox that must have the uses; None = any.
    """

    kind: str
    mailbox: Text | None
    wanted: tuple[Text, ...]
    line: int

    def holds(self, session: Session) -> bool:
        session.step(self.line)
        facts = session.facts.mailboxes
        wanted = session.texts(self.wanted)
        session.spend(len(facts) + len(wanted))
        if self.kind == "mailboxidexists":
            return set(wanted) <= {fact.id for fact in facts}
        if self.kind == "mailboxexists":
            names = {_name(fact.name) for fact in facts}
            return all(_name(name) in names for name in wanted)
        name = None if self.mailbox is None else _name(session.text(self.mailbox))
        uses = {
            fact.special_use.lower()
            for fact in facts
            if fact.special_use and (name is None or _name(fact.name) == name)
        }
        return all(use.lower() in uses for use in wanted)


def _name(name: str) -> str:
    """INBOX has no case (RFC 9051 §5.1)."""
    return "INBOX" if name.upper() == "INBOX" else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """RFC 7352 §3."""

    handle: Text | None
    header: Text | None
    unique_id: Text | None
    seconds: int
    last: bool
    line: int

    def holds(self, session: Session) -> bool:
        session.step(self.line)
        value = self._value(session)
        if not value:
            return False
        handle = "" if self.handle is None else session.text(self.handle)
        digest = hashlib.sha256(f"{len(handle)}:{handle}{value}".encode("utf-8", "replace"))
        key = digest.hexdigest()
        known = session.facts.seen.get(key)
        if known is None:
            raise Unknown(key)
        if (not known or self.last) and all(seen.key != key for seen in session.seen):
            session.seen.append(Seen(key=key, seconds=self.seconds))
        return known

    def _value(self, session: Session) -> str:
        if self.unique_id is not None:
            return session.text(self.unique_id)
        name = "message-id" if self.header is None else session.text(self.header)
        return next(iter(session.view.values(name)), "")


# --- building


def _environment(context: Context) -> Test:
    keys = context.texts(1)
    return Environment(match=context.match(keys), keys=keys, line=context.line, item=context.text(0))


def _exists(context: Context) -> Test:
    context.notes.needs_mailboxes = True
    two = context.name == "specialuse_exists"
    return MailboxesExist(
        kind=context.name,
        mailbox=context.arguments.text(0) if two else None,
        wanted=context.texts(1 if two else 0),
        line=context.line,
    )


def _duplicate(context: Context) -> Test:
    arguments = context.arguments
    seconds = arguments.number("seconds")
    if seconds == 0:
        raise SieveSyntaxError("duplicate remembers for at least one second", context.line)
    return Duplicate(
        handle=arguments.text("handle"),
        header=arguments.text("header"),
        unique_id=arguments.text("uniqueid"),
        seconds=min(seconds or DUPLICATE_SECONDS, DUPLICATE_SECONDS_MAX),
        last="last" in arguments,
        line=context.line,
    )


_DUPLICATE_TAGS = {
    "handle": TagKind(Kind.TEXT),
    "header": TagKind(Kind.TEXT, "id"),
    "uniqueid": TagKind(Kind.TEXT, "id"),
    "seconds": TagKind(Kind.NUMBER),
    "last": TagKind(),
}

TESTS = {
    "environment": TestKind(Signature((Kind.TEXT, Kind.TEXTS), MATCH_TAGS), _environment, "environment"),
    "mailboxexists": TestKind(Signature((Kind.TEXTS,)), _exists, "mailbox"),
    "mailboxidexists": TestKind(Signature((Kind.TEXTS,)), _exists, "mailboxid"),
    "specialuse_exists": TestKind(Signature((Kind.TEXT, Kind.TEXTS), optional=1), _exists, "special-use"),
    "duplicate": TestKind(Signature((), _DUPLICATE_TAGS), _duplicate, "duplicate"),
}
