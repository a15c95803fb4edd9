"""Text from mail and from the network, made harmless for a terminal.

- No control, bidirectional, or invisible formatting character of a value ever reaches the terminal.
- What is taken out stays visible: ESC is shown as `\\x1b`, U+202E as `\\u202e`.
"""

from __future__ import annotations

import re
from json import dumps

# C0, DEL, C1; Arabic letter mark, zero-width and direction marks, separators, embeddings, isolates, BOM, interlinear
# annotation, tag characters, and lone surrogates.
_HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)


def _shown(match: re.Match[str]) -> str:
    point = ord(match.group())
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def safe(text: str) -> str:
    """The text on one line, with every character that could act on a terminal spelled out."""
    return _HOSTILE.sub(_shown, text)


def safe_lines(text: str) -> str:
    """Like `safe`, but line feeds stay."""
    return "\n".join(safe(line) for line in text.split("\n"))


def _json_escape(match: re.Match[str]) -> str:
    point = ord(match.group())
    if point < 0x10000:
        return f"\\u{point:04x}"
    high, low = divmod(point - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON that is as harmless on a terminal as it is in a file; characters keep their value (RFC 8259 §7)."""
    text = dumps(value, ensure_ascii=False, indent=indent, separators=None if indent else (",", ":"))
    if indent is None:
        return _HOSTILE.sub(_json_escape, text)
    return "\n".join(_HOSTILE.sub(_json_escape, line) for line in text.split("\n"))
