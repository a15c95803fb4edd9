"""Addresses and parameters that carry more than they show (security.md Y1, T08, T09, T31)."""

from __future__ import annotations

import pytest

from server.domain.address import Address
from tests.support.smtp_edge import running_edge

HOSTILE = [
    b"<=?utf-8?q?x=0D=0AEvil:_y?=@c.d>", b"<=?utf-8?q?admin?=@c.d>", b"<=?utf-8?b?YWRtaW4=?=@c.d>", b"<a\x00b@c.d>",
    b"<a@c.d\x00>", b"<a(comment)@c.d>", b"<(c)a@c.d>", b"<a@c.d(c)>", b"<@loc.example:u@ext.example>",
    b"<@a,@b:u@ext.example>", b"<u@loc.example.>", b"a@c.d", b"<a@c.d", b"a@c.d>", b"<a@c.d>>", b"<<a@c.d>>",
    b"<a\x7f@c.d>", b"<a\rb@c.d>", b"<a\tb@c.d>", b'<"a\rb"@c.d>', b'<"a\x0bb"@c.d>', b"<a b@c.d>", b"<a@c d>",
    b"<a@c.d\x1b[31m>", b"<a\xff@c.d>", b"<a\xc3\xa9@c.d>", b"<a@[127.0.0.1>", b"<a@127.0.0.1]>", b"<a@c..d>",
    b'"Boss" <a@c.d>', b"<a@c.d> <b@c.d>", b"<a@c.d>,<b@c.d>", b"<a@c.d;b@c.d>", b"<Group:a@c.d;>", b"<a@c.d>\x00",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
async def test_hostile_paths_are_refused_in_mail_and_rcpt(path: bytes) -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        assert (await client.ask(b"MAIL FROM:" + path))[:3] in (b"500", b"501", b"553", b"555")
        assert (await client.ask(b"MAIL FROM:<a@b.example>"))[:3] == b"250"
        assert (await client.ask(b"RCPT TO:" + path))[:3] in (b"500", b"501", b"553", b"555")
        assert (await client.ask(b"DATA"))[:3] == b"503"
    assert edge.reception.asked == []


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (b"<u1%ext.example@loc.example>", Address("u1%ext.example", "loc.example")),
        (b'<"u1@ext.example"@loc.example>', Address("u1@ext.example", "loc.example")),
        (b"<ext.example!u1@loc.example>", Address("ext.example!u1", "loc.example")),
        (b"<u1@[127.0.0.1]>", Address("u1", "[127.0.0.1]")),
        (b"<;id;@loc.example>", None),
        (b"<$(id)@loc.example>", None),
        (b"<`id`@loc.example>", Address("`id`", "loc.example")),
        (b"<${run{id}}@loc.example>", Address("${run{id}}", "loc.example")),
    ],
)
async def test_old_routing_tricks_are_plain_local_parts_or_refused(path: bytes, address: Address | None) -> None:
    """CVE-2020-7247, CVE-2019-10149: data, never a route or a command."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<>")
        await client.ask(b"RCPT TO:" + path)
    assert [asked for _, asked in edge.reception.asked] == ([address] if address is not None else [])


@pytest.mark.parametrize(
    "line",
    [
        b"EHLO c.example\x00", b"EHLO c\r.example", b"EHLO \x1b[31mc", b"EHLO c.example\x7f", b"HELO a b", b"HELO <x>",
        "EHLO ä.example".encode(), b"EHLO " + b"a" * 256,
    ],
)  # fmt: skip
async def test_hostile_greetings_are_refused(line: bytes) -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        assert (await client.ask(line))[:3] in (b"500", b"501")
        assert (await client.ask(b"MAIL FROM:<>"))[:3] == b"503"


@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<a@b.example> ENVID=x+0D+0AEvil:+20y", b"MAIL FROM:<a@b.example> ENVID=x+00",
        b"MAIL FROM:<a@b.example> AUTH=a+0Db@c.example", b"MAIL FROM:<a@b.example> SIZE=1\x0b",
        b"RCPT TO:<u1@example.org> ORCPT=rfc822;x+0D+0AEvil", b"RCPT TO:<u1@example.org> ORCPT=utf-8;\\x{0A}",
        b"RCPT TO:<u1@example.org> ORCPT=utf-8;\\x{D800}", b"RCPT TO:<u1@example.org> ORCPT=r\x00;x",
        b"RCPT TO:<u1@example.org> ORCPT=rfc822;\xff",
    ],
)  # fmt: skip
async def test_hostile_parameters_are_refused(line: bytes) -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        if line.startswith(b"RCPT"):
            await client.ask(b"MAIL FROM:<> SMTPUTF8")
        assert (await client.ask(line))[:3] in (b"500", b"501", b"555")
    assert edge.reception.asked == []


async def test_all_256_octets_in_the_middle_of_an_address() -> None:
    async with running_edge() as edge:
        accepted = set()
        for value in range(256):
            if value % 16 == 0:
                client = await edge.connect()
                await client.ask(b"EHLO c.example")
            if value == 0x0A:
                continue
            answer = await client.ask(b"MAIL FROM:<x" + bytes([value]) + b"y@c.d>")
            if answer[:3] == b"250":
                accepted.add(value)
                await client.ask(b"RSET")
    atext = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~."
    assert accepted == set(atext)


async def test_lines_must_end_in_crlf() -> None:
    """security.md Y7, RFC 5321 §2.3.8."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.send(b"EHLO c.example\nMAIL FROM:<a@b.example>\nRCPT TO:<u1@example.org>\n")
        assert [answer[:9] for answer in await client.replies(3)] == [b"500 5.5.2"] * 3
    assert edge.reception.asked == []


async def test_many_greetings_leave_the_limits_of_others_alone() -> None:
    """aiosmtpd class state, Y5."""
    async with running_edge() as edge:
        first, second = await edge.connect(), await edge.connect()
        for _ in range(50):
            await first.ask(b"EHLO c.example")
        await second.ask(b"HELO c.example")
        assert (await second.ask(b"NOOP " + b"x" * 4089))[:3] == b"250"
        await second.send(b"NOOP " + b"x" * 4090 + b"\r\n")
        assert (await second.rest())[:3] == b"500"
