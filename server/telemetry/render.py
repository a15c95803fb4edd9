"""One log event as one line: JSON or text, escaped and capped (security.md §13).

- A line is at most `LINE_MAX` octets, each string at most `STRING_MAX` characters (a traceback `TRACEBACK_MAX`).
- C0, DEL, C1, bidi controls, line separators and lone surrogates never reach the output as themselves.
- Nothing a peer sends can make rendering fail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

LINE_MAX = 8192
STRING_MAX = 256
TRACEBACK_MAX = 4096
ITEMS_MAX = 20
DEPTH_MAX = 3
CORE_FIELDS = ("timestamp", "level", "component", "event")

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_encode = msgspec.json.Encoder(enc_hook=repr, decimal_format="string").encode


def render_json(event: Mapping[str, object]) -> bytes:
    """One JSON object and a line feed, at most LINE_MAX octets."""
    line = _json({name: _capped(name, value) for name, value in event.items()})
    if len(line) >= LINE_MAX:
        kept = {name: _capped(name, event[name]) for name in CORE_FIELDS if name in event}
        for name, value in event.items():
            if name not in kept and len(_json({**kept, name: _capped(name, value), "truncated": True})) < LINE_MAX:
                kept[name] = _capped(name, value)
        line = _json({**kept, "truncated": True})
    return line + b"\n"


def render_text(event: Mapping[str, object]) -> bytes:
    """`TIME LEVEL component event key=value ...` and a line feed, at most LINE_MAX octets."""
    head = f"{event.get('timestamp', '')} {str(event.get('level', '')).upper():7} {event.get('component', '')}"
    fields = [f"{name}={_quoted(_capped(name, value))}" for name, value in event.items() if name not in CORE_FIELDS]
    text = " ".join([head, _escaped(str(_capped("event", event.get("event", "")))), *fields])
    return text.encode("utf-8", "backslashreplace")[: LINE_MAX - 1] + b"\n"


def _json(fields: Mapping[str, object]) -> bytes:
    try:
        line = _encode(fields).decode()
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        line = _encode({name: _SURROGATES.sub(_json_escape, str(value)) for name, value in fields.items()}).decode()
    if not line.isascii():
        line = _UNSAFE_IN_JSON.sub(_json_escape, line)
    return line.replace("\x7f", "\\u007f").encode()


def _capped(name: str, value: object, depth: int = 0) -> object:
    if isinstance(value, str):
        limit = TRACEBACK_MAX if name == "traceback" else STRING_MAX
        return value if len(value) <= limit else value[:limit] + "..."
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return _capped(name, bytes(value[: 4 * STRING_MAX]).decode("utf-8", "backslashreplace"))
    if isinstance(value, list | tuple | set | frozenset) and depth < DEPTH_MAX:
        return [_capped(name, item, depth + 1) for item in list(value)[:ITEMS_MAX]]
    if isinstance(value, Mapping) and depth < DEPTH_MAX:
        return {str(key)[:STRING_MAX]: _capped(name, item, depth + 1) for key, item in list(value.items())[:ITEMS_MAX]}
    return _capped(name, str(value))


def _quoted(value: object) -> str:
    text = _escaped(str(value))
    return text if text and not re.search(r'[\s"=]', text) else '"' + text.replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    return _UNSAFE.sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
