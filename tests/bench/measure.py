"""One measurement of one server, and many of them made into medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.inboxes import Inboxes
from tests.bench.load import LoadResult, make_messages, send
from tests.bench.processes import Memory, PeakMemory, cpu_s, memory
from tests.bench.servers import Server

SENDER = "bench@sender.test"
WARM_UP = 40
SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """A load: so many connections, messages of so many octets, so many of them."""

    connections: int
    size_octets: int
    count: int

    @property
    def title(self) -> str:
        size = f"{self.size_octets // 1024} KiB"
        return f"{self.connections} connection{'s' if self.connections > 1 else ''}, {size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one case gave, or the medians of several rounds.

    Attributes:
        accepted: Messages a second up to the last 250.
        delivered: Messages a second until all were in the inboxes.
        cpu_ms: User and system time of the server's processes for a message, until all were delivered.
        peak_mib: Largest PSS of the server's processes during the load.
    """

    accepted: float
    delivered: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    peak_mib: float


class Bench:
    """A running server with its inboxes open."""

    def __init__(self, server: Server, messages: Callable[[int], Sequence[bytes]] | None = None) -> None:
        self._server = server
        self._messages = messages or (lambda size: make_messages(size, SENDER))
        self._inboxes = Inboxes(server.imap_port, server.logins, starttls=server.imap_starttls)

    def close(self) -> None:
        self._inboxes.close()

    def run(self, case: Case) -> Figures:
        """Warm up, load, wait until all is delivered."""
        self._load(Case(case.connections, case.size_octets, max(WARM_UP, case.connections)))
        server = self._server
        cpu_before = cpu_s(server.pids)
        with PeakMemory(server.pids) as peak:
            result, ended = self._load(case)
        cpu = cpu_s(server.pids) - cpu_before
        latencies = sorted(result.latencies_s)
        return Figures(
            accepted=case.count / result.accepted_s,
            delivered=case.count / (ended - result.began),
            p50_ms=latencies[len(latencies) // 2] * 1000,
            p99_ms=latencies[len(latencies) * 99 // 100] * 1000,
            cpu_ms=cpu / case.count * 1000,
            peak_mib=peak.value.pss / 2**20,
        )

    def _load(self, case: Case) -> tuple[LoadResult, float]:
        logins = self._server.logins
        wanted = self._inboxes.counts()
        for number in range(case.count):
            wanted[number % len(logins)] += 1
        result = send(
            self._server.smtp_port,
            connections=case.connections,
            count=case.count,
            messages=self._messages(case.size_octets),
            sender=SENDER,
            recipient=lambda number: logins[number % len(logins)][0],
        )
        if result.problems or len(result.latencies_s) != case.count:
            raise RuntimeError(f"{self._server.name}: {len(result.latencies_s)} accepted; {result.problems[:3]}")
        if not self._inboxes.wait_for(wanted):
            raise RuntimeError(f"{self._server.name}: accepted, but not delivered in time")
        return result, time.perf_counter()


def idle_memory(server: Server) -> Memory:
    """The memory of a server that has nothing to do."""
    time.sleep(SETTLE_S)
    return memory(server.pids)


def median_figures(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure."""

    def median(field: Callable[[Figures], float]) -> float:
        return statistics.median(field(figures) for figures in rounds)

    return Figures(
        accepted=median(lambda f: f.accepted),
        delivered=median(lambda f: f.delivered),
        p50_ms=median(lambda f: f.p50_ms),
        p99_ms=median(lambda f: f.p99_ms),
        cpu_ms=median(lambda f: f.cpu_ms),
        peak_mib=median(lambda f: f.peak_mib),
    )
