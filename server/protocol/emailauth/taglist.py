"""The tag=value lists of DKIM fields, DKIM keys and DMARC records (RFC 6376 §3.2)."""

from __future__ import annotations

import re

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*\Z")
_FWS = b" \t\r\n"
MAX_TAGS = 64
"""Tags of one list; RFC 6376 defines 16."""


class TagListError(Exception):
    """The list is outside the grammar, has a tag twice or too many."""


def parse_tags(text: bytes) -> dict[str, bytes]:
    """Parse a tag-list into names (case kept) and values without the white space around them, in order.

    Raises:
        TagListError: The whole list is then invalid (RFC 6376 §3.2).
    """
    tags: dict[str, bytes] = {}
    parts = text.split(b";", MAX_TAGS + 1)
    if not parts[-1].strip(_FWS):
        parts.pop()
    if len(parts) > MAX_TAGS:
        raise TagListError(f"more than {MAX_TAGS} tags")
    for part in parts:
        name, equals, value = part.partition(b"=")
        name = name.strip(_FWS)
        if not equals or not _NAME.match(name):
            raise TagListError("a part is not tag=value")
        key = name.decode("ascii")
        if key in tags:
            raise TagListError(f"tag {key} twice")
        tags[key] = value.strip(_FWS)
    return tags


def without_space(value: bytes) -> bytes:
    """Drop the folding white space that base64 values and lists may hold."""
    return value.translate(None, _FWS)
