"""The Authentication-Results field: ours written, a stranger's authserv-id read (RFC 8601 §2).

- Everything a peer chose goes in as a token or a quoted-string of printable ASCII, so it can't end the field or
  forge a result.
- Each method stands on a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.protocol.emailauth.result import Result

MAX_RESULTS = 100
"""Results read of one field."""
MAX_VALUE = 320
"""Characters kept of one property value: an address has at most 254."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]+\Z")
_PVALUE = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]*(?:@[A-Za-z0-9\-.]+)?\Z")
_CFWS_TOKEN = re.compile(rb"[^\s()<>@,;:\\\"/\[\]?=\x00-\x20\x7f]+")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_QUOTED_OR_OPEN = re.compile(rb'"(?:[^"\\]|\\.)*+("?)', re.DOTALL)
_PLAIN = re.compile(rb'[^"(]++')
_PART = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*+")++', re.DOTALL)
_PAIR = re.compile(
    r'(?<![A-Za-z0-9\-./_])([A-Za-z][A-Za-z0-9\-./_]*+)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^\s";]++)', re.DOTALL
)
_COMMENT_PART = re.compile(rb"[^()\\]+|\\.|[()]", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    """One resinfo: `method=result (comment) ptype.property=value...`.

    Attributes:
        properties: (ptype.property, value) pairs; empty values are left out.
        reason: For people; goes into `reason=`.
    """

    method: str
    result: Result
    comment: str = ""
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()


def format_authentication_results(authserv_id: str, results: Sequence[MethodResult]) -> bytes:
    """Write the whole field, CRLF at its end. Without results it says `none` (RFC 8601 §2.2)."""
    lines = [_format_result(result) for result in results] or ["none"]
    text = f"Authentication-Results: {_quote_unless(_TOKEN, authserv_id)};\r\n\t" + ";\r\n\t".join(lines) + "\r\n"
    return text.encode("ascii")


def _format_result(result: MethodResult) -> str:
    words = [f"{result.method}={result.result}"]
    if result.comment:
        words.append(f"({_comment(result.comment)})")
    if result.reason:
        words.append(f"reason={_quote(result.reason)}")
    words += [f"{name}={_quote_unless(_PVALUE, value)}" for name, value in result.properties if value]
    return " ".join(words)


def _printable(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text[:MAX_VALUE])


def _quote(text: str) -> str:
    return '"' + _printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _quote_unless(grammar: re.Pattern[str], text: str) -> str:
    return text if len(text) <= MAX_VALUE and grammar.match(text) else _quote(text)


def _comment(text: str) -> str:
    return "".join(f"\\{c}" if c in "()\\" else c for c in _printable(text))


def parse_authserv_id(value: bytes) -> str | None:
    """Read the authserv-id of a field's value, lower case; None when there is none to read.

    A field of a stranger that names our own id must not be believed (RFC 8601 §5, product item 3).
    """
    position = _skip_cfws(value, 0)
    quoted = _QUOTED.match(value, position)
    if quoted:
        return _QUOTED_PAIR.sub(rb"\1", quoted[1]).decode("latin-1").lower()
    token = _CFWS_TOKEN.match(value, position)
    return token[0].decode("latin-1").lower() if token else None


def claims_authserv_id(value: bytes, authserv_id: str) -> bool:
    """Whether a field could be taken for ours: it names our id, or no reader can tell whose it is."""
    found = parse_authserv_id(value)
    return found is None or found.rstrip(".") == authserv_id.lower().rstrip(".")


def parse_results(value: bytes) -> list[tuple[str, str, dict[str, str]]]:
    """Read `authserv-id; resinfo; resinfo...` into (method, result, properties), all lower case but the values.

    What is outside the grammar is passed over; at most `MAX_RESULTS` results are read. Only for fields whose writer
    is known and trusted (RFC 8601 §2.2).
    """
    text = _strip_comments(value)
    results: list[tuple[str, str, dict[str, str]]] = []
    for part in _PART.findall(text)[1 : MAX_RESULTS + 1]:
        pairs = [(name.lower(), _unquote(found)) for name, found in _PAIR.findall(part)]
        if pairs:
            method, result = pairs[0]
            results.append((method.partition("/")[0], result.lower(), dict(pairs[1:])))
    return results


def _strip_comments(value: bytes) -> str:
    """The text without comments, up to the first quote that is never closed; linear."""
    kept: list[bytes] = []
    position = 0
    while position < len(value):
        if value[position] == 0x28:
            position = _skip_cfws(value, position)
            kept.append(b" ")
            continue
        match = (_QUOTED_OR_OPEN if value[position] == 0x22 else _PLAIN).match(value, position)
        if match is None or (value[position] == 0x22 and not match[1]):
            break
        kept.append(match[0])
        position = match.end()
    return b"".join(kept).decode("latin-1")


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _skip_cfws(value: bytes, position: int) -> int:
    """Pass over white space and comments, nested ones too (RFC 5322 §3.2.2); linear, without recursion."""
    depth = 0
    while position < len(value):
        if depth == 0:
            if value[position] in b" \t\r\n":
                position += 1
                continue
            if value[position] != 0x28:
                break
        part = _COMMENT_PART.match(value, position)
        if part is None:
            return len(value)
        depth += (part[0] == b"(") - (part[0] == b")")
        position = part.end()
    return position
