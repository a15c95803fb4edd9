"""Automatic answers: when there may be one, and what it says (RFC 3834, RFC 5230 §4).

- Never to lists, to automatic mail, to the null path, to ourselves, to mail that does not name us, to junk.
- Never twice to one sender in a period; that is remembered in the transaction that queues the answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from server.domain.address import Address
from server.domain.envelope import ReversePath
from server.domain.ids import new_id
from server.protocol.mime.addresses import parse_mailboxes
from server.protocol.mime.compose import Draft, compose, write_header
from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.folding import NamedAddress
from server.protocol.mime.headers import HeaderFields
from server.protocol.mime.message_ids import is_message_id, parse_message_id
from server.protocol.sieve.outcome import Vacation
from server.protocol.smtp.address import AddressSyntaxError, parse_address

VACATION_HANDLE = "vacation"
"""The handle of the account's own vacation answer."""
_RECIPIENT_FIELDS = (b"to", b"cc", b"bcc", b"resent-to", b"resent-cc", b"resent-bcc")
_LIST_FIELDS = (b"list-id", b"list-help", b"list-subscribe", b"list-unsubscribe", b"list-post", b"list-owner")
_BULK = frozenset((b"bulk", b"list", b"junk"))
_SUPPRESS = re.compile(rb"\b(?:all|oof|autoreply)\b", re.IGNORECASE)
_ROBOTS = re.compile(
    r"mailer-daemon|listserv|majordomo|no-?reply|do-?not-?reply|owner-.*|.*-(?:request|owner|bounces?|relay)",
    re.IGNORECASE,
)
_SUBJECT_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """The mail that may be answered.

    Attributes:
        fields: Its own header fields.
        addresses: The account's own addresses, the primary one first.
        subaddress_separator: By which an address with a detail is still one's own; empty = none.
        junk: A verdict calls it junk, or DMARC failed.
    """

    reverse_path: ReversePath
    fields: HeaderFields
    addresses: Sequence[str]
    display_name: str
    subaddress_separator: str
    junk: bool
    now: datetime


def refusal(occasion: Occasion, vacation: Vacation) -> str | None:
    """Why there must be no answer, or None (RFC 3834 §2, RFC 5230 §4.5, §4.6)."""
    sender, fields = occasion.reverse_path, occasion.fields
    if sender is None:
        return "the mail has the null reverse-path"
    if occasion.junk:
        return "the mail is junk"
    if sender.key in _own(occasion, vacation):
        return "the mail is the account's own"
    if _ROBOTS.fullmatch(sender.local):
        return "the sender is no person"
    if any(name in fields.names for name in _LIST_FIELDS):
        return "the mail comes from a list"
    automatic = fields.first(b"auto-submitted")
    if automatic is not None and automatic.partition(b";")[0].strip().lower() != b"no":
        return "the mail was sent automatically"
    if any(value.strip().lower() in _BULK for value in fields.every(b"precedence")):
        return "the mail was sent in bulk"
    if any(_SUPPRESS.search(value) for value in fields.every(b"x-auto-response-suppress")):
        return "the sender asks for no automatic answers"
    if not _names_us(occasion, vacation):
        return "no address of the account is in To or Cc"
    return None


def _own(occasion: Occasion, vacation: Vacation) -> frozenset[str]:
    found: set[str] = set()
    for text in (*occasion.addresses, *vacation.own_addresses):
        try:
            found.add(parse_address(text.strip()).key)
        except AddressSyntaxError:
            # An address that is none is in no mail.
            found.discard(text)
    return frozenset(found)


def _names_us(occasion: Occasion, vacation: Vacation) -> bool:
    own = _own(occasion, vacation)
    separator = occasion.subaddress_separator
    for name in _RECIPIENT_FIELDS:
        for value in occasion.fields.every(name):
            for mailbox in parse_mailboxes(value, at_most=500):
                local = mailbox.local.casefold()
                base = local.partition(separator)[0] if separator else local
                if f"{local}@{mailbox.domain}" in own or f"{base}@{mailbox.domain}" in own:
                    return True
    return False


def answer(occasion: Occasion, vacation: Vacation, *, domain: str, html: str | None = None) -> bytes:
    """The answer as a whole message (RFC 5230 §5).

    Args:
        domain: For the Message-ID.
        html: The same words as HTML.

    Raises:
        InvalidInput: The owner's words can't be written as mail.
    """
    if occasion.reverse_path is None:
        raise ValueError("an answer needs somebody to answer")
    original = occasion.fields.first(b"subject")
    shown = "" if original is None else decode_text(original)[:_SUBJECT_MAX]
    parent = occasion.fields.first(b"message-id")
    found = None if parent is None else parse_message_id(parent)
    parent_id = "" if found is None else found.decode("utf-8", "replace")
    linked = [parent_id] if is_message_id(parent_id) else []
    draft = Draft(
        author=NamedAddress(address=_author(occasion, vacation), name=occasion.display_name),
        date=occasion.now,
        message_id=f"<{new_id()}@{domain}>",
        to=[NamedAddress(address=occasion.reverse_path)],
        subject=vacation.subject or (f"Auto: {shown}" if shown else "Automated reply"),
        text=vacation.reason,
        html=html,
        headers=[("Auto-Submitted", "auto-replied (vacation)"), ("X-Auto-Response-Suppress", "All")],
        in_reply_to=linked,
        references=linked,
    )
    if vacation.mime:
        return write_header(draft) + _mime_part(vacation.reason)
    return compose(draft)


def _mime_part(reason: str) -> bytes:
    """A MIME part given by the script: of its header, Content-* fields alone (RFC 5230 §4.5)."""
    head, found, body = reason.partition("\r\n\r\n")
    if not found:
        return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + reason.encode()
    kept: list[str] = []
    keeping = False
    for line in head.split("\r\n"):
        if not line.startswith((" ", "\t")):
            keeping = line.lower().startswith("content-")
        if keeping:
            kept.append(line[:998])
    return ("\r\n".join(kept) + "\r\n\r\n" + body).encode("utf-8", "replace")


def _author(occasion: Occasion, vacation: Vacation) -> Address:
    """The address of `:from` when it is the account's own, else its primary one (RFC 5230 §4.3)."""
    if vacation.sender is not None:
        own = {parse_address(text).key for text in occasion.addresses}
        for mailbox in parse_mailboxes(vacation.sender.encode(), at_most=1):
            address = Address(mailbox.local, mailbox.domain)
            if address.key in own:
                return address
    return parse_address(occasion.addresses[0])
