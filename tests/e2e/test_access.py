"""Who gets in and who is thrown out, on a running server: bans, app passwords, ended logins."""

from __future__ import annotations

import contextlib
import json
import smtplib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon_process import MAIL_ROLES, PASSWORD, DaemonProcess
from tests.support.smtp_edge import client_context
from tests.support.world_cli import mairust, mairust_json
from tests.support.world_mail import wait_for

pytestmark = pytest.mark.timeout(90)

WAIT_S = 20.0
GUESSES = 4
"""Failures a minute that ban."""
HERE = "127.0.0.1"
"""The only address that is trusted: the others of the loopback stand for the world."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    made = DaemonProcess(
        tmp_path_factory.mktemp("access"),
        settings={"login": {"trusted_networks": [f"{HERE}/32"], "failures_per_minute": GUESSES}},
        roles=(*MAIL_ROLES, "http"),
        accounts=8,
    )
    with made as daemon:
        mairust(daemon, "wait", "--for", "ready")
        yield daemon


class Imap:
    """A raw IMAP client from an address of its own."""

    def __init__(self, daemon: DaemonProcess, *, ip: str = HERE) -> None:
        raw = socket.create_connection((daemon.host, daemon.ports.imaps), WAIT_S, source_address=(ip, 0))
        self._sock = client_context().wrap_socket(raw)
        self._file = self._sock.makefile("rb")
        assert self.line().startswith(b"* OK")

    def line(self) -> bytes:
        return self._file.readline()

    def ask(self, command: str) -> bytes:
        """The tagged line that answers a command."""
        self._sock.sendall(f"t {command}\r\n".encode())
        while line := self.line():
            if line.startswith((b"t ", b"+ ")):
                return line
        return b""

    def login(self, address: str, secret: str) -> bytes:
        return self.ask(f'LOGIN {address} "{secret}"')

    def rest(self) -> bytes:
        """All that is said until the server closes."""
        return self._file.read()

    def close(self) -> None:
        self._file.close()
        self._sock.close()


@contextlib.contextmanager
def imap(daemon: DaemonProcess, *, ip: str = HERE) -> Iterator[Imap]:
    client = Imap(daemon, ip=ip)
    try:
        yield client
    finally:
        client.close()


def submit_login(daemon: DaemonProcess, address: str, secret: str, *, ip: str = HERE) -> int:
    """The reply code of a login for submission; 0 when the door is shut."""
    try:
        with smtplib.SMTP_SSL(
            daemon.host, daemon.ports.submissions, timeout=WAIT_S, context=client_context(), source_address=(ip, 0)
        ) as client:
            client.ehlo()
            client.user, client.password = address, secret
            try:
                return client.auth("PLAIN", client.auth_plain)[0]
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code
    except (smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError, ssl.SSLError, ConnectionError):
        return 0


def greeting(daemon: DaemonProcess, port: int, *, ip: str) -> bytes:
    with socket.create_connection((daemon.host, port), WAIT_S, source_address=(ip, 0)) as peer:
        return peer.recv(512)


def bans_of(daemon: DaemonProcess, ip: str) -> list[dict[str, object]]:
    """The bans in force of an address alone."""
    return [ban for ban in mairust_json(daemon, "ban", "list") if ban["network"] == f"{ip}/32"]


def wait_banned(daemon: DaemonProcess, ip: str) -> None:
    wait_for("421 at connect", lambda: greeting(daemon, daemon.ports.smtp, ip=ip).startswith(b"421"))


def test_a_password_change_ends_an_idle_imap_connection(daemon: DaemonProcess) -> None:
    address = daemon.addresses[0]
    (daemon.folder / "new").write_text("another good one 42\n")
    with imap(daemon) as client:
        assert client.login(address, PASSWORD).startswith(b"t OK")
        assert client.ask("SELECT INBOX").startswith(b"t OK")
        assert client.ask("IDLE").startswith(b"+ ")
        shown = mairust_json(daemon, "session", "list", "--account", address)
        assert [(row["protocol"], row["command"], row["tls"]) for row in shown] == [("imap", "IDLE", "TLSv1.3")]
        mairust(daemon, "account", "password", address, "--password-file", str(daemon.folder / "new"), "--yes")
        assert client.rest().endswith(b"* BYE Your login has ended, log in again\r\n")
    assert mairust_json(daemon, "session", "list", "--account", address) == []
    with imap(daemon) as client:
        assert client.login(address, "another good one 42").startswith(b"t OK")


def test_a_disabled_accounts_connections_end(daemon: DaemonProcess) -> None:
    address = daemon.addresses[1]
    with imap(daemon) as client:
        assert client.login(address, PASSWORD).startswith(b"t OK")
        mairust(daemon, "account", "disable", address, "--yes")
        assert b"BYE" in client.rest()
    mairust(daemon, "account", "enable", address)


def test_an_app_password_reads_and_can_not_send_and_its_removal_ends_it(daemon: DaemonProcess) -> None:
    address = daemon.addresses[2]
    made = mairust_json(daemon, "app-password", "add", address, "--name", "phone", "--protocols", "imap")
    secret = made["password"]
    assert len(secret.replace("-", "")) == 28
    with imap(daemon) as phone, imap(daemon) as desk:
        assert phone.login(address, secret).startswith(b"t OK")
        assert desk.login(address, PASSWORD).startswith(b"t OK")
        assert submit_login(daemon, address, secret) == 535
        assert submit_login(daemon, address, PASSWORD) == 235
        (row,) = mairust_json(daemon, "app-password", "list", address)
        assert (row["last_used_ip"], row["last_used_protocol"]) == (HERE, "imaps")
        assert secret not in json.dumps(row)
        mairust(daemon, "app-password", "remove", address, "--name", "phone", "--yes")
        assert b"BYE" in phone.rest()
        assert desk.ask("NOOP").startswith(b"t OK")
    with imap(daemon) as phone:
        assert phone.login(address, secret).startswith(b"t NO [AUTHENTICATIONFAILED]")
    assert secret.replace("-", "").encode() not in daemon.log_path.read_bytes().replace(b"-", b"")


def test_sessions_are_kicked_and_connections_dropped(daemon: DaemonProcess) -> None:
    address = daemon.addresses[3]
    with imap(daemon) as first, imap(daemon) as second:
        for client in (first, second):
            assert client.login(address, PASSWORD).startswith(b"t OK")
        newest = mairust_json(daemon, "connection", "list", "--account", address)[0]
        mairust(daemon, "connection", "drop", newest["id"])
        assert b"BYE" in second.rest()
        mairust(daemon, "session", "kick", address, "--yes")
        assert b"BYE" in first.rest()


def test_a_storm_of_one_wrong_password_bans_nobody(daemon: DaemonProcess) -> None:
    address, ip = daemon.addresses[4], "127.0.1.66"
    assert {submit_login(daemon, address, "the old password", ip=ip) for _ in range(3 * GUESSES)} == {535}
    assert submit_login(daemon, address, PASSWORD, ip=ip) == 235
    assert bans_of(daemon, ip) == []


def test_distinct_guesses_ban_and_the_ban_outlives_a_restart(daemon: DaemonProcess) -> None:
    ip, neighbour = "127.0.2.66", "127.0.2.67"
    codes = [submit_login(daemon, f"guess{n}@example.test", f"wrong password {n}", ip=ip) for n in range(GUESSES)]
    assert codes == [535] * GUESSES
    (ban,) = bans_of(daemon, ip)
    assert (ban["network"], ban["account_id"], ban["made_by"]) == (f"{ip}/32", None, "server")
    for port, word in ((daemon.ports.smtp, b"421 4.7.0"), (daemon.ports.imap, b"* BYE")):
        assert greeting(daemon, port, ip=ip).startswith(word)
    assert submit_login(daemon, daemon.addresses[5], PASSWORD, ip=ip) == 0
    assert submit_login(daemon, daemon.addresses[5], PASSWORD, ip=neighbour) == 235
    daemon.kill()
    daemon.start()
    mairust(daemon, "wait", "--for", "ready")
    assert greeting(daemon, daemon.ports.smtp, ip=ip).startswith(b"421")
    mairust(daemon, "ban", "remove", f"{ip}/32")
    assert submit_login(daemon, daemon.addresses[5], PASSWORD, ip=ip) == 235
    types = {event["type"] for event in mairust_json(daemon, "log", "tail", "--since", "1h")}
    assert {"auth.login_failed", "ban.added", "ban.removed"} <= types


def test_guessing_from_an_office_shuts_out_nobody_who_works_there(daemon: DaemonProcess) -> None:
    ip = "127.0.3.66"
    assert submit_login(daemon, daemon.addresses[6], PASSWORD, ip=ip) == 235
    for number in range(2 * GUESSES):
        submit_login(daemon, f"guess{number}@example.test", f"wrong password {number}", ip=ip)
    assert bans_of(daemon, ip) == []
    assert submit_login(daemon, daemon.addresses[6], PASSWORD, ip=ip) == 235


def test_a_network_banned_by_hand_is_refused_at_connect(daemon: DaemonProcess) -> None:
    ip = "127.0.4.7"
    mairust(daemon, "ban", "add", "127.0.4.0/24", "--for", "1h", "--reason", "noise")
    wait_banned(daemon, ip)
    assert greeting(daemon, daemon.ports.imap, ip=ip).startswith(b"* BYE [UNAVAILABLE]")
    with socket.create_connection((HERE, daemon.ports.api), WAIT_S, source_address=(ip, 0)) as peer:
        peer.sendall(b"GET /api/v1/accounts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = peer.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"network_banned" in answer
    mairust(daemon, "ban", "remove", "127.0.4.0/24")
    assert greeting(daemon, daemon.ports.smtp, ip=ip).startswith(b"220")
    refused = mairust(daemon, "ban", "add", HERE, code=7)
    assert refused == ""


def test_the_doctor_sees_a_file_that_the_next_start_would_refuse(daemon: DaemonProcess, tmp_path: Path) -> None:
    whole = daemon.config_path.read_text()
    (sound,) = mairust_json(daemon, "doctor", "--only", "CONFIG-FILE")
    assert sound["severity"] == "ok"
    daemon.config_path.write_text(whole.replace('"smtp"', '"smtpd"', 1))
    try:
        told = mairust(daemon, "doctor", "--only", "CONFIG-FILE", "-o", "wide", code=11)
        assert "smtpd" in told
        mairust(daemon, "reload", code=7)
    finally:
        daemon.config_path.write_text(whole)
    assert "reloaded" in mairust(daemon, "reload", "-o", "table")
