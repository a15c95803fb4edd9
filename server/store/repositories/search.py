"""The full-text index as rows: documents in and out, and the words that find them.

- A query is terms of ours, each with its account's mark before it: nothing a user wrote reaches a query language.
- Both databases answer alike. FTS5 knows phrases; a tsvector finds documents that have all terms, their lines of terms
  then tell whether they follow one another.
- Writes are small: the caller decides how many documents go into a transaction.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnClause,
    ColumnElement,
    Select,
    Text,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy import (
    cast as sql_cast,
)
from sqlalchemy.dialects import postgresql, sqlite

from server.domain.ids import AccountId, BlobId, MailboxId
from server.domain.message import Blob, BlobPlace
from server.domain.search import ANY_FIELD, FIELD_PLACE, Phrase, SearchField
from server.store.schema import blobs, counters, emails, messages, search_documents, search_pending
from server.store.schema.search import SQLITE_DROP, SQLITE_INDEX
from server.store.statements import DialectName, prepared, prepared_insert
from server.store.transaction import Row, Transaction

d = search_documents
p = search_pending

ACCOUNT_MARK_CHARS = 10
"""Of an account's id, its random end: enough to keep accounts' terms apart. Results are checked for the account too."""

NO_LINES = ("",) * len(SearchField)
"""The terms of a mail that has none."""
_FIELD_LETTERS = dict(zip(SearchField, "abcdefghi", strict=True))

index = table("search_index", column("rowid"), *(column(field) for field in SearchField), column("search_index"))
terms = table("search_terms", column("number"), column("terms"), column("vector"), column("lines"))
_IN_COLUMNS: dict[str, BindParameter[object]] = {name: bindparam(name) for name in ("rowid", *SearchField)}

_BLOB = (blobs.c.id, blobs.c.size_octets, blobs.c.sha256, blobs.c.place, blobs.c.inline)


def waiting_query() -> Select[tuple[object, ...]]:
    """Mails that wait, with their documents and octets: rows for `waiting_from_row`."""
    return (
        select(p.c.email_id, p.c.account_id, d.c.number, emails.c.prefix, *_BLOB)
        .select_from(p)
        .join(emails, emails.c.id == p.c.email_id, isouter=True)
        .join(blobs, blobs.c.id == emails.c.blob_id, isouter=True)
        .join(d, d.c.email_id == p.c.email_id, isouter=True)
    )


_WAITING = prepared(waiting_query().order_by(p.c.email_id.desc()).limit(bindparam("b_limit", type_=BigInteger)))
_DONE = prepared(delete(p).where(p.c.email_id == bindparam("b_email")))
_INSERT_DOCUMENT = prepared_insert(d)
_DELETE_DOCUMENT = prepared(delete(d).where(d.c.number == bindparam("b_number")))
_TAKE_NUMBERS = prepared(
    update(counters)
    .where(counters.c.name == "search")
    .values(value=counters.c.value + bindparam("b_count", type_=BigInteger))
    .returning(counters.c.value)
)
_STILL_THERE = prepared(select(emails.c.id).where(emails.c.id == bindparam("b_email")))
_INSERT_INDEX = prepared(insert(index).values(_IN_COLUMNS))
_DELETE_INDEX = prepared(insert(index).values(search_index=literal("delete"), **_IN_COLUMNS))
_INSERT_TERMS = prepared(
    insert(terms).values(number=bindparam("b_number"), terms=bindparam("b_terms")),
    postgres=insert(terms).values(
        number=bindparam("b_number"),
        vector=func.array_to_tsvector(bindparam("b_words", type_=postgresql.ARRAY(Text))),
        lines=bindparam("b_lines", type_=postgresql.ARRAY(Text)),
    ),
)
_TERMS = prepared(select(terms.c.terms).where(terms.c.number == bindparam("b_number")))
_DELETE_TERMS = prepared(delete(terms).where(terms.c.number == bindparam("b_number")))
_UNINDEXED = prepared(
    select(messages.c.uid)
    .join(p, p.c.email_id == messages.c.email_id)
    .where(messages.c.mailbox_id == bindparam("b_mailbox"), p.c.account_id == bindparam("b_account"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A mail that waits for the index.

    Attributes:
        number: Its document, when the index knows it already.
        blob: Its octets behind `prefix`; None when the mail is gone.
    """

    email_id: str
    account_id: AccountId
    number: int | None
    prefix: bytes
    blob: Blob | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What becomes of a mail that waited: its terms, or None to take it out; `version` is that of their making."""

    email_id: str
    account_id: AccountId
    number: int | None
    lines: tuple[str, ...] | None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexCount:
    """How far the index is: of `total` mails it knows `indexed`, and `pending` are still to be dealt with."""

    indexed: int
    pending: int
    total: int


async def waiting(tx: Transaction, *, limit: int) -> list[Waiting]:
    """Mails that wait, newest first."""
    return [waiting_from_row(row) for row in await tx.fetch(_WAITING, {"b_limit": limit})]


async def has_waiting(tx: Transaction) -> bool:
    """Whether any mail waits."""
    return await tx.fetch_one(select(p.c.email_id).limit(1)) is not None


async def put(tx: Transaction, entries: Sequence[Entry]) -> int:
    """Index mails, or take them out, and strike them off the list; returns how many were indexed.

    A mail that was purged since it was read is taken out instead.
    """
    kept = [entry for entry in entries if entry.lines is not None]
    gone = {entry.email_id for entry in kept if await tx.fetch_one(_STILL_THERE, {"b_email": entry.email_id}) is None}
    kept = [entry for entry in kept if entry.email_id not in gone]
    for entry in entries:
        if entry.number is not None:
            await _take_out(tx, entry.account_id, entry.number)
    if kept:
        row = await tx.fetch_one(_TAKE_NUMBERS, {"b_count": len(kept)})
        if row is None:
            raise RuntimeError("the counter of documents is missing")
        first = cast(int, row[0]) - len(kept) + 1
        for number, entry in enumerate(kept, first):
            await _put_in(tx, entry, number)
    await tx.execute_many(_DONE, [{"b_email": entry.email_id} for entry in entries])
    return len(kept)


async def _put_in(tx: Transaction, entry: Entry, number: int) -> None:
    lines = entry.lines or ()
    await tx.execute(
        _INSERT_DOCUMENT,
        {
            "number": number,
            "email_id": entry.email_id,
            "account_id": entry.account_id,
            "version": entry.version,
            "indexed_at": tx.now_us,
        },
    )
    mark = _mark(entry.account_id)
    if tx.dialect is DialectName.SQLITE:
        await tx.execute(_INSERT_INDEX, {"rowid": number, **_marked(mark, lines)})
        await tx.execute(_INSERT_TERMS, {"b_number": number, "b_terms": zlib.compress("\n".join(lines).encode(), 1)})
        return
    words = {
        f"{mark}{_FIELD_LETTERS[field]}{term}"
        for field, line in zip(SearchField, lines, strict=True)
        for term in line.split()
    }
    await tx.execute(_INSERT_TERMS, {"b_number": number, "b_words": list(words), "b_lines": list(lines)})


async def _take_out(tx: Transaction, account_id: AccountId, number: int) -> None:
    if tx.dialect is DialectName.SQLITE:
        row = await tx.fetch_one(_TERMS, {"b_number": number})
        if row is not None:
            lines = zlib.decompress(cast(bytes, row[0])).decode().split("\n")
            await tx.execute(_DELETE_INDEX, {"rowid": number, **_marked(_mark(account_id), lines)})
    await tx.execute(_DELETE_TERMS, {"b_number": number})
    await tx.execute(_DELETE_DOCUMENT, {"b_number": number})


def _marked(mark: str, lines: Sequence[str]) -> dict[str, object]:
    return {
        field: f"{mark}{line.replace(' ', ' ' + mark)}" if line else ""
        for field, line in zip(SearchField, lines, strict=True)
    }


def _mark(account_id: AccountId) -> str:
    return account_id.replace("-", "")[-ACCOUNT_MARK_CHARS:]


def matching(
    dialect: DialectName, account_id: AccountId, phrase: Phrase, fields: Sequence[SearchField]
) -> Select[tuple[int]]:
    """A query for the numbers of documents that have the phrase in any of the fields.

    The numbers of other accounts may be among them, by a rare chance: join with `search_documents`.

    Args:
        phrase: At least one term.
    """
    if dialect is DialectName.SQLITE:
        return _matched(literal(_fts_query(account_id, phrase, fields)))
    mark = _mark(account_id)
    tsquery = " | ".join(f"({_tsquery(mark + _FIELD_LETTERS[field], phrase)})" for field in fields)
    found = terms.c.vector.op("@@")(sql_cast(sql_cast(literal(tsquery), Text), postgresql.TSQUERY))
    chosen = select(terms.c.number).where(found)
    if len(phrase.terms) > 1:
        lines: list[ColumnClause[str]] = [
            column(f"lines[{FIELD_PLACE[field] + 1}]", is_literal=True) for field in fields
        ]
        line = func.concat(" ", *[part for line in lines for part in (line, " | ")])
        wanted = f"% {' '.join(phrase.terms)}{'' if phrase.open_end else ' '}%"
        chosen = chosen.where(line.like(literal(wanted)))
    return chosen


def _matched(query: ColumnElement[str]) -> Select[tuple[int]]:
    return select(index.c.rowid).where(index.c.search_index.op("MATCH")(query))


def _fts_query(account_id: AccountId, phrase: Phrase, fields: Sequence[SearchField]) -> str:
    mark = _mark(account_id)
    words = " ".join(f"{mark}{term}" for term in phrase.terms)
    query = f'"{words}"{" *" if phrase.open_end else ""}'
    return query if len(fields) == len(ANY_FIELD) else f"{{{' '.join(fields)}}} : {query}"


def _tsquery(start: str, phrase: Phrase) -> str:
    words = [f"'{start}{term}'" for term in phrase.terms]
    if phrase.open_end:
        words[-1] += ":*"
    return " & ".join(words)


async def uids_with(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, phrase: Phrase, fields: Sequence[SearchField]
) -> set[int]:
    """UIDs of a mailbox's indexed messages, expunged ones among them, that have the phrase in any of the fields."""
    params: dict[str, object] = {"b_account": account_id, "b_mailbox": mailbox_id}
    if tx.dialect is DialectName.SQLITE:
        rows = await tx.fetch(_UIDS_MATCHED, {**params, "b_query": _fts_query(account_id, phrase, fields)})
    else:
        rows = await tx.fetch(_uids(matching(tx.dialect, account_id, phrase, fields)), params)
    return {cast(int, row[0]) for row in rows}


