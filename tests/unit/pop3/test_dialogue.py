"""POP3 on real sockets: the dialogues of RFC 1939 and its extensions."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from server.domain.errors import Unavailable
from server.pop3.server import Listener
from server.protocol.sasl.scram import derive_credential
from server.services.mailstore.store import MailStore
from tests.support import imap_edge
from tests.support.imap_edge import PASSWORD
from tests.support.pop3_edge import ADDRESS, Pop3Client, Pop3Edge, open_pop3
from tests.support.scram_client import ScramClient

ONE = b"Subject: one\r\n\r\n" + b"1" * 104
TWO = b"Subject: two\r\nFrom: x@example.net\r\n\r\nfirst\r\n.second\r\n\r\nfourth\r\n"
CAPABILITIES = {b"TOP", b"UIDL", b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE", b"EXPIRE NEVER", b"UTF8 USER"}


def encoded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


async def test_the_session_of_rfc_1939_section_10(edge: Pop3Edge) -> None:
    await edge.fill(ONE, TWO)
    client = await edge.opened()
    assert await client.ask(b"STAT") == b"+OK 2 %d" % (len(ONE) + len(TWO))
    assert await client.many(b"LIST") == b"1 %d\r\n2 %d\r\n" % (len(ONE), len(TWO))
    assert await client.many(b"RETR 1") == ONE + b"\r\n"
    await client.ok(b"DELE 1")
    assert await client.many(b"RETR 2") == TWO
    await client.ok(b"DELE 2")
    await client.ok(b"QUIT")
    assert await client.rest() == b""
    assert await edge.uids() == []


async def test_list_and_uidl_of_one_message(edge: Pop3Edge) -> None:
    await edge.fill(ONE, TWO)
    client = await edge.opened()
    assert await client.ask(b"LIST 2") == b"+OK 2 %d" % len(TWO)
    assert await client.ask(b"LIST 3") == b"-ERR No such message"
    assert (await client.ask(b"UIDL 1")).startswith(b"+OK 1 ")
    assert await client.ask(b"UIDL 0") == b"-ERR No such message"


async def test_unique_ids_outlive_sessions_and_deletions(edge: Pop3Edge) -> None:
    """RFC 1939 §7 UIDL: never reused, the same in every session."""
    await edge.fill(ONE, TWO)
    first = await edge.opened()
    ids = [line.split()[1] for line in (await first.many(b"UIDL")).splitlines()]
    await first.ok(b"DELE 2")
    await first.ok(b"QUIT")
    await first.rest()
    await edge.fill(TWO)
    second = await edge.opened()
    later = [line.split()[1] for line in (await second.many(b"UIDL")).splitlines()]
    assert later[0] == ids[0]
    assert later[1] not in ids
    assert all(len(word) <= 70 and word.isascii() for word in ids)


async def test_a_deleted_message_answers_to_nothing_until_rset(edge: Pop3Edge) -> None:
    """RFC 1939 §5."""
    await edge.fill(ONE, TWO)
    client = await edge.opened()
    await client.ok(b"DELE 1")
    for command in (b"DELE 1", b"RETR 1", b"TOP 1 0", b"LIST 1", b"UIDL 1"):
        assert await client.ask(command) == b"-ERR No such message"
    assert await client.ask(b"STAT") == b"+OK 1 %d" % len(TWO)
    assert await client.many(b"LIST") == b"2 %d\r\n" % len(TWO)
    await client.ok(b"RSET")
    assert await client.ask(b"STAT") == b"+OK 2 %d" % (len(ONE) + len(TWO))
    await client.ok(b"QUIT")
    assert len(await edge.uids()) == 2


@pytest.mark.parametrize("ending", ["close", "abort", "half-close"])
async def test_losing_the_connection_deletes_nothing(edge: Pop3Edge, ending: str) -> None:
    """RFC 1939 §6."""
    await edge.fill(ONE)
    client = await edge.opened()
    await client.ok(b"DELE 1")
    if ending == "abort":
        client.writer.transport.abort()
    else:
        await client.send(b"NOOP\r\nQUI" if ending == "half-close" else b"")
        client.writer.close()
    await edge.left()
    assert len(await edge.uids()) == 1
    assert await (await edge.opened()).ask(b"STAT") == b"+OK 1 %d" % len(ONE)


async def test_top_sends_the_header_and_so_many_lines(edge: Pop3Edge) -> None:
    """RFC 1939 §7 TOP."""
    await edge.fill(TWO)
    client = await edge.opened()
    header = b"Subject: two\r\nFrom: x@example.net\r\n\r\n"
    assert await client.many(b"TOP 1 0") == header
    assert await client.many(b"TOP 1 2") == header + b"first\r\n.second\r\n"
    assert await client.many(b"TOP 1 4") == TWO
    assert await client.many(b"TOP 1 4000000000") == TWO


async def test_a_second_session_is_told_in_use(edge: Pop3Edge) -> None:
    """RFC 1939 §4, RFC 2449 §8.1.1: one session at a time, free again when it ends."""
    first = await edge.opened()
    second = await edge.connect()
    assert (await second.login()).startswith(b"-ERR [IN-USE] ")
    other = await edge.connect()
    assert (await other.login("b@example.org")).startswith(b"+OK")
    await first.ok(b"QUIT")
    await first.rest()
    await edge.left(2)
    assert (await second.login()).startswith(b"+OK")


async def test_the_lock_holds_among_processes_of_one_database(tmp_path: Path) -> None:
    async with open_pop3(tmp_path, shared=True) as here:
        client = await here.opened()
        from server.services.mailstore.maildrop import Maildrops
        from tests.support.stores import WallClock

        there = Maildrops(
            mailstore=here.mailstore, database=here.database, clock=WallClock(), owner="mx2.example.org", shared=True
        )
        with pytest.raises(Exception, match="in use"):
            await there.open(here.account_id)
        await client.ok(b"QUIT")
        await client.rest()
        await here.left()
        drop = await there.open(here.account_id)
        refused = await here.connect()
        assert (await refused.login()).startswith(b"-ERR [IN-USE] ")
        await drop.close()
        assert (await refused.login()).startswith(b"+OK")


async def test_the_numbering_is_that_of_the_login(edge: Pop3Edge) -> None:
    """RFC 1939 §4: what arrives later is for the next session; what others expunge is missing."""
    await edge.fill(ONE, TWO)
    client = await edge.opened()
    await edge.fill(ONE)
    uids = await edge.uids()
    mailbox = await edge.mailstore.mailbox(edge.account_id, "INBOX")

    class Follower:
        def wake(self) -> None: ...

        def note(self, changes: object) -> None: ...

    follower = Follower()
    view = await edge.mailstore.open(edge.account_id, mailbox.id, follower)
    await edge.mailstore.remove(view, uids[:1])
    await view.refresh()
    edge.mailstore.close(view, follower)
    assert await client.ask(b"STAT") == b"+OK 2 %d" % (len(ONE) + len(TWO))
    assert await client.ask(b"RETR 1") == b"-ERR The message was deleted meanwhile"
    assert await client.many(b"RETR 2") == TWO
    await client.ok(b"DELE 1")
    await client.ok(b"DELE 2")
    await client.ok(b"QUIT")
    assert await edge.uids() == uids[2:]


async def test_a_failed_update_says_so_and_deletes_nothing(edge: Pop3Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 1939 §6, P4: our fault is temporary."""
    await edge.fill(ONE)

    async def fails(*_arguments: object) -> None:
        raise Unavailable("mail can be read but not changed now")

    client = await edge.opened()
    await client.ok(b"DELE 1")
    monkeypatch.setattr(MailStore, "remove", fails)
    assert (await client.ask(b"QUIT")).startswith(b"-ERR [SYS/TEMP] ")
    assert await client.rest() == b""
    assert len(await edge.uids()) == 1


