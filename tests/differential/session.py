"""A client that believes nothing but untagged responses, and so finds out when one is missing or out of order.

- Its picture of the mailbox is built from SELECT, EXISTS, EXPUNGE, VANISHED and FETCH alone.
- Anything impossible raises Violation: a number beyond the last, EXPUNGE where it is forbidden, a UID out of order.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from tests.fault.clients import unverified

_FETCH = re.compile(rb"\* (\d+) (UID)?FETCH \((.*)\)$", re.DOTALL)
_UID, _MODSEQ = re.compile(rb"\bUID (\d+)"), re.compile(rb"\bMODSEQ \((\d+)\)")
_FLAGS = re.compile(rb"\bFLAGS \(([^)]*)\)")
ANSWER_S = 60.0


class Violation(AssertionError):
    """The server said what it must not say."""


class Dialect(Enum):
    """What a session switches on."""

    REV1 = b""
    CONDSTORE = b"ENABLE CONDSTORE"
    QRESYNC = b"ENABLE QRESYNC"
    REV2 = b"ENABLE IMAP4rev2"


class Gone(Exception):
    """The connection ended before the answer came."""


@dataclass(slots=True)
class Picture:
    """A mailbox as one session knows it."""

    uidvalidity: int = 0
    uids: list[int] = field(default_factory=list)
    flags: dict[int, frozenset[str]] = field(default_factory=dict)
    modseqs: dict[int, int] = field(default_factory=dict)
    highest_modseq: int = 0
    """As HIGHESTMODSEQ told it: a FETCH may be ahead of changes that are still to be told."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A command's tagged line and the untagged lines before it."""

    status: bytes
    lines: tuple[bytes, ...]

    @property
    def ok(self) -> bool:
        return self.status.startswith(b"OK")

    def code(self, name: bytes) -> bytes | None:
        """What follows a response code's name, in the tagged line or in one before."""
        for line in (self.status, *self.lines):
            found = re.search(rb"\[" + name + rb" ([^\]]*)\]", line)
            if found is not None:
                return found[1]
        return None


