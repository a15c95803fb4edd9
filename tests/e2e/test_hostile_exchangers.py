"""Other people's servers at their worst: each outcome ends in the right retry, report and trace (product.md 9, 10).

Accounts: u0 sends what ends in reports, so that they can be counted; u1 sends what must end well.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.fake_mx import DROP, HANG, LOST_250, RESET
from tests.support.world_cli import mairust, mairust_json
from tests.support.world_mail import compose, deliveries, events, read_mailbox, rows, submit, wait_for
from tests.support.world_network import Network, network

pytestmark = pytest.mark.timeout(60)

UNHAPPY, HAPPY = "u0@a.example", "u1@a.example"
_names = (f"d{number}.example" for number in itertools.count())


@pytest.fixture(scope="module")
def world() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def alpha(world: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    folder = tmp_path_factory.mktemp("alpha")
    with world.site(folder, "a.example", "127.0.0.2", server={"shutdown_grace": "1s"}) as daemon:
        yield daemon


def test_temporary_refusal_is_tried_again(alpha: DaemonProcess, world: Network) -> None:
    """4xx at RCPT: deferred with the exact words, tried again after the delay, delivered once, no report."""
    domain = next(_names)
    mx = world.exchanger(domain, script={"rcpt": [b"450 4.2.1 come back later\r\n"]})
    letter = _send(alpha, HAPPY, domain)
    row = _settled(alpha, domain, "sent")
    assert row["attempts"] == 2
    assert [taken.data.endswith(letter) for taken in mx.messages] == [True]
    assert _story(alpha, row) == ["submission.accepted", "submission.signed", "delivery.deferred", "delivery.sent"]
    (deferred,) = events(alpha, queue_id=row["queue_id"], type="delivery.deferred")
    assert deferred["reply"] == "450 4.2.1 come back later"
    (delivered,) = events(alpha, queue_id=row["queue_id"], type="delivery.sent")
    assert "250 2.0.0 taken as 4711" in delivered["reply"]
    told = mairust(alpha, "trace", row["queue_id"])
    assert re.search(
        r"queue +deferred .*: 450 4\.2\.1 come back later\n.*queue +sent .*: 250 2\.0\.0 taken as 4711", told
    )
    assert "\nDelivered: " in told
    assert _reports(alpha, HAPPY, domain) == []


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
def test_permanent_refusal_is_reported_once(alpha: DaemonProcess, world: Network, stage: str) -> None:
    """5xx at any stage: one attempt, one report with the exact words, an event that says so."""
    domain = next(_names)
    mx = world.exchanger(domain, script={stage: b"554 5.7.1 we don't like you\r\n"})
    _send(alpha, UNHAPPY, domain)
    row = _settled(alpha, domain, "failed")
    assert row["attempts"] == 1
    assert mx.messages == []
    (report,) = _reports(alpha, UNHAPPY, domain)
    assert b"554 5.7.1 we don't like you" in report
    assert b"Status: 5.7.1" in report
    (failed,) = events(alpha, queue_id=row["queue_id"], type="delivery.failed")
    assert failed["reply"] == "554 5.7.1 we don't like you"
    told = mairust(alpha, "trace", f"someone@{domain}")
    assert "not tried again: 554 5.7.1 we don't like you" in told
    assert f"Not delivered to someone@{domain}: " in told


def test_lost_connection_is_tried_again(alpha: DaemonProcess, world: Network) -> None:
    """A peer that hangs up before its answer to the final dot has taken nothing: tried again, delivered once."""
    stages = ("connect", "ehlo", "mail", "rcpt", "data", "body", "dot")
    cases = [(next(_names), stage, act) for stage in stages for act in (DROP, RESET)]
    exchangers = {domain: world.exchanger(domain, script={stage: [act]}) for domain, stage, act in cases}
    letters = {domain: _send(alpha, HAPPY, domain) for domain in exchangers}
    for domain, stage, act in cases:
        row = _settled(alpha, domain, "sent")
        assert row["attempts"] == 2, (stage, act)
        assert [taken.data.endswith(letters[domain]) for taken in exchangers[domain].messages] == [True], (stage, act)
        (deferred,) = events(alpha, queue_id=row["queue_id"], type="delivery.deferred", recipient=row["recipient"])
        assert deferred["reply"].startswith("4"), (stage, act)
        assert _reports(alpha, HAPPY, domain) == []


def test_lost_acknowledgement_makes_a_duplicate_and_no_loss(alpha: DaemonProcess, world: Network) -> None:
    """RFC 1047: whether the peer took it is unknown, so it gets the message again."""
    domain = next(_names)
    mx = world.exchanger(domain, script={"dot": [LOST_250]})
    letter = _send(alpha, HAPPY, domain)
    assert _settled(alpha, domain, "sent")["attempts"] == 2
    assert [taken.data.endswith(letter) for taken in mx.messages] == [True, True]


def test_tarpit_holds_up_nobody_else(alpha: DaemonProcess, world: Network) -> None:
    """A peer that says nothing more keeps its own delivery; others go out meanwhile."""
    slow, quick = next(_names), next(_names)
    tarpit = world.exchanger(slow, script={"ehlo": HANG})
    mx = world.exchanger(quick)
    for _ in range(5):
        _send(alpha, HAPPY, slow)
    wait_for("connection to the tarpit", lambda: tarpit.connections)
    _send(alpha, HAPPY, quick)
    _settled(alpha, quick, "sent", timeout_s=3)
    assert len(mx.messages) == 1
    assert {row["status"] for row in deliveries(alpha, f"someone@{slow}")} <= {"queued", "sending"}
    assert [row["recipient"] for row in mairust_json(alpha, "queue", "list", "--domain", slow)] == [
        f"someone@{slow}"
    ] * 5


def test_null_mx_is_reported(alpha: DaemonProcess, world: Network) -> None:
    """RFC 7505: the domain takes no mail: 5.1.10, at once."""
    domain = next(_names)
    world.zone.set(domain, MX=[[0, "."]], A=["127.0.0.99"])
    _send(alpha, UNHAPPY, domain)
    assert _settled(alpha, domain, "failed")["attempts"] == 1
    (report,) = _reports(alpha, UNHAPPY, domain)
    assert b"Status: 5.1.10" in report


def test_unknown_domain_is_reported(alpha: DaemonProcess) -> None:
    """No such domain: 5.1.2, at once."""
    domain = next(_names)
    _send(alpha, UNHAPPY, domain)
    assert _settled(alpha, domain, "failed")["attempts"] == 1
    (report,) = _reports(alpha, UNHAPPY, domain)
    assert b"Status: 5.1.2" in report


def test_dns_failure_is_waited_for(alpha: DaemonProcess, world: Network) -> None:
    """SERVFAIL is nobody's refusal: deferred, and delivered when the DNS is well again."""
    domain = next(_names)
    world.zone.set(domain, **{"*": "SERVFAIL"})
    _send(alpha, HAPPY, domain)
    wait_for("deferral", lambda: events(alpha, recipient=f"someone@{domain}", type="delivery.deferred"))
    assert "Not delivered" in mairust(alpha, "trace", f"someone@{domain}")
    world.zone.remove(domain)
    mx = world.exchanger(domain)
    _settled(alpha, domain, "sent")
    assert len(mx.messages) == 1
    assert _reports(alpha, HAPPY, domain) == []


