"""Search queries over an account's messages: the query's tree becomes one WHERE, its values bound as parameters.

- The account is a condition of its own, outside what the user wrote: no query reaches beyond it.
- Text is asked of the index; mails that the index does not know were read by the caller, who tells which ones match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, tzinfo
from typing import assert_never, cast

from sqlalchemy import ColumnElement, and_, case, false, func, literal, not_, or_, select, true, tuple_

from server.domain.ids import AccountId
from server.domain.search import (
    ANY_FIELD,
    AgeTerm,
    AllOf,
    AnyOf,
    AttachmentTerm,
    DayTerm,
    FlagTerm,
    NameKind,
    NameTerm,
    NoneOf,
    SearchField,
    SearchOrder,
    SearchQuery,
    SizeTerm,
    TextTerm,
    text_terms,
)
from server.store.repositories.search import Waiting, matching, waiting_from_row, waiting_query
from server.store.schema import emails, messages, search_documents, search_pending
from server.store.statements import DialectName
from server.store.times import to_us
from server.store.transaction import Transaction

m = messages
e = emails
d = search_documents
p = search_pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the names of a query stand for.

    Attributes:
        mailboxes: Ids by case-folded name, and by role.
        keywords: Keywords by the tag names the query has.
        categories: Ids by case-folded name.
    """

    mailboxes: Mapping[str, Sequence[str]]
    keywords: Mapping[str, str]
    categories: Mapping[str, str]
    zone: tzinfo
    now: datetime


