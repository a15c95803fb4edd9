"""Delivery status notifications (RFC 3461 §6, RFC 3464, RFC 6533)."""

from __future__ import annotations

import email
from dataclasses import replace
from datetime import UTC, datetime
from email.policy import compat32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.address import Address
from server.protocol.dsn import RETURNED_MAX, Action, RecipientReport, Report, compose_dsn, needs_smtputf8
from server.protocol.dsn_text import plain_reason
from server.protocol.mime.structure import parse_structure
from server.protocol.mime.text import decode_part

_WHEN = datetime(2026, 3, 2, 10, 20, 30, tzinfo=UTC)
_ORIGINAL = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <o@example.org>\r\n\r\nThe body\r\n"
_FAILED = RecipientReport(
    address=Address("bob", "example.net"),
    action=Action.FAILED,
    status="5.1.1",
    orcpt="rfc822;bob+x@example.net",
    remote_mta="mx.example.net",
    diagnostic="550 5.1.1 No such user",
    last_attempt=_WHEN,
)
_REPORT = Report(
    reporting_mta="mail.example.org",
    sender=Address("postmaster", "mail.example.org"),
    to=Address("alice", "example.org"),
    recipients=[_FAILED],
    original=_ORIGINAL,
    date=_WHEN,
    message_id="<d@mail.example.org>",
    arrival=_WHEN,
    envid="QQ314159",
    return_full=True,
)


def _parts(octets: bytes) -> list[tuple[str, bytes]]:
    children = parse_structure(octets).root.children
    return [((c.kind + b"/" + c.subtype).decode(), octets[c.body_start : c.end]) for c in children]


def _well_formed(octets: bytes) -> None:
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert b"\r" not in octets.replace(b"\r\n", b"")
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998


def test_a_failure_report_has_words_fields_and_the_message() -> None:
    octets = compose_dsn(_REPORT)
    _well_formed(octets)
    structure = parse_structure(octets)
    assert structure.root.subtype == b"report"
    assert structure.root.declared is not None
    assert structure.root.declared.octets(b"report-type") == b"delivery-status"
    assert structure.fields.first(b"auto-submitted") == b" auto-replied"
    assert structure.fields.first(b"references") == b" <o@example.org>"
    assert structure.fields.first(b"to") == b" alice@example.org"
    (words, status, returned) = _parts(octets)
    assert (words[0], status[0], returned[0]) == ("text/plain", "message/delivery-status", "message/rfc822")
    assert status[1] == (
        b"Original-Envelope-Id: QQ314159\r\nReporting-MTA: dns; mail.example.org\r\n"
        b"Arrival-Date: Mon, 02 Mar 2026 10:20:30 +0000\r\n\r\n"
        b"Original-Recipient: rfc822;bob+x@example.net\r\nFinal-Recipient: rfc822; bob@example.net\r\n"
        b"Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.net\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 No such user\r\nLast-Attempt-Date: Mon, 02 Mar 2026 10:20:30 +0000\r\n"
    )
    assert returned[1] == _ORIGINAL


def test_the_words_say_what_happened_and_what_to_do() -> None:
    octets = compose_dsn(_REPORT)
    text = decode_part(octets, parse_structure(octets).root.children[0])
    assert "could not be delivered" in text
    assert "bob@example.net" in text
    assert "There is no mailbox with this address." in text
    assert "The server mx.example.net answered: 550 5.1.1 No such user" in text
    assert "Subject: Grüße" in text
    assert "2 March 2026, 10:20 UTC" in text


@pytest.mark.parametrize(
    ("action", "status", "expected"),
    [
        (Action.FAILED, "5.1.1", b"5.1.1"),
        (Action.FAILED, "4.4.1", b"5.4.1"),
        (Action.FAILED, "nonsense", b"5.0.0"),
        (Action.DELAYED, "4.4.1", b"4.4.1"),
        (Action.DELAYED, "", b"4.0.0"),
        (Action.DELIVERED, "2.1.5", b"2.1.5"),
        (Action.RELAYED, "", b"2.0.0"),
        (Action.EXPANDED, "5.1.1", b"2.0.0"),
    ],
)
def test_status_has_the_class_of_its_action(action: Action, status: str, expected: bytes) -> None:
    """RFC 3463 §2, RFC 3464 §2.3.3."""
    octets = compose_dsn(replace(_REPORT, recipients=[replace(_FAILED, action=action, status=status)]))
    assert b"\r\nAction: %b\r\nStatus: %b\r\n" % (action.value.encode(), expected) in octets


