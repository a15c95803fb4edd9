"""CONDSTORE and QRESYNC (RFC 7162), dialogues on real sockets."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from server.store.repositories import upkeep
from server.store.schema import mailboxes
from server.store.transaction import Transaction
from tests.support.imap_edge import ImapClient, ImapEdge

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


async def _filled(edge: ImapEdge, count: int) -> ImapClient:
    client = await edge.login()
    for _ in range(count):
        assert b"OK" in await client.append(b"INBOX", MESSAGE)
    return client


async def _highest(client: ImapClient) -> int:
    lines = await client.ok(b"STATUS INBOX (HIGHESTMODSEQ)")
    (line,) = [line for line in lines if line.startswith(b"* STATUS")]
    return int(line.split(b"HIGHESTMODSEQ ")[1].rstrip(b")"))


def _code(lines: list[bytes], name: bytes) -> int:
    for line in lines:
        found = re.search(rb"\[" + name + rb" ([0-9]+)\]", line)
        if found is not None:
            return int(found[1])
    raise AssertionError(lines)


async def _uidvalidity(client: ImapClient) -> int:
    (line,) = await client.ok(b"STATUS INBOX (UIDVALIDITY)")
    return int(line.split(b"UIDVALIDITY ")[1].rstrip(b")"))


async def test_select_tells_the_highest_modseq(edge: ImapEdge) -> None:
    """RFC 7162 §3.1.2.1."""
    client = await _filled(edge, 2)
    highest = await _highest(client)
    assert _code(await client.ok(b"SELECT INBOX (CONDSTORE)"), b"HIGHESTMODSEQ") == highest


@pytest.mark.parametrize(
    "enabling",
    [
        b"ENABLE CONDSTORE",
        b"STATUS INBOX (HIGHESTMODSEQ)",
        b"FETCH 1 (MODSEQ)",
        b"FETCH 1 (FLAGS) (CHANGEDSINCE 1)",
        b"STORE 1 (UNCHANGEDSINCE 1) +FLAGS.SILENT (x)",
        b"SELECT INBOX (CONDSTORE)",
    ],
)
async def test_every_enabling_command_turns_modseqs_on(edge: ImapEdge, enabling: bytes) -> None:
    """RFC 7162 §3.1: MODSEQ is in every FETCH for changed flags from then on."""
    client = await _filled(edge, 2)
    await client.ok(b"SELECT INBOX")
    other = await edge.selected()
    await other.ok(b"STORE 2 +FLAGS.SILENT (\\Flagged)")
    (line,) = await client.ok(b"NOOP")
    assert b"MODSEQ" not in line
    await client.ok(enabling)
    await other.ok(b"STORE 2 -FLAGS.SILENT (\\Flagged)")
    (line,) = await client.ok(b"NOOP")
    assert re.fullmatch(rb"\* 2 FETCH \(UID 2 FLAGS \(.*\) MODSEQ \([0-9]+\)\)", line)


async def test_unchangedsince_leaves_changed_messages_alone(edge: ImapEdge) -> None:
    """RFC 7162 §3.1.3, example 9."""
    client = await _filled(edge, 3)
    await client.ok(b"SELECT INBOX (CONDSTORE)")
    since = await _highest(client)
    other = await edge.selected()
    await other.ok(b"STORE 2 +FLAGS (\\Flagged)")
    lines = await client.ask(b"STORE 1:3 (UNCHANGEDSINCE %d) +FLAGS.SILENT (\\Deleted)" % since)
    assert re.fullmatch(rb"t[0-9]+ OK \[MODIFIED 2\] .*", lines[-1])
    now = await _highest(client)
    # Changed ones tell their modseq even when silent; the modified one tells what happened to it.
    assert b"* 1 FETCH (MODSEQ (%d))" % now in lines
    assert b"* 3 FETCH (MODSEQ (%d))" % now in lines
    assert [line for line in lines if line.startswith(b"* 2 FETCH (UID 2 FLAGS (\\Flagged")]
    lines = await client.ask(b"UID STORE 1:3 (UNCHANGEDSINCE %d) +FLAGS (\\Seen)" % since)
    assert b"[MODIFIED 1:3]" in lines[-1]
    lines = await client.ask(b"UID STORE 2 (UNCHANGEDSINCE %d) +FLAGS (\\Seen)" % now)
    assert b"MODIFIED" not in lines[-1]
    assert re.fullmatch(rb"\* 2 FETCH \(UID 2 FLAGS \(\\Flagged \\Seen.*\) MODSEQ \([0-9]+\)\)", lines[0])


async def test_unchangedsince_zero_changes_nothing(edge: ImapEdge) -> None:
    """RFC 7162 §3.1.3."""
    client = await _filled(edge, 1)
    await client.ok(b"SELECT INBOX")
    assert b"[MODIFIED 1]" in (await client.ask(b"STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Seen)"))[-1]


async def test_a_store_that_changes_nothing_keeps_the_modseq(edge: ImapEdge) -> None:
    client = await _filled(edge, 1)
    await client.ok(b"SELECT INBOX (CONDSTORE)")
    await client.ok(b"STORE 1 +FLAGS (\\Seen)")
    before = await _highest(client)
    await client.ok(b"STORE 1 +FLAGS (\\Seen)")
    assert await _highest(client) == before


async def test_silence_covers_only_the_own_change(edge: ImapEdge) -> None:
    """RFC 9051 §6.4.6: what others changed about the same message is told all the same."""
    client = await _filled(edge, 2)
    await client.ok(b"SELECT INBOX")
    other = await edge.selected()
    await other.ok(b"STORE 1 +FLAGS (\\Flagged)")
    lines = await client.ok(b"STORE 1:2 +FLAGS.SILENT (\\Seen)")
    assert [line.split(b" FLAGS")[0] for line in lines] == [b"* 1 FETCH (UID 1"]
    assert b"\\Flagged \\Seen" in lines[0]


async def test_fetch_changedsince(edge: ImapEdge) -> None:
    """RFC 7162 §3.1.4.1, example 12."""
    client = await _filled(edge, 3)
    await client.ok(b"SELECT INBOX")
    since = await _highest(client)
    await client.ok(b"STORE 2 +FLAGS.SILENT (\\Seen)")
    now = await _highest(client)
    lines = await client.ok(b"UID FETCH 1:* (UID) (CHANGEDSINCE %d)" % since)
    assert lines == [b"* 2 FETCH (UID 2 MODSEQ (%d))" % now]
    assert await client.ok(b"FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % now) == []


async def test_seen_by_fetch_tells_its_modseq(edge: ImapEdge) -> None:
    """RFC 7162 §3.1.4: an implicit change of flags carries its modseq."""
    client = await _filled(edge, 1)
    await client.ok(b"SELECT INBOX (CONDSTORE)")
    (line,) = await client.ok(b"FETCH 1 (BODY[TEXT])")
    assert b"* 1 FETCH (FLAGS (\\Seen" in line
    assert b" MODSEQ (%d) BODY[TEXT] {6}" % await _highest(client) in line
    assert await client.ok(b"NOOP") == []


async def test_seen_by_fetch_names_the_uid_with_qresync(edge: ImapEdge) -> None:
    """RFC 7162 §3.2.4."""
    client = await _filled(edge, 1)
    await client.ok(b"ENABLE QRESYNC")
    await client.ok(b"SELECT INBOX")
    (line,) = await client.ok(b"FETCH 1 (BODY[TEXT])")
    assert line.startswith(b"* 1 FETCH (UID 1 FLAGS (\\Seen")
    (line,) = await client.ok(b"FETCH 1 (BODY[TEXT])")
    assert line.startswith(b"* 1 FETCH (BODY[TEXT]")


async def test_qresync_has_to_be_enabled(edge: ImapEdge) -> None:
    """RFC 7162 §3.2.3."""
    client = await _filled(edge, 1)
    assert b"BAD" in (await client.ask(b"SELECT INBOX (QRESYNC (1 1))"))[-1]
    highest = _code(await client.ok(b"SELECT INBOX"), b"HIGHESTMODSEQ")
    assert b"BAD" in (await client.ask(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"))[-1]
    lines = await client.ok(b"ENABLE QRESYNC")
    assert lines == [b"* OK [HIGHESTMODSEQ %d] Modseqs from now on" % highest, b"* ENABLED QRESYNC"]


async def test_expunge_is_told_as_vanished(edge: ImapEdge) -> None:
    """RFC 7162 §3.2.7, §3.2.10: one VANISHED, HIGHESTMODSEQ in the tagged line."""
    client = await _filled(edge, 5)
    await client.ok(b"ENABLE QRESYNC")
    await client.ok(b"SELECT INBOX")
    other = await edge.selected()
    await client.ok(b"STORE 1,2,4 +FLAGS.SILENT (\\Deleted)")
    lines = await client.ask(b"EXPUNGE")
    assert lines[0] == b"* VANISHED 1:2,4"
    assert _code(lines, b"HIGHESTMODSEQ") == await _highest(client)
    assert [line for line in await other.ok(b"NOOP") if b"EXPUNGE" in line] == [
        b"* 4 EXPUNGE",
        b"* 2 EXPUNGE",
        b"* 1 EXPUNGE",
    ]
    lines = await client.ask(b"MOVE 1 Trash")
    assert lines[0].startswith(b"* OK [COPYUID ")
    assert lines[1] == b"* VANISHED 3"
    assert _code(lines[1:], b"HIGHESTMODSEQ") == await _highest(client)


async def test_close_tells_the_modseq_only_when_all_is_told(edge: ImapEdge) -> None:
    """RFC 7162 §3.2.8."""
    client = await _filled(edge, 3)
    await client.ok(b"ENABLE QRESYNC")
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    lines = await client.ask(b"CLOSE")
    assert not [line for line in lines if b"VANISHED" in line]
    assert _code(lines, b"HIGHESTMODSEQ") == await _highest(client)
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.append(b"Sent", MESSAGE)
    other = await edge.login()
    await other.append(b"INBOX", MESSAGE)
    assert b"HIGHESTMODSEQ" not in (await client.ask(b"CLOSE"))[-1]


async def test_resynchronisation_tells_what_was_missed(edge: ImapEdge) -> None:
    """RFC 7162 §3.2.5, §3.2.5.1."""
    client = await _filled(edge, 6)
    validity, since = await _uidvalidity(client), await _highest(client)
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 2,5 +FLAGS.SILENT (\\Deleted)")
    await client.ok(b"EXPUNGE")
    await client.ok(b"STORE 1 +FLAGS.SILENT (\\Seen)")
    now = await _highest(client)
    back = await edge.login()
    assert await back.ok(b"ENABLE QRESYNC") == [b"* ENABLED QRESYNC"]
    lines = await back.ok(b"SELECT INBOX (QRESYNC (%d %d))" % (validity, since))
    assert lines[-2:] == [
        b"* VANISHED (EARLIER) 2,5",
        b"* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (%d))" % now,
    ]
    lines = await back.ok(b"SELECT INBOX (QRESYNC (%d %d 3:6))" % (validity, since))
    assert lines[0].startswith(b"* OK [CLOSED]")
    assert lines[-1] == b"* VANISHED (EARLIER) 5"
    lines = await back.ok(b"SELECT INBOX (QRESYNC (%d %d 1:6 (1,2 1,3)))" % (validity, now))
    assert not [line for line in lines if b"VANISHED" in line or b"FETCH" in line]
    lines = await back.ok(b"SELECT INBOX (QRESYNC (%d %d))" % (validity + 1, since))
    assert not [line for line in lines if b"VANISHED" in line or b"FETCH" in line]


async def test_uid_fetch_vanished(edge: ImapEdge) -> None:
    """RFC 7162 §3.2.6, example 5."""
    client = await _filled(edge, 5)
    await client.ok(b"ENABLE QRESYNC")
    await client.ok(b"SELECT INBOX")
    since = await _highest(client)
    await client.ok(b"STORE 2,4 +FLAGS.SILENT (\\Deleted)")
    await client.ok(b"EXPUNGE")
    await client.ok(b"STORE 1 +FLAGS.SILENT (\\Seen)")
    lines = await client.ok(b"UID FETCH 1:3 (FLAGS) (CHANGEDSINCE %d VANISHED)" % since)
    assert lines[0] == b"* VANISHED (EARLIER) 2"
    assert lines[1].startswith(b"* 1 FETCH (UID 1 FLAGS (\\Seen")
    assert len(lines) == 2


async def test_purged_rows_are_made_up_for(edge: ImapEdge) -> None:
    """RFC 7162 §3.2.5.1-2: without expunged rows every missing UID is told, above what the match data shows."""
    client = await _filled(edge, 6)
    validity, since = await _uidvalidity(client), await _highest(client)
    await client.ok(b"ENABLE QRESYNC")
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 2,5 +FLAGS.SILENT (\\Deleted)")
    await client.ok(b"EXPUNGE")

    async def purge(tx: Transaction) -> int:
        return await upkeep.drop_expunged(tx, tx.now_us + 1)

    assert await edge.database.write("test.purge", purge) == 2
    lines = await client.ok(b"SELECT INBOX (QRESYNC (%d %d))" % (validity, since))
    assert b"* VANISHED (EARLIER) 2,5" in lines
    lines = await client.ok(b"SELECT INBOX (QRESYNC (%d %d 1:6 (1,2 1,3)))" % (validity, since))
    assert b"* VANISHED (EARLIER) 5" in lines
    lines = await client.ok(b"SELECT INBOX (QRESYNC (%d %d 3:4))" % (validity, since))
    assert not [line for line in lines if b"VANISHED" in line]


async def test_purging_notes_up_to_where(edge: ImapEdge) -> None:
    client = await _filled(edge, 1)
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
    await client.ok(b"EXPUNGE")
    highest = await _highest(client)

    async def purge(tx: Transaction) -> int:
        await upkeep.drop_expunged(tx, tx.now_us + 1)
        row = await tx.fetch_one(select(mailboxes.c.purged_modseq).where(mailboxes.c.purged_modseq > 0))
        return -1 if row is None else int(str(row[0]))

    assert await edge.database.write("test.purge", purge) == highest
