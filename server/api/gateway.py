"""Every HTTP request passes here first: id, path, caller, limits, and one shape of error.

- The body is limited while it is read; a route's limit is by its path, so nothing is read that no route would take.
- Whatever fails leaves as a problem object; an error that is not ours is logged and shown as `internal`.
- Answers are private: nothing caches them, nothing sniffs their type.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial

import msgspec

from server.api.asgi import App, Message, Receive, Scope, Send
from server.api.auth import Authenticator
from server.api.idempotency import Repeats
from server.api.limits import Allowance, RateLimits
from server.api.paths import UPLOADS, Upload, resolve
from server.api.problems import MEDIA_TYPE, BadRequest, Problem, problem_of
from server.api.requests import STATE_KEY, CallerState
from server.config.schema import Settings
from server.domain.errors import Forbidden, MaiRustError
from server.domain.identity import Scope as CallerScope
from server.domain.ids import new_id
from server.telemetry import metrics
from server.telemetry.log import bound, get_logger

log = get_logger("api")

SEND_BODY_MAX = 16 * 1024 * 1024
DRAIN_OCTETS = 4 * 1024 * 1024
DRAIN_S = 5.0
_OPEN_PATHS = ("/health", "/metrics")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9-]{1,64}")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_METHODS = frozenset({"GET", "HEAD", "OPTIONS"}) | _UNSAFE
_COMMON_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Gateway:
    """The outermost ASGI application."""

    def __init__(
        self,
        app: App,
        *,
        authenticator: Authenticator,
        limits: RateLimits,
        repeats: Repeats,
        settings: Callable[[], Settings],
        refuses: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._limits = limits
        self._repeats = repeats
        self._settings = settings
        self._refuses = refuses
        self._stopping = False

    def stop(self) -> None:
        """Let answers that wait for events end."""
        self._stopping = True

    def _is_stopping(self) -> bool:
        return self._stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        with bound(request_id=exchange.request_id):
            try:
                await self._handle(exchange, receive)
            except Exception as error:
                await exchange.fail(error)
            finally:
                exchange.finish()

    async def _handle(self, exchange: _Exchange, receive: Receive) -> None:
        scope = exchange.scope
        path, tenant = resolve(scope["path"])
        exchange.rewrite(path)
        if scope["method"] not in _METHODS:
            raise BadRequest("there is no such method", code="method_not_allowed")
        body = _LimitedBody(receive, exchange.headers, self._body_max(path))
        await body.check_length()
        if exchange.ip and not path.startswith(_OPEN_PATHS) and self._refuses(exchange.ip):
            raise Forbidden("too many failed logins from there, or an administrator's word", code="network_banned")
        caller = await self._caller(exchange, tenant)
        scope["state"][STATE_KEY] = CallerState(
            caller, exchange.request_id, exchange.ip, self._is_stopping, partial(self._scope, exchange, tenant)
        )
        if scope["method"] in _UNSAFE and body.expected:
            _check_media_type(exchange.headers, path)
        key = exchange.headers.get(b"idempotency-key")
        upload = _upload(path)
        if upload is not None and not upload.keeps_key:
            # Safe to repeat by themselves, and too large to be kept for comparison.
            key = None
        with self._limits.place(caller.key_id if caller is not None else None):
            if key is not None and scope["method"] == "POST" and caller is not None:
                await self._repeats.run(self._app, scope, body.receive, exchange.send, caller=caller, key=key)
            else:
                await self._app(scope, body.receive, exchange.send)

    async def _scope(self, exchange: _Exchange, tenant: str | None) -> CallerScope | None:
        """Whom the request's credential stands for at this moment. Raises as `Authenticator.scope`."""
        return await self._authenticator.scope(
            exchange.scope["state"], exchange.headers, ip=exchange.ip, tenant=tenant, request_id=exchange.request_id
        )

    async def _caller(self, exchange: _Exchange, tenant: str | None) -> CallerScope | None:
        try:
            caller = await self._scope(exchange, tenant)
        except MaiRustError:
            if exchange.ip:
                exchange.allowance = self._limits.address(exchange.ip)
            raise
        if caller is not None and caller.key_id is not None:
            exchange.allowance = self._limits.credential(caller.key_id)
        elif caller is None and not exchange.scope["path"].startswith(("/health", "/metrics")):
            exchange.allowance = self._limits.address(exchange.ip)
        return caller

    def _body_max(self, path: str) -> int:
        if path.endswith("/send"):
            return SEND_BODY_MAX
        settings = self._settings()
        upload = _upload(path)
        return settings.api.max_body_size if upload is None else settings.smtp.max_message_size + upload.slack_octets


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self._send = send
        self.started = time.perf_counter()
        self.headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            self.headers.setdefault(name, value)
        shown = self.headers.get(b"x-request-id", b"")
        self.request_id = shown.decode() if _REQUEST_ID.fullmatch(shown) else new_id()
        client = scope["client"]
        self.ip = str(client[0]) if client else ""
        self.asked_path = scope["path"]
        self.status = 0
        self.allowance: Allowance | None = None

    def rewrite(self, path: str) -> None:
        """Let the framework see the route's own path."""
        self.scope["path"] = path
        self.scope["raw_path"] = path.encode("utf-8", "replace")

    async def send(self, message: Message) -> None:
        """Pass an answer on with our own header fields."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [(name, value) for name, value in message["headers"] if name != b"x-request-id"]
            present = {name for name, _ in headers}
            headers += [pair for pair in (*_COMMON_HEADERS, _CSP) if pair[0] not in present]
            headers.append((b"x-request-id", self.request_id.encode()))
            if self.allowance is not None:
                headers += [
                    (b"ratelimit-limit", str(self.allowance.limit).encode()),
                    (b"ratelimit-remaining", str(self.allowance.remaining).encode()),
                    (b"ratelimit-reset", str(self.allowance.reset_s).encode()),
                ]
            message["headers"] = headers
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Answer with a problem; when the answer has begun, the connection ends instead."""
        if not isinstance(error, MaiRustError):
            log.exception("api.failed", error, path=self.asked_path[:256])
        if self.status:
            raise ConnectionAbortedError("the answer can't be finished") from error
        problem, headers = problem_of(error, request_id=self.request_id, path=self.asked_path)
        await send_problem(self.send, problem, headers, with_body=self.scope["method"] != "HEAD")

    def finish(self) -> None:
        """Count and log."""
        seconds = time.perf_counter() - self.started
        route = self.scope.get("path_template", "none")
        method = self.scope["method"] if self.scope["method"] in _METHODS else "other"
        metrics.API_REQUESTS.labels(route, method, str(self.status)).inc()
        metrics.API_DURATION.labels(route).observe(seconds)
        log.info(
            "api.request",
            method=method,
            path=self.asked_path,
            status=self.status,
            duration_ms=round(seconds * 1000, 1),
            remote_addr=self.ip or "unix",
        )