@pytest.mark.parametrize("script", [{"handshake": DROP}, {"starttls": b"454 4.7.0 no TLS today\r\n"}])
def test_broken_starttls_falls_back_to_clear(alpha: DaemonProcess, world: Network, script: dict[str, Any]) -> None:
    """Item 9: no policy asks for TLS, so mail goes rather than waits."""
    domain = next(_names)
    mx = world.exchanger(domain, extensions=("PIPELINING", "8BITMIME", "STARTTLS"), script=script)
    _send(alpha, HAPPY, domain)
    assert _settled(alpha, domain, "sent")["attempts"] == 1
    assert [taken.tls for taken in mx.messages] == [False]


def test_second_exchanger_takes_what_the_first_will_not(alpha: DaemonProcess, world: Network) -> None:
    """RFC 5321 §5.1: the next preference is tried in the same attempt when the first says 421 or is not there."""
    domain = next(_names)
    busy = world.exchanger(domain, 5, script={"connect": b"421 4.3.2 too busy\r\n"})
    spare = world.exchanger(domain, 20)
    world.zone.set(f"gone.{domain}", A=["127.0.0.251"])
    world.zone.names[domain]["MX"].append([7, f"gone.{domain}"])
    _send(alpha, HAPPY, domain)
    assert _settled(alpha, domain, "sent")["attempts"] == 1
    assert (busy.connections, len(spare.messages)) == (1, 1)