def _uids(found: Select[tuple[int]]) -> Select[tuple[int]]:
    """UIDs of a mailbox's messages among documents.

    The mailbox is an expression: the way leads from the words to the messages, never through the whole mailbox.
    """
    known = select(d.c.email_id).where(d.c.account_id == bindparam("b_account"), d.c.number.in_(found))
    return select(messages.c.uid).where(
        messages.c.email_id.in_(known), messages.c.mailbox_id.concat(literal_column("''")) == bindparam("b_mailbox")
    )


_UIDS_MATCHED = prepared(_uids(_matched(bindparam("b_query", type_=Text))))


async def unindexed(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId) -> set[int]:
    """UIDs of a mailbox's messages that the index does not know yet, expunged ones among them."""
    rows = await tx.fetch(_UNINDEXED, {"b_account": account_id, "b_mailbox": mailbox_id})
    return {cast(int, row[0]) for row in rows}


async def count(tx: Transaction, account_id: AccountId | None = None) -> IndexCount:
    """How many mails the index knows and how many wait, of an account or of all."""
    numbers = []
    for counted in (d, p, emails):
        query = select(func.count()).select_from(counted)
        if account_id is not None:
            query = query.where(counted.c.account_id == account_id)
        row = await tx.fetch_one(query)
        numbers.append(cast(int, row[0]) if row else 0)
    return IndexCount(indexed=numbers[0], pending=numbers[1], total=numbers[2])


