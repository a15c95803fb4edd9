"""ManageSieve on real sockets: the dialogues of RFC 5804."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from server.domain.errors import Unavailable
from server.managesieve import server as edge_server
from server.protocol.sasl.scram import derive_credential
from server.protocol.sieve.limits import SCRIPT_OCTETS_MAX
from server.services.filters.scripts import SCRIPTS_MAX, ScriptService
from tests.support.imap_edge import PASSWORD
from tests.support.managesieve_edge import ADDRESS, SieveEdge, open_managesieve
from tests.support.scram_client import ScramClient

SCRIPT = (
    b'require ["fileinto"];\r\n\r\nif envelope :contains "to" "tmartin+sent" {\r\n  fileinto "INBOX.sent";\r\n}\r\n'
)
KEEP = b"#comment\r\nkeep;\r\n"
FILE = b'require ["fileinto", "envelope"];\r\nif envelope :contains "to" "a+sent" {\r\n  fileinto "Sent";\r\n}\r\n'


def encoded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


async def test_capabilities_of_section_1_7(edge: SieveEdge) -> None:
    """No login in clear; told anew behind TLS; no version of the product."""
    client = await edge.dial()
    lines = await client.response()
    assert b'"IMPLEMENTATION" "MaiRust"' in lines
    assert b'"VERSION" "1.0"' in lines
    assert b'"SASL" ""' in lines
    assert b'"STARTTLS"' in lines
    assert b'"NOTIFY" "mailto"' in lines
    assert b'"MAXREDIRECTS" "4"' in lines
    words = next(line for line in lines if line.startswith(b'"SIEVE" ')).split(b'"')[3].split()
    assert {b"fileinto", b"vacation", b"variables"} <= set(words)
    assert await client.ok(b"capability") == lines[:-1]
    await client.ok(b"STARTTLS")
    await client.start_tls()
    lines = await client.response()
    assert b'"SASL" "PLAIN SCRAM-SHA-256 OAUTHBEARER"' in lines
    assert b'"STARTTLS"' not in lines
    await client.login()
    assert b'"OWNER" "a@example.org"' in await client.ok(b"CAPABILITY")


async def test_scripts_are_put_listed_read_and_deleted(edge: SieveEdge) -> None:
    """RFC 5804 §2.6 to §2.10."""
    client = await edge.opened()
    assert await client.ok(b"LISTSCRIPTS") == []
    assert (await client.put(b"summer_script", KEEP)).startswith(b"OK")
    assert (await client.put(b"vacation_script", FILE)).startswith(b"OK")
    await client.ok(b'SETACTIVE "vacation_script"')
    assert sorted(await client.ok(b"LISTSCRIPTS")) == [b'"summer_script"', b'"vacation_script" ACTIVE']
    assert await client.ok(b'GETSCRIPT "vacation_script"') == [b"{%d}\r\n%s" % (len(FILE), FILE)]
    assert (await client.ask(b'DELETESCRIPT "vacation_script"'))[-1].startswith(b"NO (ACTIVE) ")
    await client.ok(b'SETACTIVE ""')
    await client.ok(b'DELETESCRIPT "vacation_script"')
    assert await client.ok(b"LISTSCRIPTS") == [b'"summer_script"']


async def test_a_script_that_does_not_compile_is_not_stored(edge: SieveEdge) -> None:
    """RFC 5804 §2.6: NO with the reason; SCRIPT lacks the require of envelope."""
    client = await edge.opened()
    answer = await client.put(b"foo", SCRIPT)
    assert answer.startswith(b"NO ")
    assert b"line 3" in answer.lower()
    assert (await client.ask(b"CHECKSCRIPT {%d+}\r\n%s" % (len(SCRIPT), SCRIPT)))[-1] == answer
    assert await client.ok(b"LISTSCRIPTS") == []
    await client.ok(b'CHECKSCRIPT "keep;"')
    assert await client.ok(b"LISTSCRIPTS") == []


async def test_warnings_are_told(edge: SieveEdge) -> None:
    """RFC 5804 §1.3 WARNINGS."""
    client = await edge.opened()
    answer = await client.put(b"foo", b'require "include";\r\ninclude "bar";\r\n')
    assert answer.startswith(b"OK (WARNINGS) ")
    assert await client.ok(b"LISTSCRIPTS") == [b'"foo"']


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b'GETSCRIPT "other"', b"NO (NONEXISTENT) "),
        (b'DELETESCRIPT "other"', b"NO (NONEXISTENT) "),
        (b'SETACTIVE "other"', b"NO (NONEXISTENT) "),
        (b'RENAMESCRIPT "other" "third"', b"NO (NONEXISTENT) "),
        (b'RENAMESCRIPT "one" "two"', b"NO (ALREADYEXISTS) "),
        (b'HAVESPACE "new" 999999999', b"NO (QUOTA/MAXSIZE) "),
        (b'HAVESPACE "new" 435', b"OK "),
        (b'GETSCRIPT ""', b"NO "),
        (b'GETSCRIPT "a\tb"', b"NO "),
        (b"STARTTLS", b"NO "),
        (b'AUTHENTICATE "PLAIN"', b"NO "),
        (b"NOOP", b"OK "),
        (b'NOOP "STARTTLS-SYNC-42"', b'OK (TAG "STARTTLS-SYNC-42") '),
        (b"NOOP {16+}\r\nSTARTTLS-SYNC-42", b'OK (TAG "STARTTLS-SYNC-42") '),
    ],
)
async def test_response_codes_of_section_1_3(edge: SieveEdge, command: bytes, answer: bytes) -> None:
    client = await edge.opened()
    await client.put(b"one", KEEP)
    await client.put(b"two", KEEP)
    assert (await client.ask(command))[-1].startswith(answer)


async def test_renaming_keeps_the_script_active(edge: SieveEdge) -> None:
    """RFC 5804 §2.11.1."""
    client = await edge.opened()
    await client.put(b"foo", KEEP)
    await client.ok(b'SETACTIVE "foo"')
    await client.ok(b'RENAMESCRIPT "foo" {3+}\r\nbar')
    assert await client.ok(b"LISTSCRIPTS") == [b'"bar" ACTIVE']


async def test_names_are_unicode_and_come_back_quoted(edge: SieveEdge) -> None:
    """RFC 5804 §1.6."""
    client = await edge.opened()
    name = 'Grüße "heute" \\ 你好'.encode()
    quoted = b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    await client.ok(b"PUTSCRIPT %s {%d+}\r\n%s" % (quoted, len(KEEP), KEEP))
    assert await client.ok(b"LISTSCRIPTS") == [quoted]
    assert (await client.ok(b"GETSCRIPT {%d+}\r\n%s" % (len(name), name)))[0].endswith(KEEP)


async def test_the_number_of_scripts_is_limited(edge: SieveEdge) -> None:
    client = await edge.opened()
    for number in range(SCRIPTS_MAX):
        assert (await client.put(b"s%d" % number, KEEP)).startswith(b"OK")
    assert (await client.put(b"more", KEEP)).startswith(b"NO (QUOTA/MAXSCRIPTS) ")
    assert (await client.ask(b'HAVESPACE "more" 10'))[-1].startswith(b"NO (QUOTA/MAXSCRIPTS) ")


async def test_a_script_over_the_limit_is_read_away(edge: SieveEdge) -> None:
    """RFC 5804 §2.6: the session goes on in step."""
    client = await edge.opened()
    assert (await client.put(b"full", b"#".ljust(SCRIPT_OCTETS_MAX, b"x"))).startswith(b"OK")
    large = b"#".ljust(SCRIPT_OCTETS_MAX + 1, b"x")
    assert (await client.put(b"over", large)).startswith(b"NO (QUOTA/MAXSIZE) ")
    await client.ok(b"NOOP")
    assert await client.ok(b"LISTSCRIPTS") == [b'"full"']


async def test_accounts_see_their_own_scripts(edge: SieveEdge) -> None:
    client, other = await edge.opened(), await edge.opened("b@example.org")
    await client.put(b"mine", KEEP)
    assert await other.ok(b"LISTSCRIPTS") == []
    assert (await other.ask(b'GETSCRIPT "mine"'))[-1].startswith(b"NO (NONEXISTENT) ")


async def test_the_plain_exchange_of_section_2_1(edge: SieveEdge) -> None:
    message = encoded(b"\0" + ADDRESS.encode() + b"\0" + PASSWORD)
    client = await edge.connect()
    await client.send(b'Authenticate "PLAIN"\r\n')
    assert await client.line() == b'""\r\n'
    await client.send(b"{%d+}\r\n%s\r\n" % (len(message), message))
    assert (await client.response())[-1].startswith(b"OK")


async def test_the_scram_exchange_of_section_2_1(edge: SieveEdge) -> None:
    """The server's signature comes in the SASL response code."""
    client = await edge.connect()
    scram = ScramClient(ADDRESS, PASSWORD)
    await client.send(b'Authenticate "SCRAM-SHA-256" "%s"\r\n' % encoded(scram.first()))
    challenge = (await client.line()).strip().strip(b'"')
    final = encoded(scram.final(base64.b64decode(challenge)))
    answer = (await client.ask(b'"%s"' % final))[-1]
    assert answer.startswith(b'OK (SASL "')
    scram.verify(base64.b64decode(answer.split(b'"')[1]), derive_credential(PASSWORD, salt=b"salt" * 4))
    await client.ok(b"LISTSCRIPTS")


