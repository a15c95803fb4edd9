"""The API as the command line and the console use it (RFC 9112 over a Unix socket or TLS).

- One connection, reused; a request that was not answered is never sent twice.
- Every failure leaves as a `CliError` with the exit code that its HTTP status gives.
- Answers are JSON as the daemon sent it: nothing is renamed, so `-o json` shows the API's own fields.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import cast
from urllib.parse import quote, urlencode

from mairust_cli.client import unreachable
from mairust_cli.client.endpoint import Endpoint
from mairust_cli.exits import CliError, Exit, exit_for_status

PREFIX = "/api/v1"
ANSWER_OCTETS = 64 * 1024 * 1024
PAGE_ROWS = 200
SILENCE_S = 5.0
_SYSTEM_PATHS = (
    "/tenants",
    "/system",
    "/settings",
    "/setup",
    "/doctor",
    "/tls",
    "/backups",
    "/bans",
    "/connections",
    "/health",
)

Json = dict[str, object]
Query = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response as received."""

    status: int
    content_type: str
    request_id: str
    body: bytes


class Client:
    """Requests to one daemon.

    Args:
        typed: The command as typed, for messages that repeat it.
        log: Takes one line per request and per answer; None for silence.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_s: float = 30.0,
        tenant: str = "",
        typed: str = "mairust",
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self._tenant = tenant
        self._typed = typed
        self._log = log
        self._connection: HTTPConnection | None = None

    def get(self, path: str, query: Query | None = None) -> Json:
        """GET a JSON object."""
        return as_object(self.call("GET", path, query=query))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Json:
        """POST a JSON object; an empty answer is an empty object."""
        return as_object(self.call("POST", path, body=body or {}))

    def patch(self, path: str, body: Mapping[str, object]) -> Json:
        return as_object(self.call("PATCH", path, body=body))

    def put(self, path: str, body: Mapping[str, object]) -> Json:
        """PUT a JSON object; an empty answer is an empty object."""
        return as_object(self.call("PUT", path, body=body))

    def delete(self, path: str, query: Query | None = None) -> None:
        self.call("DELETE", path, query=query)

    def pages(self, path: str, query: Query | None = None, *, page: int = PAGE_ROWS) -> Pages:
        """All items of a list, fetched page by page as they are read."""
        return Pages(self, path, dict(query or {}), page)

    def call(self, method: str, path: str, *, query: Query | None = None, body: object = None) -> object:
        """One request; the decoded JSON answer, or None when it has no body.

        Raises:
            CliError: Unreachable, refused, or not JSON.
        """
        answer = self.send(method, PREFIX + self._scoped(path), query=query, body=body)
        if answer.status >= 400:
            raise problem_of(answer)
        if not answer.body:
            return None
        try:
            return cast("object", json.loads(answer.body))
        except ValueError:
            raise _unreadable(answer) from None

    def text(self, path: str, query: Query | None = None) -> str:
        """GET an answer that is text."""
        answer = self.send("GET", PREFIX + self._scoped(path), query=query)
        if answer.status >= 400:
            raise problem_of(answer)
        return answer.body.decode("utf-8", "replace")

    def upload(self, path: str, data: bytes, media_type: str, query: Query | None = None) -> Json:
        """POST octets; the answer is a JSON object."""
        answer = self.send("POST", PREFIX + self._scoped(path), query=query, body=data, media_type=media_type)
        if answer.status >= 400:
            raise problem_of(answer)
        try:
            return as_object(json.loads(answer.body))
        except ValueError:
            raise _unreadable(answer) from None

    def send(
        self,
        method: str,
        target: str,
        *,
        query: Query | None = None,
        body: object = None,
        media_type: str = "application/json",
    ) -> Answer:
        """One request to a whole path (with `/api/v1`, or `/health`), whatever its status."""
        known = {key: _query_text(value) for key, value in (query or {}).items() if value is not None and value != ""}
        url = f"{target}?{urlencode(known)}" if known else target
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request_id = os.urandom(8).hex()
        headers = {"Accept": "application/json", "X-Request-Id": request_id}
        if data is not None:
            headers["Content-Type"] = media_type
        if self.endpoint.token:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        started = time.monotonic()
        if self._log is not None:
            self._log(f"> {method} {url} [{request_id}]")
        answer = self._exchange(method, url, data, headers)
        if self._log is not None:
            taken = int((time.monotonic() - started) * 1000)
            self._log(f"< {answer.status} {len(answer.body)} B, {taken} ms")
        return answer

    def stream(self, path: str, query: Query | None = None, *, last_id: str = "") -> HTTPResponse:
        """Open a server-sent event stream; the caller reads its lines and closes it.

        Its connection is its own, so requests go on beside it. Reads time out after `timeout_s`.
        """
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        if self.endpoint.token:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        known = {key: _query_text(value) for key, value in (query or {}).items() if value is not None and value != ""}
        target = PREFIX + self._scoped(path)
        connection = self._connect()
        try:
            connection.request("GET", f"{target}?{urlencode(known)}" if known else target, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise problem_of(_read(response))
        except (OSError, HTTPException):
            connection.close()
            raise unreachable.broke_off(self.endpoint) from None
        return response

    def download(self, path: str, query: Query | None = None) -> HTTPResponse:
        """Open an answer of any length; the caller reads it to its end and closes it.

        Its connection is its own. Reads time out after `timeout_s`; one that ends too soon raises `HTTPException`.
        """
        headers = {"Accept": "*/*"}
        if self.endpoint.token:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        known = {key: _query_text(value) for key, value in (query or {}).items() if value is not None and value != ""}
        target = PREFIX + self._scoped(path)
        connection = self._connect()
        try:
            connection.request("GET", f"{target}?{urlencode(known)}" if known else target, headers=headers)
            response = connection.getresponse()
        except (OSError, HTTPException):
            connection.close()
            raise unreachable.broke_off(self.endpoint) from None
        if response.status != 200:
            raise problem_of(_read(response))
        return response

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def alive(self) -> bool:
        """Whether the daemon answers a health check within two seconds, whatever the answer."""
        try:
            connection = self.endpoint.connect(2.0)
            try:
                connection.request("GET", "/health/live")
                connection.getresponse().read(1024)
            finally:
                connection.close()
        except (OSError, HTTPException):
            return False
        return True

    def _scoped(self, path: str) -> str:
        if self._tenant and not path.startswith(_SYSTEM_PATHS):
            return f"/tenants/{quote(self._tenant, safe='')}{path}"
        return path

    def _exchange(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        connection = self._connection or self._connect()
        self._connection = None
        try:
            connection.request(method, url, body=data, headers=headers)
            self._await(connection)
            response = connection.getresponse()
            answer = _read(response)
        except TimeoutError:
            connection.close()
            raise unreachable.timed_out(self.endpoint, self.timeout_s) from None
        except (OSError, HTTPException):
            connection.close()
            raise unreachable.broke_off(self.endpoint) from None
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._connection = connection
        return answer

    def _connect(self) -> HTTPConnection:
        try:
            return self.endpoint.connect(self.timeout_s)
        except PermissionError:
            raise unreachable.not_allowed(self.endpoint, self._typed) from None
        except TimeoutError:
            raise unreachable.silent(self.endpoint, 2.0) from None
        except OSError:
            raise unreachable.not_running(self.endpoint) from None

    def _await(self, connection: HTTPConnection) -> None:
        """Wait for the first octet: a daemon that is silent for five seconds is asked for its health."""
        silence = min(SILENCE_S, self.timeout_s)
        if _readable(connection, silence):
            return
        if not self.alive():
            raise unreachable.silent(self.endpoint, silence)
        if not _readable(connection, self.timeout_s - silence):
            raise TimeoutError


class Pages:
    """A list of the API; iterating fetches its pages."""

    def __init__(self, client: Client, path: str, query: dict[str, str | int | bool | None], page: int) -> None:
        self._client = client
        self._path = path
        self._query = query
        self._page = page

    def __iter__(self) -> Iterator[Json]:
        cursor: str | None = None
        while True:
            answer = self._client.get(self._path, {**self._query, "limit": self._page, "cursor": cursor})
            items = answer.get("items")
            for item in items if isinstance(items, list) else []:
                yield as_object(item)
            following = answer.get("next_cursor")
            if not isinstance(following, str) or not following or following == cursor:
                return
            cursor = following

    def total(self) -> int | None:
        """How many there are, counted by the daemon up to 10,000; None when it does not say."""
        try:
            total = self._client.get(self._path, {**self._query, "limit": 1, "count": True}).get("total")
        except CliError:
            return None
        return total if isinstance(total, int) else None


def as_object(value: object) -> Json:
    """A JSON object, or an empty one for an answer without a body.

    Raises:
        CliError: Another JSON type.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CliError(
            "the daemon's answer has another shape than expected",
            code=Exit.FAILED,
            why=f"an object was expected, not {type(value).__name__}",
            hint="mairust version",
        )
    return cast("Json", value)


