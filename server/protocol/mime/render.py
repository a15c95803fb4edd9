"""What is computed once at delivery: IMAP ENVELOPE, BODY and BODYSTRUCTURE, and text for lists.

- Never fails; a message beyond the MIME limits is rendered as far as it was followed.
- Rendered lists are plain IMAP4rev1 data: strings are quoted when they are 7-bit, else literals; NUL, which IMAP
  cannot carry outside literal8, becomes a space.
- ENVELOPE holds header values as they stand, unfolded, encoded words included; the decoded texts are beside it.
- A list over `LIST_MAX` is replaced by that of an opaque message, so that one mail cannot flood a mailbox listing.

RFC 3501 §7.4.2, §9; RFC 9051 §7.5.2.
"""

from __future__ import annotations

import re
from functools import partial

from server.domain.message import Rendered
from server.protocol.mime.addresses import ADDRESSES_MAX, Entry, mailboxes, parse_address_list
from server.protocol.mime.base_subject import base_subject, thread_subject
from server.protocol.mime.category import BULK_TEXT_MAX, categorise
from server.protocol.mime.dates import parse_date
from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.headers import FIELD_MAX, HeaderFields, split_header, unfold
from server.protocol.mime.message_ids import parse_message_id, parse_message_ids
from server.protocol.mime.params import Parameterised
from server.protocol.mime.structure import Part, Structure, parse_structure
from server.protocol.mime.text import preview, readable_text

TEXT_MAX = 998
"""Characters of subject, sender and recipients in lists (domain/message.py)."""
LIST_MAX = 1024 * 1024
"""Octets of one rendered list."""
NESTED_ADDRESSES_MAX = 10_000
"""Addresses of all encapsulated messages together."""

THREAD_REFERENCES_MAX = 50
"""Identifiers kept of a message's references, the newest (filtering.md section 9)."""

_LIST_ID = re.compile(rb"<([^<>\s\x00-\x1f]{1,255})>[^<>]*+\Z")
_NOT_QUOTABLE = re.compile(rb"[\x00\r\n\"\\\x80-\xff]")
_LINE_END = re.compile(rb"[\r\n]+")
_ADDRESS_FIELDS = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
_SIGNATURES = frozenset((b"pgp-signature", b"pkcs7-signature", b"x-pkcs7-signature", b"pgp-encrypted"))


def render(octets: bytes, structure: Structure | None = None) -> Rendered:
    """Render a whole message.

    Args:
        octets: The message as received. Cost: about 60 us for a small text mail, then one pass at memory speed;
            give messages over `CONTENT_RAM_MAX` to a worker thread.
        structure: Its tree, when the caller has it already.
    """
    if structure is None:
        structure = parse_structure(octets)
    fields = structure.fields
    lists = _address_lists(fields, ADDRESSES_MAX)
    bodies = _BodyWriter(octets)
    bodies.write(structure.root)
    body, bodystructure = bodies.finish(structure.root)
    message_id = fields.first(b"message-id")
    identifier = parse_message_id(message_id) if message_id is not None else None
    date = fields.first(b"date")
    senders = mailboxes(lists[b"from"][:1]) or mailboxes(lists[b"sender"][:1])
    subject = decode_text(fields.first(b"subject") or b"")[:TEXT_MAX]
    address = senders[0].addr_spec.lower()[:TEXT_MAX] if senders else ""
    category = categorise(
        fields,
        subject=subject,
        domain=address.rpartition("@")[2],
        text=partial(readable_text, octets, structure, BULK_TEXT_MAX),
    )
    return Rendered(
        envelope=_envelope(fields, lists),
        body=body,
        bodystructure=bodystructure,
        subject=subject,
        sender=_display(senders[0].name, senders[0].addr_spec)[:TEXT_MAX] if senders else "",
        recipients=_recipients(lists),
        message_id_header=identifier.decode("utf-8", "replace") if identifier else None,
        sent_at=parse_date(date) if date is not None else None,
        preview=preview(octets, structure),
        has_attachments=any(_is_attachment(part) for part in structure.walk()),
        references=_references(fields),
        base_subject=base_subject(subject).casefold(),
        thread_subject=thread_subject(subject),
        list_id=_list_id(fields),
        from_address=address,
        category=category.name,
        category_confidence=category.confidence,
    )


