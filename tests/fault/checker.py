"""What is there after the crashes, against what the ledger says must be there (reliability.md §10).

- Three witnesses: IMAP (what users see), SQL with the blob folder (what is stored), the captured outbound mail.
- lost = acknowledged and absent; dup = more copies than the unacknowledged attempts explain; corrupt = other octets
  than were sent; phantom = never sent. `store.consistency.check` comes on top.
- The database of a daemon that was killed is opened by nobody but the daemon: SQL is read while it runs, or after an
  orderly stop.
"""

from __future__ import annotations

import asyncio
import hashlib
import imaplib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy import func, select

from server.store import consistency
from server.store.database import Backend
from server.store.postgres import PostgresBackend
from server.store.schema import blobs, messages, queued_recipients
from server.store.sqlite import SqliteBackend, SqliteDriver
from server.store.transaction import Row, Transaction, Unit
from tests.fault.clients import logged_in
from tests.support.daemon_process import DaemonProcess
from tests.support.ledger import Story, found_in
from tests.support.stores import WallClock

T = TypeVar("T")
FETCH_AT_ONCE = 200
Found = dict[tuple[str, str], list[str]]
"""Hashes of the copies of (trial id, place)."""


@dataclass(slots=True)
class Findings:
    """What is wrong, and how much was right."""

    acknowledged: int = 0
    tries: int = 0
    copies: int = 0
    allowed_duplicates: int = 0
    lost: list[str] = field(default_factory=list)
    dup: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    inconsistent: list[str] = field(default_factory=list)

    @property
    def bad(self) -> list[str]:
        """One sentence a finding; empty = passed."""
        named = {
            "lost": self.lost,
            "dup": self.dup,
            "corrupt": self.corrupt,
            "phantom": self.phantom,
            "inconsistent": self.inconsistent,
        }
        return [f"{name}: {text}" for name, texts in named.items() for text in texts]


def check(daemon: DaemonProcess, stories: Mapping[str, Story], *, expunged: Iterable[str] = ()) -> Findings:
    """Compare a running daemon, whose queue is empty, with the ledger; stops it to read the database.

    Args:
        expunged: Trials that were deleted on purpose: absent is right for them.
    """
    found, counts = by_imap(daemon)
    captured = by_capture(daemon.capture)
    code = daemon.terminate()
    findings = compare(stories, found | captured, expunged=frozenset(expunged))
    if code != 0:
        findings.inconsistent.append(f"SIGTERM ended in exit code {code}")
    findings.inconsistent += asyncio.run(_stored(daemon, counts))
    return findings


def compare(stories: Mapping[str, Story], found: Found, *, expunged: frozenset[str] = frozenset()) -> Findings:
    """The ledger's rules; nothing is read."""
    result = Findings(
        acknowledged=sum(story.acknowledged for story in stories.values()),
        tries=sum(story.tries for story in stories.values()),
        copies=sum(len(hashes) for hashes in found.values()),
    )
    for trial_id, story in stories.items():
        for place in story.places:
            hashes = found.get((trial_id, place), [])
            if story.acknowledged and not hashes and trial_id not in expunged:
                result.lost.append(f"{trial_id} for {place}, answered {story.replies[-1]}")
            if len(hashes) > story.acknowledged + story.unacknowledged:
                result.dup.append(f"{trial_id} for {place}: {len(hashes)} copies of {story.tries} attempts")
            elif len(hashes) > 1:
                result.allowed_duplicates += len(hashes) - 1
            if any(value != story.sha256 for value in hashes):
                result.corrupt.append(f"{trial_id} for {place}")
    for trial_id, place in found:
        if trial_id not in stories or place not in stories[trial_id].places:
            result.phantom.append(f"{trial_id} in {place}")
    return result


def by_imap(daemon: DaemonProcess) -> tuple[Found, dict[str, int]]:
    """Every mail of every account by IMAP: the trials, and how many messages each account shows."""
    found: Found = defaultdict(list)
    counts: dict[str, int] = {}
    for address in daemon.addresses:
        with logged_in(daemon.ports, address) as client:
            lines = [line for line in client.list()[1] if isinstance(line, bytes)]
            boxes = [line.rpartition(b' "/" ')[2].decode().strip('"') for line in lines]
            counts[address] = sum(_read_box(client, address, box, found) for box in boxes)
    return dict(found), counts


