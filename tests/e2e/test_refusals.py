"""What is refused, with which words, and that `mairust trace` explains each one afterwards."""

from __future__ import annotations

import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.daemon.appliance import Appliance
from server.domain.identity import Scope
from server.services.identity.accounts import NewAccount
from tests.support.daemon_process import MAIL_ROLES, PASSWORD, REPOSITORY, DaemonProcess
from tests.support.world_cli import mairust, mairust_json
from tests.support.world_mail import (
    CLIENT_S,
    compose,
    deliver,
    mailbox_of,
    read_mailbox,
    rows,
    trusting,
    wait_for,
    wait_for_mail,
)

SMALL = "small@example.test"
SIZE_MAX = 131_072


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """128 KiB a message, and one account with room for 20,000 octets."""
    made = DaemonProcess(
        tmp_path_factory.mktemp("refusals"),
        settings={"smtp": {"max_message_size": SIZE_MAX}},
        roles=(*MAIL_ROLES, "http"),
    )
    made.configure()
    made.seed(3)

    async def small_account(appliance: Appliance, root: Scope) -> None:
        await appliance.identity.accounts.create(root, NewAccount(address=SMALL, password=PASSWORD, quota_bytes=20_000))

    made.administer(small_account)
    made.start()
    yield made
    made.close()


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[smtplib.SMTP]:
    """A stranger on port 25 after EHLO."""
    with smtplib.SMTP(daemon.host, daemon.ports.smtp, local_hostname="x.example.org", timeout=CLIENT_S) as made:
        made.ehlo()
        yield made


def test_unknown_user_is_refused_at_rcpt(daemon: DaemonProcess, client: smtplib.SMTP) -> None:
    """Item 4: 550 5.1.1 before any octet of the message."""
    client.mail("x@example.org")
    assert _said(client.rcpt("nobody@example.test")) == "550 5.1.1"
    _explained(daemon, "550 5.1.1", to="nobody@example.test")


def test_relaying_is_refused(daemon: DaemonProcess, client: smtplib.SMTP) -> None:
    """A stranger's mail for somewhere else: 550 5.7.1; and on the submission port nothing before the login."""
    client.mail("x@example.org")
    assert _said(client.rcpt("victim@elsewhere.example")) == "550 5.7.1"
    _explained(daemon, "550 5.7.1", to="victim@elsewhere.example")
    with smtplib.SMTP(daemon.host, daemon.ports.submission, timeout=CLIENT_S) as submission:
        submission.ehlo()
        assert _said(submission.mail("u0@example.test")) == "530 5.7.0"


def test_a_user_sends_with_own_addresses_only(daemon: DaemonProcess) -> None:
    """Item 6: the envelope sender and the From field must belong to the login."""
    with smtplib.SMTP("localhost", daemon.ports.submission, timeout=CLIENT_S) as client:
        client.starttls(context=trusting(daemon))
        client.login("u0@example.test", PASSWORD)
        assert _said(client.mail("u1@example.test")) == "550 5.7.1"
        client.rset()
        client.mail("u0@example.test")
        client.rcpt("u2@example.test")
        assert _said(client.data(compose("u1@example.test", "u2@example.test"))) == "550 5.7.1"
    _explained(daemon, "550 5.7.1", **{"from": "u0@example.test"})
    assert read_mailbox(daemon, "u2@example.test") == []