@dataclass(frozen=True, slots=True)
class Scanned:
    """Mails that the index did not know and that were read: all of them, and those that have each term."""

    email_ids: Sequence[str] = ()
    matches: Mapping[TextTerm, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class HitPosition:
    """A message's place in an order: descending by all of it."""

    rank: int
    received_us: int
    mailbox_id: str
    uid: int


@dataclass(frozen=True, slots=True)
class Hit:
    position: HitPosition
    message_id: str


async def find(
    tx: Transaction,
    account_id: AccountId,
    query: SearchQuery,
    *,
    names: Names,
    scanned: Scanned,
    order: SearchOrder,
    after: HitPosition | None,
    limit: int,
) -> list[Hit]:
    """Messages that match, newest first or best first, behind a place."""
    compiler = _Compiler(tx.dialect, account_id, names, scanned)
    rank = _rank(compiler, query) if order is SearchOrder.RELEVANCE else literal(0)
    place = (rank, m.c.internal_date, m.c.mailbox_id, m.c.uid)
    statement = (
        select(rank.label("rank"), m.c.internal_date, m.c.mailbox_id, m.c.uid, m.c.id)
        .join(e, e.c.id == m.c.email_id)
        .where(m.c.account_id == account_id, m.c.expunged_at.is_(None), compiler.where(query))
    )
    if not text_terms(query):
        boxes = sorted({one for ids in names.mailboxes.values() for one in ids})
        statement = statement.where(m.c.mailbox_id.in_(boxes))
    if after is not None:
        values = (after.rank, after.received_us, after.mailbox_id, after.uid)
        statement = statement.where(tuple_(*place) < tuple_(*map(literal, values)))
    rows = await tx.fetch(statement.order_by(*(column.desc() for column in place)).limit(limit))
    return [
        Hit(HitPosition(cast(int, row[0]), cast(int, row[1]), cast(str, row[2]), cast(int, row[3])), cast(str, row[4]))
        for row in rows
    ]


async def pending(tx: Transaction, account_id: AccountId, *, limit: int) -> list[Waiting]:
    """Mails of an account that the index does not know, newest first, with where their octets are."""
    query = waiting_query().where(p.c.account_id == account_id, e.c.id.is_not(None))
    return [waiting_from_row(row) for row in await tx.fetch(query.order_by(p.c.email_id.desc()).limit(limit))]


async def oldest_pending_us(tx: Transaction, account_id: AccountId | None) -> int | None:
    """When the oldest mail came, of an account or of all, that the index does not know; None when it knows all."""
    query = select(func.min(e.c.received_at)).join(p, p.c.email_id == e.c.id)
    if account_id is not None:
        query = query.where(p.c.account_id == account_id)
    row = await tx.fetch_one(query)
    return None if row is None else cast("int | None", row[0])


def _rank(compiler: _Compiler, query: SearchQuery) -> ColumnElement[int]:
    """How many of the query's terms stand in the subject, doubled, or in the names of people."""
    points: ColumnElement[int] = literal(0)
    people = (SearchField.FROM, SearchField.TO, SearchField.CC, SearchField.BCC)
    for term in text_terms(query):
        if len(term.fields) == len(ANY_FIELD):
            points = points + case((compiler.text(TextTerm(term.phrase, (SearchField.SUBJECT,))), 2), else_=0)
            points = points + case((compiler.text(TextTerm(term.phrase, people)), 1), else_=0)
    return points


class _Compiler:
    """Makes conditions of a query; its depth is bounded by the parser."""

    def __init__(self, dialect: DialectName, account_id: AccountId, names: Names, scanned: Scanned) -> None:
        self._dialect = dialect
        self._account_id = account_id
        self._names = names
        self._scanned = scanned

    def where(self, query: SearchQuery) -> ColumnElement[bool]:
        match query:
            case AllOf(parts):
                return and_(true(), *map(self.where, parts))
            case AnyOf(parts):
                return or_(false(), *map(self.where, parts))
            case NoneOf(part):
                return not_(self.where(part))
            case TextTerm():
                return self.text(query)
            case FlagTerm(flag, present):
                held = m.c.flags.op("&")(flag)
                return held != 0 if present else held == 0
            case AttachmentTerm():
                return e.c.has_attachments != 0
            case NameTerm():
                return self._named(query)
            case DayTerm(since, before):
                bounds = [m.c.internal_date >= self._start(since)] if since is not None else []
                bounds += [m.c.internal_date < self._start(before)] if before is not None else []
                return and_(true(), *bounds)
            case AgeTerm(span, newer):
                edge = to_us(self._names.now) - int(span.total_seconds() * 1_000_000)
                return m.c.internal_date >= edge if newer else m.c.internal_date < edge
            case SizeTerm(octets, larger):
                return m.c.size_octets > octets if larger else m.c.size_octets < octets
            case _:
                assert_never(query)

    def text(self, term: TextTerm) -> ColumnElement[bool]:
        """Whether the mail has the phrase: the index says so, or who read it."""
        found = matching(self._dialect, self._account_id, term.phrase, term.fields)
        indexed = select(d.c.email_id).where(d.c.account_id == self._account_id, d.c.number.in_(found))
        if not self._scanned.email_ids:
            return m.c.email_id.in_(indexed)
        known = and_(m.c.email_id.in_(indexed), m.c.email_id.not_in(self._scanned.email_ids))
        return or_(known, m.c.email_id.in_(self._scanned.matches.get(term, ())))

    def _named(self, term: NameTerm) -> ColumnElement[bool]:
        names, name = self._names, term.name
        match term.kind:
            case NameKind.MAILBOX:
                return m.c.mailbox_id.in_(names.mailboxes.get(name.casefold(), ()))
            case NameKind.TAG:
                held = literal(" ") + func.lower(m.c.keywords) + literal(" ")
                return held.contains(f" {names.keywords[name].lower()} ", autoescape=True)
            case NameKind.CATEGORY:
                return e.c.category == names.categories.get(name.casefold(), "")
            case NameKind.THREAD:
                return e.c.thread_id == name
            case NameKind.MESSAGE:
                return or_(m.c.id == name, m.c.email_id == name)
            case _:
                assert_never(term.kind)

    def _start(self, day: date) -> int:
        """The day's first instant."""
        return to_us(datetime.combine(day, time(), self._names.zone))
