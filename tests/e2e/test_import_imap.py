"""Imports by IMAP from Dovecot, and from a server of our own: whole, once, later passes, through a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_import import inbox, kill_when
from tests.support import dovecot
from tests.support.daemon_process import MAIL_ROLES, DaemonProcess
from tests.support.dovecot import Dovecot
from tests.support.world_cli import mairust, mairust_json, run_cli

pytestmark = pytest.mark.timeout(120)
WAIT_S = 60.0
needs_dovecot = pytest.mark.skipif(bool(dovecot.available()), reason=dovecot.available())


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """May connect to loopback, where the other server is."""
    settings = {"outbound": {"allow_private": ["127.0.0.0/8"]}}
    folder = tmp_path_factory.mktemp("daemon")
    with DaemonProcess(folder, roles=(*MAIL_ROLES, "http"), accounts=8, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    running = Dovecot(tmp_path_factory.mktemp("dovecot"), "anna", "ben", "carl")
    yield running
    running.close()


def mail(number: int, octets: int = 100) -> bytes:
    return b"Message-ID: <%d@old>\r\nSubject: mail %d\r\n\r\n%s\r\n" % (number, number, b"x" * octets)


def words(daemon: DaemonProcess, other: Dovecot, user: str, address: str, *more: str) -> list[str]:
    (daemon.folder / "secret").write_text(dovecot.PASSWORD + "\n", encoding="utf-8")
    source = ["--host", "127.0.0.1", "--port", str(other.port), "--tls", "none", "--login", user]
    secret = ["--password-file", str(daemon.folder / "secret")]
    return ["import", "imap", "--account", address, *source, *secret, *more]


@needs_dovecot
def test_folders_flags_keywords_and_dates_come_over_and_later_passes_add_what_is_new(
    daemon: DaemonProcess, other: Dovecot
) -> None:
    address = daemon.addresses[0]
    client = other.client("anna")
    for number in range(30):
        flags = "(\\Seen \\Flagged work)" if number % 3 == 0 else "()"
        client.append("INBOX", flags, '"17-Jul-2020 02:44:25 -0700"', mail(number))
    client.append("Gesendet", "(\\Seen)", None, mail(100))
    client.create("Projekte.M&APw-nchen")
    client.append("Projekte.M&APw-nchen", None, None, mail(101, octets=300_000))
    first = json.loads(mairust(daemon, "--json", *words(daemon, other, "anna", address)))
    assert (first["status"], first["added"], first["total"]) == ("succeeded", 32, 32)
    found = inbox(daemon, address)
    assert [octets for _, octets in found] == [mail(number) for number in range(30)]
    assert all("17-Jul-2020 09:44:25 +0000" in head for head, _ in found)
    assert ["\\Seen" in head and "\\Flagged" in head and "work" in head for head, _ in found] == [
        number % 3 == 0 for number in range(30)
    ]
    assert len(inbox(daemon, address, "Sent")) == 1
    assert [octets for _, octets in inbox(daemon, address, "Projekte/M&APw-nchen")] == [mail(101, octets=300_000)]
    client.append("INBOX", None, None, mail(31))
    client.select("INBOX")
    client.store("2", "+FLAGS", "(\\Answered)")
    client.logout()
    again = json.loads(mairust(daemon, "--json", *words(daemon, other, "anna", address, "--flags")))
    assert (again["added"], again["skipped"], again["changed"]) == (1, 32, 1)
    assert "\\Answered" in inbox(daemon, address)[1][0]
    (job, *_) = mairust_json(daemon, "job", "list")
    assert job["id"] == again["id"]


@needs_dovecot
def test_a_wrong_password_fails_with_the_other_servers_words(daemon: DaemonProcess, other: Dovecot) -> None:
    (daemon.folder / "wrong").write_text("wrong\n")
    asked = words(daemon, other, "anna", daemon.addresses[1])
    asked[asked.index("--password-file") + 1] = str(daemon.folder / "wrong")
    done = run_cli(("--socket", str(daemon.admin_socket), *asked), daemon.folder, code=1)
    assert "refused the login" in done.stderr


@needs_dovecot
def test_a_daemon_killed_in_the_middle_goes_on_by_itself(daemon: DaemonProcess, other: Dovecot) -> None:
    """F01; the job is found and taken up again at the start."""
    address = daemon.addresses[2]
    client = other.client("ben")
    for number in range(600):
        client.append("INBOX", None, None, mail(number, octets=20_000))
    client.logout()
    job = json.loads(mairust(daemon, "--json", *words(daemon, other, "ben", address, "--background")))["id"]
    kill_when(daemon, 60)
    daemon.start()
    deadline = time.monotonic() + WAIT_S
    while (seen := mairust_json(daemon, "job", "show", job))["status"] in ("pending", "running"):
        assert time.monotonic() < deadline, seen
    assert (seen["status"], seen["added"], seen["failed"]) == ("succeeded", 600, 0)
    found = inbox(daemon, address)
    assert [octets for _, octets in found] == [mail(number, octets=20_000) for number in range(600)]


def test_certificates_are_verified_and_no_password_goes_in_clear_unasked(daemon: DaemonProcess, tmp_path: Path) -> None:
    source, target = daemon.addresses[3], daemon.addresses[4]
    (tmp_path / "one.eml").write_bytes(mail(1))
    mairust(daemon, "import", "eml", str(tmp_path / "one.eml"), "--account", source)
    (tmp_path / "secret").write_text("kelp orbit 42 maple\n")
    begin = ("--socket", str(daemon.admin_socket), "import", "imap", "--account", target)
    there = ("--host", "127.0.0.1", "--login", source, "--password-file", str(tmp_path / "secret"))
    done = run_cli(
        (*begin, *there, "--port", str(daemon.ports.imaps)),
        tmp_path,
        code=1,
    )
    assert "certificate" in done.stderr
    done = run_cli(
        (*begin, *there, "--port", str(daemon.ports.imap), "--tls", "none"),
        tmp_path,
        code=1,
    )
    assert "takes no login" in done.stderr


def test_addresses_of_this_network_are_refused_unless_configuration_names_them(daemon: DaemonProcess) -> None:
    """T25: the same guard as for mail out."""
    (daemon.folder / "secret").write_text("x\n")
    begin = ("--socket", str(daemon.admin_socket), "import", "imap", "--account", daemon.addresses[5])
    for host in ("169.254.169.254", "10.0.0.1", "[::1]"):
        done = run_cli(
            (*begin, "--host", host, "--login", "x", "--password-file", str(daemon.folder / "secret")),
            daemon.folder,
            code=1,
        )
        assert "allow_private" in done.stderr
