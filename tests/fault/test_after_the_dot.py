"""FT5, quick tier: a client that goes away after the final dot has its message stored once (reliability.md F15, M4).

RFC 5321 §4.1.1.4: the dot hands the message over; RFC 1047: what the client does without a reply.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fault.clients import logged_in
from tests.fault.sweep import SENDER
from tests.support.daemon_process import HOST, DaemonProcess
from tests.support.ledger import MARK, Trial, make_trial

DELAYS_S = (0.0, 0.0005, 0.002, 0.01)
WAIT_S = 5.0
_RESET = struct.pack("ii", 1, 0)

Ending = Callable[[socket.socket], None]


def half_close(peer: socket.socket) -> None:
    """FIN, and still listening: the reply must come."""
    peer.shutdown(socket.SHUT_WR)
    assert peer.recv(200).startswith(b"250 2.0.0 ")


def close(peer: socket.socket) -> None:
    peer.close()


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    peer.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with DaemonProcess(tmp_path_factory.mktemp("dot"), roles=("smtp", "imap"), accounts=1) as running:
        yield running


@pytest.mark.parametrize("size", [1_000, 100_000], ids=["in the row", "in a file"])
@pytest.mark.parametrize("ending", [half_close, close, reset])
def test_message_is_stored_once_when_the_client_leaves_after_the_dot(
    daemon: DaemonProcess, ending: Ending, size: int
) -> None:
    rng = random.Random(f"{size}/{ending.__name__}")
    trials = [make_trial(rng, "dot", sender=SENDER, places=daemon.addresses, size=size) for _ in DELAYS_S]
    for trial, delay_s in zip(trials, DELAYS_S, strict=True):
        with _at_data(daemon) as peer:
            peer.sendall(trial.octets + b".\r\n")
            time.sleep(delay_s)
            ending(peer)
    # A reset may overtake the dot in the peer's kernel: then the message was never handed over, but never half.
    least = 0 if ending is reset else 1
    copies = _copies(daemon, trials, least=least * len(trials))
    assert all(least <= copies.count(trial.id) <= 1 for trial in trials), copies


def test_message_without_its_dot_is_not_stored(daemon: DaemonProcess) -> None:
    """At every octet of the end of data but the last."""
    rng = random.Random(3)
    trials = [make_trial(rng, "cut", sender=SENDER, places=daemon.addresses, size=1_000) for _ in range(4)]
    for cut, trial in enumerate(trials):
        with _at_data(daemon) as peer:
            peer.sendall(trial.octets[:-2] + b"\r\n.\r\n"[: cut + 1])
            peer.shutdown(socket.SHUT_WR)
            assert not peer.recv(200).startswith(b"250")
    assert _copies(daemon, trials, least=0) == []


def _at_data(daemon: DaemonProcess) -> socket.socket:
    """A connection that has just been told 354."""
    peer = socket.create_connection((HOST, daemon.ports.smtp), timeout=10)
    for command in (None, "EHLO t.test", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{daemon.addresses[0]}>", "DATA"):
        if command is not None:
            peer.sendall(command.encode() + b"\r\n")
        reply = b""
        while not reply.endswith(b"\r\n") or reply.splitlines()[-1][3:4] == b"-":
            reply += peer.recv(4096)
        assert reply[:1] in b"23", reply
    return peer


def _copies(daemon: DaemonProcess, trials: list[Trial], *, least: int) -> list[str]:
    """Trial ids of the stored copies, once there are enough of them."""
    wanted = {trial.id for trial in trials}
    deadline = time.monotonic() + WAIT_S
    while True:
        with logged_in(daemon.ports, daemon.addresses[0]) as imap:
            count = int(imap.select("INBOX", readonly=True)[1][0] or b"0")
            lines = imap.fetch("1:*", f"(BODY.PEEK[HEADER.FIELDS ({MARK.decode()[:-2]})])")[1] if count else []
        ids = [line[1].partition(b":")[2].strip().decode() for line in lines if isinstance(line, tuple)]
        found = [trial_id for trial_id in ids if trial_id in wanted]
        if len(found) >= least or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
