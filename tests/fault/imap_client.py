"""The IMAP client of the ledger: APPEND, STORE, MOVE and EXPUNGE against a model of two mailboxes.

- It alone changes its mailboxes, so after each reconnection they must be as the model says: as before the command that
  was cut off, or as after it.
- A UID once seen is never given again, and UIDVALIDITY never changes (RFC 9051 §2.3.1.1).
"""

from __future__ import annotations

import imaplib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault.clients import OUTSIDE, Client, logged_in
from tests.support.daemon_process import Ports
from tests.support.ledger import Trial, make_trial

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "$Forwarded")
_FETCHED = re.compile(rb"\d+ \(.*?UID (\d+).*?FLAGS \(([^)]*)\)|\d+ \(.*?FLAGS \(([^)]*)\).*?UID (\d+)")


@dataclass(slots=True)
class Copy:
    """A message of the model."""

    trial_id: str
    flags: frozenset[str]


Box = dict[int, Copy]


@dataclass(slots=True)
class Model:
    """What the two mailboxes hold; `largest` and `uidvalidity` outlive every message."""

    boxes: dict[str, Box]
    largest: dict[str, int] = field(default_factory=dict)
    uidvalidity: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The command whose reply is awaited: APPEND, STORE, MOVE or EXPUNGE of one message."""

    verb: str
    box: str
    uid: int = 0
    other: str = ""
    flags: frozenset[str] = frozenset()
    trial: Trial | None = None


class ImapClient(Client):
    """APPEND, STORE, MOVE and EXPUNGE in two mailboxes that nobody else touches."""

    def __init__(self, name: str, ports: Ports, folder: Path, seed: int, *, address: str) -> None:
        super().__init__(name, ports, folder, seed)
        self._address = address
        self._boxes = (f"{name}-a", f"{name}-b")
        self._model = Model({box: {} for box in self._boxes})
        self._pending: Pending | None = None
        self._unsent: Trial | None = None
        self.expunged: list[str] = []

    def session(self) -> None:
        with logged_in(self.ports, self._address) as client:
            for box in self._boxes:
                client.create(box)
            self._compare(client)
            while not self.stopping:
                box = self.rng.choice(self._boxes)
                _expect_ok(client.select(box))
                for _ in range(self.rng.randrange(3, 12)):
                    if not self.stopping:
                        self._step(client, box)

    def _step(self, client: imaplib.IMAP4, box: str) -> None:
        held = self._model.boxes[box]
        draw = self.rng.random()
        if draw < 0.45 or not held or self._unsent is not None:
            self._append(client, box)
            return
        uid = self.rng.choice(list(held))
        if draw < 0.75:
            flags = frozenset(flag for flag in FLAGS if self.rng.random() < 0.5)
            self._do(client, Pending(verb="STORE", box=box, uid=uid, flags=flags))
        elif draw < 0.93:
            other = self._boxes[1 - self._boxes.index(box)]
            self._do(client, Pending(verb="MOVE", box=box, uid=uid, other=other))
        else:
            self._do(client, Pending(verb="EXPUNGE", box=box, uid=uid))

    def _append(self, client: imaplib.IMAP4, box: str) -> None:
        trial = self._unsent or make_trial(
            self.rng, self.name, sender=f"a@{OUTSIDE}", to=self._address, places=[f"{self._address}/{self.name}"]
        )
        self._unsent = trial
        flags = frozenset(flag for flag in FLAGS if self.rng.random() < 0.3)
        self._do(client, Pending(verb="APPEND", box=box, flags=flags, trial=trial))

    def _do(self, client: imaplib.IMAP4, pending: Pending) -> None:
        self._pending = pending
        if pending.verb == "EXPUNGE":
            self.expunged.append(self._model.boxes[pending.box][pending.uid].trial_id)
        uid, flags = str(pending.uid), f"({' '.join(sorted(pending.flags))})"
        if pending.trial is not None:
            self.ledger.trying(pending.trial)
            status, data = client.append(pending.box, flags, "", pending.trial.octets)
        elif pending.verb == "STORE":
            status, data = client.uid("STORE", uid, "FLAGS.SILENT", flags)
        elif pending.verb == "MOVE":
            status, data = client.uid("MOVE", uid, pending.other)
        else:
            _expect_ok(client.uid("STORE", uid, "FLAGS.SILENT", "(\\Deleted)"))
            status, data = client.uid("EXPUNGE", uid)
        text = b" ".join(part for part in data if isinstance(part, bytes)).decode("ascii", "replace")
        if pending.trial is not None:
            self.judge(pending.trial, 250 if status == "OK" else 450, f"{status} {text}")
        if status == "OK":
            self._happened(client, pending, text)
        else:
            # Nothing may have changed; the comparison after the next connection says whether that is so.
            raise imaplib.IMAP4.abort(text)

    def _happened(self, client: imaplib.IMAP4, pending: Pending, text: str) -> None:
        self._pending = None
        box = self._model.boxes[pending.box]
        if pending.trial is not None:
            self._unsent = None
            match = re.search(r"APPENDUID (\d+) (\d+)", text)
            assert match is not None, f"APPEND without APPENDUID: {text}"
            self._add(pending.box, int(match[2]), Copy(pending.trial.id, pending.flags))
        elif pending.verb == "STORE":
            box[pending.uid].flags = pending.flags
        elif pending.verb == "MOVE":
            _, data = client.response("COPYUID")
            moved = re.match(rb"(\d+) (\d+) (\d+)", data[0] or b"")
            assert moved is not None, f"MOVE without COPYUID: {text}"
            self._add(pending.other, int(moved[3]), box.pop(pending.uid))
        else:
            del box[pending.uid]

    def _add(self, box: str, uid: int, copy: Copy) -> None:
        if uid <= self._model.largest.get(box, 0):
            self.violations.append(f"{self.name}: UID {uid} of {box} was given before")
        self._model.largest[box] = max(uid, self._model.largest.get(box, 0))
        self._model.boxes[box][uid] = copy

    # After a reconnection.

    def _compare(self, client: imaplib.IMAP4) -> None:
        seen = {box: self._read(client, box) for box in self._boxes}
        model, pending = self._model.boxes, self._pending
        self._pending = None
        if pending is not None and seen != model:
            self._assume(pending, seen)
        for box in self._boxes:
            if seen[box] != model[box]:
                self.violations.append(
                    f"{self.name}: {box} differs after {pending}: {_difference(model[box], seen[box])}"
                )
                model[box] = seen[box]

    def _assume(self, pending: Pending, seen: dict[str, Box]) -> None:
        """Bring the model to where the command that was cut off would have led."""
        box = self._model.boxes[pending.box]
        if pending.trial is not None:
            new = [
                uid for uid, copy in seen[pending.box].items() if uid not in box and copy.trial_id == pending.trial.id
            ]
            if len(new) == 1:
                self._add(pending.box, new[0], Copy(pending.trial.id, pending.flags))
        elif pending.verb == "STORE":
            box[pending.uid].flags = pending.flags
        elif pending.verb == "MOVE":
            new = [uid for uid in seen[pending.other] if uid not in self._model.boxes[pending.other]]
            if len(new) == 1:
                self._add(pending.other, new[0], box.pop(pending.uid))
        elif pending.uid in seen[pending.box]:
            box[pending.uid].flags = frozenset({"\\Deleted"})
        else:
            del box[pending.uid]

    def _read(self, client: imaplib.IMAP4, box: str) -> Box:
        _expect_ok(client.select(box, readonly=True))
        _, data = client.response("UIDVALIDITY")
        validity = int(data[0] or b"0")
        if self._model.uidvalidity.setdefault(box, validity) != validity:
            self.violations.append(f"{self.name}: UIDVALIDITY of {box} changed")
        status, lines = client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (X-Trial-Id)])")
        _expect_ok((status, lines))
        return dict(_copy(line) for line in lines if isinstance(line, tuple))


def _copy(line: tuple[bytes, bytes]) -> tuple[int, Copy]:
    match = _FETCHED.match(line[0])
    assert match is not None, line[0]
    flags = (match[2] if match[2] is not None else match[3] or b"").decode().split()
    trial_id = line[1].partition(b":")[2].strip().decode()
    return int(match[1] or match[4]), Copy(trial_id, frozenset(flags) - {"\\Recent"})


def _difference(model: Box, seen: Box) -> str:
    missing = sorted(set(model) - set(seen))[:5]
    extra = sorted(set(seen) - set(model))[:5]
    changed = [(uid, model[uid], seen[uid]) for uid in model if uid in seen and model[uid] != seen[uid]][:3]
    return f"missing {missing}, extra {extra}, changed {changed}"


def _expect_ok(answer: tuple[str, Sequence[object]]) -> None:
    if answer[0] != "OK":
        raise imaplib.IMAP4.abort(str(answer))
