"""Notifications of `notify` by mail (RFC 5436)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from server.domain.ids import new_id
from server.protocol.mime.addresses import parse_mailboxes
from server.protocol.mime.compose import Draft, compose
from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.folding import NamedAddress
from server.protocol.mime.headers import HeaderFields
from server.protocol.sieve.outcome import Importance, Notify
from server.protocol.smtp.address import AddressSyntaxError, parse_address

_SHOWN_MAX = 200
_PRIORITY = {Importance.HIGH: "1 (High)", Importance.NORMAL: "3 (Normal)", Importance.LOW: "5 (Low)"}


def notification(
    notify: Notify, *, fields: HeaderFields, addresses: Sequence[str], domain: str, now: datetime
) -> bytes | None:
    """The notification as a whole message; None when the mail that caused it was sent automatically (RFC 5436 §2.7).

    Raises:
        InvalidInput: The owner's words can't be written as mail.
    """
    automatic = fields.first(b"auto-submitted")
    if automatic is not None and automatic.strip().lower().startswith(b"auto-notified"):
        return None
    sender = _shown(fields, b"from")
    default = f"New mail from {sender}" if sender else "New mail"
    subject = dict(notify.fields).get("subject") or (notify.message or default).splitlines()[0][:_SHOWN_MAX]
    text = notify.body if notify.body is not None else notify.message
    if text is None:
        text = f"From: {sender}\r\nSubject: {_shown(fields, b'subject')}\r\n"
    owner = addresses[0]
    draft = Draft(
        author=NamedAddress(address=parse_address(_author(notify, addresses) or owner)),
        date=now,
        message_id=f"<{new_id()}@{domain}>",
        to=[NamedAddress(address=parse_address(one)) for one in notify.recipients],
        subject=subject,
        text=text,
        headers=[
            ("Auto-Submitted", f"auto-notified; owner-email={owner}"),
            ("X-Priority", _PRIORITY[notify.importance]),
        ],
    )
    return compose(draft)


def _shown(fields: HeaderFields, name: bytes) -> str:
    value = fields.first(name)
    return "" if value is None else decode_text(value)[:_SHOWN_MAX]


def _author(notify: Notify, addresses: Sequence[str]) -> str | None:
    """`:from` when it is one of the account's own addresses (RFC 5436 §2.5)."""
    if notify.sender is None:
        return None
    for mailbox in parse_mailboxes(notify.sender.encode(), at_most=1):
        try:
            found = str(parse_address(mailbox.addr_spec))
        except AddressSyntaxError:
            return None
        if found.casefold() in {one.casefold() for one in addresses}:
            return found
    return None