class Session:
    """One connection with at most one mailbox open."""

    def __init__(self, port: int, login: tuple[str, str], dialect: Dialect) -> None:
        self.dialect = dialect
        self.picture = Picture()
        self.mailbox = ""
        self.pending_new = 0
        self._port, self._login = port, login
        self._tags = 0
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> None:
        """Connect and log in. Raises Gone."""
        try:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=unverified(), limit=1 << 24
            )
            await self._line()
        except OSError as error:
            raise Gone from error
        answer = await self.run(f'LOGIN "{self._login[0]}" "{self._login[1]}"'.encode())
        assert answer.ok, answer
        if self.dialect.value:
            assert (await self.run(self.dialect.value)).ok
        self.mailbox = ""

    async def close(self) -> None:
        self._writer.close()

    async def select(self, mailbox: str) -> None:
        """Open a mailbox and learn all of it; one that was known before is brought up to date where QRESYNC can."""
        known = self.picture if self.dialect is Dialect.QRESYNC and mailbox == self.mailbox else None
        if known is not None and known.uidvalidity and known.highest_modseq:
            old_uids = list(known.uids)
            self.mailbox = ""
            answer = await self.run(
                b"SELECT %s (QRESYNC (%d %d))" % (mailbox.encode(), known.uidvalidity, known.highest_modseq),
                apply=False,
            )
            assert answer.ok, answer
            self._resynchronise(old_uids, answer)
            self.mailbox = mailbox
            await self._learn_new()
            return
        self.picture, self.mailbox, self.pending_new = Picture(), "", 0
        answer = await self.run(b"SELECT " + mailbox.encode(), apply=False)
        assert answer.ok, answer
        self.mailbox = mailbox
        self._selected(answer)
        self.picture.uids = [0] * self._exists(answer)
        self.pending_new = len(self.picture.uids)
        await self._learn_new()

    async def refresh(self) -> None:
        """Be told of everything, and look at what is new."""
        answer = await self.run(b"NOOP")
        assert answer.ok, answer
        await self._learn_new()

    async def _learn_new(self) -> None:
        while self.pending_new:
            first = len(self.picture.uids) - self.pending_new + 1
            items = b"UID FLAGS MODSEQ" if self.dialect in (Dialect.CONDSTORE, Dialect.QRESYNC) else b"UID FLAGS"
            self.pending_new = 0
            answer = await self.run(b"FETCH %d:%d (%s)" % (first, len(self.picture.uids), items), may_expunge=False)
            assert answer.ok, answer

    async def run(self, command: bytes, *, may_expunge: bool = True, apply: bool = True) -> Answer:
        """Send a command, take in what comes, return the answer. Raises Gone, Violation."""
        self._tags += 1
        tag = b"t%d" % self._tags
        lines: list[bytes] = []
        try:
            self._writer.write(tag + b" " + command + b"\r\n")
            while True:
                line = await asyncio.wait_for(self._line(), ANSWER_S)
                if line.startswith(tag + b" "):
                    return Answer(line[len(tag) + 1 :], tuple(lines))
                lines.append(line)
                if apply and self.mailbox:
                    self._take(line, may_expunge=may_expunge)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Gone from error

    async def _line(self) -> bytes:
        """One response with its literals."""
        whole = b""
        while True:
            line = await self._reader.readuntil(b"\r\n")
            whole += line
            literal = re.search(rb"\{(\d+)\}\r\n$", line)
            if literal is None:
                return whole[:-2]
            whole += await self._reader.readexactly(int(literal[1]))

    def _take(self, line: bytes, *, may_expunge: bool) -> None:
        picture = self.picture
        if found := re.match(rb"\* (\d+) EXISTS$", line):
            count = int(found[1])
            if count < len(picture.uids):
                raise Violation(f"EXISTS went from {len(picture.uids)} to {count}")
            self.pending_new += count - len(picture.uids)
            picture.uids += [0] * (count - len(picture.uids))
        elif found := re.match(rb"\* (\d+) EXPUNGE$", line):
            if not may_expunge:
                raise Violation("EXPUNGE while numbers are in use")
            if self.dialect is Dialect.QRESYNC:
                raise Violation("EXPUNGE where VANISHED is due")
            self._remove_place(int(found[1]) - 1)
        elif found := re.match(rb"\* VANISHED ([\d:,]+)$", line):
            if not may_expunge:
                raise Violation("VANISHED while numbers are in use")
            for uid in expanded(found[1]):
                if uid in picture.uids:
                    self._remove_place(picture.uids.index(uid))
                elif (place := self._unknown_place(uid)) is not None:
                    self._remove_place(place)
                else:
                    raise Violation(f"VANISHED names {uid}, which was not there")
        elif found := _FETCH.match(line):
            self._fetched(int(found[1]), found[3])
        elif found := re.match(rb"\* OK \[HIGHESTMODSEQ (\d+)\]", line):
            picture.highest_modseq = int(found[1])

    def _unknown_place(self, uid: int) -> int | None:
        """Where a message may stand that EXISTS counted and nothing named yet."""
        uids = self.picture.uids
        first = max((place + 1 for place, known in enumerate(uids) if 0 < known < uid), default=0)
        return first if first < len(uids) and uids[first] == 0 else None

    def _remove_place(self, place: int) -> None:
        picture = self.picture
        if not 0 <= place < len(picture.uids):
            raise Violation(f"EXPUNGE of {place + 1} among {len(picture.uids)}")
        if place >= len(picture.uids) - self.pending_new:
            self.pending_new -= 1
        uid = picture.uids.pop(place)
        picture.flags.pop(uid, None)
        picture.modseqs.pop(uid, None)

    def _fetched(self, number: int, items: bytes) -> None:
        picture = self.picture
        if not 1 <= number <= len(picture.uids):
            raise Violation(f"FETCH of {number} among {len(picture.uids)}")
        uid = picture.uids[number - 1]
        if found := _UID.search(items):
            told = int(found[1])
            if uid not in (0, told):
                raise Violation(f"message {number} was {uid} and now is {told}")
            picture.uids[number - 1] = uid = told
            before = [known for known in picture.uids[: number - 1] if known]
            if before and before[-1] >= uid:
                raise Violation(f"UID {uid} comes after {before[-1]}")
        if uid == 0:
            return
        if found := _FLAGS.search(items):
            picture.flags[uid] = frozenset(found[1].decode().split()) - {"\\Recent"}
        if found := _MODSEQ.search(items):
            modseq = int(found[1])
            if modseq < picture.modseqs.get(uid, 0):
                raise Violation(f"modseq of {uid} went from {picture.modseqs[uid]} to {modseq}")
            picture.modseqs[uid] = modseq

    def _selected(self, answer: Answer) -> None:
        self.picture.uidvalidity = int(answer.code(b"UIDVALIDITY") or 0)
        self.picture.highest_modseq = int(answer.code(b"HIGHESTMODSEQ") or 0)

    def _resynchronise(self, old_uids: list[int], answer: Answer) -> None:
        """Apply what SELECT (QRESYNC ...) told to what was known (RFC 7162 §3.2.5)."""
        picture = self.picture
        gone: set[int] = set()
        for line in answer.lines:
            if found := re.match(rb"\* VANISHED \(EARLIER\) ([\d:,]+)$", line):
                gone.update(expanded(found[1], among=old_uids))
        uids = [uid for uid in old_uids if uid not in gone]
        for uid in gone:
            picture.flags.pop(uid, None)
            picture.modseqs.pop(uid, None)
        count = self._exists(answer)
        if count < len(uids):
            raise Violation(f"{len(uids)} messages are left, EXISTS says {count}")
        self.pending_new = count - len(uids)
        picture.uids = uids + [0] * self.pending_new
        self._selected(answer)
        for line in answer.lines:
            if found := _FETCH.match(line):
                self._fetched(int(found[1]), found[3])

    @staticmethod
    def _exists(answer: Answer) -> int:
        return next(int(found[1]) for line in answer.lines if (found := re.match(rb"\* (\d+) EXISTS$", line)))


def expanded(uid_set: bytes, among: Iterable[int] | None = None) -> list[int]:
    """The UIDs of a set; of those in `among` only, where the set may be large."""
    found: list[int] = []
    for part in uid_set.split(b","):
        first, _, last = part.partition(b":")
        low, high = sorted((int(first), int(last or first)))
        found += range(low, high + 1) if among is None else [uid for uid in among if low <= uid <= high]
    return found
