"""Delivery status notifications: reports about one message, written for people and for programs.

- A report is sent with the null reverse-path, by the caller; it says `Auto-Submitted`, so that nothing answers it.
- Everything taken from the original or from a remote server is cleaned: it can add no field and no line of its own.
- The original is returned whole only when it was asked for, the report is a failure and it is at most `RETURNED_MAX`.
- Internationalised addresses make it an RFC 6533 report (message/global-*), which needs an SMTPUTF8 route.

RFC 3461 §6, RFC 3462, RFC 3464, RFC 3834 §5, RFC 6533.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.domain.address import Address
from server.protocol.dsn_text import format_instant, opening, recipient_lines
from server.protocol.mime.compose import Draft, Entity, multipart, text_entity, write_header
from server.protocol.mime.dates import format_date
from server.protocol.mime.encoded_words import clean_text, decode_text
from server.protocol.mime.folding import NamedAddress
from server.protocol.mime.headers import header_end, split_header
from server.protocol.mime.message_ids import is_message_id, parse_message_id

RETURNED_MAX = 1024 * 1024
"""Octets of an original that is returned whole; of a larger one only the header is."""
HEADER_RETURNED_MAX = 64 * 1024
"""Octets of a header that is returned."""
ANSWER_MAX = 2000
"""Characters of a remote server's answer that are shown."""
_FIELD_LINE_MAX = 76

_ENVID = re.compile(r"[!-~](?:[ -~]{0,98}[!-~])?")
_ORCPT = re.compile(r"([A-Za-z0-9-]{1,64});([^\x00-\x1f\x7f]{1,500})")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class Action(StrEnum):
    """What became of a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientReport:
    """What a report says of one recipient (RFC 3464 §2.3).

    Attributes:
        orcpt: The decoded ORCPT, `addr-type;address`, or None.
        status: Enhanced status code; one that does not fit the action's class is replaced by that class's `x.0.0`.
        remote_mta: Host name or address literal of the server that answered, None when none did.
        diagnostic: Its answer, or our own words, one line or several.
        from_remote: Whether `diagnostic` is the remote's SMTP reply.
        retry_until: For a delay: when we give up.
    """

    address: Address
    action: Action
    status: str
    orcpt: str | None = None
    remote_mta: str | None = None
    diagnostic: str | None = None
    from_remote: bool = True
    last_attempt: datetime | None = None
    retry_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One notification.

    Attributes:
        reporting_mta: Our host name.
        sender: Our address in From, by custom the postmaster of `reporting_mta`.
        to: The original's reverse-path.
        recipients: One or more.
        original: The message reported on, or its header only.
        return_full: RET=FULL was given (or nothing, for a failure) and `original` is whole (RFC 3461 §4.3).
        envid: The decoded ENVID, or None.
        message_id: Of the report, with its brackets.
    """

    reporting_mta: str
    sender: Address
    to: Address
    recipients: Sequence[RecipientReport]
    original: bytes
    date: datetime
    message_id: str
    arrival: datetime | None = None
    envid: str | None = None
    return_full: bool = False
    smtputf8: bool = False


def compose_dsn(report: Report) -> bytes:
    """Write the report as a whole message in CRLF lines.

    Raises:
        InvalidInput: Only for what is ours to give: `sender`, `to`, `message_id`.
    """
    original = split_header(report.original)
    original_id = parse_message_id(original.first(b"message-id") or b"")
    references = [original_id.decode("latin-1")] if original_id else []
    draft = Draft(
        author=NamedAddress(report.sender, "Mail Delivery System"),
        to=[NamedAddress(report.to)],
        subject=_subject(report),
        date=report.date,
        message_id=report.message_id,
        references=[identifier for identifier in references if is_message_id(identifier)],
        headers=[("Auto-Submitted", "auto-replied")],
    )
    global_form = needs_smtputf8(report)
    entities = [
        text_entity(b"plain", _words(report, decode_text(original.first(b"subject") or b"")), "/text"),
        _status_entity(report, global_form=global_form),
        _returned_entity(report, global_form=global_form),
    ]
    body = multipart(b"report", entities, parameters=b";\r\n report-type=delivery-status")
    return write_header(draft) + body.fields + b"\r\n" + body.body


def needs_smtputf8(report: Report) -> bool:
    """Whether the report must be sent with SMTPUTF8: it names UTF-8 addresses or returns a UTF-8 header (RFC 6533)."""
    return (
        report.smtputf8
        or report.to.needs_smtputf8
        or any(each.address.needs_smtputf8 or not (each.orcpt or "").isascii() for each in report.recipients)
    )


def _subject(report: Report) -> str:
    actions = {recipient.action for recipient in report.recipients}
    if Action.FAILED in actions:
        return "Your message could not be delivered"
    if Action.DELAYED in actions:
        return "Your message is delayed"
    return "Your message was delivered" if actions == {Action.DELIVERED} else "Your message was handed on"


