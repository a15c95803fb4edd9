"""Several sessions do random things to one mailbox; each must agree with a simple model (RFC 9051 §2.3, §7.5.1).

- The model knows UID, flags and order; a session's picture is built only from what the server told it.
- EXPUNGE and VANISHED never come during FETCH, STORE or SEARCH by number.
"""

from __future__ import annotations

import random
import re

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
FLAGS = (b"\\Seen", b"\\Flagged", b"\\Deleted", b"\\Answered", b"one", b"two")
STEPS = 150
_FETCH = re.compile(rb"\* ([0-9]+) FETCH \((?:UID ([0-9]+) )?(?:FLAGS \(([^)]*)\))?")


class Model:
    """The mailbox as it must be."""

    def __init__(self) -> None:
        self.messages: dict[int, set[bytes]] = {}
        self.next = 1

    def add(self) -> None:
        self.messages[self.next] = set()
        self.next += 1


class Picture:
    """The mailbox as one client sees it."""

    def __init__(self, client: ImapClient, name: bytes) -> None:
        self.client = client
        self.mode = name
        self.uids: list[int | None] = []
        self.flags: dict[int, set[bytes]] = {}

    async def open(self) -> None:
        if self.mode:
            await self.client.ok(b"ENABLE " + self.mode)
        await self.do(b"SELECT INBOX")
        await self.settle()

    async def settle(self) -> None:
        """Learn all there is: the updates, then the numbers anew; they must say the same."""
        await self.do(b"NOOP")
        lines = await self.do(b"FETCH 1:* (UID FLAGS)") if self.uids else []
        told = [int(found[2]) for line in lines if (found := _FETCH.match(line)) and found[2]]
        assert self.uids == told

    async def do(self, command: bytes) -> list[bytes]:
        """Send a command and take in what is told."""
        lines = await self.client.ask(command)
        assert b" OK" in lines[-1], (command, lines)
        keeps = command.split()[0] in (b"FETCH", b"STORE", b"SEARCH")
        for line in lines[:-1]:
            self._take(line, keeps=keeps)
        return lines[:-1]

    def _take(self, line: bytes, *, keeps: bool) -> None:
        if line.startswith(b"* VANISHED "):
            assert not keeps
            gone = {uid for part in line.split()[2].split(b",") for uid in _span(part)}
            unknown = len(gone - set(self.uids))
            assert unknown <= self.uids.count(None)
            self.uids = [uid for uid in self.uids if uid not in gone]
            if unknown:
                # Which of the messages it has not asked about are gone a client can't know: it asks anew from there.
                first = self.uids.index(None)
                self.uids = self.uids[:first] + [None] * (len(self.uids) - first - unknown)
        elif line.endswith(b" EXPUNGE"):
            assert not keeps
            assert not self.mode.endswith(b"QRESYNC")
            del self.uids[int(line.split()[1]) - 1]
        elif line.endswith(b" EXISTS"):
            count = int(line.split()[1])
            assert count >= len(self.uids)
            self.uids += [None] * (count - len(self.uids))
        elif found := _FETCH.match(line):
            number = int(found[1])
            assert 1 <= number <= len(self.uids)
            if found[2]:
                uid = int(found[2])
                assert self.uids[number - 1] in (None, uid)
                self.uids[number - 1] = uid
                if found[3] is not None:
                    self.flags[uid] = set(found[3].split()) - {b"\\Recent"}


def _span(part: bytes) -> range:
    first, _, last = part.partition(b":")
    return range(int(first), int(last or first) + 1)


async def _step(chance: random.Random, model: Model, pictures: list[Picture], deliverer: ImapClient) -> None:
    who = chance.choice(pictures)
    known = [uid for uid in who.uids if uid is not None]
    what = chance.choice(("append", "append", "store", "store", "store", "expunge", "noop", "fetch", "search", "other"))
    if what == "append" or not known:
        await deliverer.append(b"INBOX", MESSAGE)
        model.add()
    elif what == "store":
        chosen = sorted(chance.sample(known, min(len(known), chance.randint(1, 3))))
        flags = set(chance.sample(FLAGS, 2))
        mode = chance.choice((b"+", b"-", b""))
        silent = chance.choice((b"", b".SILENT"))
        by_uid = b",".join(b"%d" % uid for uid in chosen)
        await who.do(b"UID STORE %s %sFLAGS%s (%s)" % (by_uid, mode, silent, b" ".join(sorted(flags))))
        for uid in set(chosen) & model.messages.keys():
            have = model.messages[uid]
            model.messages[uid] = have | flags if mode == b"+" else have - flags if mode == b"-" else flags
            if silent:
                old = who.flags.setdefault(uid, set())
                who.flags[uid] = old | flags if mode == b"+" else old - flags if mode == b"-" else flags
    elif what == "expunge":
        await who.do(b"NOOP")
        await who.do(b"EXPUNGE")
        model.messages = {uid: flags for uid, flags in model.messages.items() if b"\\Deleted" not in flags}
    elif what == "fetch":
        number = chance.randint(1, len(who.uids))
        await who.do(b"FETCH %d:* (UID FLAGS)" % number)
    elif what == "search":
        lines = await who.do(b"UID SEARCH FLAGGED")
        told = {int(word) for line in lines if line.startswith(b"* SEARCH") for word in line.split()[2:]}
        assert told <= {uid for uid, flags in model.messages.items() if b"\\Flagged" in flags}
    else:
        await who.do(b"NOOP")


@pytest.mark.parametrize("seed", range(3))
async def test_sessions_agree_with_the_model(edge: ImapEdge, seed: int) -> None:
    chance = random.Random(seed)
    model = Model()
    deliverer = await edge.login()
    for _ in range(5):
        await deliverer.append(b"INBOX", MESSAGE)
        model.add()
    pictures = [Picture(await edge.login(), mode) for mode in (b"", b"QRESYNC", b"CONDSTORE")]
    for picture in pictures:
        await picture.open()
    for _ in range(STEPS):
        await _step(chance, model, pictures, deliverer)
    for picture in pictures:
        await picture.settle()
        assert picture.uids == sorted(model.messages)
        assert {uid: picture.flags.get(uid, set()) for uid in model.messages} == model.messages
    late = Picture(await edge.login(), b"")
    await late.open()
    assert late.uids == sorted(model.messages)
