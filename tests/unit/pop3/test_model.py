"""Random sessions against a simple model: the maildrop is what the mailbox holds, and goes where QUIT sends it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from server.services.mailstore.sync import Change
from tests.support.pop3_edge import Pop3Client, Pop3Edge

STEPS = 40


class Nobody:
    def wake(self) -> None: ...

    def note(self, changes: Sequence[Change]) -> None: ...


async def _expunge(edge: Pop3Edge, uid: int) -> None:
    """As another session does."""
    mailbox = await edge.mailstore.mailbox(edge.account_id, "INBOX")
    follower = Nobody()
    view = await edge.mailstore.open(edge.account_id, mailbox.id, follower)
    await edge.mailstore.remove(view, [uid])
    edge.mailstore.close(view, follower)


async def _check(client: Pop3Client, there: list[tuple[bytes, bytes]]) -> None:
    """All listings agree with what is there: unique ids and octets, by number."""
    assert await client.ask(b"STAT") == b"+OK %d %d" % (len(there), sum(len(octets) for _, octets in there))
    sizes = [b"%d %d" % (number, len(octets)) for number, (_, octets) in enumerate(there, 1)]
    assert (await client.many(b"LIST")).splitlines() == sizes
    ids = [b"%d %s" % (number, name) for number, (name, _) in enumerate(there, 1)]
    assert (await client.many(b"UIDL")).splitlines() == ids
    for number, (_, octets) in enumerate(there, 1):
        assert await client.many(b"RETR %d" % number) == octets


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_sessions_agree_with_a_model(edge: Pop3Edge, seed: int) -> None:
    chance = random.Random(seed)
    there: list[tuple[bytes, bytes]] = []
    added = 0
    validity = (await edge.mailstore.mailbox(edge.account_id, "INBOX")).uidvalidity
    for _ in range(STEPS):
        for _ in range(chance.randrange(3)):
            added += 1
            octets = b"Subject: %d\r\n\r\n" % added + b".line\r\n" * chance.randrange(50)
            await edge.fill(octets)
            there.append((b"%d.%d" % (validity, added), octets))
        client = await edge.opened()
        await _check(client, there)
        marked = {number for number in range(1, len(there) + 1) if chance.random() < 0.3}
        for number in marked:
            await client.ok(b"DELE %d" % number)
        if chance.random() < 0.2:
            await client.ok(b"RSET")
            marked = set()
        gone = set()
        if there and chance.random() < 0.3:
            gone = {chance.randrange(1, len(there) + 1)}
            for number in gone:
                await _expunge(edge, int(there[number - 1][0].split(b".")[1]))
        if chance.random() < 0.7:
            await client.ok(b"QUIT")
            gone |= marked
        await client.close()
        await edge.left()
        there = [one for number, one in enumerate(there, 1) if number not in gone]
    assert await edge.uids() == [int(name.split(b".")[1]) for name, _ in there]