async def test_an_exchange_can_be_cancelled(edge: SieveEdge) -> None:
    """RFC 5804 §2.1."""
    client = await edge.connect()
    await client.send(b'AUTHENTICATE "PLAIN"\r\n')
    await client.line()
    assert (await client.ask(b'"*"'))[-1] == b'NO "Authentication cancelled"'
    assert (await client.login()).startswith(b"OK")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b'AUTHENTICATE "PLAIN" "%s"' % encoded(b"\0a@example.org\0wrong"), b'NO "Login or password is wrong"'),
        (b'AUTHENTICATE "PLAIN" "%s"' % encoded(b"b\0a@example.org\0x"), b'NO "Login or password is wrong"'),
        (b'AUTHENTICATE "PLAIN" "not base64"', b'NO "Malformed credentials"'),
        (b'AUTHENTICATE "LOGIN"', b'NO "Mechanism is not available"'),
        (b"LISTSCRIPTS", b'NO "This command is not possible now"'),
        (b'PUTSCRIPT "a" "keep;"', b'NO "This command is not possible now"'),
        (b"UNAUTHENTICATE", b'NO "This command is not possible now"'),
        (b"XYZZY", b'NO "Unknown command"'),
        (b"LOGOUT now", b'NO "Malformed arguments"'),
        (b'LOGOUT "now"', b'NO "Wrong arguments"'),
    ],
)
async def test_what_fails_before_login(edge: SieveEdge, command: bytes, answer: bytes) -> None:
    assert (await (await edge.connect()).ask(command))[-1] == answer


