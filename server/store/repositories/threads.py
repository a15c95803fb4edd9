"""Threads as rows: which thread a mail joins (filtering.md section 9).

- A mail joins the oldest thread of its account that knows one of its message ids under its subject; else it begins one.
  A thread's id never changes, threads never merge.
- The account's row is locked by then, so two mails of one account never choose at once.
- One statement a delivery, which also tells the mail's category; another one only for replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import cast

from sqlalchemy import BigInteger, ClauseElement, Text, bindparam, case, delete, exists, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from server.domain.ids import AccountId, new_id
from server.domain.message import Rendered
from server.protocol.mime.base_subject import thread_subject
from server.store.schema import accounts, categories, emails, sender_categories, threads
from server.store.statements import Statement, prepared
from server.store.transaction import Transaction

CORRECTIONS_MIN = 2
"""Corrections of one sender after which the owner's category holds for new mail (filtering.md section 8)."""
LEARNED_CONFIDENCE = 90
KEYS_MAX = 51
"""The references and the mail's own id."""

_ACCOUNT = bindparam("b_account", type_=Text)
_LEARNED = (
    select(sender_categories.c.category)
    .where(
        sender_categories.c.account_id == _ACCOUNT,
        sender_categories.c.address == bindparam("b_address", type_=Text),
        sender_categories.c.corrections >= literal_column(str(CORRECTIONS_MIN)),
    )
    .scalar_subquery()
    .label("learned")
)
# No join: in RETURNING, Core writes SQLite's column names without their tables.
_BY_RULE = (
    select(categories.c.id)
    .where(
        categories.c.tenant_id == select(accounts.c.tenant_id).where(accounts.c.id == _ACCOUNT).scalar_subquery(),
        categories.c.name == bindparam("b_category", type_=Text),
        categories.c.enabled == literal_column("1"),
    )
    .scalar_subquery()
    .label("by_rule")
)
_CATEGORY = prepared(select(_LEARNED, _BY_RULE), beside_inserts=True)
_ADOPT = prepared(
    update(threads)
    .where(threads.c.account_id == bindparam("b_account"), threads.c.key == bindparam("b_key"))
    .values(thread_id=bindparam("b_thread"), created_at=bindparam("b_created", type_=BigInteger)),
    beside_inserts=True,
)
_FORGET = prepared(
    delete(threads).where(
        threads.c.account_id == bindparam("b_account"),
        threads.c.key == bindparam("b_key"),
        threads.c.thread_id == bindparam("b_thread"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a new mail belongs.

    Attributes:
        category: A category's id; None where the tenant has dropped or disabled the one it would have.
        source: `sender` where the owner's corrections of this sender decided, else `rule`.
        confidence: In percent.
    """

    thread_id: str
    category: str | None
    source: str | None
    confidence: int | None


async def place(tx: Transaction, account_id: AccountId, rendered: Rendered) -> Place:
    """The thread and the category of a new mail."""
    keys = thread_keys(rendered.message_id_header, rendered.references, rendered.thread_subject)
    own = new_id()
    params: dict[str, object] = {
        "b_account": account_id,
        "b_address": rendered.from_address,
        "b_category": rendered.category,
    }
    if not keys:
        row = await tx.fetch_one(_CATEGORY, params)
        return _placed(own, rendered, row[0] if row else None, row[1] if row else None)
    params |= {"b_thread": own, "b_created": tx.now_us}
    params.update((f"b_key{number}", key) for number, key in enumerate(keys))
    rows = await tx.fetch(_enter(len(keys)), params)
    created, thread = min((cast(int, row[2]), cast(str, row[1])) for row in rows)
    if thread != own:
        adopted = {"b_account": account_id, "b_thread": thread, "b_created": created}
        for row in rows:
            if row[1] == own:
                await tx.execute(_ADOPT, {**adopted, "b_key": row[0]})
    return _placed(thread, rendered, rows[0][3], rows[0][4])


def _placed(thread: str, rendered: Rendered, learned: object, by_rule: object) -> Place:
    if learned is not None:
        return Place(thread_id=thread, category=cast(str, learned), source="sender", confidence=LEARNED_CONFIDENCE)
    if by_rule is None:
        return Place(thread_id=thread, category=None, source=None, confidence=None)
    confidence = rendered.category_confidence
    return Place(thread_id=thread, category=cast(str, by_rule), source="rule", confidence=confidence)


async def learn(tx: Transaction, account_id: AccountId, email_ids: Sequence[str], category_id: str) -> None:
    """Remember that the owner put mails into a category, for each of their senders (filtering.md section 8)."""
    rows = await tx.fetch(
        select(emails.c.sender).where(emails.c.account_id == account_id, emails.c.id.in_(list(email_ids)))
    )
    for address in sorted({_address(cast(str, row[0])) for row in rows} - {""}):
        await tx.execute(
            _LEARN, {"b_account": account_id, "b_address": address, "b_category": category_id, "b_first": 1}
        )


def _address(sender: str) -> str:
    """The address of a sender as lists show it; empty when it was cut off."""
    address = sender.removesuffix(">").rpartition("<")[2] if sender.endswith(">") else sender
    return address.lower() if "@" in address and "<" not in address else ""


def thread_keys(message_id: str | None, references: str, subject: str) -> list[bytes]:
    """What a mail and the mails it belongs to have in common: a hash of each message id with the subject."""
    ids = [*references.split(" "), message_id or ""]
    end = b"\x00" + subject.encode("utf-8", "replace")
    digests = (blake2b(one.encode("utf-8", "replace") + end, digest_size=16).digest() for one in ids if one)
    return list(dict.fromkeys(digests))[-KEYS_MAX:]


async def forget(tx: Transaction, email_ids: list[str]) -> None:
    """Drop what led to the threads of mails that are about to go, where no other mail is in the thread."""
    other = emails.alias()
    alone = ~exists().where(
        other.c.thread_id == emails.c.thread_id, other.c.id != emails.c.id, other.c.id.not_in(email_ids)
    )
    rows = await tx.fetch(
        select(
            emails.c.account_id,
            emails.c.thread_id,
            emails.c.message_id_header,
            emails.c.thread_references,
            emails.c.subject,
        ).where(emails.c.id.in_(email_ids), alone)
    )
    gone: list[dict[str, object]] = []
    for row in rows:
        keys = thread_keys(cast("str | None", row[2]), cast(str, row[3]), thread_subject(cast(str, row[4])))
        gone += [{"b_account": row[0], "b_thread": row[1], "b_key": key} for key in keys]
    await tx.execute_many(_FORGET, gone)


@cache
def _enter(count: int) -> Statement:
    """Insert so many keys for a new thread; rows (key, thread_id, created_at, learned, by_rule) as they then stand."""
    return prepared(
        _upsert(sqlite.insert(threads), count), _upsert(postgresql.insert(threads), count), beside_inserts=True
    )


def _upsert(made: sqlite.Insert | postgresql.Insert, count: int) -> ClauseElement:
    statement = made.values(
        [
            {
                "account_id": bindparam("b_account"),
                "key": bindparam(f"b_key{place}"),
                "thread_id": bindparam("b_thread"),
                "created_at": bindparam("b_created", type_=BigInteger),
            }
            for place in range(count)
        ]
    )
    # An update that changes nothing: only so RETURNING shows the rows that were there.
    kept = statement.on_conflict_do_update(
        index_elements=["account_id", "key"], set_={"thread_id": threads.c.thread_id}
    )
    return kept.returning(threads.c.key, threads.c.thread_id, threads.c.created_at, _LEARNED, _BY_RULE)


def _learned(
    made: sqlite.Insert | postgresql.Insert,
) -> sqlite.Insert | postgresql.Insert:
    statement = made.values(
        account_id=bindparam("b_account"),
        address=bindparam("b_address"),
        category=bindparam("b_category"),
        corrections=bindparam("b_first", type_=BigInteger),
    )
    new = statement.excluded
    again = case((sender_categories.c.category == new.category, sender_categories.c.corrections + 1), else_=1)
    return statement.on_conflict_do_update(
        index_elements=["account_id", "address"], set_={"category": new.category, "corrections": again}
    )


_LEARN = prepared(_learned(sqlite.insert(sender_categories)), _learned(postgresql.insert(sender_categories)))
