"""What is measured of one server that holds the mailbox: name -> figure, in the unit that the name's case says."""

from __future__ import annotations

import smtplib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.bench.mailbox.client import Client
from tests.bench.mailbox.corpus import BODY_WORD, SUBJECT_WORD, make_mail
from tests.bench.processes import memory
from tests.bench.servers import Server

BOX = "Bench"
BODIES = 20_000
APPENDS = 2_000
WAKE_UPS = 40


@dataclass(frozen=True, slots=True)
class Case:
    """`more_is_better` tells a rate from a time."""

    title: str
    unit: str
    more_is_better: bool = False


SELECT_COLD = Case("SELECT, first after the start", "ms")
SELECT_WARM = Case("SELECT, mailbox open elsewhere", "ms")
FLAGS = Case("UID FETCH 1:* (FLAGS)", "ms")
ENVELOPES = Case("FETCH 1:* (ENVELOPE)", "ms")
STRUCTURES = Case("500 newest, BODYSTRUCTURE, PREVIEW", "ms")
PAGE = Case("page of 50 for a message list", "ms")
WHOLE = Case("whole bodies", "MB/s", more_is_better=True)
STORE = Case("STORE on 1,000", "ms")
COPY = Case("COPY of 1,000", "ms")
UNSEEN = Case("SEARCH UNSEEN", "ms")
SUBJECT = Case("SEARCH SUBJECT", "ms")
FROM = Case("SEARCH FROM", "ms")
BODY = Case("SEARCH BODY", "ms")
APPEND_1 = Case("APPEND, 1 connection", "/s", more_is_better=True)
APPEND_10 = Case("APPEND, 10 connections", "/s", more_is_better=True)
WAKE = Case("IDLE wake-up after the 250", "ms")
IDLE_MEMORY = Case("idle connection", "KiB")

CASES = (
    SELECT_COLD, SELECT_WARM, FLAGS, ENVELOPES, STRUCTURES, PAGE, WHOLE, STORE, COPY, UNSEEN, SUBJECT, FROM, BODY,
    APPEND_1, APPEND_10, WAKE, IDLE_MEMORY,
)  # fmt: skip


def timed_ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def median_ms(work: Callable[[], object], times: int) -> float:
    return statistics.median(timed_ms(work) for _ in range(times))


def fill(server: Server, port: int, count: int) -> None:
    """Make the mailbox over as many connections as pays."""
    first = Client(port, server.logins[0])
    first.make(BOX)
    first.close()
    _append_by(server, port, 4, BOX, range(1, count + 1), window=20)


def measure(server: Server, port: int, *, connections: int) -> Iterator[tuple[Case, float]]:
    """Every case, the cold SELECT first; the server has just been started."""
    client = Client(port, server.logins[0])
    began = time.perf_counter()
    count = client.select(BOX)
    yield SELECT_COLD, (time.perf_counter() - began) * 1000
    other = Client(port, server.logins[0])
    yield SELECT_WARM, median_ms(lambda: other.select(BOX), 9)
    yield from _listings(client, count)
    yield from _changes(client)
    yield from _searches(client)
    client.close()
    other.close()
    yield from _appends(server, port)
    yield WAKE, _wake_up(server, port)
    if connections:
        yield IDLE_MEMORY, _idle_memory(server, port, connections)


def _listings(client: Client, count: int) -> Iterator[tuple[Case, float]]:
    preview = " PREVIEW" if b" PREVIEW" in client.capabilities else ""
    yield FLAGS, median_ms(lambda: client.run("UID FETCH 1:* (FLAGS)"), 5)
    yield ENVELOPES, median_ms(lambda: client.run("FETCH 1:* (ENVELOPE)"), 3)
    newest = f"FETCH {max(1, count - 499)}:{count} (UID BODYSTRUCTURE{preview})"
    yield STRUCTURES, median_ms(lambda: client.run(newest), 9)
    page = f"FETCH {max(1, count - 49)}:{count} (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"
    yield PAGE, median_ms(lambda: client.run(page), 25)
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        octets = client.run(f"FETCH 1:{min(count, BODIES)} (BODY.PEEK[])")
        rates.append(octets / 1e6 / (time.perf_counter() - began))
    yield WHOLE, statistics.median(rates)


def _changes(client: Client) -> Iterator[tuple[Case, float]]:
    times = []
    for _ in range(3):
        times.append(timed_ms(lambda: client.run("STORE 1:1000 +FLAGS (\\Flagged)")))
        times.append(timed_ms(lambda: client.run("STORE 1:1000 -FLAGS (\\Flagged)")))
    yield STORE, statistics.median(times)
    client.make("Copies")
    yield COPY, median_ms(lambda: client.run("COPY 1:1000 Copies"), 3)


def _searches(client: Client) -> Iterator[tuple[Case, float]]:
    yield UNSEEN, median_ms(lambda: client.run("SEARCH UNSEEN"), 5)
    yield SUBJECT, median_ms(lambda: client.run(f"SEARCH SUBJECT {SUBJECT_WORD}"), 5)
    yield FROM, median_ms(lambda: client.run("SEARCH FROM person77@example.net"), 5)
    yield BODY, median_ms(lambda: client.run(f"SEARCH BODY {BODY_WORD}"), 3)


def _appends(server: Server, port: int) -> Iterator[tuple[Case, float]]:
    client = Client(port, server.logins[1])
    client.make("Appends")
    client.close()
    for case, connections in ((APPEND_1, 1), (APPEND_10, 10)):
        numbers = range(1, APPENDS + 1)
        yield (
            case,
            APPENDS
            * 1000
            / timed_ms(
                lambda connections=connections, numbers=numbers: _append_by(  # type: ignore[misc]
                    server, port, connections, "Appends", numbers, window=1, login=1
                )
            ),
        )


def _append_by(
    server: Server, port: int, connections: int, mailbox: str, numbers: Sequence[int], *, window: int, login: int = 0
) -> None:
    failures: list[BaseException] = []

    def one(share: Sequence[int]) -> None:
        try:
            client = Client(port, server.logins[login])
            client.append(mailbox, map(make_mail, share), window=window)
            client.close()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(numbers[place::connections],)) for place in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _wake_up(server: Server, port: int) -> float:
    """Milliseconds from SMTP's 250 until an idle client knows; the median."""
    name = server.logins[2][0]
    client = Client(port, server.logins[2])
    client.select("INBOX")
    client.idle()
    waits = []
    with smtplib.SMTP("127.0.0.1", server.smtp_port) as sender:
        sender.ehlo("bench.test")
        for number in range(WAKE_UPS):
            sender.sendmail("bench@sender.test", [name], make_mail(number))
            accepted = time.perf_counter()
            waits.append(max(0.0, client.told() - accepted) * 1000)
            time.sleep(0.02)
    client.done()
    client.close()
    return statistics.median(waits)


def _idle_memory(server: Server, port: int, connections: int) -> float:
    """KiB of all the server's processes for one idle connection."""
    before = memory(server.pids).pss
    clients = []
    for number in range(connections):
        client = Client(port, server.logins[number % len(server.logins)])
        client.select("INBOX")
        client.idle()
        clients.append(client)
    time.sleep(2)
    after = memory(server.pids).pss
    for client in clients:
        client.close()
    return (after - before) / 1024 / connections
