"""The part tree of a message: where each header and body lies in the raw octets.

- Never fails: what cannot be followed (a limit, an encoded message/rfc822) is one opaque part, a multipart without a
  delimiter is text; `Structure.truncated` says when a limit was the reason.
- Iterative; work and memory are bounded by named limits, whatever the octets are.
- An outer delimiter ends all parts inside it; after a close-delimiter nothing more is a part (RFC 2046 §5.1).
- Offsets index the octets the tree was made from; the tree holds none of them but the Content-* values.

RFC 2045, RFC 2046 §5.1, §5.2.1, RFC 6532 §3.7 (message/global).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from server.protocol.mime.headers import HeaderFields, header_end, split_header, unfold
from server.protocol.mime.params import Parameterised, media_type, parse_parameterised
from server.protocol.mime.transfer import IDENTITY

DEPTH_MAX = 100
"""Containers (multipart or message) within each other (reliability.md §8)."""
PARTS_MAX = 10_000
"""Parts of one message (reliability.md §8)."""
BOUNDARY_MAX = 2048
"""Octets of a boundary parameter (reliability.md §8); RFC 2046 §5.1.1 allows 70."""
PART_HEADERS_MAX = 4 * 1024 * 1024
"""Cost of all part headers: an octet 1, an octet of a Content-* value, which is parsed, 4 more, a field 16."""
SCAN_MAX = 256 * 1024 * 1024
"""Octets searched for delimiters in all: five passes over the largest message, at worst half a second."""
FALSE_DELIMITERS_MAX = 50_000
"""Lines that begin like a delimiter and are none, in the whole message."""

_CONTENT = b"content-"
_TEXT_PLAIN = (b"text", b"plain")
_MESSAGE = (b"message", b"rfc822")


@dataclass(slots=True)
class Part:
    """One part; the root is the message itself. Changed only while the tree is built.

    Attributes:
        header_start, body_start, end: Offsets; the header with its empty line lies before `body_start`, the body
            ends at `end`, before the line end that belongs to the next delimiter.
        kind, subtype: Lower-case media type; application/octet-stream for a container that is not followed.
        declared: Content-Type as written, None when missing or not of the form type/subtype.
        content: Raw values of the Content-* fields by lower-case name, the first of each.
        lines: LF octets of the body, for text and message parts; 0 for others.
        children: Parts of a multipart; for message/rfc822 the one inner message.
    """

    header_start: int
    body_start: int
    end: int
    kind: bytes
    subtype: bytes
    declared: Parameterised | None
    content: dict[bytes, bytes]
    depth: int
    lines: int = 0
    children: list[Part] = field(default_factory=list)

    @property
    def is_multipart(self) -> bool:
        """Whether the children are the parts of a multipart."""
        return self.kind == b"multipart"

    @property
    def is_message(self) -> bool:
        """Whether the one child is an encapsulated message."""
        return self.kind == b"message" and bool(self.children)

    @property
    def encoding(self) -> bytes:
        """Content-Transfer-Encoding, lower case; 7bit when missing or empty (RFC 2045 §6.1)."""
        value = self.content.get(b"content-transfer-encoding")
        if value is None:
            return b"7bit"
        return unfold(value).partition(b";")[0].partition(b"(")[0].strip(b" \t").lower() or b"7bit"

    @property
    def disposition(self) -> Parameterised | None:
        """Content-Disposition, or None when there is none."""
        value = self.content.get(b"content-disposition")
        return None if value is None else parse_parameterised(value)

    @property
    def size_octets(self) -> int:
        """Octets of the body as transferred."""
        return self.end - self.body_start

    @property
    def charset(self) -> str:
        """The charset parameter, empty when there is none."""
        octets = self.declared.octets(b"charset") if self.declared is not None else None
        return "" if octets is None else octets.decode("latin-1")

    @property
    def filename(self) -> str | None:
        """The file name for people, from the disposition or else the type (RFC 2183 §2.3)."""
        disposition = self.disposition
        found = disposition.text(b"filename") if disposition is not None else None
        return found or (self.declared.text(b"name") if self.declared is not None else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """The tree, and the fields of the message's own header."""

    root: Part
    fields: HeaderFields
    truncated: bool

    def walk(self) -> Iterator[Part]:
        """All parts, parents first, in the order they stand in the message."""
        pending = [self.root]
        while pending:
            part = pending.pop()
            yield part
            pending.extend(reversed(part.children))


def parse_structure(octets: bytes) -> Structure:
    """Find all parts of a whole message; never fails.

    Cost: one pass at memory speed for each level of nesting, and about 5 us a part.
    """
    fields = split_header(octets)
    builder = _Builder(octets)
    root = builder.root(fields)
    builder.descend(root)
    if root.children:
        _count_lines(octets, root)
    elif root.kind == b"text":
        root.lines = octets.count(b"\n", root.body_start)
    return Structure(root=root, fields=fields, truncated=builder.truncated or fields.exceeded is not None)


def outline(octets: bytes) -> Part:
    """The message alone, its parts not looked for: enough for sections that name none, at a small part of the cost."""
    return Part(
        header_start=0,
        body_start=header_end(octets),
        end=len(octets),
        kind=b"text",
        subtype=b"plain",
        declared=None,
        content={},
        depth=0,
    )


