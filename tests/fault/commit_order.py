"""The order of a commit, read from a trace: nothing a reply promises may still be unsynced when it leaves (P1).

- Watched are the write-ahead log, blob files and the folders that name them. A write makes its file dirty, a rename or
  a new file makes its folder dirty; an fsync that began after that and has ended makes it clean.
- A reply after the final dot must find everything clean, and a write to the log since the reply before it. Under TLS no
  reply can be read: there, whatever is sent first after a write to the log counts as the reply.
- The daemon must be quiet otherwise: a write of somebody else would be dirty with good reason.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.fault.tracing import Call

SYSCALLS = (
    "openat",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "ftruncate",
    "fsync",
    "fdatasync",
    "mkdir",
    "rename",
    "renameat",
    "renameat2",
    "sendto",
    "sendmsg",
)
_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev", "ftruncate"})
_SYNCS = frozenset({"fsync", "fdatasync"})
_SENDS = frozenset({"write", "writev", "sendto", "sendmsg"})
_RENAMES = frozenset({"rename", "renameat", "renameat2"})
_STORED = re.compile(r'"250 2\.0\.0 (accepted|queued) as')


@dataclass(slots=True)
class _Version:
    changed: int = 0
    synced: int = 0


@dataclass(slots=True)
class Verdict:
    """What a trace shows.

    Attributes:
        replies: Replies that promised a stored message.
        renamed: Blob files that were put into place.
        broken: One sentence for each promise that was not kept yet.
    """

    replies: int = 0
    renamed: int = 0
    broken: list[str] = field(default_factory=list)


class CommitOrder:
    """Follows one daemon's calls.

    Args:
        wal: Path of the write-ahead log.
        blob_dir: Folder of the blobs.
        tls_port: Our port of the encrypted connections.
    """

    def __init__(self, *, wal: str, blob_dir: str, tls_port: int) -> None:
        self._wal = wal
        self._encrypted = f":{tls_port}->"
        self._blob_dir = blob_dir.rstrip("/")
        self._tmp = f"{self._blob_dir}/tmp"
        self._versions: dict[str, _Version] = {}
        self._wal_at_reply = 0
        self.verdict = Verdict()

    def judge(self, calls: Iterable[Call]) -> Verdict:
        """Go through the calls, the beginning and the end of each in the order of the trace."""
        moments: list[tuple[int, int, Call]] = []
        for call in calls:
            moments.append((call.began, 0, call))
            if call.ended is not None:
                moments.append((call.ended, 1, call))
        syncing: dict[int, int] = {}
        for _, end, call in sorted(moments, key=lambda moment: moment[:2]):
            if not end:
                self._begins(call, syncing)
            elif call.ok:
                self._ends(call, syncing)
        return self.verdict

    def _begins(self, call: Call, syncing: dict[int, int]) -> None:
        if call.name in _SYNCS:
            path = self._watched(call)
            syncing[id(call)] = self._versions[path].changed if path in self._versions else 0
        elif call.name in _SENDS and "<TCP:" in call.arguments:
            committed = self._versions.get(self._wal, _Version()).changed > self._wal_at_reply
            if _STORED.search(call.arguments) or (self._encrypted in call.arguments and committed):
                self._reply()

    def _ends(self, call: Call, syncing: dict[int, int]) -> None:
        path = self._watched(call)
        if call.name in _WRITES and path:
            self._dirty(path)
        elif call.name in _SYNCS and path:
            version = self._versions.setdefault(path, _Version())
            version.synced = max(version.synced, syncing[id(call)])
        elif call.name in _RENAMES:
            self._rename(call)
        elif call.name == "mkdir" and path:
            self._dirty(os.path.dirname(path))
        elif call.name == "openat" and "O_CREAT" in call.arguments and path and path != self._wal:
            self._dirty(os.path.dirname(path))

    def _rename(self, call: Call) -> None:
        source, target = call.paths[-2:]
        if not target.startswith(self._blob_dir):
            return
        self.verdict.renamed += 1
        self._versions[target] = self._versions.pop(source, _Version())
        self._dirty(os.path.dirname(target))

    def _dirty(self, path: str) -> None:
        # What lies in tmp counts under its final name, so tmp itself may be stale after a crash.
        if path != self._tmp:
            self._versions.setdefault(path, _Version()).changed += 1

    def _watched(self, call: Call) -> str:
        """The path a call is about, if it matters; empty otherwise."""
        for path in reversed(call.paths):
            if path == self._wal or path == self._blob_dir or path.startswith(f"{self._blob_dir}/"):
                return path
        return ""

    def _reply(self) -> None:
        self.verdict.replies += 1
        unsynced = [path for path, version in self._versions.items() if version.changed > version.synced]
        self.verdict.broken += [f"reply {self.verdict.replies}: {path} was not synced" for path in sorted(unsynced)]
        changed = self._versions.get(self._wal, _Version()).changed
        if changed == self._wal_at_reply:
            self.verdict.broken.append(f"reply {self.verdict.replies}: nothing was committed before it")
        self._wal_at_reply = changed