async def test_no_login_in_clear(edge: SieveEdge) -> None:
    """T05."""
    client = await edge.connect(secure=False)
    assert (await client.login()).startswith(b"NO (ENCRYPT-NEEDED) ")
    assert edge.logins.seen == []


async def test_unauthenticate_makes_room_for_another_login(edge: SieveEdge) -> None:
    """RFC 5804 §2.14.1."""
    client = await edge.opened()
    await client.put(b"mine", KEEP)
    await client.ok(b"UNAUTHENTICATE")
    assert (await client.ask(b"LISTSCRIPTS"))[-1].startswith(b"NO")
    assert (await client.login("b@example.org")).startswith(b"OK")
    assert await client.ok(b"LISTSCRIPTS") == []


async def test_logout_ends_the_session(edge: SieveEdge) -> None:
    """RFC 5804 §2.3."""
    client = await edge.opened()
    await client.send(b"LOGOUT\r\nNOOP\r\n")
    assert await client.rest() == b'OK "Bye"\r\n'


async def test_our_own_fault_is_temporary(edge: SieveEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """P4; RFC 5804 §1.3 TRYLATER."""

    async def fails(*_arguments: object) -> None:
        raise Unavailable

    monkeypatch.setattr(ScriptService, "put", fails)
    client = await edge.opened()
    assert await client.put(b"foo", KEEP) == b'NO (TRYLATER) "Temporary server error"'


async def test_sessions_of_an_account_are_limited(edge: SieveEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_server, "SESSIONS_PER_ACCOUNT_MAX", 2)
    first, _ = await edge.opened(), await edge.opened()
    third = await edge.connect()
    assert (await third.login()).startswith(b"NO (TRYLATER) ")
    await first.ok(b"UNAUTHENTICATE")
    assert (await third.login()).startswith(b"OK")


async def test_a_drain_says_bye(tmp_path: Path) -> None:
    async with open_managesieve(tmp_path) as edge:
        client = await edge.opened()
        await edge.server.drain(10.0)
        assert await client.rest() == b'BYE (TRYLATER) "Server is shutting down"\r\n'


async def test_a_banned_network_is_told_and_closed(edge: SieveEdge) -> None:
    edge.gate.banned.add("127.0.0.1")
    assert (await (await edge.dial()).rest()).startswith(b'BYE (TRYLATER) "Your network is refused')


async def test_a_session_whose_login_ends_is_told_and_closed(edge: SieveEdge) -> None:
    """security.md §4: within 5 s."""
    client = await edge.opened()
    await client.ok(b"LISTSCRIPTS")
    assert edge.gate.only.command == "LISTSCRIPTS"
    edge.gate.only.close()
    assert await client.rest() == b'BYE (TRYLATER) "Your login has ended, log in again"\r\n'


async def test_who_unauthenticates_is_gone_for_the_gate(edge: SieveEdge) -> None:
    client = await edge.opened()
    await client.ok(b"UNAUTHENTICATE")
    assert edge.gate.here == {}
    assert (await client.login("b@example.org")).startswith(b"OK")
    assert edge.gate.only.principal.address == "b@example.org"
