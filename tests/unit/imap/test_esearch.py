"""SEARCH's result options and later keys (RFC 4731, RFC 5032, RFC 5182, RFC 7162, RFC 8474, RFC 8514, RFC 9394)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from server.store.schema import messages
from server.store.transaction import Transaction
from tests.support.imap_edge import ImapClient, ImapEdge, open_imap

MESSAGE = b"Subject: number %d\r\n\r\nbody of %d\r\n"


def _date(ago: timedelta) -> bytes:
    return (datetime.now(UTC) - ago).strftime('"%d-%b-%Y %H:%M:%S +0000"').encode()


async def _filled(edge: ImapEdge, count: int = 5) -> ImapClient:
    client = await edge.login()
    for number in range(1, count + 1):
        date = _date(timedelta(hours=10 * number))
        assert b"OK" in await client.append(b"INBOX", MESSAGE % (number, number), date + b" ")
    await client.ok(b"SELECT INBOX")
    return client


async def test_within(edge: ImapEdge) -> None:
    """RFC 5032 §3: OLDER and YOUNGER in seconds of the internal date."""
    client = await _filled(edge)
    assert await client.ok(b"SEARCH YOUNGER %d" % (25 * 3600)) == [b"* SEARCH 1 2"]
    assert await client.ok(b"SEARCH OLDER %d" % (25 * 3600)) == [b"* SEARCH 3 4 5"]
    assert await client.ok(b"SEARCH OLDER 90000 YOUNGER %d" % (45 * 3600)) == [b"* SEARCH 3 4"]
    assert b"BAD" in (await client.ask(b"SEARCH OLDER 0"))[-1]


async def test_save_date(edge: ImapEdge) -> None:
    """RFC 8514 §4.3: the day a message came into its mailbox, whatever its internal date."""
    client = await _filled(edge, 3)

    async def age(tx: Transaction) -> None:
        day = int(datetime(2020, 5, 5, 12, tzinfo=UTC).timestamp()) * 1_000_000
        await tx.execute(update(messages).where(messages.c.uid == 2).values(saved_at=day))

    await edge.database.write("test.age", age)
    assert await client.ok(b"SEARCH SAVEDBEFORE 6-May-2020") == [b"* SEARCH 2"]
    assert await client.ok(b"SEARCH SAVEDON 5-May-2020") == [b"* SEARCH 2"]
    assert await client.ok(b"SEARCH NOT SAVEDSINCE 6-May-2020") == [b"* SEARCH 2"]
    assert await client.ok(b"SEARCH SAVEDATESUPPORTED") == [b"* SEARCH 1 2 3"]
    assert await client.ok(b"SEARCH OR SAVEDON 5-May-2020 BODY three OLDER 1") == [b"* SEARCH 2"]


async def test_modseq(edge: ImapEdge) -> None:
    """RFC 7162 §3.1.5, examples 15-17."""
    client = await _filled(edge, 3)
    await client.ok(b"STORE 2 +FLAGS.SILENT (\\Seen)")
    (line,) = [line for line in await client.ok(b"FETCH 2 MODSEQ") if b"FETCH" in line]
    modseq = int(line.split(b"MODSEQ (")[1].rstrip(b")"))
    assert await client.ok(b"SEARCH MODSEQ %d" % modseq) == [b"* SEARCH 2 (MODSEQ %d)" % modseq]
    assert await client.ok(b'SEARCH MODSEQ "/flags/\\\\draft" all %d' % modseq) == [b"* SEARCH 2 (MODSEQ %d)" % modseq]
    assert await client.ok(b"SEARCH MODSEQ %d" % (modseq + 1)) == [b"* SEARCH"]
    (line,) = await client.ok(b"UID SEARCH RETURN (ALL) OR MODSEQ %d 1" % modseq)
    assert line.endswith(b" UID ALL 1:2 MODSEQ %d" % modseq)
    (line,) = await client.ok(b"SEARCH RETURN (MIN) MODSEQ 1")
    assert re.search(rb"MIN 1 MODSEQ ([0-9]+)$", line)[1] != b"%d" % modseq  # type: ignore[index]
    assert b"BAD" in (await client.ask(b'SEARCH MODSEQ "/flags/x" none 1'))[-1]


async def test_object_ids(edge: ImapEdge) -> None:
    """RFC 8474 §4.3."""
    client = await _filled(edge, 2)
    (line,) = await client.ok(b"FETCH 2 EMAILID")
    id_ = line.split(b"EMAILID (")[1].rstrip(b")")
    assert await client.ok(b"SEARCH EMAILID " + id_) == [b"* SEARCH 2"]
    assert await client.ok(b"SEARCH EMAILID Mnone") == [b"* SEARCH"]


async def test_saved_results(edge: ImapEdge) -> None:
    """RFC 5182 §2: "$" in later commands, kept right over EXPUNGE, empty after a failed search."""
    client = await _filled(edge)
    assert await client.ok(b"SEARCH RETURN (SAVE) OLDER 90000") == []
    assert [line.split(b" (")[0] for line in await client.ok(b"FETCH $ (FLAGS)")] == [
        b"* 3 FETCH",
        b"* 4 FETCH",
        b"* 5 FETCH",
    ]
    assert await client.ok(b"SEARCH $ 4") == [b"* SEARCH 4"]
    assert await client.ok(b"UID SEARCH UID $") == [b"* SEARCH 3 4 5"]
    await client.ok(b"STORE 4 +FLAGS.SILENT (\\Deleted)")
    await client.ok(b"EXPUNGE")
    assert len(await client.ok(b"FETCH $ (FLAGS)")) == 2
    (line,) = await client.ok(b"SEARCH RETURN (SAVE MIN MAX) ALL")
    assert line.endswith(b"MIN 1 MAX 4")
    assert len(await client.ok(b"UID FETCH $ (FLAGS)")) == 2
    assert b"COPYUID" in (await client.ask(b"COPY $ Trash"))[-1]
    assert b"NO" in (await client.ask(b"SEARCH RETURN (SAVE) CHARSET KOI8-R ALL"))[-1]
    assert await client.ok(b"FETCH $ (FLAGS)") == []
    await client.ok(b"SEARCH RETURN (SAVE) ALL")
    await client.ok(b"SELECT INBOX")
    assert await client.ok(b"FETCH $ (FLAGS)") == []


async def test_partial(edge: ImapEdge) -> None:
    """RFC 9394 §3.1, §3.2: pages of a search, and of UID FETCH, from either end."""
    client = await _filled(edge)
    (line,) = await client.ok(b"UID SEARCH RETURN (PARTIAL 1:2 COUNT) ALL")
    assert line.endswith(b" UID PARTIAL (1:2 1:2) COUNT 5")
    (line,) = await client.ok(b"UID SEARCH RETURN (PARTIAL -1:-2) ALL")
    assert line.endswith(b" UID PARTIAL (-1:-2 4:5)")
    (line,) = await client.ok(b"UID SEARCH RETURN (PARTIAL 10:20) ALL")
    assert line.endswith(b" UID PARTIAL (10:20 NIL)")
    assert b"BAD" in (await client.ask(b"SEARCH RETURN (PARTIAL 1:2 ALL) ALL"))[-1]
    assert b"BAD" in (await client.ask(b"SEARCH RETURN (PARTIAL 1:-2) ALL"))[-1]
    lines = await client.ok(b"UID FETCH 1:* (UID) (PARTIAL -1:-3)")
    assert lines == [b"* 3 FETCH (UID 3)", b"* 4 FETCH (UID 4)", b"* 5 FETCH (UID 5)"]
    assert b"BAD" in (await client.ask(b"FETCH 1:* (UID) (PARTIAL 1:3)"))[-1]


@pytest.mark.parametrize("key", [b"BODY 2", b"OR BODY 2 SEEN", b"NOT BODY 1 NOT BODY 3"])
async def test_a_message_without_octets_does_not_fail_the_search(tmp_path: Path, key: bytes) -> None:
    async with open_imap(tmp_path, inline_max=0) as edge:
        client = await _filled(edge, 3)
        files = [path for path in (tmp_path / "mail").rglob("*") if path.is_file()]
        lost = [path for path in files if b"body of 1" in path.read_bytes()]
        assert len(lost) == 1
        lost[0].unlink()
        assert await client.ok(b"SEARCH " + key) == [b"* SEARCH 2"]
