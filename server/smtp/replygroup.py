"""Replies of one pipelined group, gathered and written together (RFC 2920 §3.2)."""

from __future__ import annotations

from server.domain.reply import Reply
from server.protocol.smtp.replies import format_reply
from server.smtp.contracts import Listener
from server.smtp.wire import Wire
from server.telemetry.metrics import SMTP_ERRORS


class ReplyGroup:
    """Keeps replies in order until `flush`."""

    def __init__(self, wire: Wire, listener: Listener) -> None:
        self._wire = wire
        self._listener = listener
        self._octets: list[bytes] = []

    def __len__(self) -> int:
        return len(self._octets)

    def add(self, reply: Reply) -> None:
        if reply.code >= 400:
            SMTP_ERRORS.labels(self._listener.value, str(reply.code)).inc()
        self._octets.append(format_reply(reply))

    def drop(self) -> None:
        """Forget what was not written yet."""
        self._octets.clear()

    def flush(self) -> None:
        """Write what waits."""
        if self._octets:
            self._wire.send(b"".join(self._octets))
            self._octets.clear()
