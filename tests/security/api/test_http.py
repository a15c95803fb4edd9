"""Raw HTTP on the API's port: no desync, no second request out of one body, no slow head (T42, Y11; ST20)."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from server.api import peercred
from server.api.auth import PeerPolicy
from tests.support.api import Api

HOST = b"Host: localhost\r\n"
POST = b"POST /api/v1/tenants HTTP/1.1\r\n" + HOST
CLOSED = b"Connection: close\r\n"
SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def answers(octets: bytes) -> int:
    """How many answers there are in what came back."""
    return octets.count(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    ("name", "octets", "status"),
    [
        (
            "both lengths",
            b"POST /api/v1/tenants HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"400",
        ),
        (
            "both lengths, other order",
            b"POST /api/v1/tenants HTTP/1.1\r\n"
            + HOST
            + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            b"400",
        ),
        (
            "two lengths alike",
            POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
            b"400",
        ),
        (
            "two lengths apart",
            POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
            b"400",
        ),
        ("list of lengths", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0, 44\r\n\r\n", b"400"),
        ("negative length", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", b"400"),
        ("plus length", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\n", b"400"),
        ("unknown coding", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n", b"400"),
        ("two codings", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"400"),
        ("bare LF lines", b"GET /health/live HTTP/1.1\nHost: x\n\n", b"400"),
        ("one bare LF", b"GET /health/live HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", b"400"),
        ("NUL", b"GET /health/live HTTP/1.1\r\nHost: x\x00\r\n\r\n", b"400"),
        ("folded field", b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", b"400"),
        ("space before colon", b"GET /health/live HTTP/1.1\r\nHost : x\r\n\r\n", b"400"),
        ("no host", b"GET /health/live HTTP/1.1\r\n\r\n", b"400"),
        ("two hosts", b"GET /health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        ("absolute form", b"GET http://evil.example/health/live HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        ("authority form", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        ("asterisk form", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        ("HTTP/0.9", b"GET /health/live\r\n\r\n", b"400"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        ("huge head", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        ("endless head", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 70_000, b"431"),
        ("many fields", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 101 + b"\r\n", b"431"),
        ("blank lines", b"\r\n" * 50, b"400"),
    ],
)
async def test_one_refusal_and_the_connection_ends(api: Api, name: str, octets: bytes, status: bytes) -> None:
    answer = await api.raw(octets + SMUGGLED)
    assert answers(answer) == 1, name
    assert answer.startswith(b"HTTP/1.1 " + status), (name, answer[:80])
    assert b"alive" not in answer
    assert b"Traceback" not in answer


async def test_limits_are_where_they_say(api: Api) -> None:
    """Head of exactly 64 KiB and 100 fields pass; one more does not."""
    fixed = b"GET /health/live HTTP/1.1\r\n" + HOST + CLOSED
    for fields, status in ((peercred.FIELDS_MAX - 2, b"200"), (peercred.FIELDS_MAX - 1, b"431")):
        assert (await api.raw(fixed + b"X: a\r\n" * fields + b"\r\n")).startswith(b"HTTP/1.1 " + status)
    room = peercred.HEAD_OCTETS_MAX - len(fixed) - len(b"X: \r\n\r\n")
    for octets, status in ((room, b"200"), (room + 1, b"431")):
        answer = await api.raw(fixed + b"X: " + b"a" * octets + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 " + status), (octets, answer[:60])


@pytest.mark.parametrize("split", [1, 7, 16, 17, 40, 60])
async def test_split_head_is_one_request(api: Api, split: int) -> None:
    request = b"GET /health/live HTTP/1.1\r\n" + HOST + CLOSED + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(request[:split])
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.write(request[split:])
    assert (await asyncio.wait_for(reader.read(65536), 5)).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_what_follows_a_request_before_its_answer_is_never_run(api: Api) -> None:
    request = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    assert answers(await api.raw(request + SMUGGLED)) == 1
    body = (
        b"POST /api/v1/tenants HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    answer = await api.raw(body + SMUGGLED)
    assert answers(answer) == 1
    assert answer.startswith(b"HTTP/1.1 401")
    chunked = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert answers(await api.raw(chunked + SMUGGLED)) == 1


async def test_keep_alive_serves_one_request_after_the_other(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    for _ in range(3):
        writer.write(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(len(b'{"status":"alive"}'))
    writer.close()


async def test_slow_head_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peercred, "HEAD_TIMEOUT_S", 0.2)
    assert (await api.raw(b"GET /health/live HT")).startswith(b"HTTP/1.1 408")
    assert await api.raw(b"") == b""


async def test_slow_body_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peercred, "BODY_IDLE_S", 0.2)
    key = await api.key("tenants:write")
    head = b"POST /api/v1/tenants HTTP/1.1\r\n" + HOST + b"Authorization: Bearer " + key.encode() + b"\r\n"
    answer = await api.raw(head + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert (await api.tcp("GET", "/health/live")).status == 200


async def test_upgrades_are_not_taken(api: Api) -> None:
    answer = await api.raw(
        b"GET /health/live HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200")


async def test_forwarded_headers_are_not_believed(api: Api) -> None:
    """Y10: the rate limit still counts the real address."""
    for number in range(61):
        await api.tcp("GET", "/api/v1/accounts", X_Forwarded_For=f"198.51.100.{number}")
    assert (await api.tcp("GET", "/api/v1/accounts", X_Forwarded_For="198.51.100.99")).status == 429


async def test_client_that_goes_away_leaves_no_trace_of_an_error(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    for octets in (b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /hea", b"\xff\xfe\r\n\r\n"):
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(octets)
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()
    await asyncio.sleep(0.1)
    assert (await api.tcp("GET", "/health/live")).status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_who_may_use_the_admin_socket() -> None:
    """security.md §5."""
    policy = PeerPolicy(own_uid=500, admin_gid=600)
    assert policy.allows(0, frozenset({0}))
    assert policy.allows(500, frozenset({500}))
    assert policy.allows(1000, frozenset({1000, 600}))
    assert not policy.allows(1000, frozenset({1000}))
    assert not PeerPolicy(own_uid=500, admin_gid=None).allows(1000, frozenset({600}))


@pytest.mark.skipif(os.getuid() != 0, reason="another uid can only be tried by root")
async def test_other_users_get_403_even_if_the_file_is_open(api: Api, tmp_path: Path) -> None:
    os.chmod(api.socket_path, 0o666)  # noqa: S103  that the mode is wrong is the point
    folder = Path(api.socket_path).parent
    for parent in (folder, *folder.parents[:-2]):
        os.chmod(parent, parent.stat().st_mode | 0o055)  # noqa: S103
    code = (
        "import os,socket,sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"s=socket.socket(socket.AF_UNIX); s.connect({api.socket_path!r})\n"
        "s.sendall(b'GET /api/v1/accounts HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "print(s.recv(12).decode())\n"
    )
    child = await asyncio.create_subprocess_exec(
        "/usr/bin/python3", "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await child.communicate()
    assert out.decode().strip() == "HTTP/1.1 403", err
