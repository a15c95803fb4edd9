"""FT2: kill -9 at random moments under load, many times on one state folder, then count (reliability.md §10).

- A batch is one fresh state folder, one seed, some kills; the times of the kills follow from the seed.
- The clients know nothing of the kills: they send, are cut off, come again.
- After each kill the daemon must answer within 10 s; after the last one the queue must empty, then everything is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.daemon.appliance import Appliance
from server.domain.identity import Scope
from server.services.identity.tokens import NewApiKey
from tests.fault.checker import Findings, check, live_findings, unfinished
from tests.fault.clients import OUTSIDE, ApiClient, Client, SmtpClient
from tests.fault.imap_client import ImapClient
from tests.support.daemon_process import DOMAIN, MAIL_ROLES, READY_S, DaemonProcess, NotReady
from tests.support.ledger import COMPOSED, read_ledgers

ACCOUNTS = 8
SENDER = f"u0@{DOMAIN}"
WORK = (0, 100)
"""Acknowledgements between two kills, uniformly: a busy machine gets more time, not less to lose."""
WORK_MAX_S = 5.0
MOMENT_S = (0.0, 0.03)
"""Then some time more, so that no kill is tied to a reply."""
EARLY_SHARE = 0.1
"""Share of kills at a uniform time of the start, before it answers."""
START_S = 1.5
DRAIN_S = 60.0


@dataclass(slots=True)
class Report:
    """One batch."""

    database: str
    seed: int
    kills: int = 0
    early_kills: int = 0
    slowest_start_s: float = 0.0
    took_s: float = 0.0
    findings: Findings = field(default_factory=Findings)
    violations: list[str] = field(default_factory=list)

    @property
    def bad(self) -> list[str]:
        return [*self.violations, *self.findings.bad]


def crash(folder: Path, *, kills: int, seed: int, database_url: str | None = None) -> Report:
    """Run one batch in an empty folder; never raises for what the server does."""
    began = time.monotonic()
    report = Report(database="postgres" if database_url else "sqlite", seed=seed)
    rng = random.Random(seed)
    daemon = DaemonProcess(
        folder / "daemon",
        roles=(*MAIL_ROLES, "http"),
        accounts=ACCOUNTS,
        database_url=database_url,
        settings={"api": {"rate_per_minute": 1_000_000}, "queue": {"retry_delays": ["1s"]}},
    )
    daemon.configure()
    daemon.seed(ACCOUNTS)
    key = daemon.administer(_api_key)
    with contextlib.closing(daemon):
        report.slowest_start_s = daemon.start()
        clients = _clients(daemon, folder, seed, key)
        for client in clients:
            client.start()
        try:
            for _ in range(kills):
                _kill_once(daemon, clients, rng, report)
            _let_work(clients, rng)
        except NotReady as error:
            report.violations.append(f"not ready after kill {report.kills}: {error}")
        _stop(clients, report)
        try:
            _count(daemon, folder, clients, report)
        except (OSError, imaplib.IMAP4.error, NotReady) as error:
            ended = "" if daemon.running else f" and ended with {daemon.wait()}"
            report.violations.append(f"the daemon can't be read{ended}: {error!r}\n{daemon.log_tail()}")
    report.took_s = time.monotonic() - began
    return report


async def _api_key(appliance: Appliance, root: Scope) -> str:
    issued = await appliance.identity.tokens.create(root, NewApiKey(name="ledger", scopes=["send"], account_id=SENDER))
    return issued.text


def _clients(daemon: DaemonProcess, folder: Path, seed: int, key: str) -> list[Client]:
    ports, accounts = daemon.ports, daemon.addresses
    inboxes, writers = accounts[:4], accounts[4:]
    clients: list[Client] = [
        SmtpClient(f"smtp{number}", ports, folder, seed, recipients=inboxes) for number in range(4)
    ]
    outside = [*inboxes, *(f"r{number}@{OUTSIDE}" for number in range(4))]
    clients += [
        SmtpClient(f"submit{number}", ports, folder, seed, recipients=outside, login=accounts[number])
        for number in range(2)
    ]
    clients += [
        ImapClient(f"imap{number}", ports, folder, seed, address=address) for number, address in enumerate(writers)
    ]
    clients.append(ApiClient(f"{COMPOSED}0", ports, folder, seed, recipients=outside, sender=SENDER, key=key))
    return clients


def _let_work(clients: Sequence[Client], rng: random.Random) -> None:
    wanted = sum(client.acknowledged for client in clients) + rng.randint(*WORK)
    deadline = time.monotonic() + WORK_MAX_S
    while sum(client.acknowledged for client in clients) < wanted and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(rng.uniform(*MOMENT_S))


def _kill_once(daemon: DaemonProcess, clients: Sequence[Client], rng: random.Random, report: Report) -> None:
    if rng.random() < EARLY_SHARE:
        daemon.kill()
        daemon.start(wait=False)
        time.sleep(rng.uniform(0, START_S))
        report.early_kills += 1
    else:
        _let_work(clients, rng)
    daemon.kill()
    report.kills += 1
    start_s = daemon.start()
    report.slowest_start_s = max(report.slowest_start_s, start_s)
    if start_s > READY_S:
        report.violations.append(f"ready only {start_s:.1f} s after kill {report.kills}")
    if daemon.database_path is not None:
        report.violations += [f"after kill {report.kills}: {text}" for text in live_findings(daemon)]


def _stop(clients: Sequence[Client], report: Report) -> None:
    for client in clients:
        client.stop()
    for client in clients:
        client.join(60)
        if client.is_alive():
            report.violations.append(f"{client.name}: no reply for a minute")
        report.violations += client.violations


def _count(daemon: DaemonProcess, folder: Path, clients: Sequence[Client], report: Report) -> None:
    deadline = time.monotonic() + DRAIN_S
    while (waiting := asyncio.run(unfinished(daemon))) and time.monotonic() < deadline:
        time.sleep(0.2)
    if waiting:
        report.violations.append(f"{waiting} deliveries still wait after {DRAIN_S:g} s")
    expunged = [trial for client in clients if isinstance(client, ImapClient) for trial in client.expunged]
    report.findings = check(daemon, read_ledgers(sorted(folder.glob("*.jsonl"))), expunged=expunged)