def test_a_delay_says_how_long_we_try() -> None:
    delayed = replace(
        _FAILED, action=Action.DELAYED, status="4.4.1", retry_until=_WHEN, remote_mta=None, from_remote=False
    )
    octets = compose_dsn(replace(_REPORT, recipients=[delayed]))
    assert b"\r\nWill-Retry-Until: Mon, 02 Mar 2026 10:20:30 +0000\r\n" in octets
    assert b"\r\nDiagnostic-Code: x-mairust; 550" in octets
    assert b"Remote-MTA" not in octets
    assert b"We keep trying until 2 March 2026" in octets
    assert [kind for kind, _ in _parts(octets)][2] == "text/rfc822-headers"


@pytest.mark.parametrize(("extra", "whole"), [(-1, True), (0, True), (1, False)])
def test_large_originals_are_returned_as_header(extra: int, whole: bool) -> None:
    original = _ORIGINAL + b"x" * (RETURNED_MAX - len(_ORIGINAL) + extra)
    kind, octets = _parts(compose_dsn(replace(_REPORT, original=original)))[2]
    assert kind == ("message/rfc822" if whole else "text/rfc822-headers")
    assert (b"The body" in octets) == whole


def test_headers_only_on_request_and_never_the_body() -> None:
    """RFC 3461 §4.3 RET=HDRS."""
    kind, octets = _parts(compose_dsn(replace(_REPORT, return_full=False)))[2]
    assert kind == "text/rfc822-headers"
    assert octets == _ORIGINAL[: _ORIGINAL.index(b"The body")]


def test_utf8_addresses_make_a_global_report() -> None:
    """RFC 6533 §3, §4."""
    report = replace(
        _REPORT, recipients=[replace(_FAILED, address=Address("jörg", "example.net"), orcpt="utf-8;jörg@x.test")]
    )
    assert needs_smtputf8(report)
    assert not needs_smtputf8(_REPORT)
    octets = compose_dsn(report)
    assert [kind for kind, _ in _parts(octets)] == ["text/plain", "message/global-delivery-status", "message/global"]
    group = "\r\nOriginal-Recipient: utf-8;jörg@x.test\r\nFinal-Recipient: utf-8; jörg@example.net\r\n"
    assert group.encode() in octets


def test_several_recipients_each_have_a_group() -> None:
    recipients = [replace(_FAILED, address=Address(f"u{n}", "x.test")) for n in range(100)]
    octets = compose_dsn(replace(_REPORT, recipients=recipients))
    groups = _parts(octets)[1][1].split(b"\r\n\r\n")
    assert len(groups) == 101


@pytest.mark.parametrize(
    "hostile",
    ["x\r\nBcc: y@z", "x\x00", "\u2028", "x" * 5000, "\ud800", "é" * 3000, " ", "a\r\n\r\n--=_", "smtp; \x1b[31m"],
)
def test_what_others_wrote_adds_no_line(hostile: str) -> None:
    recipient = replace(_FAILED, diagnostic=hostile, remote_mta=hostile, orcpt="rfc822;" + hostile, status=hostile)
    octets = compose_dsn(replace(_REPORT, recipients=[recipient], envid=hostile))
    _well_formed(octets)
    lines = _parts(octets)[1][1].split(b"\r\n")
    fields = {line.partition(b":")[0] for line in lines if line and not line.startswith(b" ")}
    allowed = b"Original-Envelope-Id Reporting-MTA Arrival-Date Original-Recipient Final-Recipient Action Status"
    assert fields <= {*allowed.split(), b"Diagnostic-Code", b"Last-Attempt-Date"}
    assert "Bcc" not in email.message_from_bytes(octets, policy=compat32)


@given(st.binary(max_size=300), st.text(max_size=50), st.booleans())
def test_any_original_can_be_reported_on(original: bytes, diagnostic: str, full: bool) -> None:
    recipient = replace(_FAILED, diagnostic=diagnostic)
    octets = compose_dsn(replace(_REPORT, original=original, recipients=[recipient], return_full=full))
    message = email.message_from_bytes(octets, policy=compat32)
    assert message.get_content_type() == "multipart/report"
    assert len(parse_structure(octets).root.children) == 3


def test_every_status_has_words() -> None:
    assert plain_reason("5.1.1").startswith("There is no mailbox")
    assert plain_reason("5.1.99") == plain_reason("5.1.0")
    assert "gave no reason" in plain_reason("5.0.0")
    assert "gave no reason" in plain_reason("")
    assert plain_reason("5.7.0", ours=True) == "This mail server did not let the message go on."