class _Builder:
    """Cuts containers into parts, a stack instead of recursion; keeps the sums that the limits bound."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.parts = 0
        self.truncated = False
        self._header_cost = 0
        self._scanned = 0
        self._false_delimiters = 0

    def root(self, fields: HeaderFields) -> Part:
        return self._part(fields, 0, len(self._octets), 0, _TEXT_PLAIN)

    def descend(self, root: Part) -> None:
        pending = [root]
        while pending:
            part = pending.pop()
            if part.is_multipart:
                self._cut_multipart(part)
            elif part.kind == b"message" and part.subtype in (b"rfc822", b"global"):
                self._open_message(part)
            # Reversed, so that a limit on parts keeps the front of the message.
            pending.extend(reversed(part.children))

    def _cut_multipart(self, part: Part) -> None:
        boundary = part.declared.octets(b"boundary") if part.declared is not None else None
        if not self._may_nest(part):
            return
        if not boundary or len(boundary) > BOUNDARY_MAX:
            self.truncated = self.truncated or bool(boundary)
            _make_text(part)
            return
        default = _MESSAGE if part.subtype == b"digest" else _TEXT_PLAIN
        start: int | None = None
        for line_start, after, closes in self._delimiters(boundary.rstrip(b" \t"), part):
            if start is not None and not self._add(
                part, start, _before_line_end(self._octets, line_start, start), default
            ):
                return
            start = None if closes else after
        if start is not None:
            # No close-delimiter: the last part runs to the end of its container (RFC 2046 §5.1.2).
            self._add(part, start, part.end, default)
        if not part.children:
            _make_text(part)

    def _delimiters(self, boundary: bytes, part: Part) -> Iterator[tuple[int, int, bool]]:
        """Yield (line start, offset after the line, whether it closes) up to and with the close-delimiter."""
        octets, end = self._octets, part.end
        needle = b"\n--" + boundary
        # A body begins after an empty line, whose LF serves a delimiter that is the body's first line.
        next_line = part.body_start
        while True:
            at = octets.find(needle, max(next_line - 1, 0), end)
            self._scanned += (at if at >= 0 else end) - next_line
            if at < 0:
                return
            after = at + len(needle)
            tail_end = min(end, after + BOUNDARY_MAX)
            newline = octets.find(b"\n", after, tail_end)
            tail = octets[after : newline if newline >= 0 else tail_end].rstrip(b" \t\r")
            if tail in (b"", b"--") and (newline >= 0 or tail_end == end):
                next_line = newline + 1 if newline >= 0 else end
                yield at + 1, next_line, tail == b"--"
                if tail:
                    return
            else:
                next_line = after
                self._false_delimiters += 1
            if self._scanned > SCAN_MAX or self._false_delimiters > FALSE_DELIMITERS_MAX:
                self.truncated = True
                return

    def _open_message(self, part: Part) -> None:
        if part.encoding not in IDENTITY:
            _make_opaque(part)
        elif self._may_nest(part):
            self._add(part, part.body_start, part.end, _TEXT_PLAIN)
            if not part.children:
                _make_opaque(part)

    def _may_nest(self, part: Part) -> bool:
        if part.depth < DEPTH_MAX and self._scanned <= SCAN_MAX:
            return True
        self.truncated = True
        _make_opaque(part)
        return False

    def _add(self, parent: Part, start: int, end: int, default: tuple[bytes, bytes]) -> bool:
        """Add a child that lies between two offsets; False when a limit forbids any more."""
        if self.parts >= PARTS_MAX or self._header_cost > PART_HEADERS_MAX:
            self.truncated = True
            return False
        fields = split_header(self._octets, start, end)
        self.truncated = self.truncated or fields.exceeded is not None
        self._header_cost += fields.size_octets + 16 * len(fields)
        self._scanned += fields.size_octets
        parent.children.append(self._part(fields, start, end, parent.depth + 1, default))
        return True

    def _part(self, fields: HeaderFields, start: int, end: int, depth: int, default: tuple[bytes, bytes]) -> Part:
        self.parts += 1
        content: dict[bytes, bytes] = {}
        for name in fields.names:
            if name.startswith(_CONTENT) and name not in content:
                content[name] = fields.first(name) or b""
        if depth:
            self._header_cost += 4 * sum(map(len, content.values()))
        declared = None
        media: tuple[bytes, bytes] | None = None
        if b"content-type" in content:
            declared = parse_parameterised(content[b"content-type"])
            media = media_type(declared.value)
            if media is None:
                declared = None
        kind, subtype = media or default
        return Part(start, start + fields.size_octets, end, kind, subtype, declared, content, depth)


def _before_line_end(octets: bytes, line_start: int, start: int) -> int:
    """The end of a part before a delimiter line: without the line end that belongs to the delimiter."""
    end = line_start - 1
    if octets[end - 1 : end] == b"\r":
        end -= 1
    return max(end, start)


def _make_opaque(part: Part) -> None:
    """A container that is not followed is shown as a file."""
    part.kind, part.subtype = b"application", b"octet-stream"


def _make_text(part: Part) -> None:
    """A multipart without any part is shown as the text it is, so that its reader loses nothing."""
    part.kind, part.subtype = _TEXT_PLAIN
    part.declared = None


def _count_lines(octets: bytes, root: Part) -> None:
    """Count the lines of all text and message parts in one pass: nested messages must not multiply the work."""
    counted = []
    pending = [root]
    while pending:
        part = pending.pop()
        pending.extend(part.children)
        if part.kind == b"text" or part.is_message:
            counted.append(part)
    offsets = sorted({offset for part in counted for offset in (part.body_start, part.end)})
    lines_before: dict[int, int] = {}
    lines = last = 0
    for offset in offsets:
        lines += octets.count(b"\n", last, offset) if lines_before else 0
        lines_before[offset] = lines
        last = offset
    for part in counted:
        part.lines = lines_before[part.end] - lines_before[part.body_start]
