"""Requests with an Idempotency-Key: run once, answered again (api.md §1).

- A secret that is shown once is cut out of the kept answer, so a repeat never shows it.
"""

from __future__ import annotations

import re

import msgspec

from server.api.asgi import App, Message, Receive, Scope, Send
from server.api.problems import BadRequest
from server.domain.identity import Scope as CallerScope
from server.services.identity.idempotency import Claim, IdempotencyService

_KEY = re.compile(rb"[\x21-\x7e]{1,128}")
KEPT_BODY_MAX = 256 * 1024
SHOWN_ONCE = frozenset({"key", "password"})
_KEPT_HEADERS = frozenset({b"content-type", b"location", b"etag"})


class Repeats:
    """Wraps the application for requests that carry a key."""

    def __init__(self, service: IdempotencyService) -> None:
        self._service = service

    async def run(
        self, app: App, scope: Scope, receive: Receive, send: Send, *, caller: CallerScope, key: bytes
    ) -> None:
        """Run the request, or answer as the first time."""
        if _KEY.fullmatch(key) is None:
            raise BadRequest("an Idempotency-Key has 1 to 128 visible ASCII characters")
        body = await _whole(receive)
        claim = await self._service.claim(caller, path=scope["path"], key=key.decode("ascii"), body=body)
        if claim.answer is not None:
            await _replay(claim, send)
            return
        kept = _Kept(send)
        try:
            await app(scope, _again(body), kept.send)
        except BaseException:
            await self._service.finish(claim, status=500, headers="[]", body=b"")
            raise
        await self._service.finish(claim, status=kept.status, headers=kept.headers_text(), body=kept.body_to_keep())


class _Kept:
    """Passes an answer on and keeps a copy."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message["headers"]
                if name in _KEPT_HEADERS
            ]
        elif message["type"] == "http.response.body" and len(self._body) <= KEPT_BODY_MAX:
            self._body += message["body"]
        await self._send(message)

    def headers_text(self) -> str:
        return msgspec.json.encode(self._headers).decode()

    def body_to_keep(self) -> bytes:
        """The body without what is shown once; nothing when it is too long to keep."""
        if len(self._body) > KEPT_BODY_MAX:
            return b"{}"
        try:
            decoded = msgspec.json.decode(bytes(self._body))
        except msgspec.DecodeError:
            return bytes(self._body)
        if isinstance(decoded, dict) and SHOWN_ONCE & decoded.keys():
            return msgspec.json.encode({name: value for name, value in decoded.items() if name not in SHOWN_ONCE})
        return bytes(self._body)


async def _whole(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionAbortedError("the client went away")
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


def _again(body: bytes) -> Receive:
    done = False

    async def receive() -> Message:
        nonlocal done
        if done:
            return {"type": "http.disconnect"}
        done = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _replay(claim: Claim, send: Send) -> None:
    answer = claim.answer
    if answer is None:
        raise TypeError("nothing to replay")
    kept = msgspec.json.decode(answer.headers, type=list[tuple[str, str]])
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept]
    headers += [(b"content-length", str(len(answer.body)).encode()), (b"idempotent-replayed", b"true")]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