async def test_capabilities_tell_what_may_be_used_now(edge: Pop3Edge) -> None:
    """RFC 2449 §5, RFC 2595 §4: no login is offered in clear."""
    plain = await edge.connect(secure=False)
    assert set((await plain.many(b"CAPA")).splitlines()) == CAPABILITIES | {b"STLS"}
    secure = await edge.connect()
    logins = {b"USER", b"SASL PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER"}
    assert set((await secure.many(b"CAPA")).splitlines()) == CAPABILITIES | logins
    await secure.login()
    assert set((await secure.many(b"CAPA")).splitlines()) == CAPABILITIES | logins


async def test_logins_after_stls(edge: Pop3Edge) -> None:
    client = await edge.connect(secure=False)
    for command in (b"USER " + ADDRESS.encode(), b"PASS " + PASSWORD, b"AUTH", b"AUTH PLAIN " + encoded(b"\0a\0b")):
        assert await client.ask(command) == b"-ERR Log in after STLS"
    await client.ok(b"STLS")
    await client.start_tls()
    assert (await client.login()).startswith(b"+OK")
    assert await client.ask(b"STLS") == b"-ERR STLS is not possible now"
    assert edge.logins.seen == [(ADDRESS, "USER")]


async def test_stls_is_refused_where_it_has_no_place(edge: Pop3Edge) -> None:
    """RFC 2595 §4; RFC 6856 §2.1: not behind UTF8."""
    assert await (await edge.connect()).ask(b"STLS") == b"-ERR TLS is active already"
    client = await edge.connect(secure=False)
    await client.ok(b"UTF8")
    assert await client.ask(b"STLS") == b"-ERR STLS comes before UTF8"


