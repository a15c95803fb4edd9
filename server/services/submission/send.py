"""`POST /send`: a message from fields, composed, checked and queued (product.md 21).

- The sender must be an address of the key's account, or of one that granted it to send as itself; a key without an
  account may send for any account of its tenant.
- What is composed reparses to what was asked for: the composer refuses what it can't write.
- Blind recipients stand in the envelope alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from server.config.schema import Settings
from server.domain.address import Address
from server.domain.envelope import Envelope, Recipient
from server.domain.errors import Forbidden, InvalidInput
from server.domain.identity import Scope, Status
from server.domain.ids import AccountId, new_id
from server.domain.inbound import Submission
from server.domain.ports import BlobStore, Clock
from server.domain.queue import Origin
from server.domain.scopes import require
from server.protocol.mime.compose import Attachment, Draft, compose
from server.protocol.mime.folding import NamedAddress
from server.protocol.smtp.address import parse_address
from server.services.identity.directory import Directory
from server.services.identity.writer import Input
from server.services.submission.submit import SubmissionService, Submitted

RECIPIENTS_MAX = 100
ATTACHMENTS_MAX = 10
ATTACHMENT_OCTETS_MAX = 5 * 1024 * 1024
ATTACHMENTS_OCTETS_MAX = 10 * 1024 * 1024
SUBJECT_MAX = 998
_NAMED = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^<>"]*?))\s*<([^<>]+)>\s*', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ALLOWED_FIELD = re.compile(r"(?:X-|List-)[A-Za-z0-9-]{1,70}|In-Reply-To|References", re.IGNORECASE)


class SendAttachment(Input, frozen=True, kw_only=True):
    """`content` is base64; with a `content_id` it is shown inside the HTML."""

    filename: str
    content_type: str
    content: str
    content_id: str | None = None


class NewMessage(Input, frozen=True, kw_only=True, rename={"sender": "from"}):
    """Addresses are `user@example.org` or `Name <user@example.org>`; `body` is another name for `text`."""

    sender: str
    to: list[str] = msgspec.field(default_factory=list)
    cc: list[str] = msgspec.field(default_factory=list)
    bcc: list[str] = msgspec.field(default_factory=list)
    reply_to: str | None = None
    subject: str = ""
    text: str | UnsetType = UNSET
    body: str | UnsetType = UNSET
    html: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    attachments: list[SendAttachment] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that is queued now."""

    submitted: Submitted
    recipients: int


