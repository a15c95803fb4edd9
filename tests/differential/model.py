"""What mailboxes may hold after a batch of operations that ran side by side.

- Within a batch the order of different sessions' operations is not known, that of one session's is. So a flag's value
  afterwards is the last that one of the sessions gave it; operations cut off by a crash may or may not have happened.
- Outside of that nothing is free: UIDs only grow, acknowledged messages are there, nothing else is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Flags = frozenset[str]
DELETED = "\\Deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """STORE of flags on these messages; `mode` is "+", "-" or "" for replace."""

    session: int
    mailbox: str
    uids: Sequence[int]
    mode: str
    flags: Flags
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expunged:
    """EXPUNGE or UID EXPUNGE that could reach these messages."""

    session: int
    mailbox: str
    uids: Sequence[int]
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """APPEND, COPY or MOVE to a mailbox; `uid` is None when the answer was lost; `source` is (mailbox, uid)."""

    session: int
    mailbox: str
    uid: int | None
    flags: Flags
    source: tuple[str, int] | None = None
    moved: bool = False


Operation = Stored | Expunged | Added


@dataclass(slots=True)
class Mailbox:
    """The truth at a time when nothing runs."""

    flags: dict[int, Flags] = field(default_factory=dict)
    highest_uid: int = 0


class Model:
    """The truth of all mailboxes, batch by batch."""

    def __init__(self, mailboxes: Sequence[str]) -> None:
        self.mailboxes = {name: Mailbox() for name in mailboxes}

    def check(self, batch: Sequence[Operation], seen: Mapping[str, Mapping[int, Flags]]) -> list[str]:
        """Compare what is there now with what may be there, and take it over; one sentence a fault."""
        faults: list[str] = []
        for name, mailbox in self.mailboxes.items():
            faults += self._check(name, mailbox, batch, seen[name])
        for name, mailbox in self.mailboxes.items():
            mailbox.flags = dict(seen[name])
            mailbox.highest_uid = max(mailbox.highest_uid, max(seen[name], default=0))
        return faults

    def _check(self, name: str, mailbox: Mailbox, batch: Sequence[Operation], seen: Mapping[int, Flags]) -> list[str]:
        faults: list[str] = []
        added = {op.uid: op for op in batch if isinstance(op, Added) and op.mailbox == name and op.uid is not None}
        lost_answers = sum(1 for op in batch if isinstance(op, Added) and op.mailbox == name and op.uid is None)
        unknown = [uid for uid in seen if uid not in mailbox.flags and uid not in added]
        if len(unknown) > lost_answers:
            faults.append(f"{name}: messages from nowhere: {unknown[:5]}")
        top = mailbox.highest_uid
        faults += [f"{name}: UID {uid} was given before (up to {top})" for uid in (*added, *unknown) if uid <= top]
        mailbox.highest_uid = max(mailbox.highest_uid, max(added, default=0))
        may_go, must_go = self._leaving(name, batch)
        gone = {*mailbox.flags, *added} - set(seen)
        faults += [f"{name}: message {uid} is lost" for uid in gone - may_go]
        faults += [f"{name}: message {uid} was moved and is still there" for uid in must_go if uid in seen]
        for uid, flags in seen.items():
            if uid not in unknown:
                faults += self._flag_faults(name, uid, flags, self._before(name, uid, added, batch), batch)
        return faults

    def _before(self, name: str, uid: int, added: Mapping[int, Added], batch: Sequence[Operation]) -> list[Flags]:
        """The flags a message may have had before this batch's STOREs reached it."""
        if uid not in added:
            return [self.mailboxes[name].flags[uid]]
        source = added[uid].source
        if source is None:
            return [added[uid].flags]
        return self._flags_on_the_way(source, batch)

    def _flags_on_the_way(self, source: tuple[str, int], batch: Sequence[Operation]) -> list[Flags]:
        """Every set of flags a copied message may have had at that time, flag by flag."""
        name, uid = source
        known = self.mailboxes[name].flags.get(uid)
        possible: set[str] = set(known or ())
        always: set[str] = set(known or ())
        for op in batch:
            if isinstance(op, Stored) and op.mailbox == name and uid in op.uids:
                if op.mode == "-":
                    always -= op.flags
                elif op.mode == "+":
                    possible |= op.flags
                else:
                    possible |= op.flags
                    always &= op.flags
            if isinstance(op, Added) and op.mailbox == name and op.uid == uid and known is None:
                inner = [op.flags] if op.source is None else self._flags_on_the_way(op.source, batch)
                possible |= set().union(*inner)
                always = set()
        return [frozenset(always), frozenset(possible)]

    def _flag_faults(
        self, name: str, uid: int, now: Flags, before: Sequence[Flags], batch: Sequence[Operation]
    ) -> list[str]:
        values: dict[str, set[bool]] = defaultdict(set)
        touched: dict[str, bool] = defaultdict(bool)
        names = set(now).union(*before)
        stores = [op for op in batch if isinstance(op, Stored) and op.mailbox == name and uid in op.uids]
        for op in stores:
            names |= op.flags
        last: dict[tuple[str, int], bool] = {}
        for op in stores:
            for flag in names if not op.mode else op.flags:
                value = flag in op.flags if op.mode != "-" else False
                if op.certain:
                    last[flag, op.session] = value
                    touched[flag] = True
                else:
                    values[flag].add(value)
        for (flag, _), value in last.items():
            values[flag].add(value)
        faults = []
        for flag in names:
            allowed = set(values[flag])
            if not touched[flag]:
                allowed |= {flag in earlier for earlier in before}
            if (flag in now) not in allowed:
                faults.append(f"{name}: {flag} of {uid} is {flag in now}, may be {sorted(allowed)}")
        return faults

    def _leaving(self, name: str, batch: Sequence[Operation]) -> tuple[set[int], set[int]]:
        """Messages that may be gone, and those that must be."""
        known = self.mailboxes[name].flags
        deleted = {uid for uid, flags in known.items() if DELETED in flags}
        for op in batch:
            if isinstance(op, Stored) and op.mailbox == name and op.mode != "-" and DELETED in op.flags:
                deleted |= set(op.uids)
            if isinstance(op, Added) and op.mailbox == name and op.uid is not None:
                deleted.add(op.uid) if DELETED in op.flags or op.source is not None else None
        may: set[int] = set()
        must: set[int] = set()
        for op in batch:
            if isinstance(op, Expunged) and op.mailbox == name:
                may |= deleted & set(op.uids)
            if isinstance(op, Added) and op.moved and op.source is not None and op.source[0] == name:
                may.add(op.source[1])
                if op.uid is not None:
                    must.add(op.source[1])
        return may, must
