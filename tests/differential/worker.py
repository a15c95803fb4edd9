"""One session's random operations, each recorded for the model as it was answered."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.differential.model import Added, Expunged, Flags, Operation, Stored
from tests.differential.session import Answer, Gone, Session, Violation, expanded

FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Forwarded", "alpha", "beta")
MESSAGES_MIN, MESSAGES_MAX = 40, 250
"""A mailbox is filled below the one, emptied above the other."""


class Worker:
    """Drives one session.

    Args:
        number: Names the session in the model.
        record: Takes what was done, or perhaps was.
    """

    def __init__(
        self,
        number: int,
        session: Session,
        mailboxes: Sequence[str],
        rng: random.Random,
        record: Callable[[Operation], None],
    ) -> None:
        self.number = number
        self.session = session
        self._mailboxes = mailboxes
        self._rng = rng
        self._record = record

    async def act(self) -> None:
        """One operation. Raises Gone when the server died, Violation."""
        session = self.session
        if session.pending_new:
            await session.refresh()
        count = len(session.picture.uids)
        weights = {
            self._store: 40,
            self._append: 6 if count > MESSAGES_MIN else 30,
            self._expunge: 8 if count < MESSAGES_MAX else 30,
            self._copy: 6,
            self._search: 4,
            session.refresh: 10,
            self._reselect: 3,
            self._fetch: 8,
        }
        if not any(session.picture.uids):
            await self._append()
            return
        (chosen,) = self._rng.choices(list(weights), list(weights.values()))
        await chosen()
        if session.pending_new:
            await session.refresh()

    def _some(self) -> list[int]:
        """UIDs of a run, or of scattered messages, that this session knows."""
        uids = [uid for uid in self.session.picture.uids if uid]
        if self._rng.random() < 0.5:
            first = self._rng.randrange(len(uids))
            return uids[first : first + self._rng.randint(1, 12)]
        return sorted(self._rng.sample(uids, min(len(uids), self._rng.randint(1, 4))))

    def _numbers(self, uids: Sequence[int], *, uid: bool) -> bytes:
        known = self.session.picture.uids
        return b",".join(b"%d" % (value if uid else known.index(value) + 1) for value in uids)

    def _flags(self) -> Flags:
        return frozenset(self._rng.sample(FLAGS, self._rng.randint(1, 3)))

    async def _store(self) -> None:
        uids, flags, uid = self._some(), self._flags(), self._rng.random() < 0.5
        mode = self._rng.choice(["+", "+", "-", ""])
        command = b"%sSTORE %s %sFLAGS%s (%s)" % (
            b"UID " if uid else b"",
            self._numbers(uids, uid=uid),
            mode.encode(),
            b".SILENT" if self._rng.random() < 0.3 else b"",
            " ".join(sorted(flags)).encode(),
        )
        silent = b".SILENT" in command
        mailbox = self.session.mailbox

        def stored(*, certain: bool) -> None:
            self._record(
                Stored(session=self.number, mailbox=mailbox, uids=uids, mode=mode, flags=flags, certain=certain)
            )

        before = {one: self.session.picture.flags.get(one, frozenset()) for one in uids}
        answer = await self._run(command, lambda: stored(certain=False), may_expunge=uid)
        if not answer.ok:
            raise Violation(f"{command!r} -> {answer.status!r}")
        stored(certain=True)
        if silent:
            for one in uids:
                if one in self.session.picture.uids and not self._told(answer, one):
                    old = before[one]
                    self.session.picture.flags[one] = old | flags if mode == "+" else old - flags if mode else flags

    def _told(self, answer: Answer, uid: int) -> bool:
        """Whether the answer named the message's flags."""
        number = self.session.picture.uids.index(uid) + 1
        heads = (b"* %d FETCH" % number, b"* %d UIDFETCH" % uid)
        return any(b"FLAGS" in line and (line.startswith(heads) or b"UID %d " % uid in line) for line in answer.lines)

    async def _append(self) -> None:
        mailbox = self._rng.choice(self._mailboxes)
        flags = self._flags() if self._rng.random() < 0.5 else frozenset()
        message = b"Subject: %d\r\n\r\nbody\r\n" % self._rng.getrandbits(60)
        command = b"APPEND %s (%s) {%d+}\r\n%s" % (
            mailbox.encode(), " ".join(sorted(flags)).encode(), len(message), message
        )  # fmt: skip

        def added(uid: int | None) -> None:
            self._record(Added(session=self.number, mailbox=mailbox, uid=uid, flags=flags))

        answer = await self._run(command, lambda: added(None))
        if not answer.ok:
            raise Violation(f"APPEND -> {answer.status!r}")
        added(int((answer.code(b"APPENDUID") or b"").split()[1]))

    async def _expunge(self) -> None:
        session = self.session
        uids, mailbox = [uid for uid in session.picture.uids if uid], session.mailbox
        command = b"EXPUNGE"
        if self._rng.random() < 0.5:
            uids = self._some()
            command = b"UID EXPUNGE " + self._numbers(uids, uid=True)

        def expunged(*, certain: bool) -> None:
            self._record(Expunged(session=self.number, mailbox=mailbox, uids=uids, certain=certain))

        answer = await self._run(command, lambda: expunged(certain=False))
        if not answer.ok:
            raise Violation(f"EXPUNGE -> {answer.status!r}")
        expunged(certain=True)

    async def _copy(self) -> None:
        uids, uid = self._some(), self._rng.random() < 0.5
        source = self.session.mailbox
        move = self._rng.random() < 0.5
        target = next(name for name in self._mailboxes if name != source)
        command = b"%s%s %s %s" % (
            b"UID " if uid else b"", b"MOVE" if move else b"COPY", self._numbers(uids, uid=uid), target.encode()
        )  # fmt: skip

        def added(one: int, new: int | None) -> None:
            self._record(
                Added(session=self.number, mailbox=target, uid=new, flags=frozenset(), source=(source, one), moved=move)
            )

        def lost() -> None:
            for one in uids:
                added(one, None)

        answer = await self._run(command, lost)
        if not answer.ok:
            raise Violation(f"{command!r} -> {answer.status!r}")
        code = answer.code(b"COPYUID")
        if code is not None:
            _, old, new = code.split()
            for one, other in zip(expanded(old), expanded(new), strict=True):
                added(one, other)

    async def _fetch(self) -> None:
        uids = self._some()
        answer = await self._run(b"FETCH %s (FLAGS)" % self._numbers(uids, uid=False), _nothing, may_expunge=False)
        if not answer.ok:
            raise Violation(f"FETCH -> {answer.status!r}")

    async def _search(self) -> None:
        answer = await self._run(b"SEARCH KEYWORD alpha UNSEEN", _nothing, may_expunge=False)
        if not answer.ok:
            raise Violation(f"SEARCH -> {answer.status!r}")

    async def _reselect(self) -> None:
        """Open the mailbox anew, or the other one."""
        stay = self._rng.random() < 0.5
        await self.session.select(self.session.mailbox if stay else self._rng.choice(self._mailboxes))

    async def _run(self, command: bytes, lost: Callable[[], None], *, may_expunge: bool = True) -> Answer:
        try:
            return await self.session.run(command, may_expunge=may_expunge)
        except Gone:
            lost()
            raise


def _nothing() -> None:
    """Reading leaves no trace in the model."""