class SendService:
    """Composes and submits."""

    def __init__(
        self,
        *,
        submissions: SubmissionService,
        directory: Directory,
        blobs: BlobStore,
        clock: Clock,
        settings: Callable[[], Settings],
    ) -> None:
        self._submissions = submissions
        self._directory = directory
        self._blobs = blobs
        self._clock = clock
        self._settings = settings

    async def send(self, scope: Scope, message: NewMessage) -> Sent:
        """Queue a message; it is safe when this returns.

        Raises:
            InvalidInput: With the field's pointer.
            Forbidden: `sender_not_allowed`.
            DiskReserve, Unavailable: Nothing was queued.
        """
        require(scope, "mail:send")
        author = _named(message.sender, "/from")
        recipients = _recipients(message)
        account_id = await self._account(scope, author.address)
        octets = compose(self._draft(message, author))
        if len(octets) > self._settings().smtp.max_message_size:
            raise InvalidInput("the message is too large", code="too_large")
        envelope = Envelope(
            reverse_path=author.address,
            recipients=tuple(Recipient(address=address) for address in recipients),
            smtputf8=author.address.needs_smtputf8 or any(address.needs_smtputf8 for address in recipients),
        )
        submitted = await self._submissions.submit(
            Submission(
                tenant_id=scope.tenant_id,
                account_id=account_id,
                origin=Origin.API,
                envelope=envelope,
                content=await self._blobs.content(octets),
                signing_domain=author.address.domain,
            )
        )
        return Sent(submitted=submitted, recipients=len(recipients))

    async def _account(self, scope: Scope, sender: Address) -> AccountId:
        """The account in whose name it goes out."""
        refused = Forbidden("the sender address is not one of yours", code="sender_not_allowed")
        if scope.account_id is not None:
            if not await self._submissions.may_send_as(scope.account_id, sender):
                raise refused
            return scope.account_id
        entry = await self._directory.lookup(sender)
        account = entry.account
        if account is None or account.tenant_id != scope.tenant_id or entry.domain is None or not entry.domain.is_open:
            raise refused
        if account.status is not Status.ACTIVE:
            raise Forbidden("the account can't send now", code="account_suspended")
        return account.id

    def _draft(self, message: NewMessage, author: NamedAddress) -> Draft:
        text = _text(message)
        for name in message.headers:
            if _ALLOWED_FIELD.fullmatch(name) is None:
                raise InvalidInput("only X-*, List-*, In-Reply-To and References", pointer=f"/headers/{name[:64]}")
        if len(message.subject) > SUBJECT_MAX:
            raise InvalidInput(f"at most {SUBJECT_MAX} characters", pointer="/subject")
        return Draft(
            author=author,
            date=self._clock.now(),
            message_id=f"<{new_id()}@{author.address.domain}>",
            to=[_named(value, f"/to/{place}") for place, value in enumerate(message.to)],
            cc=[_named(value, f"/cc/{place}") for place, value in enumerate(message.cc)],
            reply_to=[] if message.reply_to is None else [_named(message.reply_to, "/reply_to")],
            subject=message.subject,
            text=text,
            html=message.html,
            attachments=_attachments(message),
            headers=list(message.headers.items()),
        )


def _text(message: NewMessage) -> str | None:
    if isinstance(message.text, str) and isinstance(message.body, str):
        raise InvalidInput("text and body are the same field: give one", pointer="/body")
    text = message.text if isinstance(message.text, str) else message.body
    if isinstance(text, str):
        return text
    return None if message.html is not None else ""


def _recipients(message: NewMessage) -> list[Address]:
    kept: dict[str, Address] = {}
    for field, values in (("to", message.to), ("cc", message.cc), ("bcc", message.bcc)):
        if len(values) > RECIPIENTS_MAX:
            raise InvalidInput(f"at most {RECIPIENTS_MAX} recipients", pointer=f"/{field}")
        for place, value in enumerate(values):
            address = _named(value, f"/{field}/{place}").address
            kept.setdefault(address.key, address)
    if not 1 <= len(kept) <= RECIPIENTS_MAX:
        raise InvalidInput(f"1 to {RECIPIENTS_MAX} recipients", pointer="/to")
    return list(kept.values())


def _named(value: str, pointer: str) -> NamedAddress:
    match = _NAMED.fullmatch(value) if "<" in value and len(value) <= 1024 else None
    quoted, plain, address = match.groups() if match else (None, "", value)
    name = _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else plain or ""
    try:
        return NamedAddress(address=parse_address(address), name=name)
    except InvalidInput as error:
        raise InvalidInput(error.public, pointer=pointer) from error


def _attachments(message: NewMessage) -> list[Attachment]:
    if len(message.attachments) > ATTACHMENTS_MAX:
        raise InvalidInput(f"at most {ATTACHMENTS_MAX} attachments", pointer="/attachments")
    made: list[Attachment] = []
    for place, given in enumerate(message.attachments):
        try:
            data = base64.b64decode(given.content, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput("not base64", pointer=f"/attachments/{place}/content") from error
        if len(data) > ATTACHMENT_OCTETS_MAX:
            raise InvalidInput(f"at most {ATTACHMENT_OCTETS_MAX} octets", pointer=f"/attachments/{place}/content")
        made.append(
            Attachment(filename=given.filename, content_type=given.content_type, data=data, content_id=given.content_id)
        )
    if sum(len(one.data) for one in made) > ATTACHMENTS_OCTETS_MAX:
        raise InvalidInput(f"at most {ATTACHMENTS_OCTETS_MAX} octets together", pointer="/attachments")
    return made
