"""Replies of ours as octets (RFC 5321 §4.2, RFC 2034).

- Nothing but printable ASCII leaves: whatever a text holds, a reply stays one reply.
- Each line carries the code, and the enhanced code where there is one (RFC 2034 §3).
"""

from __future__ import annotations

from server.domain.reply import Reply
from server.protocol.smtp.limits import REPLY_LINE_MAX


def format_reply(reply: Reply) -> bytes:
    """Write a reply as lines ending in CRLF, each at most `REPLY_LINE_MAX` octets.

    Characters outside printable ASCII become `?`; longer lines are cut.
    """
    last = len(reply.lines) - 1
    return b"".join(_line(reply, text, final=number == last) for number, text in enumerate(reply.lines))


def _line(reply: Reply, text: str, *, final: bool) -> bytes:
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if " " <= c <= "~" else "?" for c in text)
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    line = f"{reply.code}{' ' if final else '-'}{enhanced}{text}".rstrip(" ")
    return line[: REPLY_LINE_MAX - 2].encode("ascii") + b"\r\n"