def test_sending_as_another_needs_a_grant_that_stands(daemon: DaemonProcess) -> None:
    """Granted it works, revoked it is refused again, and it never leaves the organisation."""
    mairust(daemon, "tenant", "add", "other")
    mairust(daemon, "--tenant", "other", "domain", "add", "other.test")
    mairust(daemon, "--tenant", "other", "account", "add", "eve@other.test", "--generate")
    mairust(daemon, "grant", "send-as", "add", SMALL, "--to", "eve@other.test", code=3)
    mairust(daemon, "grant", "send-as", "add", SMALL, "--to", "u0@example.test")
    assert mairust_json(daemon, "grant", "send-as", "list", SMALL) == [{"grantee": "u0@example.test"}]
    with smtplib.SMTP("localhost", daemon.ports.submission, timeout=CLIENT_S) as client:
        client.starttls(context=trusting(daemon))
        client.login("u0@example.test", PASSWORD)
        assert _said(client.mail("eve@other.test")) == "550 5.7.1"
        client.rset()
        client.sendmail(SMALL, ["x@elsewhere.example"], compose(SMALL, "x@elsewhere.example"))
        mairust(daemon, "grant", "send-as", "remove", SMALL, "--to", "u0@example.test", "--yes")
        assert _said(client.mail(SMALL)) == "550 5.7.1"
        client.rset()
        client.mail("u0@example.test")
        client.rcpt("x@elsewhere.example")
        assert _said(client.data(compose(SMALL, "x@elsewhere.example"))) == "550 5.7.1"


def test_full_mailbox_refuses_what_does_not_fit_and_keeps_the_rest(daemon: DaemonProcess) -> None:
    """Item 24: 552 5.2.2 for a message larger than what is left, 452 4.2.2 at RCPT when nothing is."""
    kept = compose("x@example.org", SMALL, lines=100)
    deliver(daemon, kept, SMALL)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        deliver(daemon, compose("x@example.org", SMALL, lines=1000), SMALL)
    assert _said((refused.value.smtp_code, refused.value.smtp_error)) == "552 5.2.2"
    _explained(daemon, "552 5.2.2", to=SMALL)
    stored = _fill(daemon)
    wait_for("refusal at RCPT", lambda: _rcpt(daemon, SMALL) == "452 4.2.2", timeout_s=5)
    _explained(daemon, "452 4.2.2", to=SMALL)
    with mailbox_of(daemon, SMALL) as client:
        status, said = client.append("INBOX", "", "", kept)
    assert status == "NO"
    assert b"OVERQUOTA" in said[0]
    assert len(read_mailbox(daemon, SMALL)) == stored


def _fill(daemon: DaemonProcess) -> int:
    """Append a message of exactly the size that is left; return how many there are."""
    (account,) = rows(daemon, "SELECT quota_octets - used_octets AS room FROM accounts WHERE address = ?", SMALL)
    head = b"From: x@example.org\r\n\r\n"
    with mailbox_of(daemon, SMALL) as client:
        octets = (head + b"filler\r\n" * 10_000)[: account["room"] - 2] + b"\r\n"
        assert client.append("INBOX", "", "", octets)[0] == "OK"
        return int(client.select("INBOX")[1][0] or b"0")


def test_announced_size_is_refused_at_mail(daemon: DaemonProcess, client: smtplib.SMTP) -> None:
    """RFC 1870: 552 5.3.4 before the data."""
    assert client.esmtp_features["size"] == str(SIZE_MAX)
    assert _said(client.mail("huge@example.org", [f"SIZE={SIZE_MAX + 1}"])) == "552 5.3.4"
    _explained(daemon, "552 5.3.4", **{"from": "huge@example.org"})
    assert _said(client.mail("x@example.org", [f"SIZE={SIZE_MAX}"])) == "250 2.1.0"


def test_real_size_is_refused_after_data(daemon: DaemonProcess, client: smtplib.SMTP) -> None:
    """Not announced: 552 5.3.4 after the dot, nothing stored, and the connection goes on."""
    client.mail("big@example.org")
    client.rcpt("u1@example.test")
    assert _said(client.data(b"From: big@example.org\r\n\r\n" + b"x" * 70 * 2000)) == "552 5.3.4"
    _explained(daemon, "552 5.3.4", **{"from": "big@example.org"})
    client.mail("x@example.org")
    client.rcpt("u1@example.test")
    assert _said(client.data(b"From: x@example.org\r\n\r\nsmall\r\n"))[:3] == "250"
    assert len(read_mailbox(daemon, "u1@example.test")) == 1