async def test_the_plain_exchange_of_rfc_5034_section_6(edge: Pop3Edge) -> None:
    message = encoded(b"\0" + ADDRESS.encode() + b"\0" + PASSWORD)
    client = await edge.connect()
    assert (await client.ask(b"AUTH PLAIN " + message)).startswith(b"+OK")
    await client.ok(b"QUIT")
    await client.rest()
    await edge.left()
    client = await edge.connect()
    assert await client.ask(b"auth plain") == b"+ "
    assert (await client.ask(message)).startswith(b"+OK")


async def test_the_login_exchange(edge: Pop3Edge) -> None:
    client = await edge.connect()
    assert await client.ask(b"AUTH LOGIN") == b"+ " + encoded(b"Username:")
    assert await client.ask(encoded(ADDRESS.encode())) == b"+ " + encoded(b"Password:")
    assert (await client.ask(encoded(PASSWORD))).startswith(b"+OK")


async def test_the_scram_exchange(edge: Pop3Edge) -> None:
    """RFC 5034 §4: the server's signature travels in a last challenge."""
    client = await edge.connect()
    scram = ScramClient(ADDRESS, PASSWORD)
    challenge = await client.ask(b"AUTH SCRAM-SHA-256 " + encoded(scram.first()))
    final = await client.ask(encoded(scram.final(base64.b64decode(challenge.removeprefix(b"+ ")))))
    scram.verify(base64.b64decode(final.removeprefix(b"+ ")), derive_credential(PASSWORD, salt=b"salt" * 4))
    assert (await client.ask(b"")).startswith(b"+OK")


async def test_an_exchange_can_be_cancelled(edge: Pop3Edge) -> None:
    """RFC 5034 §4."""
    client = await edge.connect()
    await client.ask(b"AUTH PLAIN")
    assert await client.ask(b"*") == b"-ERR Authentication cancelled"
    assert (await client.login()).startswith(b"+OK")


@pytest.mark.parametrize(
    ("commands", "answer"),
    [
        ((b"USER a@example.org", b"PASS wrong"), b"-ERR [AUTH] Login or password is wrong"),
        ((b"USER nobody@example.org", b"PASS wrong"), b"-ERR [AUTH] Login or password is wrong"),
        ((b"AUTH PLAIN " + encoded(b"b\0a\0wrong"),), b"-ERR [AUTH] Login or password is wrong"),
        ((b"AUTH PLAIN not-base64",), b"-ERR Malformed credentials"),
        ((b"AUTH GSSAPI",), b"-ERR Mechanism is not available"),
        ((b"PASS first",), b"-ERR Send USER first"),
        ((b"STAT",), b"-ERR STAT is not possible now"),
        ((b"RETR 1",), b"-ERR This command is not possible now"),
        ((b"APOP a 0123456789abcdef0123456789abcdef",), b"-ERR Unknown command"),
    ],
)
async def test_what_fails_before_login(edge: Pop3Edge, commands: tuple[bytes, ...], answer: bytes) -> None:
    """RFC 3206: [AUTH] only for credentials."""
    client = await edge.connect()
    for command in commands[:-1]:
        await client.ok(command)
    assert await client.ask(commands[-1]) == answer


