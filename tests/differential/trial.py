"""A run: batches of operations side by side, a look at the whole after each, now and then a kill -9."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from server.store import consistency
from tests.differential.doors import account_id, by_api, by_imap, pop3_uids
from tests.differential.model import Flags, Model, Operation
from tests.differential.session import Dialect, Gone, Session, Violation
from tests.differential.worker import Worker
from tests.fault.checker import read
from tests.support.daemon_process import PASSWORD, DaemonProcess

MAILBOXES = ("INBOX", "Archive")
BATCH_MAX = 12
"""Operations of one session between two looks."""


@dataclass(slots=True)
class Outcome:
    """How far a run came, and what was wrong."""

    operations: int = 0
    batches: int = 0
    kills: int = 0
    faults: list[str] = field(default_factory=list)


class Run:
    """Several sessions of one account against a running daemon."""

    def __init__(self, daemon: DaemonProcess, *, sessions: int, seed: int) -> None:
        self._daemon = daemon
        self._rng = random.Random(seed)
        self._login = (daemon.addresses[0], PASSWORD)
        self._batch: list[Operation] = []
        self._model = Model(MAILBOXES)
        self._uidvalidities: dict[str, int] = {}
        self._workers = [
            Worker(number, self._session(number), MAILBOXES, random.Random(f"{seed}/{number}"), self._batch.append)
            for number in range(sessions)
        ]
        self.outcome = Outcome()

    async def go(self, operations: int, *, kills: int = 0) -> Outcome:
        """Work until so many operations were tried, or something is wrong."""
        await self._open_all()
        kill_at = sorted(self._rng.randrange(operations) for _ in range(kills))
        while self.outcome.operations < operations and not self.outcome.faults:
            kill = bool(kill_at) and kill_at[0] <= self.outcome.operations
            await self._work(kill=kill)
            if kill:
                kill_at.pop(0)
                self.outcome.kills += 1
                self._daemon.start()
                await self._open_all()
            if not self.outcome.faults:
                await self._look()
            self.outcome.batches += 1
        for worker in self._workers:
            await worker.session.close()
        if not self.outcome.faults:
            self.outcome.faults += await self._other_doors()
        return self.outcome

    def _session(self, number: int) -> Session:
        return Session(self._daemon.ports.imaps, self._login, list(Dialect)[number % len(Dialect)])

    async def _open_all(self) -> None:
        for worker in self._workers:
            await worker.session.open()
            await worker.session.select(self._rng.choice(MAILBOXES))

    async def _work(self, *, kill: bool) -> None:
        """Every session does some operations; with `kill` the daemon dies meanwhile."""
        alone = self._rng.random() < 0.1
        workers = [self._rng.choice(self._workers)] if alone else self._workers
        tasks = [asyncio.create_task(self._some_of(worker, self._rng.randint(1, BATCH_MAX))) for worker in workers]
        if kill:
            await asyncio.sleep(self._rng.random() * 0.1)
            self._daemon.kill()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Violation):
                self.outcome.faults.append(str(result))
            elif isinstance(result, Gone):
                if not kill:
                    self.outcome.faults.append("the server closed a connection")
            elif isinstance(result, BaseException):
                raise result

    async def _some_of(self, worker: Worker, count: int) -> None:
        for _ in range(count):
            self.outcome.operations += 1
            try:
                await worker.act()
            except Violation as violation:
                where = f"session {worker.number} ({worker.session.dialect.name}) in {worker.session.mailbox}"
                raise Violation(f"{where}: {violation}") from violation

    async def _look(self) -> None:
        """Let every session catch up; compare them, and a fresh one, with the model."""
        witness = self._session(1)
        await witness.open()
        truth = {}
        for name in MAILBOXES:
            await witness.select(name)
            truth[name] = witness.picture
            known = self._uidvalidities.setdefault(name, witness.picture.uidvalidity)
            if known != witness.picture.uidvalidity:
                self.outcome.faults.append(f"{name}: UIDVALIDITY went from {known} to {witness.picture.uidvalidity}")
        await witness.close()
        seen: dict[str, dict[int, Flags]] = {name: dict(picture.flags) for name, picture in truth.items()}
        self.outcome.faults += self._model.check(self._batch, seen)
        self._batch.clear()
        for worker in self._workers:
            session = worker.session
            await session.refresh()
            right, picture = truth[session.mailbox], session.picture
            who = f"session {worker.number} ({session.dialect.name}) in {session.mailbox}"
            if picture.uids != right.uids:
                self.outcome.faults.append(f"{who}: {_difference(picture.uids, right.uids)}")
            elif picture.flags != right.flags:
                wrong = [uid for uid in right.uids if picture.flags.get(uid) != right.flags.get(uid)]
                told = [(uid, sorted(picture.flags.get(uid, ())), sorted(right.flags[uid])) for uid in wrong[:3]]
                self.outcome.faults.append(f"{who}: flags differ: {told}")
            elif session.dialect in (Dialect.CONDSTORE, Dialect.QRESYNC):
                wrong = [uid for uid in right.uids if picture.modseqs.get(uid) != right.modseqs.get(uid)]
                if wrong:
                    told = [(uid, picture.modseqs.get(uid), right.modseqs.get(uid)) for uid in wrong[:3]]
                    self.outcome.faults.append(f"{who}: modseqs differ: {told}")

    async def _other_doors(self) -> list[str]:
        """POP3 and the API against IMAP; then the store against itself, which ends the daemon."""
        faults = []
        inbox = sorted(self._model.mailboxes["INBOX"].flags)
        by_pop3 = await asyncio.to_thread(pop3_uids, self._daemon, self._login[0])
        if by_pop3 != inbox:
            faults.append(f"POP3: {_difference(by_pop3, inbox)}")
        path = self._daemon.admin_socket
        account = await asyncio.to_thread(account_id, path, self._login[0])
        witness = self._session(0)
        await witness.open()
        for name in MAILBOXES:
            shown = await by_imap(witness, name)
            listed = await asyncio.to_thread(by_api, path, account, name)
            if listed != shown:
                faults.append(
                    f"API, {name}: {list((listed - shown).items())[:3]} for {list((shown - listed).items())[:3]}"
                )
        await witness.close()
        self._daemon.terminate()
        return faults + await read(self._daemon, consistency.check)


def _difference(left: Sequence[int], right: Sequence[int]) -> str:
    return f"has {sorted(set(left) - set(right))[:5]} too much, lacks {sorted(set(right) - set(left))[:5]}"
