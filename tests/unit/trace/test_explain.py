"""From events to a sentence: what became of a mail, and what to do next."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from server.domain.changes import Event, EventValue, Severity
from server.domain.ids import EventSeq
from server.services.trace.explain import explain, reason_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def _event(
    type: str, recipient: str = "bob@far.example", *, data: dict[str, EventValue] | None = None, **more: Any
) -> Event:
    blank: dict[str, Any] = dict.fromkeys(field.name for field in fields(Event))
    given: dict[str, Any] = {
        "seq": EventSeq(1),
        "id": "e",
        "time": NOW,
        "type": type,
        "severity": Severity.INFO,
        "component": "queue",
        "verdict": "x",
        "detail": "",
        "reply": "",
        "recipient": recipient,
        "sender": "anna@example.org",
        "data": data or {},
    }
    return Event(**(blank | given | more))


def test_local_delivery_names_the_reader_not_a_server() -> None:
    told = explain(
        [
            _event("submission.accepted"),
            _event("message.stored"),
            _event("delivery.sent", data={"kind": "local", "host": ""}),
        ]
    )
    assert told.summary == "Delivered to bob@far.example."
    assert told.final


def test_remote_delivery_names_the_server() -> None:
    told = explain([_event("submission.accepted"), _event("delivery.sent", data={"host": "mx.far.example"})])
    assert told.summary.startswith("Delivered: mx.far.example has taken the mail for bob@far.example")


def test_a_deferred_mail_says_why_when_and_what_to_do() -> None:
    data: dict[str, EventValue] = {"next_attempt_at": "2026-11-22T14:32:00+00:00", "delivery_id": "d1"}
    told = explain([_event("delivery.deferred", reply="451 4.7.1 greylisted, come back", data=data, queue_id="q1")])
    assert "greylisting" in told.summary
    assert "at 14:32 UTC" in told.summary
    assert told.next_command == "mairust queue retry d1"
    assert not told.final


def test_the_worst_fate_is_told_first() -> None:
    told = explain(
        [
            _event("delivery.sent", "a@far.example", data={"host": "mx"}),
            _event("delivery.failed", "b@far.example", reply="550 5.1.1 unknown"),
        ]
    )
    assert told.summary.startswith("Not delivered to b@far.example: there is no such mailbox.")


def test_a_report_to_the_sender_is_no_delivery_of_the_message() -> None:
    told = explain(
        [
            _event("submission.accepted"),
            _event("submission.accepted", "anna@example.org", sender="", data={"origin": "dsn"}),
            _event(
                "delivery.failed",
                reply="550 5.7.0 returned to the sender by the administrator",
                data={"from_remote": False},
            ),
            _event("message.stored", "anna@example.org", sender=None),
            _event("delivery.sent", "anna@example.org", sender="", data={"kind": "local"}),
        ]
    )
    assert told.summary == (
        "Not delivered to bob@far.example: returned to the sender by the administrator. "
        "A report went to the sender, anna@example.org."
    )


def test_our_own_silence_of_dns_is_not_blamed_on_the_receiver() -> None:
    data: dict[str, EventValue] = {"from_remote": False, "delivery_id": "d1"}
    told = explain(
        [_event("delivery.deferred", reply="451 4.4.3 the name servers gave no answer", data=data, queue_id="q1")]
    )
    assert "yet: the name servers gave no answer." in told.summary
    assert told.next_command == "mairust doctor"


def test_captured_mail_is_not_called_sent() -> None:
    told = explain([_event("delivery.sent", reply="250 2.0.0 captured", data={"kind": "remote", "from_remote": False})])
    assert told.summary.startswith("Not sent to bob@far.example")
    assert told.next_command == "mairust config get outbound.capture_path"


@pytest.mark.parametrize(
    ("reply", "words", "command"),
    [
        ("550 5.1.1 no such user here", "there is no such mailbox", "mairust account add bob@far.example"),
        (
            "550 5.7.1 relaying denied: this server takes no mail for that domain",
            "relaying denied: this server takes no mail for that domain",
            "",
        ),
        (
            "552 5.3.4 Message size exceeds the limit of 5 octets",
            "message size exceeds the limit of 5 octets",
            "mairust config get smtp.max_message_size",
        ),
        ("550 5.5.2 NUL in the message", "NUL in the message", ""),
    ],
)
def test_refusals_of_this_server_are_told_in_its_own_words(reply: str, words: str, command: str) -> None:
    told = explain([_event("message.refused", reply=reply)])
    assert told.summary == f"Refused for bob@far.example: {words}."
    assert told.next_command == command


def test_a_refusal_to_come_back_leaves_the_next_try_to_the_other_server() -> None:
    told = explain([_event("message.refused", reply="452 4.2.2 the mailbox is full", verdict="deferred")])
    assert told.summary.endswith("the mailbox is full. It is tried again by the server that sent it.")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("550 5.1.1 whatever", "there is no such mailbox"),
        ("452 4.2.2 full", "the mailbox is full"),
        ("556 5.1.10 null MX", "the recipient's domain takes no mail (null MX)"),
        ("550 5.7.26 unauthenticated", "the mail did not pass the sender domain's SPF, DKIM or DMARC check"),
        ("421 busy", "the receiving server is busy or shuts down"),
        ("", "no reason was given"),
    ],
)
def test_replies_in_plain_words(reply: str, words: str) -> None:
    assert reason_of(reply) == words