def nstring(value: bytes | None) -> bytes:
    """Write an IMAP nstring: NIL, quoted, or a literal for 8-bit octets and line ends (RFC 3501 §4.3, §9)."""
    if value is None:
        return b"NIL"
    found = _NOT_QUOTABLE.search(value)
    if found is None:
        return b'"' + value + b'"'
    if b"\x00" in value:
        value = value.replace(b"\x00", b" ")
    if value.isascii() and b"\r" not in value and b"\n" not in value:
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%b" % (len(value), value)


def _address_lists(fields: HeaderFields, at_most: int) -> dict[bytes, list[Entry]]:
    """The parsed address fields; repeated fields are one list, and all lists together hold `at_most` elements."""
    lists: dict[bytes, list[Entry]] = {}
    for name in _ADDRESS_FIELDS:
        entries: list[Entry] = []
        for value in fields.every(name):
            if at_most <= 0:
                break
            entries += parse_address_list(value, at_most=at_most)
            at_most -= len(entries)
        lists[name] = entries
    return lists


def _envelope(fields: HeaderFields, lists: dict[bytes, list[Entry]]) -> bytes:
    """Write ENVELOPE; Sender and Reply-To default to From (RFC 3501 §7.4.2)."""
    sender = _address_list(lists[b"from"])
    rendered = (
        _header_value(fields, b"date"),
        _header_value(fields, b"subject"),
        sender,
        _address_list(lists[b"sender"]) if lists[b"sender"] else sender,
        _address_list(lists[b"reply-to"]) if lists[b"reply-to"] else sender,
        _address_list(lists[b"to"]),
        _address_list(lists[b"cc"]),
        _address_list(lists[b"bcc"]),
        _header_value(fields, b"in-reply-to"),
        _header_value(fields, b"message-id"),
    )
    return b"(" + b" ".join(rendered) + b")"


def _header_value(fields: HeaderFields, name: bytes) -> bytes:
    value = fields.first(name)
    return b"NIL" if value is None else nstring(unfold(value))


def _address_list(entries: list[Entry]) -> bytes:
    if not entries:
        return b"NIL"
    return b"(" + b"".join(map(_address, entries)) + b")"


def _address(entry: Entry) -> bytes:
    """Write one address; a group begins with a NIL host and ends with a NIL mailbox (RFC 3501 §7.4.2)."""
    if entry.local is None:
        return b"(NIL NIL %b NIL)" % nstring(entry.name if entry.group_starts else None)
    host = nstring(entry.domain or b"")
    return b"(%b %b %b %b)" % (nstring(entry.name), nstring(entry.route), nstring(entry.local), host)


def _display(name: str, addr_spec: str) -> str:
    return f"{name} <{addr_spec}>" if name else addr_spec


def _references(fields: HeaderFields) -> str:
    """The identifiers of References and In-Reply-To, oldest first; of many the newest (RFC 5322 §3.6.4)."""
    if b"references" not in fields.names and b"in-reply-to" not in fields.names:
        return ""
    found: list[bytes] = []
    for name in (b"references", b"in-reply-to"):
        for value in fields.every(name):
            found += parse_message_ids(value)
    kept = list(dict.fromkeys(reversed(found)))[:THREAD_REFERENCES_MAX]
    return b" ".join(reversed(kept)).decode("utf-8", "replace")


def _list_id(fields: HeaderFields) -> str | None:
    """What stands between the angle brackets of List-Id (RFC 2919 §3)."""
    value = fields.first(b"list-id")
    if value is None:
        return None
    found = _LIST_ID.search(unfold(value))
    return found[1].decode("utf-8", "replace").lower() if found is not None else None


