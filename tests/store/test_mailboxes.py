"""Rows of mailboxes and the rules of their names, on both databases."""

from __future__ import annotations

import pytest

from server.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from server.domain.ids import AccountId
from server.domain.message import SpecialUse
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.mailboxes import LEVELS_MAX, NAME_OCTETS_MAX, normalise_name
from server.store.database import Database
from server.store.repositories import mailboxes, upkeep
from tests.store.test_messages import append_one
from tests.support.imap_edge import add_account


async def _names(store: Database, account: AccountId) -> list[str]:
    return [box.name for box in await store.read("list", lambda tx: mailboxes.list_all(tx, account))]


@pytest.fixture
async def account(store: Database) -> AccountId:
    return await add_account(store, "a@example.org")


async def test_every_account_has_the_default_mailboxes(store: Database, account: AccountId) -> None:
    """product.md 70."""
    found = await store.read("list", lambda tx: mailboxes.list_all(tx, account))
    assert {box.name: box.role for box in found} == {
        "INBOX": SpecialUse.INBOX,
        "Drafts": SpecialUse.DRAFTS,
        "Sent": SpecialUse.SENT,
        "Junk": SpecialUse.JUNK,
        "Trash": SpecialUse.TRASH,
        "Archive": SpecialUse.ARCHIVE,
    }
    assert all(box.subscribed and box.uidnext == 1 for box in found)
    assert len({box.uidvalidity for box in found}) == 6


async def test_create_makes_what_is_missing_above(store: Database, account: AccountId) -> None:
    """RFC 9051 §6.3.4."""
    await store.write("t", lambda tx: boxes.create_in(tx, account, "a/b/c/"))
    assert {"a", "a/b", "a/b/c"} <= set(await _names(store, account))
    with pytest.raises(Conflict):
        await store.write("t", lambda tx: boxes.create_in(tx, account, "a/b"))
    with pytest.raises(Conflict):
        await store.write("t", lambda tx: boxes.create_in(tx, account, "inbox"))


async def test_names_belong_to_one_account(store: Database, account: AccountId) -> None:
    """P6: another account's mailboxes don't exist."""
    other = await add_account(store, "b@example.org")
    made = await store.write("t", lambda tx: boxes.create_in(tx, other, "theirs"))
    assert "theirs" not in await _names(store, account)
    assert await store.read("t", lambda tx: mailboxes.get(tx, account, made.id)) is None
    with pytest.raises(NotFound):
        await store.write("t", lambda tx: boxes.delete_in(tx, account, "theirs"))


async def test_rename_takes_children_along(store: Database, account: AccountId) -> None:
    for name in ("a/b", "a/b/c", "ab"):
        await store.write("t", lambda tx, name=name: boxes.create_in(tx, account, name))  # type: ignore[misc]
    await store.write("t", lambda tx: boxes.rename_in(tx, account, "a", "x/y"))
    names = set(await _names(store, account))
    assert {"x", "x/y", "x/y/b", "x/y/b/c", "ab"} <= names
    assert not names & {"a", "a/b"}


@pytest.mark.parametrize(
    ("name", "to", "error"),
    [
        ("nothing", "x", NotFound),
        ("a", "b", Conflict),
        ("a", "a/b", InvalidInput),
        ("a", "a", Conflict),
        ("a", "x" * 256, InvalidInput),
    ],
)
async def test_impossible_renames(
    store: Database, account: AccountId, name: str, to: str, error: type[Exception]
) -> None:
    for made in ("a", "b"):
        await store.write("t", lambda tx, made=made: boxes.create_in(tx, account, made))  # type: ignore[misc]
    before = await _names(store, account)
    with pytest.raises(error):
        await store.write("t", lambda tx: boxes.rename_in(tx, account, name, to))
    assert await _names(store, account) == before


async def test_a_deleted_name_is_free_with_another_uidvalidity(store: Database, account: AccountId) -> None:
    """RFC 9051 §6.3.5: a name used again must not repeat UIDs."""
    first = await store.write("t", lambda tx: boxes.create_in(tx, account, "x"))
    await store.write("t", lambda tx: boxes.delete_in(tx, account, "x"))
    second = await store.write("t", lambda tx: boxes.create_in(tx, account, "x"))
    assert second.uidvalidity > first.uidvalidity
    assert second.id != first.id


async def test_mailboxes_with_a_role_stay(store: Database, account: AccountId) -> None:
    for name in ("INBOX", "inbox", "Trash"):
        with pytest.raises(Forbidden):
            await store.write("t", lambda tx, name=name: boxes.delete_in(tx, account, name))  # type: ignore[misc]


async def test_children_stay_when_their_parent_goes(store: Database, account: AccountId) -> None:
    await store.write("t", lambda tx: boxes.create_in(tx, account, "a/b"))
    await store.write("t", lambda tx: boxes.delete_in(tx, account, "a"))
    assert "a/b" in await _names(store, account)


async def test_subscriptions(store: Database, account: AccountId) -> None:
    await store.write("t", lambda tx: boxes.subscribe_in(tx, account, "INBOX", subscribed=False))
    found = await store.read("t", lambda tx: boxes.find_in(tx, account, "Inbox"))
    assert not found.subscribed


@pytest.mark.parametrize(
    ("name", "found"),
    [("inbox", "INBOX"), ("inBox/x", "INBOX/x"), ("Inboxes", "Inboxes"), ("e\u0301", "é"), ("../../x", "../../x")],
)
def test_one_spelling(name: str, found: str) -> None:
    """T29: a name is data in the database, never a path."""
    assert normalise_name(name) == found


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a//b",
        "/a",
        " ",
        "a/ /b",
        "a\x00b",
        "a\r\nb",
        "a*",
        "a%",
        "a\\b",
        chr(0xD800),
        "a\u2028b",
        "a\u202eb",
        "x" * (NAME_OCTETS_MAX + 1),
        "é" * 128,
        "/".join("x" * (LEVELS_MAX + 1)),
    ],
)
def test_impossible_names(name: str) -> None:
    with pytest.raises(InvalidInput):
        normalise_name(name)


def test_name_limits() -> None:
    """product.md 70: 255 octets, 20 levels."""
    assert len(normalise_name("x" * NAME_OCTETS_MAX)) == NAME_OCTETS_MAX
    assert normalise_name("/".join("x" * LEVELS_MAX)).count("/") == LEVELS_MAX - 1


async def test_a_deleted_mailbox_goes_with_its_last_restorable_message(store: Database, account: AccountId) -> None:
    """product.md 25."""
    made = await store.write("t", lambda tx: boxes.create_in(tx, account, "x"))
    await store.write("t", lambda tx: append_one(tx, account, made.id))
    await store.write("t", lambda tx: boxes.delete_in(tx, account, "x"))
    later = 2**62
    assert await store.write("t", lambda tx: upkeep.drop_mailboxes(tx, 0)) == 0
    assert await store.write("t", lambda tx: upkeep.drop_mailboxes(tx, later)) == 0
    assert await store.write("t", lambda tx: upkeep.drop_expunged(tx, later)) == 1
    assert await store.write("t", lambda tx: upkeep.drop_mailboxes(tx, later)) == 1
