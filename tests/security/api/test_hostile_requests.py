"""Requests made to cost, to linger or to confuse (T26, T42, P5)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.api import gateway, peercred
from server.api.controllers import events
from server.api.limits import CONCURRENT_MAX
from server.api.requests import decode
from server.domain.errors import MaiRustError
from server.services.submission.send import NewMessage
from tests.support.api import Api

MIB = 1024 * 1024


@asynccontextmanager
async def stream(api: Api, key: str) -> AsyncIterator[asyncio.StreamReader]:
    """An open event stream; its head and first comment are still unread."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer "
        + key.encode()
        + b"\r\n\r\n"
    )
    try:
        yield reader
    finally:
        writer.close()


async def test_a_body_that_breaks_off_is_no_error_of_ours(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 13: a peer can't cause a traceback."""
    logged: list[object] = []
    monkeypatch.setattr(type(gateway.log), "exception", lambda _self, *event, **_fields: logged.append(event))
    head = b"POST /api/v1/domains HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
    head += (await api.key("domains:write")).encode() + b"\r\n"
    for extra in (b"", b"Idempotency-Key: x\r\n"):
        await api.raw(head + extra + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n")
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(head + extra + b"Content-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)
    assert logged == []
    assert (await api.unix("GET", "/health")).status == 200


async def test_a_credential_has_few_requests_at_once(api: Api) -> None:
    key, other = await api.key("events:read"), await api.key("events:read")
    async with _many(api, key, CONCURRENT_MAX) as heads:
        assert all(b" 200 " in head for head in heads)
        refused = await api.tcp("GET", "/api/v1/events", key=key)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert (await api.tcp("GET", "/api/v1/events", key=other)).status == 200
    async with asyncio.timeout(10):
        while (await api.tcp("GET", "/api/v1/events", key=key)).status != 200:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _many(api: Api, key: str, count: int) -> AsyncIterator[list[bytes]]:
    async with asyncio.timeout(15):
        opened = [stream(api, key) for _ in range(count)]
        readers = [await one.__aenter__() for one in opened]
        try:
            yield [await reader.readuntil(b"\r\n") for reader in readers]
        finally:
            for one in opened:
                await one.__aexit__(None, None, None)


async def test_a_revoked_key_loses_its_streams(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 4: revoked is revoked, also for answers that never end."""
    monkeypatch.setattr(events, "RECHECK_EVERY_S", 0)
    key = await api.key("events:read")
    key_id = (await api.unix("GET", "/api/v1/api-keys?limit=1")).json["items"][0]["id"]
    async with stream(api, key) as reader, asyncio.timeout(15):
        await reader.readuntil(b": events\n\n")
        assert (await api.unix("DELETE", f"/api/v1/api-keys/{key_id}")).status == 204
        assert b": unauthenticated" in await reader.readuntil(b": unauthenticated")


async def test_a_client_that_never_reads_is_dropped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """T15: an answer that nobody takes holds its connection for a minute, not for ever."""
    plain = peercred.HttpProtocol.connection_made

    def with_small_buffer(self: peercred.HttpProtocol, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        plain(self, transport)

    monkeypatch.setattr(peercred.HttpProtocol, "connection_made", with_small_buffer)
    monkeypatch.setattr(peercred, "WRITE_S", 0.1)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    with sock:
        await loop.sock_connect(sock, ("127.0.0.1", api.port))
        request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
        await loop.sock_sendall(sock, request)
        await asyncio.sleep(0.4)
        size = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while data := await loop.sock_recv(sock, 65536):
                    size += len(data)
    assert 0 < size < 1_000_000


async def test_connections_are_limited(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peercred, "CONNECTIONS_MAX", 3)
    opened = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        octets = await reader.read(1)
    except ConnectionError:
        octets = b""
    assert octets == b""
    assert (await api.unix("GET", "/health")).status == 200
    for _, other in opened:
        other.close()
    writer.close()


async def test_two_lengths_in_one_field_are_two_lengths(api: Api) -> None:
    answer = await api.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_body_of_tiny_chunks_ends_the_connection(api: Api) -> None:
    """Six octets on the wire for one of the body cost six microseconds each."""
    head = b"POST /api/v1/domains HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
    head += (await api.key("domains:write")).encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunk in (b"1\r\n \r\n", b"1;" + b"x" * 2000 + b"\r\n \r\n"):
        started = time.process_time()
        answer = b""
        # What is still on its way may reset the connection before its end is read.
        with contextlib.suppress(ConnectionError):
            answer = await api.raw(head + chunk * (MIB // len(chunk)) + b"0\r\n\r\n")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        assert time.process_time() - started < 0.5


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_chunked_body_is_read_whole(api: Api, size: int) -> None:
    body = b'{"name": "' + b"x" * (300 if size < 100_000 else 200_000) + b'"}'
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    key = await api.key("domains:write")
    wire = b"POST /api/v1/domains HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
    wire += key.encode() + b"\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire += b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    answer = await api.raw(wire)
    assert answer.startswith(b"HTTP/1.1 422 "), answer[:200]


@pytest.mark.parametrize(
    "body",
    [
        b'{"from":[' + b"[]," * (5 * MIB) + b"[]]}",
        b'{"from":' + b"[" * (15 * MIB),
        b'{"attachments":[' + b'{"a":' * (3 * MIB),
        b'{"from":"a","text":"' + b"[{" * (7 * MIB) + b'"}',
    ],
    ids=["wide", "deep", "deep objects", "brackets in text"],
)
def test_hostile_json_is_refused_without_being_walked_through(body: bytes) -> None:
    started = time.process_time()
    try:
        decode(body, NewMessage)
    except MaiRustError:
        pass
    assert time.process_time() - started < 0.25