def test_disk_reserve_defers_mail_and_lets_people_read(daemon: DaemonProcess) -> None:
    """Section 6: 452 4.3.1 before DATA while space is short; reading and deleting go on; all is well again after."""
    letter = compose("x@example.org", "u0@example.test")
    deliver(daemon, letter, "u0@example.test")
    daemon.reload({"storage": {"reserve": "1000TiB"}})
    try:
        wait_for("refusal", lambda: _refused_for_space(daemon))
        _explained(daemon, "452 4.3.1", **{"from": "space@example.org"})
        assert "new mail is refused for now (452)" in mairust(daemon, "doctor", "--only", "STORAGE", code=11)
        assert "unhealthy" in mairust(daemon, "status")
        assert wait_for_mail(daemon, "u0@example.test", letter[:100]).endswith(letter)
        with mailbox_of(daemon, "u0@example.test") as client:
            assert client.append("INBOX", "", "", letter)[0] == "NO"
            client.select("INBOX")
            client.store("1", "+FLAGS", "(\\Deleted)")
            assert client.expunge()[0] == "OK"
    finally:
        daemon.reload()
    wait_for("acceptance", lambda: not _refused_for_space(daemon))


def _rcpt(daemon: DaemonProcess, address: str) -> str:
    with smtplib.SMTP(daemon.host, daemon.ports.smtp, timeout=CLIENT_S) as client:
        client.ehlo()
        client.mail("x@example.org")
        return _said(client.rcpt(address))


def _refused_for_space(daemon: DaemonProcess) -> bool:
    with smtplib.SMTP(daemon.host, daemon.ports.smtp, timeout=CLIENT_S) as client:
        client.ehlo()
        said = [_said(client.mail("space@example.org"))]
        if said[-1].startswith("250"):
            said.append(_said(client.rcpt("u0@example.test")))
        if said[-1].startswith("250"):
            said.append(_said(client.docmd("DATA")))
            client.close()
    return "452 4.3.1" in said


def test_bad_configuration_at_a_reload_changes_nothing(daemon: DaemonProcess) -> None:
    """The daemon goes on with what it had, and says which key is wrong."""
    began = len(daemon.log_path.read_text())
    daemon.reload({"smtp": {"max_message_size": "plenty"}})
    try:
        wait_for("complaint", lambda: "smtp.max_message_size" in daemon.log_path.read_text()[began:])
        deliver(daemon, compose("x@example.org", "u0@example.test"), "u0@example.test")
    finally:
        daemon.reload()


BAD = [
    ("server:\n  hostname: mail.example.test\n  smtp_prot: 25\n", ":3: server.smtp_prot: unknown key"),
    ("server:\n  hostname: mail.example.test\nsmtp:\n  max_message_size: plenty\n", ":4: smtp.max_message_size: "),
    ("server:\n  hostname: mail.example.test\n  imap_port: 700000\n", ":3: server.imap_port: "),
    ("server:\n  hostname: [mail\n", ":3: "),
]


@pytest.mark.parametrize(("text", "fault"), BAD, ids=["unknown key", "bad size", "bad port", "no YAML"])
def test_bad_configuration_is_refused_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    """`check-config` names the key and its line; `run` says the same and does not start: exit 78 both."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    for words in (("check-config", path), ("run", "--config", path)):
        done = subprocess.run(
            [sys.executable, "-m", "server", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=15
        )
        assert done.returncode == 78
        assert f"{path}{fault}" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def _said(answer: tuple[int, bytes]) -> str:
    """`550 5.1.1` of a reply."""
    code, text = answer
    return f"{code} {text.decode().split()[0]}"


def _explained(daemon: DaemonProcess, reply: str, **asked: str) -> None:
    """`mairust trace --from, --to ...` leads to the refusal, with these very words."""
    flags = [word for key, value in asked.items() for word in (f"--{key}", value)]

    def found() -> bool:
        traces = mairust_json(daemon, "trace", *flags)
        return any(reply in mairust(daemon, "trace", trace["trace_id"]) for trace in traces)

    wait_for(f"trace of {reply} for {asked}", found, timeout_s=5)
