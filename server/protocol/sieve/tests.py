"""Tests of the message: RFC 5228 §5, envelope, body (RFC 5173), date and index (RFC 5260)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.protocol.mime.addresses import Mailbox
from server.protocol.sieve import dates
from server.protocol.sieve.arguments import Kind, Signature, TagKind
from server.protocol.sieve.context import INDEX_TAGS, MATCH_TAGS, PART_TAGS, Context, TestKind, pick
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.matching import Match
from server.protocol.sieve.session import Session, Test
from server.protocol.sieve.strings import Text

_ADDRESS_FIELDS = frozenset(
    "from to cc bcc sender reply-to resent-from resent-to resent-cc resent-bcc resent-sender resent-reply-to"
    " return-path delivered-to envelope-to envelope-from errors-to apparently-to mail-followup-to mail-reply-to"
    " disposition-notification-to return-receipt-to list-post approved".split()
)
"""Fields that hold addresses; others are refused (RFC 5228 §5.1)."""
_ENVELOPE_PARTS = ("from", "to")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """`true` and `false` (RFC 5228 §5.10, §5.6)."""

    value: bool

    def holds(self, session: Session) -> bool:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """RFC 5228 §5.8."""

    test: Test

    def holds(self, session: Session) -> bool:
        return not self.test.holds(session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """`allof`: stops at the first that fails (RFC 5228 §5.2)."""

    tests: tuple[Test, ...]

    def holds(self, session: Session) -> bool:
        return all(test.holds(session) for test in self.tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    """`anyof`: stops at the first that holds (RFC 5228 §5.3)."""

    tests: tuple[Test, ...]

    def holds(self, session: Session) -> bool:
        return any(test.holds(session) for test in self.tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exists:
    """RFC 5228 §5.5: all named fields are there."""

    names: tuple[Text, ...]
    line: int

    def holds(self, session: Session) -> bool:
        session.step(self.line)
        return all(session.view.raw(name) for name in session.texts(self.names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """RFC 5228 §5.9."""

    over: bool
    octets: int
    line: int

    def holds(self, session: Session) -> bool:
        session.step(self.line)
        size = session.view.size_octets
        return size > self.octets if self.over else size < self.octets


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Base of tests that hold values against keys; a match sets the match variables."""

    match: Match
    keys: tuple[Text, ...]
    line: int

    def holds(self, session: Session) -> bool:
        session.step(self.line)
        values = self.values(session)
        if values is None:
            return False
        found = self.match.find(values, session.texts(self.keys), session.spend)
        if found is None:
            return False
        session.set_matched(found)
        return True

    def values(self, session: Session) -> Sequence[str] | None:
        """What is compared; None = the test fails whatever the keys."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Header(Matching):
    """RFC 5228 §5.7, with `:index` of RFC 5260 §6."""

    names: tuple[Text, ...]
    index: int | None

    def values(self, session: Session) -> Sequence[str]:
        found: list[str] = []
        for name in session.texts(self.names):
            session.spend(20)
            values = session.view.values(name)
            if self.index is None:
                found += values
            elif (place := pick(len(values), self.index)) is not None:
                found.append(values[place])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(Matching):
    """RFC 5228 §5.1, with the parts of RFC 5233."""

    names: tuple[Text, ...]
    part: str
    index: int | None

    def values(self, session: Session) -> Sequence[str]:
        found: list[str] = []
        for name in session.texts(self.names):
            session.spend(20)
            place = None
            if self.index is not None:
                place = pick(len(session.view.raw(name)), self.index)
                if place is None:
                    continue
            for mailbox in session.view.addresses(name, place=place):
                value = address_part(mailbox, self.part, session.facts.separator)
                if value is not None:
                    found.append(value)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope(Matching):
    """RFC 5228 §5.4; the null reverse-path is an empty string in all its parts."""

    names: tuple[Text, ...]
    part: str

    def values(self, session: Session) -> Sequence[str]:
        facts = session.facts
        found: list[str] = []
        for name in session.texts(self.names):
            word = name.lower()
            if word not in _ENVELOPE_PARTS:
                continue
            address = facts.envelope_from if word == "from" else facts.envelope_to
            local, _, domain = address.rpartition("@")
            if not address:
                found.append("")
                continue
            value = address_part(Mailbox(name="", local=local, domain=domain), self.part, facts.separator)
            if value is not None:
                found.append(value)
        return found


def address_part(mailbox: Mailbox, part: str, separator: str) -> str | None:
    """A part of an address (RFC 5228 §2.7.4, RFC 5233 §4); None when it has no such part."""
    if part == "all":
        return mailbox.addr_spec
    if part == "domain":
        return mailbox.domain
    if part == "localpart":
        return mailbox.local
    user, found, detail = mailbox.local.partition(separator) if separator else (mailbox.local, "", "")
    if part == "user":
        return user
    return detail if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Body(Matching):
    """RFC 5173."""

    transform: str
    types: tuple[Text, ...]

    def values(self, session: Session) -> Sequence[str]:
        if self.transform == "raw":
            return [session.view.raw_body()]
        if self.transform == "content":
            return session.view.content(session.texts(self.types))
        return session.view.texts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Date(Matching):
    """`date` and `currentdate` (RFC 5260 §4, §5).

    Attributes:
        name: The field, None for the current date.
        original_zone: Use the zone that the field was written in.
    """

    name: Text | None
    zone: Text | None
    original_zone: bool
    part: Text
    index: int | None

    def values(self, session: Session) -> Sequence[str] | None:
        part = session.text(self.part).lower()
        found = self._instant(session)
        if found is None or part not in dates.PARTS:
            # Counts as no value for :count (RFC 5260 §4).
            return []
        instant, written = found
        offset: timedelta | None = session.facts.offset
        if self.original_zone:
            offset = written
        elif self.zone is not None:
            offset = dates.parse_zone(session.text(self.zone))
        return None if offset is None else [dates.date_part(part, instant, offset)]

    def _instant(self, session: Session) -> tuple[datetime, timedelta] | None:
        if self.name is None:
            return session.facts.now, session.facts.offset
        name = session.text(self.name)
        values = session.view.raw(name)
        place = pick(len(values), self.index or 1)
        return None if place is None else dates.field_date(name, values[place])


# --- building


def _part(context: Context) -> str:
    return next((part for part in ("localpart", "domain", "user", "detail") if part in context.arguments), "all")


def _header(context: Context) -> Test:
    keys = context.texts(1)
    return Header(
        match=context.match(keys), keys=keys, line=context.line, names=context.texts(0), index=context.index()
    )


def _address(context: Context) -> Test:
    names, keys = context.texts(0), context.texts(1)
    for name in names:
        if isinstance(name, str) and name.lower() not in _ADDRESS_FIELDS and not name.lower().startswith("x-"):
            raise SieveSyntaxError(f"the field {name[:40]!r} holds no addresses: use header", context.line)
    return Address(
        match=context.match(keys),
        keys=keys,
        line=context.line,
        names=names,
        part=_part(context),
        index=context.index(),
    )


def _envelope(context: Context) -> Test:
    names, keys = context.texts(0), context.texts(1)
    for name in names:
        if isinstance(name, str) and name.lower() not in _ENVELOPE_PARTS:
            raise SieveSyntaxError(f"the envelope part {name[:40]!r} is not known: from, to", context.line)
    return Envelope(match=context.match(keys), keys=keys, line=context.line, names=names, part=_part(context))


def _size(context: Context) -> Test:
    if "over" not in context.arguments and "under" not in context.arguments:
        raise SieveSyntaxError("size takes :over or :under", context.line)
    return Size(over="over" in context.arguments, octets=context.arguments.number(0) or 0, line=context.line)


def _body(context: Context) -> Test:
    keys = context.texts(0)
    arguments = context.arguments
    transform = "raw" if "raw" in arguments else "content" if "content" in arguments else "text"
    return Body(
        match=context.match(keys),
        keys=keys,
        line=context.line,
        transform=transform,
        types=arguments.texts("content") or (),
    )


def _date(context: Context) -> Test:
    current = context.name == "currentdate"
    first = 0 if current else 1
    part, keys = context.text(first), context.texts(first + 1)
    zone = context.arguments.text("zone")
    if isinstance(part, str) and part.lower() not in dates.PARTS:
        raise SieveSyntaxError(f"the date part {part[:40]!r} is not known", context.line)
    if isinstance(zone, str) and dates.parse_zone(zone) is None:
        raise SieveSyntaxError("a zone is written as +hhmm or -hhmm", context.line)
    return Date(
        match=context.match(keys),
        keys=keys,
        line=context.line,
        name=None if current else context.text(0),
        zone=zone,
        original_zone="originalzone" in context.arguments,
        part=part,
        index=None if current else context.index(),
    )


_TWO_LISTS = (Kind.TEXTS, Kind.TEXTS)
_ZONE = {"zone": TagKind(Kind.TEXT, "zone")}

TESTS = {
    "true": TestKind(Signature(), lambda context: Constant(value=True)),
    "false": TestKind(Signature(), lambda context: Constant(value=False)),
    "not": TestKind(Signature(tests=1), lambda context: Not(test=context.tests[0])),
    "allof": TestKind(Signature(tests=-1), lambda context: Every(tests=context.tests)),
    "anyof": TestKind(Signature(tests=-1), lambda context: Some(tests=context.tests)),
    "exists": TestKind(Signature((Kind.TEXTS,)), lambda context: Exists(names=context.texts(0), line=context.line)),
    "size": TestKind(Signature((Kind.NUMBER,), {"over": TagKind(group="size"), "under": TagKind(group="size")}), _size),
    "header": TestKind(Signature(_TWO_LISTS, {**MATCH_TAGS, **INDEX_TAGS}), _header),
    "address": TestKind(Signature(_TWO_LISTS, {**MATCH_TAGS, **PART_TAGS, **INDEX_TAGS}), _address),
    "envelope": TestKind(Signature(_TWO_LISTS, {**MATCH_TAGS, **PART_TAGS}), _envelope, "envelope"),
    "body": TestKind(
        Signature(
            (Kind.TEXTS,),
            {
                **MATCH_TAGS,
                "raw": TagKind(group="transform"),
                "content": TagKind(Kind.TEXTS, "transform"),
                "text": TagKind(group="transform"),
            },
        ),
        _body,
        "body",
    ),
    "date": TestKind(
        Signature(
            (Kind.TEXT, Kind.TEXT, Kind.TEXTS),
            {**MATCH_TAGS, **INDEX_TAGS, **_ZONE, "originalzone": TagKind(group="zone")},
        ),
        _date,
        "date",
    ),
    "currentdate": TestKind(Signature((Kind.TEXT, Kind.TEXTS), {**MATCH_TAGS, **_ZONE}), _date, "date"),
}
