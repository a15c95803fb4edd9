"""What was sent and what was answered, on disk before the next step: the witness of every durability test.

- Each attempt is two JSON lines, `try` before the first octet leaves and `reply` after the last one came; each line is
  fsynced. A `try` without a `reply`, or with one that is not a success, is unacknowledged: it may have stored a copy.
- A trial's mail begins with `X-Trial-Id`; the server puts its fields before it, so the sent octets are found again as
  the end of the stored ones, and their hash must be the one of the ledger.
- What the API sends is composed by the server: there the hash is the text's, and the trial's id begins with `COMPOSED`.
- One file a client; `read_ledgers` joins the files of a folder.
"""

from __future__ import annotations

import email
import hashlib
import json
import os
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

MARK = b"X-Trial-Id: "
COMPOSED = "api"
SIZES = ((0.70, 1_000), (0.95, 30_000), (1.0, 300_000))
"""Shares of sizes in octets: in a row, in a file, spooled on its way in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One mail to send until it is acknowledged.

    Attributes:
        places: Where each copy must be: recipient addresses, or an IMAP mailbox as `address/mailbox`.
    """

    id: str
    octets: bytes
    places: tuple[str, ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.octets).hexdigest()


@dataclass(slots=True)
class Story:
    """What the ledger says of one trial."""

    sha256: str
    places: tuple[str, ...]
    tries: int = 0
    acknowledged: int = 0
    replies: list[str] = field(default_factory=list)

    @property
    def unacknowledged(self) -> int:
        return self.tries - self.acknowledged


class Ledger:
    """The file of one client; used by one thread."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def trying(self, trial: Trial) -> None:
        """Before the first octet of an attempt."""
        self._append({"event": "try", "trial": trial.id, "sha256": trial.sha256, "places": trial.places})

    def answered(self, trial: Trial, reply: str, *, success: bool) -> None:
        """After the reply came."""
        self._append({"event": "reply", "trial": trial.id, "reply": reply[:200], "success": success})

    def close(self) -> None:
        os.close(self._descriptor)

    def _append(self, entry: dict[str, object]) -> None:
        line = json.dumps(entry | {"at": time.monotonic()}).encode() + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError("the ledger is cut short")
        os.fdatasync(self._descriptor)


def read_ledgers(files: Iterable[Path]) -> dict[str, Story]:
    """All trials of these files, by id."""
    stories: dict[str, Story] = {}
    for path in files:
        for line in path.read_bytes().splitlines():
            entry = json.loads(line)
            if entry["event"] == "try":
                story = stories.setdefault(entry["trial"], Story(entry["sha256"], tuple(entry["places"])))
                story.tries += 1
            else:
                story = stories[entry["trial"]]
                story.acknowledged += bool(entry["success"])
                story.replies.append(entry["reply"])
    return stories


def make_trial(
    rng: random.Random, name: str, *, sender: str, places: Iterable[str], to: str = "", size: int | None = None
) -> Trial:
    """A mail with a fresh id; its size is drawn from `SIZES` unless given."""
    draw = rng.random()
    wanted = size if size is not None else next(octets for share, octets in SIZES if draw <= share)
    trial_id = f"{name}-{rng.getrandbits(64):016x}"
    listed = tuple(places)
    head = (
        MARK
        + f"{trial_id}\r\nFrom: <{sender}>\r\nTo: {to or ', '.join(f'<{place}>' for place in listed)}\r\n"
        f"Subject: Trial {trial_id}\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{trial_id}@ledger.test>\r\n\r\n".encode()
    )
    line = rng.randbytes(36).hex().encode() + b"\r\n"
    lines = max(1, (wanted - len(head)) // len(line))
    # The first line differs from trial to trial, the last one says how many there must be.
    body = line * lines + f"{lines} lines\r\n".encode()
    return Trial(id=trial_id, octets=head + body, places=listed)


def make_text(rng: random.Random, name: str, *, places: Iterable[str]) -> Trial:
    """A text for the API to compose a mail of; `name` begins with `COMPOSED`."""
    trial_id = f"{name}-{rng.getrandbits(64):016x}"
    line = rng.randbytes(30).hex()
    text = "\n".join([trial_id, *[line] * rng.choice((5, 50, 1000))])
    return Trial(id=trial_id, octets=text.encode(), places=tuple(places))


def found_in(stored: bytes) -> tuple[str, str] | None:
    """Trial id and hash of a stored mail, None when it is no trial's."""
    start = stored.find(MARK)
    if start < 0 or (start > 0 and stored[start - 2 : start] != b"\r\n"):
        return None
    octets = stored[start:]
    trial_id = octets[len(MARK) : octets.find(b"\r\n")].decode("ascii", "replace")
    if trial_id.startswith(COMPOSED):
        text = email.message_from_bytes(stored).get_payload(decode=True)
        octets = text.replace(b"\r\n", b"\n").rstrip(b"\n") if isinstance(text, bytes) else b""
    return trial_id, hashlib.sha256(octets).hexdigest()
