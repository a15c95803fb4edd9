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
    *others, last = reply.lines
    if not others:
        return _line(reply, last, " ")
    return b"".join([_line(reply, text, "-") for text in others]) + _line(reply, last, " ")


def _line(reply: Reply, text: str, separator: str) -> bytes:
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if " " <= c <= "~" else "?" for c in text)
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    line = f"{reply.code}{separator}{enhanced}{text}"
    return line[: REPLY_LINE_MAX - 2].encode("ascii") + b"\r\n"