async def test_one_wrong_password_needs_a_new_user(edge: Pop3Edge) -> None:
    client = await edge.connect()
    await client.login(password=b"wrong")
    assert await client.ask(b"PASS " + PASSWORD) == b"-ERR Send USER first"


async def test_pipelined_commands_are_answered_in_order(edge: Pop3Edge) -> None:
    """RFC 2449 §6.6."""
    await edge.fill(ONE, TWO)
    client = await edge.opened()
    await client.send(b"STAT\r\nRETR 1\r\nDELE 1\r\nNOOP\r\nLIST\r\nQUIT\r\n")
    rest = await client.rest()
    places = [rest.index(part) for part in (b"+OK 2 ", ONE, b"+OK Marked", b"+OK\r\n", b"+OK 1 messages", b"+OK Bye")]
    assert places == sorted(places)
    assert len(await edge.uids()) == 1


async def test_a_large_message_arrives_whole(edge: Pop3Edge) -> None:
    body = b"".join(b"%s%d\r\n" % (b"." * (number % 4), number) for number in range(40_000))
    message = b"Subject: large\r\n\r\n" + body
    await edge.fill(message)
    client = await edge.opened()
    assert await client.many(b"RETR 1") == message


async def test_passwords_may_hold_spaces(edge: Pop3Edge) -> None:
    """RFC 1939 §7 PASS; the password of these tests has two."""
    assert b" " in PASSWORD
    assert (await (await edge.connect()).login()).startswith(b"+OK")


async def test_a_silent_session_is_closed_and_deletes_nothing(tmp_path: Path) -> None:
    """RFC 1939 §3: without a response."""
    async with open_pop3(tmp_path, idle_s=0.5) as edge:
        await edge.fill(ONE)
        client = await edge.opened()
        await client.ok(b"DELE 1")
        assert await client.rest() == b""
        await edge.left()
        assert len(await edge.uids()) == 1


async def test_a_drain_closes_idle_sessions_without_their_deletions(tmp_path: Path) -> None:
    """reliability.md §9."""
    async with open_pop3(tmp_path) as edge:
        await edge.fill(ONE)
        client = await edge.opened()
        await client.ok(b"DELE 1")
        await edge.server.drain(10.0)
        assert await client.rest() == b""
        assert len(await edge.uids()) == 1


async def test_both_listeners_name_themselves(edge: Pop3Edge) -> None:
    assert [listener.value for listener in Listener] == ["pop3", "pop3s"]
    assert edge.server.open_connections == 0
    await edge.connect()
    await asyncio.sleep(0)
    assert edge.server.open_connections == 1


async def test_a_login_by_token(edge: Pop3Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7628 §4.1; a refused token is told so before the exchange fails (§4.3)."""
    message = encoded(b"n,a=a@example.org,\x01auth=Bearer vF9dft4qmT\x01\x01")
    client = await edge.connect()
    refusal = await client.ask(b"AUTH OAUTHBEARER " + message)
    assert b"invalid_token" in base64.b64decode(refusal.removeprefix(b"+ "))
    assert (await client.ask(encoded(b"\x01"))).startswith(b"-ERR [AUTH] ")
    monkeypatch.setattr(imap_edge, "PASSWORD", b"vF9dft4qmT")
    assert await client.ask(b"AUTH OAUTHBEARER") == b"+ "
    assert (await client.ask(message)).startswith(b"+OK")


async def test_a_banned_network_is_told_and_closed(edge: Pop3Edge) -> None:
    edge.gate.banned.add("127.0.0.1")
    assert (await (await edge.dial(secure=False)).rest()).startswith(b"-ERR [SYS/TEMP] Your network is refused")
    silent = await Pop3Client.open(edge.pop3s_port, secure=False)
    assert await silent.rest() == b""
    await silent.close()


async def test_a_session_whose_login_ends_is_closed_without_its_deletions(edge: Pop3Edge) -> None:
    """security.md §4: within 5 s."""
    await edge.fill(ONE)
    client = await edge.opened()
    assert edge.gate.only.principal.address == ADDRESS
    assert edge.gate.only.info.tls is not None
    await client.ok(b"DELE 1")
    assert edge.gate.only.command == "DELE"
    edge.gate.only.close()
    assert await client.rest() == b""
    await edge.left()
    assert edge.gate.here == {}
    assert len(await edge.uids()) == 1