async def idle_us(tx: Transaction) -> int:
    """For how long mail has waited and nothing was indexed; 0 when nothing waits, or nothing was ever indexed."""
    oldest = await tx.fetch_one(select(func.min(emails.c.received_at)).join(p, p.c.email_id == emails.c.id))
    newest = await tx.fetch_one(select(d.c.indexed_at).order_by(d.c.number.desc()).limit(1))
    if oldest is None or oldest[0] is None or newest is None:
        return 0
    return max(0, tx.now_us - max(cast(int, oldest[0]), cast(int, newest[0])))


async def reindex(tx: Transaction, account_id: AccountId) -> int:
    """Put all mail of an account on the list again; what is indexed stays found until its turn. Returns how many."""
    return await _enlist(tx, select(emails.c.id, emails.c.account_id).where(emails.c.account_id == account_id))


async def enlist_outdated(tx: Transaction, *, version: int, limit: int) -> int:
    """Put mails on the list whose words were made by an older maker. Returns how many."""
    known = select(d.c.email_id, d.c.account_id).where(d.c.version < version)
    return await _enlist(tx, known.where(d.c.email_id.not_in(select(p.c.email_id))).limit(limit))


async def clear(tx: Transaction) -> int:
    """Throw the index away and put all mail on the list; searches read messages meanwhile. Returns how many."""
    if tx.dialect is DialectName.SQLITE:
        for statement in (*SQLITE_DROP, *SQLITE_INDEX):
            await tx.execute(text(statement))
    else:
        await tx.execute(text("DELETE FROM search_terms"))
    await tx.execute(delete(d))
    # SQLite takes ON CONFLICT behind a SELECT for a join, unless there is a WHERE between them.
    return await _enlist(tx, select(emails.c.id, emails.c.account_id).where(emails.c.id != ""))


