"""Address lists of header fields: From, Sender, Reply-To, To, Cc, Bcc.

- Never fails and never recurses; linear in the field; at most `ADDRESSES_MAX` entries.
- What is no address is skipped or kept without a domain, and `odd` says so: who decides by an address refuses odd ones.
- `Entry` keeps the octets as written (for ENVELOPE); `Mailbox` is text for people and for comparing.

RFC 5322 §3.4, §4.4 (obsolete forms: routes, empty elements, dots in phrases), RFC 6532 §3.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from server.protocol.mime.charset import decode_unlabelled
from server.protocol.mime.encoded_words import clean_text, decode_words
from server.protocol.mime.headers import FIELD_MAX, unfold

ADDRESSES_MAX = 2000
"""Addresses of one list (reliability.md §8)."""

_ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-]"
_PLAIN = re.compile(
    rb"[ \t]*+(?:(?:\"([^\"\\\x00-\x08\x0a-\x1f\x7f]*+)\"|([A-Za-z0-9!#$%&'*+/=?^_`{|}~ \t\x80-\xff-]++))?[ \t]*+"
    rb"<(" + _ATEXT + rb"++(?:\." + _ATEXT + rb"++)*+)@([A-Za-z0-9.\x80-\xff-]++)>[ \t]*+(?:,|\Z))"
)
_BARE = re.compile(rb"[ \t]*+(" + _ATEXT + rb"++(?:\." + _ATEXT + rb"++)*+)@([A-Za-z0-9.\x80-\xff-]++)[ \t]*+(?:,|\Z)")
_TOKEN = re.compile(
    rb"(?P<space>[ \t\r\n]++)|(?P<encoded>=\?[^?\s]{1,64}\?[bBqQ]\?[^?\s]*+\?=)"
    rb"|(?P<atom>[^\s()<>@,;:\\\".\[\]\x00-\x20\x7f]++)|(?P<special>[<>@,;:.])"
    rb"|\"(?P<quoted>(?:[^\"\\]++|\\[\s\S])*+)(?:\"|\\?\Z)|(?P<literal>\[[^\[\]\s]*+\]?)|(?P<comment>\()|(?P<junk>[\s\S])"
)
_COMMENT = re.compile(rb"[^()\\]++|\\[\s\S]?|[()]")
_ESCAPE = re.compile(rb"\\([\s\S])")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_SPECIALS = re.compile(rb"[()<>@,;:\"\[\]]")
_ENCODED_WORD = re.compile(rb"=\?[^?]*+\?[bBqQ]\?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of an address list, octets as written but unfolded and unquoted.

    Attributes:
        name: Display name, or the name of a group that begins here; None when there is none.
        route: An obsolete source route (`@a,@b`), or None.
        local, domain: None and None where a group ends; local None with a name where one begins.
        group_starts: Whether this is a group's name and not a mailbox.
        odd: Whether the element holds more than a name and an addr-spec: comments, routes, encoded words inside
            the address, control octets, left-over words. Two programs may read such an element as two addresses.
    """

    name: bytes | None
    route: bytes | None
    local: bytes | None
    domain: bytes | None
    group_starts: bool = False
    odd: bool = False


