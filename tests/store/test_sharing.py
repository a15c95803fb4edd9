"""Shared mailboxes, annotations and sums on both databases (RFC 4314, RFC 5464, RFC 9208)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.domain.errors import Forbidden, NotFound
from server.domain.flags import DELETED, SEEN
from server.domain.identity import Principal
from server.domain.ids import AccountId, TenantId
from server.services.mailstore.append import NewMessage
from server.services.mailstore.store import MailStore
from server.store.database import Database
from tests.support.imap_edge import add_account
from tests.support.stores import RecordingNotifier, WallClock

MESSAGE = b"Subject: x\r\nMessage-ID: <1@example.org>\r\n\r\nbody\r\n"
SHARED = "Other Users/anna@example.org/Projects"


class _Follower:
    def wake(self) -> None:
        """Nobody waits."""

    def note(self, changes: object) -> None:
        """Nobody is told."""


@pytest.fixture
def mailstore(store: Database, tmp_path: Path) -> MailStore:
    worker = ThreadWorker("test", threads=1)
    blobs = FileBlobStore(tmp_path / "mail", inline_max=1024, worker=worker, fatal=lambda _r: None, reserve=0)
    blobs.open()
    return MailStore(database=store, blobs=blobs, notifier=RecordingNotifier(), clock=WallClock(), worker=worker)


def _principal(account_id: AccountId, address: str) -> Principal:
    return Principal(account_id=account_id, tenant_id=TenantId("t"), address=address, credential_version=1)


async def _message(mailstore: MailStore, account_id: AccountId, name: str, flags: int, count: int = 1) -> None:
    mailbox = await mailstore.mailbox(account_id, name)
    new = []
    for _ in range(count):
        writer = mailstore.writer()
        await writer.write(MESSAGE)
        now = datetime(2026, 1, 1, tzinfo=UTC)
        new.append(NewMessage(content=await writer.finish(), flags=flags, keywords=("word",), internal_date=now))
    await mailstore.append_all(account_id, mailbox.id, new)


async def test_a_mailbox_is_shared_used_and_taken_back(store: Database, mailstore: MailStore) -> None:
    anna = await add_account(store, "anna@example.org")
    bert = await add_account(store, "bert@example.org", colleague=anna)
    stranger = await add_account(store, "a@example.org")
    access = mailstore.access
    owner, guest = _principal(anna, "anna@example.org"), _principal(bert, "bert@example.org")
    await mailstore.create(anna, "Projects")
    await _message(mailstore, anna, "Projects", SEEN | DELETED, count=3)
    place = await access.place(owner, "Projects", "a")
    for rights, grantee in (("lri", "bert@example.org"), ("lte", "anyone")):
        await access.set_rights(place, grantee, rights)
    found = await access.place(guest, SHARED, "lrite")
    assert (found.account_id, found.name, found.rights) == (anna, "Projects", "lrite")
    with pytest.raises(Forbidden):
        await access.place(guest, SHARED, "w")
    with pytest.raises(NotFound):
        await access.place(_principal(stranger, "a@example.org"), SHARED, "l")
    assert [one.mailbox.name for one in await access.visible(guest)] == ["Projects"]
    mailbox = await mailstore.mailbox(anna, "Projects")
    follower = _Follower()
    view = await mailstore.open(anna, mailbox.id, follower)
    inbox = await access.place(guest, "INBOX", "i")
    copied = await mailstore.copy(view, [1, 2], inbox, move=False)
    moved = await mailstore.copy(view, [3], inbox, move=True)
    assert (copied.target, moved.target) == ((1, 2), (3,))
    assert await mailstore.deleted(anna, mailbox.id) == (2, 2 * len(MESSAGE))
    mailstore.close(view, follower)
    assert (await mailstore.quota(bert)).used_octets == 3 * len(MESSAGE)
    await access.set_rights(place, "bert@example.org", "")
    await access.set_rights(place, "anyone", "")
    with pytest.raises(NotFound):
        await access.place(guest, SHARED, "l")


async def test_private_annotations_are_each_ones_own(store: Database, mailstore: MailStore) -> None:
    anna = await add_account(store, "anna@example.org")
    bert = await add_account(store, "bert@example.org", colleague=anna)
    owner, guest = _principal(anna, "anna@example.org"), _principal(bert, "bert@example.org")
    await mailstore.create(anna, "Projects")
    own = await mailstore.access.place(owner, "Projects", "a")
    await mailstore.access.set_rights(own, "bert@example.org", "lr")
    theirs = await mailstore.access.place(guest, SHARED, "r")
    await mailstore.annotations.put(owner, own, [("/private/a", b"anna's"), ("/shared/b", b"all's\0")])
    await mailstore.annotations.put(guest, theirs, [("/private/a", b"bert's")])
    assert await mailstore.annotations.entries(guest, theirs) == {"/private/a": b"bert's", "/shared/b": b"all's\0"}
    assert await mailstore.annotations.entries(owner, own) == {"/private/a": b"anna's", "/shared/b": b"all's\0"}
    with pytest.raises(Forbidden):
        await mailstore.annotations.put(guest, theirs, [("/shared/b", None)])
    await mailstore.delete(anna, "Projects")
    await mailstore.create(anna, "Projects")
    assert await mailstore.annotations.entries(owner, own) == {}
