"""Storing, flagging, copying, moving and expunging messages, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from server.domain import flags as bits
from server.domain.errors import InvalidInput, NotFound, OverQuota
from server.domain.ids import AccountId, BlobId, MailboxId, ModSeq, TraceId, new_id
from server.domain.mailbox import Mailbox
from server.domain.message import Blob, BlobPlace, SpecialUse, Stored
from server.protocol.mime.render import render
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.append import append_in
from server.services.mailstore.copy_move import Copied, copy_in, expunge_in
from server.services.mailstore.flags import KEYWORDS_MAX, FlagChange, FlagsStored, store_flags_in
from server.services.mailstore.quota import quota_in
from server.store.database import Database
from server.store.repositories import mailboxes, messages
from server.store.schema import accounts, domains, events
from server.store.transaction import Transaction
from tests.support.imap_edge import add_account

OCTETS = b"Subject: x\r\nFrom: a@example.org\r\n\r\nbody\r\n"
NOW = datetime(2026, 11, 2, tzinfo=UTC)


async def append_one(
    tx: Transaction,
    account: AccountId,
    mailbox: MailboxId | SpecialUse = SpecialUse.INBOX,
    *,
    flags: int = 0,
    keywords: tuple[str, ...] = (),
    prefix: bytes = b"",
    trace_id: TraceId | None = None,
) -> Stored:
    blob = Blob(id=BlobId(new_id()), size_octets=len(OCTETS), sha256="0" * 64, place=BlobPlace.ROW, inline=OCTETS)
    return await append_in(
        tx,
        account_id=account,
        mailbox=mailbox,
        blob=blob,
        blob_is_new=True,
        prefix=prefix,
        rendered=render(OCTETS),
        flags=flags,
        keywords=keywords,
        internal_date=NOW,
        received_at=NOW,
        trace_id=trace_id,
    )


@pytest.fixture
async def account(store: Database) -> AccountId:
    return await add_account(store, "a@example.org")


async def _box(store: Database, account: AccountId, name: str = "INBOX") -> Mailbox:
    return await store.read("t", lambda tx: boxes.find_in(tx, account, name))


async def _copy(store: Database, account: AccountId, uids: list[int], to: str, *, move: bool) -> Copied:
    inbox = await _box(store, account)
    return await store.write(
        "t", lambda tx: copy_in(tx, account_id=account, mailbox_id=inbox.id, uids=uids, to=to, move=move)
    )


async def _flag(
    store: Database,
    account: AccountId,
    uids: list[int],
    change: FlagChange,
    flags: int,
    *keywords: str,
    since: ModSeq | None = None,
) -> FlagsStored:
    inbox = await _box(store, account)
    return await store.write(
        "t",
        lambda tx: store_flags_in(
            tx,
            account_id=account,
            mailbox_id=inbox.id,
            uids=uids,
            change=change,
            flags=flags,
            keywords=keywords,
            unchanged_since=since,
        ),
    )


async def test_append_counts_and_numbers(store: Database, account: AccountId) -> None:
    """product.md 71: UIDs from 1, strictly ascending; modseqs too."""
    first = await store.write("t", lambda tx: append_one(tx, account))
    second = await store.write("t", lambda tx: append_one(tx, account, flags=bits.SEEN, prefix=b"X: y\r\n"))
    assert (first.uid, second.uid) == (1, 2)
    assert second.modseq > first.modseq
    inbox = await _box(store, account)
    assert (inbox.total, inbox.unseen, inbox.uidnext) == (2, 1, 3)
    assert inbox.size_octets == 2 * len(OCTETS) + 6
    assert inbox.modseq == second.modseq
    quota = await store.read("t", lambda tx: quota_in(tx, account))
    assert quota.used_octets == inbox.size_octets


async def test_over_quota_changes_nothing_and_the_unit_goes_on(store: Database) -> None:
    """product.md 24; one full account must not stop the others of a delivery."""
    full = await add_account(store, "full@example.org", quota=len(OCTETS))
    other = await add_account(store, "other@example.org")

    async def deliver(tx: Transaction) -> list[bool]:
        stored = []
        for account in (full, full, other):
            try:
                await append_one(tx, account)
                stored.append(True)
            except OverQuota:
                stored.append(False)
        return stored

    assert await store.write("t", deliver) == [True, False, True]
    assert (await _box(store, full)).total == 1
    quota = await store.read("t", lambda tx: quota_in(tx, full))
    assert quota.has_room(0)
    assert not quota.has_room(1)


async def test_append_to_a_foreign_mailbox_is_not_found(store: Database, account: AccountId) -> None:
    """P6."""
    other = await add_account(store, "b@example.org")
    theirs = await _box(store, other)
    with pytest.raises(NotFound):
        await store.write("t", lambda tx: append_one(tx, account, theirs.id))
    with pytest.raises(NotFound):
        await store.write("t", lambda tx: append_one(tx, AccountId("none")))


async def test_flags_change_only_what_differs(store: Database, account: AccountId) -> None:
    for _ in range(3):
        await store.write("t", lambda tx: append_one(tx, account))
    stored = await _flag(store, account, [1, 2, 9], FlagChange.ADD, bits.SEEN, "Work")
    assert stored.changed == (1, 2)
    assert (await _box(store, account)).unseen == 1
    again = await _flag(store, account, [1, 2, 3], FlagChange.ADD, bits.SEEN, "work")
    assert again.changed == (3,)
    none = await _flag(store, account, [1], FlagChange.ADD, bits.SEEN)
    assert none == FlagsStored(modseq=None)
    removed = await _flag(store, account, [1], FlagChange.REMOVE, bits.SEEN, "WORK")
    assert removed.changed == (1,)
    assert (await _box(store, account)).unseen == 1
    replaced = await _flag(store, account, [2], FlagChange.SET, bits.FLAGGED, "b", "a")
    assert replaced.modseq is not None
    inbox = await _box(store, account)
    states = await store.read("t", lambda tx: messages.states(tx, account, inbox.id, [1, 2, 3]))
    assert [(s.flags, s.keywords) for s in states] == [(0, ""), (bits.FLAGGED, "a b"), (bits.SEEN, "work")]


async def test_unchangedsince(store: Database, account: AccountId) -> None:
    """RFC 7162 §3.1.3."""
    first = await store.write("t", lambda tx: append_one(tx, account))
    await store.write("t", lambda tx: append_one(tx, account))
    stored = await _flag(store, account, [1, 2], FlagChange.ADD, bits.SEEN, since=first.modseq)
    assert (stored.changed, stored.modified) == ((1,), (2,))


async def test_keyword_limits(store: Database, account: AccountId) -> None:
    await store.write("t", lambda tx: append_one(tx, account))
    await _flag(store, account, [1], FlagChange.SET, 0, *[f"k{n}" for n in range(KEYWORDS_MAX)])
    with pytest.raises(InvalidInput):
        await _flag(store, account, [1], FlagChange.ADD, 0, "more")
    for bad in ("a b", "", "x" * 101, "ä", "a\\", "(x"):
        with pytest.raises(InvalidInput):
            await _flag(store, account, [1], FlagChange.ADD, 0, bad)


async def test_copy_shares_the_mail_and_counts_for_quota(store: Database, account: AccountId) -> None:
    for flags in (bits.SEEN, 0):
        await store.write("t", lambda tx, flags=flags: append_one(tx, account, flags=flags))  # type: ignore[misc]
    copied = await _copy(store, account, [1, 2, 7], "Trash", move=False)
    trash, inbox = await _box(store, account, "Trash"), await _box(store, account)
    assert copied == Copied(uidvalidity=trash.uidvalidity, source=(1, 2), target=(1, 2))  # type: ignore[arg-type]
    assert (trash.total, trash.unseen, inbox.total) == (2, 1, 2)
    rows = [await store.read("t", lambda tx, b=b: messages.states(tx, account, b.id, [1, 2])) for b in (inbox, trash)]  # type: ignore[misc]
    assert [s.email_id for s in rows[0]] == [s.email_id for s in rows[1]]
    quota = await store.read("t", lambda tx: quota_in(tx, account))
    assert quota.used_octets == 4 * len(OCTETS)


async def test_move_keeps_the_id_and_leaves_one_copy(store: Database, account: AccountId) -> None:
    """RFC 6851 §3; reliability.md §2."""
    stored = await store.write("t", lambda tx: append_one(tx, account))
    await _copy(store, account, [1], "Archive", move=True)
    inbox, archive = await _box(store, account), await _box(store, account, "Archive")
    assert (inbox.total, archive.total) == (0, 1)
    (state,) = await store.read("t", lambda tx: messages.states(tx, account, archive.id, [1]))
    assert state.id == stored.message_id
    gone = await store.read("t", lambda tx: messages.changes(tx, account, inbox.id, ModSeq(0)))
    assert [(row[0], row[6] is not None) for row in gone] == [(1, True)]
    quota = await store.read("t", lambda tx: quota_in(tx, account))
    assert quota.used_octets == len(OCTETS)


async def test_move_and_copy_are_refused_whole(store: Database) -> None:
    account = await add_account(store, "full@example.org", quota=len(OCTETS) * 2)
    for _ in range(2):
        await store.write("t", lambda tx: append_one(tx, account))
    with pytest.raises(OverQuota):
        await _copy(store, account, [1, 2], "Trash", move=False)
    with pytest.raises(NotFound):
        await _copy(store, account, [1, 2], "nothing", move=True)
    with pytest.raises(InvalidInput):
        await _copy(store, account, [1], "INBOX", move=True)
    assert (await _box(store, account)).total == 2
    await _copy(store, account, [1, 2], "Trash", move=True)
    assert (await _box(store, account, "Trash")).total == 2


async def test_expunge_takes_only_deleted_messages(store: Database, account: AccountId) -> None:
    for flags in (0, bits.DELETED, bits.DELETED | bits.SEEN):
        await store.write("t", lambda tx, flags=flags: append_one(tx, account, flags=flags))  # type: ignore[misc]
    inbox = await _box(store, account)
    expunged = await store.write(
        "t", lambda tx: expunge_in(tx, account_id=account, mailbox_id=inbox.id, uids=range(1, 2**32))
    )
    assert expunged.uids == (2, 3)
    inbox = await _box(store, account)
    assert (inbox.total, inbox.unseen, inbox.size_octets) == (1, 1, len(OCTETS))
    again = await store.write("t", lambda tx: expunge_in(tx, account_id=account, mailbox_id=inbox.id, uids=[1, 2, 3]))
    assert again.uids == ()
    stored = await store.write("t", lambda tx: append_one(tx, account))
    assert stored.uid == 4


async def test_deleting_a_mailbox_expunges_its_messages(store: Database, account: AccountId) -> None:
    made = await store.write("t", lambda tx: boxes.create_in(tx, account, "x"))
    await store.write("t", lambda tx: append_one(tx, account, made.id))
    await store.write("t", lambda tx: boxes.delete_in(tx, account, "x"))
    quota = await store.read("t", lambda tx: quota_in(tx, account))
    assert quota.used_octets == 0
    assert await store.read("t", lambda tx: mailboxes.get(tx, account, made.id)) is None


async def test_renaming_inbox_moves_its_messages(store: Database, account: AccountId) -> None:
    """RFC 9051 §6.3.6."""
    await store.write("t", lambda tx: append_one(tx, account))
    await store.write("t", lambda tx: boxes.rename_in(tx, account, "INBOX", "old/mail"))
    assert (await _box(store, account)).total == 0
    assert (await _box(store, account, "old/mail")).total == 1


async def test_scattered_uids_are_read_in_one_scan(store: Database, account: AccountId) -> None:
    for _ in range(40):
        await store.write("t", lambda tx: append_one(tx, account))
    inbox = await _box(store, account)
    odd = list(range(1, 41, 2))
    states = await store.read("t", lambda tx: messages.states(tx, account, inbox.id, odd))
    assert [state.uid for state in states] == odd
    rendered = await store.read("t", lambda tx: messages.rendered(tx, account, inbox.id, odd))
    assert list(rendered) == odd
    rows = await store.read("t", lambda tx: messages.search_rows(tx, account, inbox.id, [1, 2]))
    assert rows[2].subject == "x"

    sources = await store.read("t", lambda tx: messages.sources(tx, account, inbox.id, [3]))
    assert sources[0].blob.inline == OCTETS


async def test_the_trace_ends_with_the_expunge(store: Database, account: AccountId) -> None:
    """reliability.md P2: an accepted message ends in a line that says so; a move is no end."""
    trace_id = TraceId(new_id())
    await store.write("t", lambda tx: append_one(tx, account, flags=bits.DELETED, trace_id=trace_id))
    await store.write("t", lambda tx: append_one(tx, account, flags=bits.DELETED))
    await _copy(store, account, [1, 2], "Trash", move=True)
    trash = await _box(store, account, "Trash")
    await store.write("t", lambda tx: expunge_in(tx, account_id=account, mailbox_id=trash.id, uids=[1, 2]))
    rows = await store.read("t", lambda tx: tx.fetch(select(events).where(events.c.type == "message.deleted")))
    assert [(row["trace_id"], row["detail"]) for row in rows] == [(trace_id, "expunged from Trash")]


async def test_runs_of_uids_leave_out_what_lies_between(store: Database, account: AccountId) -> None:
    for _ in range(6):
        await store.write("t", lambda tx: append_one(tx, account))
    await _flag(store, account, [5], FlagChange.ADD, bits.FLAGGED)
    await _flag(store, account, [1, 2, 4, 5, 6], FlagChange.ADD, bits.DELETED, "x")
    inbox = await _box(store, account)
    states = await store.read("t", lambda tx: messages.states(tx, account, inbox.id, range(1, 99)))
    deleted, both = (bits.DELETED, "x"), (bits.DELETED | bits.FLAGGED, "x")
    assert [(s.flags, s.keywords) for s in states] == [deleted, deleted, (0, ""), deleted, both, deleted]
    uids = [1, 3, 4, 5]
    await store.write("t", lambda tx: expunge_in(tx, account_id=account, mailbox_id=inbox.id, uids=uids))
    left = await store.read("t", lambda tx: messages.states(tx, account, inbox.id, range(1, 99)))
    assert [state.uid for state in left] == [2, 3, 6]


async def test_quota_of_the_domain_counts_all_its_accounts(store: Database, account: AccountId) -> None:
    other = await add_account(store, "b@example.org")

    async def fill(tx: Transaction) -> None:
        row = await tx.fetch_one(select(accounts.c.domain_id).where(accounts.c.id == account))
        assert row is not None
        await tx.execute(update(accounts).where(accounts.c.id == other).values(domain_id=row[0]))
        await tx.execute(update(domains).where(domains.c.id == row[0]).values(quota_octets=2 * len(OCTETS)))
        await append_one(tx, account)
        await append_one(tx, other)
        for full in (account, other):
            with pytest.raises(OverQuota):
                await messages.charge(tx, full, 1)
            await messages.charge(tx, full, 0)
            quota = await quota_in(tx, full)
            assert not quota.has_room(1)
            assert quota.has_room(0)
            assert quota.domain_used_octets == 2 * len(OCTETS)

    await store.write("fill", fill)
