"""Message-ID, In-Reply-To and References (RFC 5322 §3.6.4).

- Identifiers are compared as octets with their brackets; reading is linear and bounded.
"""

from __future__ import annotations

import re

from server.protocol.mime.headers import FIELD_MAX, unfold

MESSAGE_ID_MAX = 998
"""Octets of one identifier with its brackets: it must fit a line (RFC 5322 §2.1.1)."""
REFERENCES_MAX = 1000
"""Identifiers read from one field."""

_ID = re.compile(rb"<(?:[^<>\"\s\x00-\x1f\x7f]++|\"(?:[^\"\\\x00-\x1f\x7f]++|\\[\x20-\x7e])*+\"|[ \t]++)++>")
_STRICT = re.compile(r"<[!#-'*+\-/-9=?A-Z^-~.]+@(?:[!#-'*+\-/-9=?A-Z^-~.]+|\[[!-Z^-~]*\])>")


def parse_message_ids(value: bytes, *, at_most: int = REFERENCES_MAX) -> list[bytes]:
    """The identifiers in a raw field value, in order, brackets included and white space taken out."""
    text = unfold(value[:FIELD_MAX])
    found = []
    for match in _ID.finditer(text):
        identifier = match[0] if b" " not in match[0] and b"\t" not in match[0] else _without_space(match[0])
        if 2 < len(identifier) <= MESSAGE_ID_MAX:
            found.append(identifier)
            if len(found) >= at_most:
                break
    return found


def parse_message_id(value: bytes) -> bytes | None:
    """The first identifier of a raw field value, or None."""
    found = parse_message_ids(value, at_most=1)
    return found[0] if found else None


def is_message_id(text: str) -> bool:
    """Whether the text is one identifier we may write: `<id-left@id-right>` in ASCII, at most 998 characters."""
    return len(text) <= MESSAGE_ID_MAX and _STRICT.fullmatch(text) is not None


def _without_space(identifier: bytes) -> bytes:
    return identifier if b'"' in identifier else identifier.replace(b" ", b"").replace(b"\t", b"")