async def send_problem(send: Send, problem: Problem, headers: dict[str, str], *, with_body: bool = True) -> None:
    """Write a whole answer that is a problem object."""
    body = msgspec.json.encode(problem)
    fields = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    fields += [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    if problem.status in (400, 413):
        fields.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": problem.status, "headers": fields})
    await send({"type": "http.response.body", "body": body if with_body else b"", "more_body": False})


class _LimitedBody:
    """Counts a request's body while it is read."""

    def __init__(self, receive: Receive, headers: dict[bytes, bytes], limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._read = 0
        self._complete = False
        length = headers.get(b"content-length", b"")
        self.expected = b"transfer-encoding" in headers or length not in (b"", b"0")
        self._length = int(length) if length.isdigit() else 0

    async def check_length(self) -> None:
        """Refuse a body that says itself that it is too long."""
        if self._length > self._limit:
            await self._refuse()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message["body"])
            if self._read > self._limit:
                await self._refuse()
            self._complete = not message["more_body"]
        elif self.expected and not self._complete:
            raise BadRequest("the request ended before its body did")
        return message

    async def _refuse(self) -> None:
        """Throw a little more away first, so that a client that is still writing gets to see the answer."""
        try:
            async with asyncio.timeout(DRAIN_S):
                thrown = 0
                while thrown < DRAIN_OCTETS:
                    message = await self._receive()
                    if message["type"] != "http.request" or not message["more_body"]:
                        break
                    thrown += len(message["body"])
        except TimeoutError:
            log.debug("api.slow_body")
        raise BadRequest(f"the body may have {self._limit} octets", code="too_large")


def _upload(path: str) -> Upload | None:
    """What a path takes instead of JSON."""
    return next((upload for upload in UPLOADS if upload.takes(path)), None)


def _check_media_type(headers: dict[bytes, bytes], path: str) -> None:
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    upload = _upload(path)
    wanted = ("application/json",) if upload is None else upload.media_types
    if kind not in wanted:
        raise BadRequest(f"the body must be {' or '.join(wanted)}", code="unsupported_media_type")
