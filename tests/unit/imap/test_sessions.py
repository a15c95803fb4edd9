"""Several sessions on one mailbox: frozen numbers, updates in order (RFC 9051 §7.5.1, RFC 2180)."""

from __future__ import annotations

import asyncio

import pytest

from server.domain.changes import StateChange
from server.domain.ids import ModSeq
from server.imap.connection import ImapConnection
from server.store.errors import StoreReadOnly
from tests.support.imap_edge import ImapClient, ImapEdge

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


async def _fill(client: ImapClient, count: int, mailbox: bytes = b"INBOX") -> None:
    for _ in range(count):
        assert b"OK" in await client.append(mailbox, MESSAGE)


async def test_changes_of_others_are_told_at_the_next_command(edge: ImapEdge) -> None:
    first = await edge.login()
    await _fill(first, 3)
    await first.ok(b"SELECT INBOX")
    second = await edge.selected()
    await second.ok(b"STORE 2 +FLAGS (\\Flagged new)")
    lines = await first.ok(b"NOOP")
    assert lines[0].startswith(b"* FLAGS (")
    assert b" new)" in lines[0]
    assert lines[-1] == b"* 2 FETCH (UID 2 FLAGS (\\Flagged \\Recent new))"
    assert await first.ok(b"NOOP") == []


async def test_own_changes_are_not_told_twice(edge: ImapEdge) -> None:
    client = await edge.login()
    await _fill(client, 2)
    await client.ok(b"SELECT INBOX")
    assert await client.ok(b"STORE 1:2 +FLAGS.SILENT (\\Seen)") == []
    assert len(await client.ok(b"STORE 1:2 +FLAGS (\\Flagged)")) == 2
    assert await client.ok(b"NOOP") == []


@pytest.mark.parametrize("command", [b"FETCH 1:3 (UID FLAGS)", b"STORE 3 +FLAGS (\\Seen)", b"SEARCH ALL"])
async def test_expunge_waits_for_a_command_without_numbers(edge: ImapEdge, command: bytes) -> None:
    """RFC 9051 §7.5.1: never during FETCH, STORE, SEARCH."""
    first = await edge.login()
    await _fill(first, 3)
    await first.ok(b"SELECT INBOX")
    second = await edge.selected()
    await second.ok(b"STORE 1 +FLAGS (\\Deleted)")
    await second.ok(b"EXPUNGE")
    lines = await first.ok(command)
    assert not [line for line in lines if line.endswith(b"EXPUNGE")]
    if command.startswith(b"FETCH"):
        assert [line.split(b" FLAGS")[0] for line in lines] == [b"* 2 FETCH (UID 2", b"* 3 FETCH (UID 3"]
    assert await first.ok(b"NOOP") == [b"* 1 EXPUNGE"]
    (line,) = await first.ok(b"FETCH 2 UID")
    assert line == b"* 2 FETCH (UID 3)"


async def test_expunge_lines_go_down(edge: ImapEdge) -> None:
    client = await edge.login()
    await _fill(client, 5)
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 1,2,4 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok(b"EXPUNGE") == [b"* 4 EXPUNGE", b"* 2 EXPUNGE", b"* 1 EXPUNGE"]
    assert await client.ok(b"UID SEARCH ALL") == [b"* SEARCH 3 5"]


async def test_uid_expunge_takes_only_the_named(edge: ImapEdge) -> None:
    """RFC 4315 §2.1."""
    client = await edge.login()
    await _fill(client, 3)
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 1:3 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok(b"UID EXPUNGE 2") == [b"* 2 EXPUNGE"]
    await client.ok(b"CLOSE")
    lines = await client.ok(b"SELECT INBOX")
    assert b"* 0 EXISTS" in lines


async def test_move_tells_both_sides(edge: ImapEdge) -> None:
    """RFC 6851 §4.3: COPYUID before EXPUNGE."""
    client, target = await edge.login(), await edge.selected(b"Trash")
    await _fill(client, 2)
    await client.ok(b"SELECT INBOX")
    lines = await client.ok(b"UID MOVE 1:2 Trash")
    assert lines[0].startswith(b"* OK [COPYUID ")
    assert lines[0].endswith(b" 1:2 1:2] Moved")
    assert lines[1:] == [b"* 2 EXPUNGE", b"* 1 EXPUNGE"]
    assert await target.ok(b"NOOP") == [b"* 2 EXISTS", b"* 2 RECENT"]


async def test_copy_answers_copyuid_and_trycreate(edge: ImapEdge) -> None:
    client = await edge.login()
    await _fill(client, 1)
    await client.ok(b"SELECT INBOX")
    assert b"OK [COPYUID " in (await client.ask(b"COPY 1 Archive"))[-1]
    assert b"NO [TRYCREATE]" in (await client.ask(b"COPY 1 nothing"))[-1]
    assert b"NO [CANNOT]" in (await client.ask(b"MOVE 1 INBOX"))[-1]


async def test_recent_is_for_the_first_session(edge: ImapEdge) -> None:
    """RFC 3501 §2.3.2."""
    first = await edge.login()
    await _fill(first, 2)
    assert b"* 2 RECENT" in await first.ok(b"EXAMINE INBOX")
    assert b"* 2 RECENT" in await first.ok(b"SELECT INBOX")
    second = await edge.login()
    assert b"* 0 RECENT" in await second.ok(b"SELECT INBOX")