_GROUP_END = Entry(None, None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """An address as text: `name` decoded, `domain` lower case; `in_group` when it came inside a group."""

    name: str
    local: str
    domain: str
    in_group: bool = False

    @property
    def addr_spec(self) -> str:
        """`local@domain` for people; the local part alone where there was no domain."""
        return f"{self.local}@{self.domain}" if self.domain else self.local


def parse_address_list(value: bytes, *, at_most: int = ADDRESSES_MAX) -> list[Entry]:
    """Parse a raw field value into its elements, in order; groups are given as a start and an end element.

    Args:
        value: At most `FIELD_MAX` octets are looked at.
        at_most: Elements returned at most, group marks included.
    """
    value = unfold(value[:FIELD_MAX])
    entries: list[Entry] = []
    at = 0
    while at < len(value) and len(entries) < at_most:
        plain = _PLAIN.match(value, at)
        if plain is not None:
            quoted, atoms, local, domain = plain.groups()
            if atoms is not None and b"=?" in atoms and not atoms.rstrip(b" \t").endswith(b"?="):
                # The bracket may lie inside an encoded word.
                _parse_full(value, at, entries, at_most)
                break
            name = quoted if atoms is None else b" ".join(atoms.split())
        else:
            plain = _BARE.match(value, at)
            if plain is None:
                _parse_full(value, at, entries, at_most)
                break
            name = None
            local, domain = plain.groups()
        entries.append(Entry(name or None, None, local, domain, odd=b"=?" in local))
        at = plain.end()
    return entries[:at_most]


def parse_mailboxes(value: bytes, *, at_most: int = ADDRESSES_MAX) -> list[Mailbox]:
    """The mailboxes of a raw field value as text, members of groups included."""
    return mailboxes(parse_address_list(value, at_most=at_most))


def mailboxes(entries: list[Entry]) -> list[Mailbox]:
    """The mailboxes among the elements, decoded."""
    found = []
    in_group = False
    for entry in entries:
        if entry.local is None:
            in_group = entry.group_starts
            continue
        found.append(
            Mailbox(
                name=_text(entry.name or b""),
                local=address_text(entry.local),
                domain=address_text(entry.domain or b"").lower(),
                in_group=in_group,
            )
        )
    return found


def _text(octets: bytes) -> str:
    text = decode_words(octets) if b"=?" in octets else decode_unlabelled(octets)
    return text if text.isprintable() else clean_text(text)


def address_text(octets: bytes) -> str:
    """Addresses are never encoded words (RFC 2047 §5): only UTF-8 is decoded."""
    text = octets.decode("utf-8", "replace")
    return text if text.isprintable() else clean_text(text)


@dataclass(frozen=True, slots=True)
class _Token:
    """A lexical token: `kind` is a group name of `_TOKEN`; `spaced` when white space or a comment came before it.

    An encoded word is one token even with commas or colons in it, which RFC 2047 §5 forbids in names and many write.
    """

    kind: str
    text: bytes
    spaced: bool


def _tokens(value: bytes, at: int) -> Iterator[_Token]:
    spaced = True
    while match := _TOKEN.match(value, at):
        kind, start, at = match.lastgroup or "junk", at, match.end()
        if kind == "space":
            spaced = True
            continue
        text = match[kind]
        if kind == "comment":
            at = _comment_end(value, at)
            text = value[start + 1 : at - 1]
        elif kind == "quoted" and b"\\" in text:
            text = _ESCAPE.sub(rb"\1", text)
        yield _Token(kind, text, spaced)
        spaced = kind == "comment"


def _comment_end(value: bytes, at: int) -> int:
    """The offset after the comment whose text begins at `at`; nesting is counted, not followed."""
    depth = 1
    for piece in _COMMENT.finditer(value, at):
        if piece[0] == b"(":
            depth += 1
        elif piece[0] == b")":
            depth -= 1
            if depth == 0:
                return piece.end()
    return len(value) + 1


def _parse_full(value: bytes, at: int, entries: list[Entry], at_most: int) -> None:
    """Read the rest of the list by the whole grammar: cut it into elements, then read each."""
    element: list[_Token] = []
    in_angle = in_route = in_group = False
    for token in _tokens(value, at):
        mark = token.text if token.kind == "special" else b""
        if mark == b"<":
            in_angle = True
        elif mark == b">":
            in_angle = in_route = False
        elif mark == b"@" and in_angle and element[-1].text == b"<":
            in_route = True
        elif mark == b":" and not in_angle and not in_group and _is_phrase(element):
            entries.append(Entry(_phrase(element), None, None, None, group_starts=True))
            element, in_group = [], True
            continue
        elif mark == b";" or (mark == b"," and not in_route):
            _end_element(element, entries)
            element, in_angle, in_route = [], False, False
            if mark == b";" and in_group:
                entries.append(_GROUP_END)
                in_group = False
            if len(entries) >= at_most:
                return
            continue
        elif mark == b":" and in_route:
            in_route = False
        element.append(token)
    _end_element(element, entries)
    if in_group:
        entries.append(_GROUP_END)


def _end_element(tokens: list[_Token], entries: list[Entry]) -> None:
    """Read one element as `name <route:addr-spec>`, as an addr-spec, or as an odd left-over (RFC 5322 §3.4)."""
    comments = [token.text for token in tokens if token.kind == "comment"]
    words = [token for token in tokens if token.kind != "comment"]
    if not words:
        return
    marks = [token.text if token.kind == "special" else b"" for token in words]
    if b"<" not in marks:
        local, domain, odd = _addr_spec(words)
        # `user@host (Full Name)`: the form before display names.
        name = comments[-1].strip() if comments else None
        odd = odd or len(comments) > 1 or (bool(comments) and tokens[-1].kind != "comment")
        entries.append(Entry(name or None, None, local, domain, odd=odd))
        return
    opening = marks.index(b"<")
    closing = marks.index(b">", opening) if b">" in marks[opening:] else len(words)
    inside = words[opening + 1 : closing]
    odd = closing != len(words) - 1 or bool(comments) or not _is_phrase(words[:opening])
    odd = odd or any(token.kind == "encoded" and _SPECIALS.search(token.text) for token in words)
    route = None
    if inside and inside[0].text == b"@" and b":" in marks[opening:closing]:
        colon = marks.index(b":", opening) - opening - 1
        route = b"".join(token.text for token in inside[:colon])
        inside, odd = inside[colon + 1 :], True
    local, domain, odd_spec = _addr_spec(inside)
    entries.append(Entry(_phrase(words[:opening]) or None, route, local, domain, odd=odd or odd_spec))


def _addr_spec(words: list[_Token]) -> tuple[bytes, bytes | None, bool]:
    """Read `local@domain`; without one `@` the words are a local part and the element is odd."""
    marks = [token.text if token.kind == "special" else b"" for token in words]
    odd = marks.count(b"@") != 1 or any(token.kind == "junk" for token in words)
    odd = odd or not set(marks) <= {b"", b"@", b"."}
    at = len(marks) - 1 - marks[::-1].index(b"@") if b"@" in marks else len(words)
    # White space is allowed round a dot or the @ alone (RFC 5322 §4.4 obs-local-part).
    odd = odd or any(word.spaced and marks[i] == b"" and i > 0 and marks[i - 1] == b"" for i, word in enumerate(words))
    local = b"".join(token.text for token in words[:at])
    domain = b"".join(token.text for token in words[at + 1 :])
    whole = local + domain
    if _CONTROL.search(whole) or _ENCODED_WORD.search(whole) or not domain:
        odd = True
    return local, domain or None, odd


def _is_phrase(words: list[_Token]) -> bool:
    return all(word.kind in ("atom", "encoded", "quoted", "comment") or word.text == b"." for word in words)


def _phrase(words: list[_Token]) -> bytes:
    """Join the words of a display name; words without space between them stay together (`J.`)."""
    return b"".join(
        (b" " if word.spaced and i else b"") + word.text for i, word in enumerate(words) if word.kind != "comment"
    )
