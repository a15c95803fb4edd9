"""A YAML writer for JSON values, small enough for every command to load.

- Block style for objects and lists; a string is plain only when no YAML 1.1 or 1.2 reader could take it for
  anything else, otherwise it is a JSON string, which YAML 1.2 accepts as it is.
"""

from __future__ import annotations

import re

from mairust_cli.output.escape import json_text

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_@./+-]*", re.ASCII)
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"})


def yaml_text(value: object) -> str:
    """The value as a YAML document, ending in a line feed."""
    return "\n".join(_lines(value, 0)) + "\n"


def _lines(value: object, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{pad}{_scalar(key)}:")
                lines.extend(_lines(item, depth + 1))
            else:
                lines.append(f"{pad}{_scalar(key)}: {_scalar(item)}")
        return lines
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            inner = _lines(item, depth + 1)
            lines.append(f"{pad}- {inner[0].lstrip()}")
            lines.extend(inner[1:])
        return lines
    return [f"{pad}{_scalar(value)}"]


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json_text(value)