async def _enlist(tx: Transaction, source: object) -> int:
    made = sqlite.insert(p) if tx.dialect is DialectName.SQLITE else postgresql.insert(p)
    statement = made.from_select(["email_id", "account_id"], source).on_conflict_do_nothing()  # type: ignore[arg-type]
    return await tx.execute(statement)


async def sample(tx: Transaction, *, numbers: Sequence[int], version: int) -> list[Waiting]:
    """The mails behind those of the documents that exist and were made by this version."""
    rows = await tx.fetch(
        select(d.c.email_id, d.c.account_id, d.c.number, emails.c.prefix, *_BLOB)
        .join(emails, emails.c.id == d.c.email_id)
        .join(blobs, blobs.c.id == emails.c.blob_id)
        .where(d.c.number.in_(list(numbers)), d.c.version == version, d.c.email_id.not_in(select(p.c.email_id)))
    )
    return [waiting_from_row(row) for row in rows]


async def last_number(tx: Transaction) -> int:
    """The largest number given to a document; 0 without any."""
    row = await tx.fetch_one(select(func.max(d.c.number)))
    return cast("int | None", row[0]) or 0 if row else 0


async def holds(tx: Transaction, account_id: AccountId, number: int, phrase: Phrase, field: SearchField) -> bool:
    """Whether the index finds that document by a phrase in a field."""
    found = matching(tx.dialect, account_id, phrase, (field,)).subquery()
    return await tx.fetch_one(select(found.c[0]).where(found.c[0] == number)) is not None


async def check_structure(tx: Transaction) -> None:
    """Read the whole index as a writer. Raises SearchIndexDamaged. PostgreSQL keeps its own in order."""
    if tx.dialect is DialectName.SQLITE:
        await tx.execute(insert(index).values(search_index=literal("integrity-check")))


def waiting_from_row(row: Row) -> Waiting:
    blob = None
    if row[4] is not None:
        blob = Blob(
            id=BlobId(cast(str, row[4])),
            size_octets=cast(int, row[5]),
            sha256=cast(str, row[6]),
            place=BlobPlace(cast(str, row[7])),
            inline=cast("bytes | None", row[8]),
        )
    return Waiting(
        email_id=cast(str, row[0]),
        account_id=AccountId(cast(str, row[1])),
        number=cast("int | None", row[2]),
        prefix=cast("bytes | None", row[3]) or b"",
        blob=blob,
    )