def items_of(value: object) -> list[Json]:
    """The objects of a JSON list, or of an `{"items": []}` page; anything else in it is left out."""
    listed = value.get("items", value.get("checks")) if isinstance(value, dict) else value
    return [cast("Json", item) for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def problem_of(answer: Answer) -> CliError:
    """An RFC 9457 problem, or any other answer of 400 and above, as an error."""
    try:
        decoded = json.loads(answer.body)
    except ValueError:
        decoded = None
    problem: Json = (
        decoded if isinstance(decoded, dict) else {"title": f"HTTP {answer.status}", "status": answer.status}
    )
    code = str(problem.get("code") or "")
    request_id = str(problem.get("request_id") or answer.request_id)
    detail = str(problem.get("detail") or "")
    faults = [
        f"{str(fault.get('pointer') or '').removeprefix('/')}: {fault.get('detail', '')}".removeprefix(": ")
        for fault in items_of(problem.get("errors"))
    ]
    said = "" if any(fault.endswith(f": {detail}") for fault in faults) else detail
    why = "; ".join(part for part in (said, *faults) if part) or code
    if request_id:
        why = f"{why}   [request {request_id}]".lstrip()
    what, hint = str(problem.get("title") or f"HTTP {answer.status}"), ""
    if code == "not_configured":
        what, hint = "this server is not set up yet", "sudo mairust setup"
    return CliError(what, code=exit_for_status(answer.status, code), why=why, hint=hint, problem=problem)


def segment(text: str) -> str:
    """A value as one segment of a path."""
    return quote(text, safe="@")


def _unreadable(answer: Answer) -> CliError:
    return CliError(
        "the daemon's answer can not be read",
        code=Exit.FAILED,
        why=f"HTTP {answer.status}, {len(answer.body)} octets of {answer.content_type or 'no type'}, not JSON",
        hint="mairust version",
    )


def _read(response: HTTPResponse) -> Answer:
    body = response.read(ANSWER_OCTETS + 1)
    if len(body) > ANSWER_OCTETS:
        raise CliError("the daemon's answer is too large", code=Exit.FAILED, why="more than 64 MiB", hint="--limit 200")
    return Answer(
        status=response.status,
        content_type=response.getheader("Content-Type", ""),
        request_id=response.getheader("X-Request-Id", ""),
        body=body,
    )


def _readable(connection: HTTPConnection, seconds: float) -> bool:
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _query_text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