def _recipients(lists: dict[bytes, list[Entry]]) -> str:
    # A mailbox is four characters at least with its separator: no more of them fit the text.
    shown = mailboxes((lists[b"to"] + lists[b"cc"])[: TEXT_MAX // 4])
    return ", ".join(_display(box.name, box.addr_spec) for box in shown)[:TEXT_MAX]


def _is_attachment(part: Part) -> bool:
    """Whether a reader would call the part an attachment: marked so, named, or nothing a message body is made of."""
    if part.is_multipart:
        return False
    content = part.content
    if part.depth == 0 and part.kind == b"text" and b"content-disposition" not in content:
        return False
    if part.kind == b"application" and part.subtype in _SIGNATURES:
        return False
    disposition = part.disposition
    if disposition is not None and disposition.value == b"attachment":
        return True
    if part.kind in (b"text", b"image") and (disposition is not None or b"content-id" in content):
        return part.kind == b"text" and part.depth > 0 and part.filename is not None
    return part.kind in (b"application", b"audio", b"video", b"image") or part.is_message or part.filename is not None


class _BodyWriter:
    """Writes BODY and BODYSTRUCTURE of a tree side by side (RFC 3501 §7.4.2).

    Recursion is bounded by `structure.DEPTH_MAX`, which the parser counts.
    """

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._body: list[bytes] = []
        self._full: list[bytes] = []
        self._nested_addresses = NESTED_ADDRESSES_MAX
        self._size = 0

    def finish(self, root: Part) -> tuple[bytes, bytes]:
        """Both lists, or those of an opaque message when they are too long."""
        if self._size > LIST_MAX:
            opaque = b'("application" "octet-stream" NIL NIL NIL "binary" %d' % root.size_octets
            return opaque + b")", opaque + b" NIL NIL NIL NIL)"
        return b"".join(self._body), b"".join(self._full)

    def write(self, part: Part) -> None:
        """Append one part; beyond `LIST_MAX` nothing more is kept."""
        if self._size > LIST_MAX:
            return
        if part.is_multipart:
            self._both(b"(")
            for child in part.children:
                self.write(child)
            self._both(b" " + nstring(part.subtype))
            self._append(self._full, b" " + _parameters(part.declared))
        else:
            self._write_leaf(part)
        self._append(self._full, _extension(part))
        self._both(b")")

    def _write_leaf(self, part: Part) -> None:
        content = part.content
        self._both(
            b"(%b %b %b %b %b %b %d"
            % (
                nstring(part.kind),
                nstring(part.subtype),
                _leaf_parameters(part),
                _content_value(content, b"content-id"),
                _content_value(content, b"content-description"),
                nstring(part.encoding),
                part.size_octets,
            )
        )
        if part.is_message:
            inner = part.children[0]
            fields = split_header(self._octets, inner.header_start, inner.end)
            lists = _address_lists(fields, min(self._nested_addresses, ADDRESSES_MAX))
            self._nested_addresses -= sum(map(len, lists.values()))
            self._both(b" " + _envelope(fields, lists) + b" ")
            self.write(inner)
        if part.is_message or part.kind == b"text":
            self._both(b" %d" % part.lines)
        self._append(self._full, b" " + _content_value(content, b"content-md5"))

    def _both(self, piece: bytes) -> None:
        self._body.append(piece)
        self._append(self._full, piece)

    def _append(self, target: list[bytes], piece: bytes) -> None:
        target.append(piece)
        self._size += len(piece)


def _leaf_parameters(part: Part) -> bytes:
    if part.declared is not None:
        return _parameters(part.declared)
    if part.kind == b"text":
        return b'("charset" "us-ascii")'
    return b"NIL"


def _parameters(parameterised: Parameterised | None) -> bytes:
    if parameterised is None or not parameterised.parameters:
        return b"NIL"
    pairs = [nstring(name) + b" " + nstring(value) for name, value in parameterised.parameters]
    return b"(" + b" ".join(pairs) + b")"


def _content_value(content: dict[bytes, bytes], name: bytes) -> bytes:
    value = content.get(name)
    return b"NIL" if value is None else nstring(unfold(value[:FIELD_MAX]))


def _extension(part: Part) -> bytes:
    """Disposition, language and location: what ends the extension data of both kinds (RFC 3501 §7.4.2)."""
    content = part.content
    disposition = part.disposition
    shown = b"NIL"
    if disposition is not None and disposition.value:
        shown = b"(%b %b)" % (nstring(disposition.value), _parameters(disposition))
    language = b"NIL"
    if b"content-language" in content:
        tags = [tag.strip(b" \t") for tag in unfold(content[b"content-language"]).split(b",")[:100]]
        language = b"(" + b" ".join(nstring(tag) for tag in tags) + b")"
    return b" %b %b %b" % (shown, language, _content_value(content, b"content-location"))
