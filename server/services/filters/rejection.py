"""The notice of a reject: a disposition notification to a sender who is surely the sender (RFC 5429 §2.2, RFC 8098)."""

from __future__ import annotations

from datetime import datetime

from server.domain.address import Address
from server.domain.ids import new_id
from server.protocol.mime.compose import Draft, Entity, multipart, text_entity, write_header
from server.protocol.mime.folding import NamedAddress
from server.protocol.mime.headers import header_end

_HEADER_MAX = 16 * 1024
_REASON_MAX = 4_000


def reject_notice(
    *,
    author: Address,
    recipient: Address,
    refused_for: Address,
    reason: str,
    original: bytes,
    message_id_header: str | None,
    hostname: str,
    now: datetime,
) -> bytes:
    """A whole multipart/report message.

    Args:
        original: The rejected message, whose header section is returned.

    Raises:
        InvalidInput: The owner's words can't be written as mail.
    """
    header = original[: min(header_end(original), _HEADER_MAX)]
    text = f"The mail to {refused_for} was refused by its recipient's mail filter, who says:\r\n\r\n"
    report = f"Reporting-UA: {hostname}; MaiRust\r\nFinal-Recipient: rfc822;{refused_for}\r\n"
    if message_id_header is not None and message_id_header.isascii() and message_id_header.isprintable():
        report += f"Original-Message-ID: {message_id_header}\r\n"
    report += "Disposition: automatic-action/MDN-sent-automatically; deleted\r\n"
    parts = [
        text_entity(b"plain", text + reason[:_REASON_MAX], "/reason"),
        Entity(b"Content-Type: message/disposition-notification\r\n", report.encode("ascii", "replace")),
        Entity(
            b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: %b\r\n"
            % (b"7bit" if header.isascii() else b"8bit"),
            header,
        ),
    ]
    body = multipart(b"report", parts, parameters=b"; report-type=disposition-notification")
    draft = Draft(
        author=NamedAddress(address=author),
        date=now,
        message_id=f"<{new_id()}@{hostname}>",
        to=[NamedAddress(address=recipient)],
        subject="Your mail was refused",
        headers=[("Auto-Submitted", "auto-replied (rejected)")],
    )
    return write_header(draft) + body.fields + b"\r\n" + body.body