def test_one_of_two_recipients_is_refused(alpha: DaemonProcess, world: Network) -> None:
    """Each recipient has an outcome of its own: one copy delivered, one report for the other."""
    domain = next(_names)
    mx = world.exchanger(domain, script={f"rcpt:gone@{domain}": b"550 5.1.1 no such person\r\n"})
    letter = compose(UNHAPPY, f"someone@{domain}, gone@{domain}")
    submit(alpha, letter, UNHAPPY, f"someone@{domain}", f"gone@{domain}")
    assert _settled(alpha, domain, "sent")["attempts"] == 1
    assert [len(taken.rcpts) for taken in mx.messages] == [1]
    (report,) = _reports(alpha, UNHAPPY, domain)
    assert b"gone@" in report
    assert b"Final-Recipient: rfc822;someone@" not in report.replace(b"; ", b";")


def test_endless_and_malformed_replies_end_in_a_retry(alpha: DaemonProcess, world: Network) -> None:
    """Bounded: a reply without an end, and one that is no SMTP, cost one attempt each, not the daemon."""
    endless, garbage = next(_names), next(_names)
    world.exchanger(endless, script={"ehlo": [b"250-x\r\n" * 200_000]})
    world.exchanger(garbage, script={"connect": [b"\x00\xff\xfe nonsense\r\n"]})
    for domain in (endless, garbage):
        _send(alpha, HAPPY, domain)
    for domain in (endless, garbage):
        assert _settled(alpha, domain, "sent")["attempts"] == 2
    assert "Traceback" not in alpha.log_path.read_text()


def test_mail_that_nobody_takes_expires_with_a_report(world: Network, tmp_path: Any) -> None:
    """Item 10: delay warning, then after `expire_after` one failure report, and the queue is empty."""
    domain = next(_names)
    mx = world.exchanger(domain, script={"mail": b"451 4.7.1 greylisted\r\n"})
    queue = {"retry_delays": ["1s"], "expire_after": "5s", "delay_warning_after": "2s"}
    with world.site(tmp_path, "c.example", "127.0.0.4", queue=queue) as daemon:
        submit(daemon, compose("u0@c.example", f"someone@{domain}"), "u0@c.example", f"someone@{domain}")
        row = _settled(daemon, domain, "expired", timeout_s=15)
        delayed, failed = _reports(daemon, "u0@c.example", domain, count=2)
    assert b"Action: delayed" in delayed
    assert b"Action: failed" in failed
    assert b"451 4.7.1 greylisted" in failed
    assert row["attempts"] >= 3
    assert mx.messages == []


def _send(daemon: DaemonProcess, sender: str, domain: str) -> bytes:
    letter = compose(sender, f"someone@{domain}")
    submit(daemon, letter, sender, f"someone@{domain}")
    return letter


def _settled(daemon: DaemonProcess, domain: str, status: str, *, timeout_s: float = 10.0) -> dict[str, Any]:
    """The queue row of `someone@domain` when it is in its final state, which must be `status`."""

    def probe() -> dict[str, Any] | None:
        return next((row for row in deliveries(daemon, f"someone@{domain}") if row["finished_at"] is not None), None)

    try:
        row = wait_for(f"end of the delivery to {domain}", probe, timeout_s=timeout_s)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{deliveries(daemon, f'someone@{domain}')}\n{daemon.log_tail()}") from None
    assert row["status"] == status, row
    tries = rows(daemon, "SELECT * FROM attempts WHERE delivery_id = ? ORDER BY number", row["id"])
    assert [attempt["number"] for attempt in tries] == list(range(1, row["attempts"] + 1))
    return row


def _story(daemon: DaemonProcess, row: dict[str, Any]) -> list[str]:
    return [event["type"] for event in events(daemon, queue_id=row["queue_id"])]


def _reports(daemon: DaemonProcess, address: str, domain: str, *, count: int = 1) -> list[bytes]:
    """Reports about mail to `domain` that are in INBOX; waits for one where the delivery failed."""

    def found() -> list[bytes]:
        letters = read_mailbox(daemon, address)
        return [octets for octets in letters if b"multipart/report" in octets and domain.encode() in octets]

    if address == HAPPY:
        return found()
    wait_for(f"report about {domain}", lambda: len(found()) >= count)
    return found()