async def test_select_leaves_the_old_mailbox_even_when_it_fails(edge: ImapEdge) -> None:
    """RFC 9051 §6.3.2."""
    client = await edge.selected()
    assert b"NO [NONEXISTENT]" in (await client.ask(b"SELECT nothing"))[-1]
    assert b"BAD" in (await client.ask(b"FETCH 1 FLAGS"))[-1]


async def test_unselect_does_not_expunge(edge: ImapEdge) -> None:
    client = await edge.login()
    await _fill(client, 1)
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
    await client.ok(b"UNSELECT")
    assert b"* 1 EXISTS" in await client.ok(b"SELECT INBOX")


async def test_a_mailbox_deleted_by_another_session_ends_ours(edge: ImapEdge) -> None:
    first, second = await edge.login(), await edge.login()
    await first.ok(b"CREATE x")
    await first.ok(b"SELECT x")
    await second.ok(b"DELETE x")
    await first.send(b"n NOOP\r\n")
    assert b"* BYE The mailbox was deleted" in await first.rest()


async def test_deleting_the_selected_mailbox_leaves_it(edge: ImapEdge) -> None:
    client = await edge.login()
    await client.ok(b"CREATE x")
    await client.ok(b"SELECT x")
    await client.ok(b"DELETE x")
    assert b"BAD" in (await client.ask(b"FETCH 1 FLAGS"))[-1]


async def test_idle_sees_every_kind_of_change(edge: ImapEdge) -> None:
    """RFC 2177."""
    other = await edge.login()
    await _fill(other, 2)
    idler = await edge.selected()
    await other.ok(b"SELECT INBOX")
    await idler.send(b"i IDLE\r\n")
    assert await idler.line() == b"+ idling\r\n"
    await other.ok(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert await idler.line() == b"* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))\r\n"
    await other.ok(b"EXPUNGE")
    assert await idler.line() == b"* 1 EXPUNGE\r\n"
    await idler.send(b"DONE\r\n")
    assert (await idler.until(b"i"))[-1] == b"i OK IDLE terminated"


async def test_idle_wants_done(edge: ImapEdge) -> None:
    client = await edge.login()
    await client.send(b"i IDLE\r\nNOOP\r\n")
    assert (await client.until(b"i"))[-1] == b"i BAD expected DONE"


async def test_a_lost_hint_is_made_up_for_by_the_next(edge: ImapEdge) -> None:
    """reliability.md §2, M5: hints wake, the table tells."""
    first = await edge.selected()
    wakers = dict(edge.notifier._wakers)
    edge.notifier._wakers.clear()
    second = await edge.login("b@example.org")
    edge.notifier._wakers.update(wakers)
    await second.ok(b"NOOP")
    account = edge.logins.accounts["a@example.org"]
    held, edge.notifier._wakers = edge.notifier._wakers, {}
    other = await edge.login()
    await _fill(other, 1)
    edge.notifier._wakers = held
    assert await first.ok(b"NOOP") == []
    edge.notifier.publish(StateChange(account, ModSeq(10_000)))
    assert await first.ok(b"NOOP") == [b"* 1 EXISTS", b"* 1 RECENT"]


async def test_accounts_see_nothing_of_each_other(edge: ImapEdge) -> None:
    """P6."""
    first, second = await edge.selected(), await edge.selected(address="b@example.org")
    await first.ok(b"CREATE mine")
    await _fill(first, 1)
    assert await second.ok(b"NOOP") == []
    assert b"NO [NONEXISTENT]" in (await second.ask(b"SELECT mine"))[-1]
    assert not [line for line in await second.ok(b'LIST "" *') if b"mine" in line]


async def test_pipelined_commands_are_answered_in_order(edge: ImapEdge) -> None:
    client = await edge.login()
    await client.send(b"".join(b"n%d NOOP\r\n" % n for n in range(500)))
    lines = await client.until(b"n499")
    assert lines == [b"n%d OK NOOP completed" % n for n in range(500)]


async def test_drain_says_bye_to_idle_clients(edge: ImapEdge) -> None:
    """reliability.md §9."""
    waiting, idling, fresh = await edge.login(), await edge.selected(), await edge.connect()
    await idling.send(b"i IDLE\r\n")
    await idling.line()
    await edge.server.drain(2.0)
    for client in (waiting, idling, fresh):
        assert b"* BYE Server is shutting down\r\n" in await asyncio.wait_for(client.rest(), 2)
    assert edge.server.open_connections == 0


async def test_a_store_that_cannot_write_is_still_read(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """F03, F05: login, SELECT and FETCH go on; changes are NO and temporary."""
    client = await edge.login()
    await _fill(client, 1)

    async def refused(*_: object) -> None:
        raise StoreReadOnly("damaged")

    monkeypatch.setattr(edge.database, "write", refused)
    reader = await edge.selected()
    assert await reader.ok(b"FETCH 1 BODY[TEXT]") == [b"* 1 FETCH (BODY[TEXT] {6}\r\nbody\r\n)"]
    for command in (b"STORE 1 +FLAGS (\\Seen)", b"CREATE x", b"COPY 1 Trash"):
        assert b"NO [UNAVAILABLE]" in (await reader.ask(command))[-1]
    assert b"NO [UNAVAILABLE]" in await reader.append(b"INBOX", MESSAGE)
    await reader.ok(b"UNSELECT")


async def test_what_comes_while_a_session_is_busy_ends_its_next_wait() -> None:
    """A DONE, or a hint, that arrives while IDLE tells of a change is not slept over."""
    connection = ImapConnection(lambda _connection: None)
    now = asyncio.get_running_loop().time()
    connection.poke()
    await connection.wait(now + 10.0)
    with pytest.raises(TimeoutError):
        await connection.wait(now)