def _words(report: Report, subject: str) -> str:
    """The first part, for the sender: what happened to whom, why, and which message it was about."""
    lines = [f"This is the mail server {report.reporting_mta}.", ""]
    for action in Action:
        chosen = [each for each in report.recipients if each.action is action]
        if not chosen:
            continue
        lines += [opening(action), ""]
        for each in chosen:
            status, answer = _status(each), _answer(each)
            host = _host(each.remote_mta) if each.from_remote else None
            lines += [*recipient_lines(str(each.address), action, status, host, answer, each.retry_until), ""]
    lines.append("The message this is about:")
    lines.append(f"  Subject: {subject[:200] or '(none)'}")
    if report.arrival is not None:
        lines.append(f"  Given to us: {format_instant(report.arrival)}")
    return "\n".join(lines) + "\n"


def _status_entity(report: Report, *, global_form: bool) -> Entity:
    """The part for programs: fields about the message, then a group for each recipient (RFC 3464 §2.2, §2.3)."""
    lines = [_field("Reporting-MTA", f"dns; {report.reporting_mta}", global_form=global_form)]
    if report.envid is not None and _ENVID.fullmatch(report.envid):
        lines.insert(0, _field("Original-Envelope-Id", report.envid, global_form=global_form))
    if report.arrival is not None:
        lines.append(b"Arrival-Date: " + format_date(report.arrival) + b"\r\n")
    for each in report.recipients:
        lines.append(b"\r\n")
        lines += _recipient_fields(each, global_form=global_form)
    kind = b"global-delivery-status" if global_form else b"delivery-status"
    fields = b"Content-Type: message/" + kind + b"\r\n"
    body = b"".join(lines)
    return Entity(fields if body.isascii() else fields + b"Content-Transfer-Encoding: 8bit\r\n", body)


def _recipient_fields(each: RecipientReport, *, global_form: bool) -> list[bytes]:
    address = str(each.address)
    kind = "rfc822" if address.isascii() else "utf-8"
    fields = [("Final-Recipient", f"{kind}; {address}"), ("Action", each.action.value), ("Status", _status(each))]
    original = _ORCPT.fullmatch(each.orcpt) if each.orcpt else None
    if original is not None:
        fields.insert(0, ("Original-Recipient", f"{original[1]};{original[2]}"))
    host = _host(each.remote_mta)
    if host and each.from_remote:
        fields.append(("Remote-MTA", f"dns; {host}"))
    answer = _answer(each)
    if answer and each.from_remote:
        fields.append(("Diagnostic-Code", f"smtp; {answer}"))
    elif answer:
        fields.append(("Diagnostic-Code", f"x-mairust; {answer}"))
    if each.last_attempt is not None:
        fields.append(("Last-Attempt-Date", format_date(each.last_attempt).decode("ascii")))
    if each.retry_until is not None and each.action is Action.DELAYED:
        fields.append(("Will-Retry-Until", format_date(each.retry_until).decode("ascii")))
    return [_field(name, value, global_form=global_form) for name, value in fields]


def _returned_entity(report: Report, *, global_form: bool) -> Entity:
    """The original, or its header (RFC 3462 §2, RFC 6533 §4)."""
    octets = report.original
    failed = any(each.action is Action.FAILED for each in report.recipients)
    if report.return_full and failed and len(octets) <= RETURNED_MAX:
        kind = b"message/global" if global_form else b"message/rfc822"
    else:
        kind = b"message/global-headers" if global_form else b"text/rfc822-headers"
        octets = octets[: min(header_end(octets), HEADER_RETURNED_MAX)]
        octets = octets[: octets.rfind(b"\n") + 1]
    fields = b"Content-Type: " + kind + b"\r\n"
    if not octets.isascii():
        fields += b"Content-Transfer-Encoding: 8bit\r\n"
    return Entity(fields, octets)


def _status(each: RecipientReport) -> str:
    """The status code, of the class its action demands (RFC 3463 §2: 2 success, 4 delay, 5 failure)."""
    wanted = {Action.FAILED: "5", Action.DELAYED: "4"}.get(each.action, "2")
    if _STATUS.fullmatch(each.status) is None:
        return wanted + ".0.0"
    # A delivery that expired failed for good, for the reason its temporary code gives.
    return wanted + each.status[1:] if wanted != "2" or each.status[0] == "2" else "2.0.0"


def _answer(each: RecipientReport) -> str:
    answer = (each.diagnostic or "")[:ANSWER_MAX].encode("utf-8", "replace").decode("utf-8")
    return " ".join(clean_text(answer).split())


def _host(name: str | None) -> str | None:
    return name if name is not None and _HOST.fullmatch(name) else None


def _field(name: str, value: str, *, global_form: bool) -> bytes:
    """Write one field of the status part, folded at spaces; plain reports are ASCII (RFC 3464 §2.1.2)."""
    encoding = "utf-8" if global_form else "ascii"
    lines = [name + ":"]
    for word in value.split(" "):
        # 240 characters are 960 octets at most: no line exceeds 998.
        pieces = [word[at : at + 240] for at in range(0, len(word), 240)] or [""]
        for piece in pieces:
            if len(lines[-1]) + 1 + len(piece) > _FIELD_LINE_MAX and lines[-1] != name + ":":
                lines.append("")
            lines[-1] += " " + piece
    return "\r\n".join(lines).encode(encoding, "replace") + b"\r\n"
