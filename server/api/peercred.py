"""HTTP/1.1 connections as we take them: uvicorn's h11 protocol with limits, and the peer's identity on the Unix socket.

- The head of a request has 10 s and 64 KiB; lines end in CRLF, never in a bare LF; Content-Length and
  Transfer-Encoding together, or twice, end the connection (RFC 9112 §2.2, §6.1, §6.3).
- A chunked body whose chunks are many and small ends the connection: each chunk costs as much as a field.
- At most `CONNECTIONS_MAX` connections a server, so that descriptors are left for mail and the database.
- Nothing is read behind a request before its answer: no pipelining, no second request out of one body; an upgrade is
  never offered.
- On the Unix socket the kernel says who the peer is (SO_PEERCRED, SO_PEERGROUPS); without that word the connection
  ends.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.api.auth import PEER

HEAD_OCTETS_MAX = 64 * 1024
HEAD_TIMEOUT_S = 10.0
FIELDS_MAX = 100
CONNECTIONS_MAX = 500
SLICE_OCTETS = 4096
"""Octets of a body that are read before its chunks are looked at."""
CHUNK_SLACK = 16 * 1024
CHUNK_SHARE = 64
"""Framing of a chunked body may be `CHUNK_SLACK` octets and this part of the body."""
BODY_IDLE_S = 30.0
BODY_TOTAL_S = 300.0
WRITE_S = 60.0
"""Time a client has to read on once our buffers are full (reliability.md §4.11)."""
SO_PEERGROUPS = 59
GROUPS_OCTETS_MAX = 1024
_BARE_LF = re.compile(rb"(?<!\r)\n")
_LENGTHS = re.compile(rb"content-length[ \t]*:[^,]*,", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"


class _Connection(h11.Connection):
    """Counts the octets of the request's body."""

    body_octets = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Data):
            self.body_octets += len(event.data)
        return event


class HttpProtocol(H11Protocol):
    """One TCP connection."""

    conn: _Connection
    _head: bytearray
    _wire_octets: int = 0
    _deadline: asyncio.TimerHandle | None = None
    _write_deadline: asyncio.TimerHandle | None = None
    _body_started_s: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.conn = _Connection(h11.SERVER, self.config.h11_max_incomplete_event_size or HEAD_OCTETS_MAX)
        super().connection_made(transport)
        self._head = bytearray()
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        self._forget_write_deadline()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_deadline = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._forget_write_deadline()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._reads() is not h11.IDLE:
            self._behind_head(data)
            return
        if not self._head:
            self._expect(HEAD_TIMEOUT_S)
        self._head += data
        if not self._head.strip(b"\r\n"):
            if len(self._head) > 4:
                self._refuse(400, "there is no request")
            return
        end = self._head.find(_HEAD_END)
        head = bytes(self._head if end < 0 else self._head[: end + len(_HEAD_END)])
        fault = _fault(head, complete=end >= 0)
        if fault is not None:
            self._refuse(*fault)
            return
        if end < 0:
            return
        rest, self._head = bytes(self._head[len(head) :]), bytearray()
        self._forget_deadline()
        self._body_started_s = self.loop.time()
        self._wire_octets = self.conn.body_octets = 0
        super().data_received(head)
        if self._reads() is h11.SEND_BODY:
            self._expect(BODY_IDLE_S)
        if rest:
            self._behind_head(rest)

    def on_response_complete(self) -> None:
        self._forget_deadline()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 could not read; the text never repeats the input."""
        self._refuse(400, "the request is not valid HTTP/1.1")

    def _should_upgrade(self) -> bool:
        return False

    def _behind_head(self, data: bytes) -> None:
        """Read the body; whatever comes behind it is dropped, and the connection ends with the answer."""
        if self._reads() is h11.SEND_BODY:
            data = self._body(data)
            if self._reads() is h11.SEND_BODY:
                left = BODY_TOTAL_S - (self.loop.time() - self._body_started_s)
                self._expect(max(0.0, min(BODY_IDLE_S, left)))
                return
            self._forget_deadline()
            if not data and not self.conn.trailing_data[0]:
                return
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def _body(self, data: bytes) -> bytes:
        """Read a piece of the body; returns what lies behind its end."""
        for start in range(0, len(data), SLICE_OCTETS):
            part = data[start : start + SLICE_OCTETS]
            super().data_received(part)
            self._wire_octets += len(part)
            framing = self._wire_octets - self.conn.body_octets
            if framing > CHUNK_SLACK + self.conn.body_octets // CHUNK_SHARE:
                self._refuse(400, "the chunks of the body are too small")
                return b""
            if self._reads() is not h11.SEND_BODY:
                return data[start + len(part) :]
        return b""

    def _reads(self) -> object:
        """Where h11 is in the client's request."""
        return self.conn.their_state

    def _expect(self, seconds: float) -> None:
        self._forget_deadline()
        self._deadline = self.loop.call_later(seconds, self._late)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _forget_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _late(self) -> None:
        if self._head or self._reads() is h11.SEND_BODY:
            self._refuse(408, "the request took too long")
        else:
            self.transport.close()

    def _refuse(self, status: int, text: str) -> None:
        """Answer without the application and close; nothing behind the fault is looked at."""
        self._forget_deadline()
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            body = text.encode()
            reason = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}[status]
            self.transport.write(
                f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


class UnixPeerProtocol(HttpProtocol):
    """One connection on the admin socket."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        try:
            if sock is None or sock.family != socket.AF_UNIX:
                raise PermissionError("unix listener only")
            _pid, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            more = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_OCTETS_MAX)
            groups = frozenset({gid, *struct.unpack(f"{len(more) // 4}I", more)})
        except (OSError, struct.error):
            transport.abort()
            return
        state: dict[str, Any] = {**self.app_state, PEER: (uid, groups)}
        self.app_state = state


def _fault(head: bytes, *, complete: bool) -> tuple[int, str] | None:
    """What is wrong with a request's head, as status and words; None when nothing is (so far)."""
    if len(head) > HEAD_OCTETS_MAX:
        return 431, "the request's head is too large"
    if _BARE_LF.search(head) is not None or b"\x00" in head:
        return 400, "lines end in CRLF"
    if not complete:
        return None
    lines = head.lstrip(b"\r\n").split(b"\r\n")
    fields = lines[1:-2]
    if len(fields) > FIELDS_MAX:
        return 431, "the request has too many fields"
    if not lines[0].partition(b" ")[2].startswith(b"/"):
        return 400, "the request target must be a path"
    names = [field.partition(b":")[0].strip().lower() for field in fields]
    lengths = names.count(b"content-length")
    codings = names.count(b"transfer-encoding")
    if lengths + codings > 1 or any(_LENGTHS.match(field) for field in fields):
        return 400, "the request has two lengths"
    if any(field[:1] in b" \t" for field in fields):
        return 400, "folded fields are not accepted"
    return None