def _read_box(client: imaplib.IMAP4, address: str, box: str, found: Found) -> int:
    status, data = client.select(f'"{box}"', readonly=True)
    assert status == "OK", (box, data)
    total = int(data[0] or b"0")
    for first in range(1, total + 1, FETCH_AT_ONCE):
        status, lines = client.fetch(f"{first}:{min(total, first + FETCH_AT_ONCE - 1)}", "(BODY.PEEK[])")
        if status != "OK":
            found["unreadable", f"{address}/{box}"].append(str(lines))
        for line in lines:
            trial = found_in(line[1]) if isinstance(line, tuple) else None
            if trial is not None:
                # A mailbox of an IMAP client is named after it: both its mailboxes are one place.
                place = address if box == "INBOX" else f"{address}/{box.rpartition('-')[0]}"
                found[trial[0], place].append(trial[1])
    return total


def by_capture(folder: Path) -> Found:
    """Mail that left the house, by recipient."""
    found: Found = defaultdict(list)
    for path in folder.glob("*.json"):
        envelope = json.loads(path.read_bytes())
        trial = found_in(path.with_suffix(".eml").read_bytes())
        for recipient in envelope["recipients"]:
            if trial is not None:
                found[trial[0], recipient].append(trial[1])
    return dict(found)


def live_findings(daemon: DaemonProcess) -> list[str]:
    """`store.consistency.check` on the SQLite database of a running daemon, as one more reader."""
    assert daemon.database_path is not None
    connection = sqlite3.connect(f"file:{daemon.database_path}?mode=ro", uri=True, isolation_level=None, timeout=10)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("BEGIN")
        steps = consistency.check(Transaction(SqliteDriver(connection), 0)).__await__()
        try:
            next(steps)
        except StopIteration as stop:
            result: list[str] = stop.value
            return result
        raise AssertionError("the check waited for something")
    finally:
        connection.close()


async def unfinished(daemon: DaemonProcess) -> int:
    """Deliveries that still wait in the queue."""

    async def unit(tx: Transaction) -> int:
        wanted = queued_recipients.c.status.not_in(("sent", "failed", "expired", "cancelled"))
        row = await tx.fetch_one(select(func.count()).select_from(queued_recipients).where(wanted))
        assert row is not None
        return int(str(row[0]))

    if daemon.database_path is None:
        return await read(daemon, unit)
    with sqlite3.connect(f"file:{daemon.database_path}?mode=ro", uri=True, timeout=10) as connection:
        query = "SELECT count(*) FROM queued_recipients WHERE status NOT IN ('sent', 'failed', 'expired', 'cancelled')"
        count: int = connection.execute(query).fetchone()[0]
    connection.close()
    return count


async def read(daemon: DaemonProcess, unit: Unit[T]) -> T:
    """Run a reading unit on the daemon's database; a SQLite one must have been closed by the daemon."""
    backend: Backend
    if daemon.database_path is None:
        backend = PostgresBackend(daemon.database_url or "", clock=WallClock(), pool_size=2)
    else:
        backend = SqliteBackend(daemon.database_path, clock=WallClock(), fatal=_fatal)
    await backend.open()
    try:
        return await backend.read(unit)
    finally:
        await backend.close()


def _fatal(reason: str) -> None:
    raise AssertionError(reason)


async def _stored(daemon: DaemonProcess, counts: Mapping[str, int]) -> list[str]:
    """The rows and the files: whether they agree with each other and with what IMAP showed."""

    async def unit(tx: Transaction) -> tuple[list[str], int, Sequence[Row]]:
        live = select(func.count()).select_from(messages).where(messages.c.expunged_at.is_(None))
        row = await tx.fetch_one(live)
        assert row is not None
        return await consistency.check(tx), int(str(row[0])), await tx.fetch(select(blobs))

    wrong, total, rows = await read(daemon, unit)
    if total != sum(counts.values()):
        wrong.append(f"{total} messages by SQL, {sum(counts.values())} by IMAP")
    return wrong + [text for row in rows if (text := _damage(daemon.blob_dir, row))]


def _damage(blob_dir: Path, row: Row) -> str:
    blob_id, place = str(row["id"]), row["place"]
    path = blob_dir / blob_id[:6] / blob_id
    if place == "file" and not path.exists():
        return f"blob {blob_id} has a row and no file"
    inline = row["inline"]
    octets = path.read_bytes() if place == "file" else bytes(inline) if isinstance(inline, bytes) else b""
    if len(octets) != row["size_octets"] or hashlib.sha256(octets).hexdigest() != row["sha256"]:
        return f"blob {blob_id} ({place}) is damaged"
    return ""
