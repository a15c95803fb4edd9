"""Two servers of different domains mail each other over port 25 through a DNS that publishes their records."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.world_cli import mairust, mairust_json
from tests.support.world_mail import compose, deliver, deliveries, events, read_mailbox, submit, wait_for_mail
from tests.support.world_network import Network, network

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def world() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def alpha(world: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with world.site(tmp_path_factory.mktemp("alpha"), "a.example", "127.0.0.2") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def beta(world: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with world.site(tmp_path_factory.mktemp("beta"), "b.example", "127.0.0.3") as daemon:
        yield daemon


def test_mail_there_and_back_is_authenticated(alpha: DaemonProcess, beta: DaemonProcess) -> None:
    """Items 5 to 14 of product.md as one: signed, delivered over TLS, and SPF, DKIM and DMARC pass on both ways."""
    letter = compose("u0@a.example", "u1@b.example", subject="Hello Beta")
    submit(alpha, letter, "u0@a.example", "u1@b.example")
    stored = wait_for_mail(beta, "u1@b.example", b"Hello Beta")
    assert stored.endswith(letter)
    _authentic(stored, "b.example", "a.example")
    message_id = _message_id(letter)
    assert "Delivered: mail.b.example has taken the mail" in mairust(alpha, "trace", message_id)
    told = mairust(beta, "trace", message_id)
    assert re.search(r"mailauth +pass +spf=pass .*dkim=pass .*dmarc=pass iprev=pass", told)
    assert "Delivered to u1@b.example." in told

    answer = compose("u1@b.example", "u0@a.example", subject="Hello Alpha")
    submit(beta, answer, "u1@b.example", "u0@a.example")
    stored = wait_for_mail(alpha, "u0@a.example", b"Hello Alpha")
    assert stored.endswith(answer)
    _authentic(stored, "a.example", "b.example")


def test_doctor_finds_the_listeners_and_the_dns_in_order(alpha: DaemonProcess) -> None:
    """The checks that the first hour needs: every listener answers, and the published records are found."""
    mairust(alpha, "doctor", "--only", "LISTENER", code=0)
    told = mairust_json(alpha, "domain", "dns", "show", "a.example")
    assert {record["type"] for record in told} >= {"MX", "TXT"}


def _message_id(octets: bytes) -> str:
    found = re.search(rb"Message-ID: (<[^>]+>)", octets)
    assert found is not None
    return found[1].decode()


def _authentic(stored: bytes, receiver: str, sender: str) -> None:
    results = re.sub(rb"\r\n[ \t]+", b" ", stored.partition(b"\r\n\r\n")[0]).decode()
    assert f"Authentication-Results: mail.{receiver};" in results
    assert "spf=pass" in results
    assert "dkim=pass" in results
    assert "dmarc=pass" in results
    assert re.search(rf"Received: from mail\.{re.escape(sender)} \(.*with ESMTPS", results), results


def test_unknown_user_comes_back_as_one_report(alpha: DaemonProcess, beta: DaemonProcess) -> None:
    """RFC 3461, RFC 3464: the other side's words reach the sender, with the headers of what was refused."""
    letter = compose("u1@a.example", "nobody@b.example", subject="Anyone there")
    submit(alpha, letter, "u1@a.example", "nobody@b.example")
    report = wait_for_mail(alpha, "u1@a.example", b"multipart/report")
    assert report.startswith(b"Return-Path: <>\r\n")
    assert b"Final-Recipient: rfc822;nobody@b.example" in report.replace(b"; ", b";")
    assert b"Action: failed" in report
    assert b"Status: 5.1.1" in report
    assert re.search(rb"Diagnostic-Code: smtp; ?550 5\.1\.1", report)
    assert b"Subject: Anyone there" in report
    assert len(read_mailbox(alpha, "u1@a.example")) == 1
    (row,) = deliveries(alpha, "nobody@b.example")
    assert row["status"] == "failed"
    (told,) = events(alpha, recipient="nobody@b.example", type="delivery.failed")
    assert told["reply"].startswith("550 5.1.1")
    (refused,) = events(beta, recipient="nobody@b.example", type="message.refused")
    assert refused["reply"].startswith("550 5.1.1")
    there, here = mairust(beta, "trace", "nobody@b.example"), mairust(alpha, "trace", "nobody@b.example")
    assert "Refused for nobody@b.example: there is no such mailbox." in there
    assert "mail.b.example answered; not tried again: 550 5.1.1 no such user here" in here
    assert "a delivery status notification (failed) goes to u1@a.example" in here
    assert "Not delivered to nobody@b.example: " in here


def test_forged_mail_is_refused_by_the_domains_policy(alpha: DaemonProcess, beta: DaemonProcess) -> None:
    """RFC 9989: neither SPF nor DKIM pass and the policy says reject: 550 5.7.1 at the end of DATA, nothing stored."""
    forged = compose("u0@a.example", "u2@b.example", subject="Your invoice")
    with smtplib.SMTP(
        beta.host, beta.ports.smtp, local_hostname="evil.example", timeout=10, source_address=("127.0.0.66", 0)
    ) as client:
        client.ehlo()
        assert client.mail("crook@evil.example")[0] == 250
        assert client.rcpt("u2@b.example")[0] == 250
        code, text = client.data(forged)
    assert (code, text[:6]) == (550, b"5.7.1 ")
    assert read_mailbox(beta, "u2@b.example") == []
    told = mairust(beta, "trace", "--ip", "127.0.0.66")
    assert "550 5.7.1" in told
    assert "dmarc=fail" in told


def test_a_servers_own_mail_stays_inside(alpha: DaemonProcess, world: Network) -> None:
    """Mail to a colleague never asks the DNS for an exchanger."""
    asked = len(world.dns.queries)
    letter = compose("u0@a.example", "u2@a.example")
    submit(alpha, letter, "u0@a.example", "u2@a.example")
    assert wait_for_mail(alpha, "u2@a.example", letter[:100]).endswith(letter)
    assert not [query for query in world.dns.queries[asked:] if query[1] == "MX"]


def test_dns_failure_refuses_nobody(beta: DaemonProcess, world: Network) -> None:
    """Item 14: the sender's records can't be read now, so nothing is held against the mail (R3)."""
    world.zone.set("slow.example", **{"*": "SERVFAIL"})
    world.zone.set("_dmarc.slow.example", **{"*": "SERVFAIL"})
    letter = compose("x@slow.example", "u0@b.example")
    deliver(beta, letter, "u0@b.example", sender="x@slow.example")
    stored = wait_for_mail(beta, "u0@b.example", letter[:100])
    assert b"spf=temperror" in stored
    assert b"dmarc=temperror" in stored
