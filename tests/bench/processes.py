"""CPU time and memory of whole process trees, read from /proc.

- Children that have ended are in their parents' times once those have waited for them; Postfix's and Dovecot's masters
  do, so nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.25


@dataclass(frozen=True, slots=True)
class Memory:
    """Octets: `rss` counts pages that processes share once each, `pss` splits them."""

    rss: int = 0
    pss: int = 0


def _stat(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def tree(roots: Iterable[int]) -> list[int]:
    """The roots that live, and all that descends from them."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(name)] = int(_stat(int(name))[1])
    found = [pid for pid in roots if pid in parents]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in found]
    return found


def cpu_s(roots: Sequence[int]) -> float:
    """User and system seconds of the trees, ended children included."""
    total = 0
    for pid in tree(roots):
        with contextlib.suppress(OSError):
            total += sum(int(field) for field in _stat(pid)[11:15])
    return total / _TICKS


def memory(roots: Sequence[int]) -> Memory:
    """The trees' memory now."""
    rss = pss = 0
    for pid in tree(roots):
        with contextlib.suppress(OSError):
            rss += int(_stat(pid)[21]) * _PAGE
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    pss += int(line.split()[1]) * 1024
    return Memory(rss, pss)


class PeakMemory:
    """The largest memory seen while the block runs: `with PeakMemory(pids) as peak: ...; peak.value`."""

    def __init__(self, roots: Sequence[int]) -> None:
        self.value = Memory()
        self._roots = roots
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            now = memory(self._roots)
            self.value = Memory(max(self.value.rss, now.rss), max(self.value.pss, now.pss))
            if self._stop.wait(SAMPLE_S):
                return
