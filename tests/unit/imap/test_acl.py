"""Shared mailboxes over a real socket (RFC 4314): each right is checked where it counts, and nothing leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge, add_account, open_imap

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
ANNA = b"Other Users/anna@example.org/"
SHARED = ANNA + b"Projects"


@pytest.fixture
async def team(edge: ImapEdge) -> ImapEdge:
    """anna has Projects and Projects/Old with a message each; bert is of her tenant, a@example.org of another."""
    anna = await add_account(edge.database, "anna@example.org")
    edge.logins.accounts["anna@example.org"] = anna
    edge.logins.accounts["bert@example.org"] = await add_account(edge.database, "bert@example.org", colleague=anna)
    client = await edge.login("anna@example.org")
    for name in (b"Projects", b"Projects/Old"):
        await client.ok(b"CREATE " + name)
        await client.append(name, MESSAGE)
    return edge


async def _as_anna(team: ImapEdge, *commands: bytes) -> None:
    client = await team.login("anna@example.org")
    for command in commands:
        await client.ok(command)


def _all(mailbox: bytes) -> list[bytes]:
    """A use of a mailbox by each command that takes its name."""
    quoted = b'"' + mailbox + b'"'
    append = b"APPEND " + quoted + b" {%d+}\r\n%s" % (len(MESSAGE), MESSAGE)
    return [verb + b" " + quoted for verb in (b"SELECT", b"EXAMINE", b"DELETE", b"GETACL", b"MYRIGHTS")] + [
        b"STATUS " + quoted + b" (MESSAGES)",
        b"RENAME " + quoted + b" mine",
        b"GETQUOTAROOT " + quoted,
        b"GETMETADATA " + quoted + b" /shared/comment",
        b"SETMETADATA " + quoted + b' (/private/comment "x")',
        b"SETACL " + quoted + b" bert@example.org lr",
        b"DELETEACL " + quoted + b" bert@example.org",
        b"LISTRIGHTS " + quoted + b" bert@example.org",
        b"SUBSCRIBE " + quoted,
        append,
        b'CREATE "' + mailbox + b'/below"',
    ]


def _code(lines: list[bytes]) -> bytes:
    return lines[-1].partition(b" ")[2]


async def test_without_a_grant_nothing_tells_a_mailbox_from_one_that_is_not_there(team: ImapEdge) -> None:
    """RFC 4314 §6: the same answers, whether it exists, whether its owner does, whoever asks."""
    for who in ("bert@example.org", "a@example.org"):
        client = await team.login(who)
        here, no_mailbox, no_owner = [
            [_code(await client.ask(command)) for command in _all(mailbox)]
            for mailbox in (SHARED, ANNA + b"Nothing", b"Other Users/nobody@example.org/Projects")
        ]
        assert here == no_mailbox == no_owner
        assert all(answer.startswith((b"NO [NONEXISTENT]", b"NO [TRYCREATE]")) for answer in here), here
        assert not any(b"Other Users" in line for line in await client.ok(b'LIST "" *'))


async def test_a_grant_never_crosses_tenants(team: ImapEdge) -> None:
    """`anyone` is anyone of the tenant."""
    client = await team.login("anna@example.org")
    assert b"NO [NONEXISTENT]" in (await client.ask(b"SETACL Projects a@example.org lr"))[-1]
    await client.ok(b"SETACL Projects anyone lrswite")
    await (await team.login("bert@example.org")).ok(b'SELECT "' + SHARED + b'"')
    stranger = await team.login("a@example.org")
    assert b"NO [NONEXISTENT]" in (await stranger.ask(b'SELECT "' + SHARED + b'"'))[-1]
    assert not any(b"Other Users" in line for line in await stranger.ok(b'LIST "" *'))


async def test_the_list_shows_what_may_be_looked_up(team: ImapEdge) -> None:
    """The right `l` (RFC 4314 §2.1); MYRIGHTS and STATUS with LIST (RFC 8440 §3, RFC 5819)."""
    await _as_anna(team, b"SETACL Projects bert@example.org lr", b"SETACL Projects/Old bert@example.org r")
    client = await team.login("bert@example.org")
    names = [line for line in await client.ok(b'LIST "" *') if b"Other Users" in line]
    assert names == [
        b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" "Other Users"',
        b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" "Other Users/anna@example.org"',
        b'* LIST (\\HasNoChildren) "/" "Other Users/anna@example.org/Projects"',
    ]
    lines = await client.ok(b'LIST "" "Other Users/*/Projects" RETURN (MYRIGHTS STATUS (MESSAGES))')
    assert lines[1:] == [
        b'* MYRIGHTS "Other Users/anna@example.org/Projects" lr',
        b'* STATUS "Other Users/anna@example.org/Projects" (MESSAGES 1)',
    ]


@pytest.mark.parametrize(
    ("right", "command"),
    [
        (b"i", b'APPEND "' + SHARED + b'" {%d+}\r\n%s' % (len(MESSAGE), MESSAGE)),
        (b"s", b"STORE 1 +FLAGS (\\Seen)"),
        (b"w", b"STORE 1 +FLAGS (\\Flagged word)"),
        (b"t", b"STORE 1 +FLAGS (\\Deleted)"),
        (b"e", b"EXPUNGE"),
        (b"i", b'COPY 1 "' + SHARED + b'"'),
        (b"k", b'CREATE "' + SHARED + b'/new"'),
        (b"x", b'DELETE "' + SHARED + b'"'),
        (b"xk", b'RENAME "' + SHARED + b'/Old" "' + SHARED + b'/New"'),
        (b"te", b"MOVE 1 INBOX"),
        (b"te", b"REPLACE 1 INBOX {%d+}\r\n%s" % (len(MESSAGE), MESSAGE)),
        (b"w", b'SETMETADATA "' + SHARED + b'" (/shared/comment "x")'),
        (b"a", b'SETACL "' + SHARED + b'" anyone lr'),
        (b"a", b'GETACL "' + SHARED + b'"'),
    ],
)
async def test_each_right_opens_its_command_and_no_other_does(team: ImapEdge, right: bytes, command: bytes) -> None:
    """RFC 4314 §4, the table: with all rights but this one refused, with it alone (and l, r) done."""
    others = bytes(letter for letter in b"lrswipkxtea" if letter not in right)
    for rights, done in ((others, False), (b"lr" + right, True)):
        await _as_anna(
            team, b"SETACL Projects bert@example.org " + rights, b"SETACL Projects/Old bert@example.org " + rights
        )
        client = await team.login("bert@example.org")
        await client.ok(b'SELECT "' + SHARED + b'"')
        answer = _code(await client.ask(command))
        assert answer.startswith(b"OK" if done else b"NO [NOPERM]"), (rights, answer)


async def test_flags_change_by_their_class(team: ImapEdge) -> None:
    """RFC 4314 §4 "STORE": what is not permitted stays as it is, also when flags are replaced."""
    await _as_anna(team, b"SELECT Projects", b"STORE 1 FLAGS (\\Deleted \\Flagged word)")
    await _as_anna(team, b"SETACL Projects bert@example.org lrs")
    client = await team.login("bert@example.org")
    await client.ok(b'SELECT "' + SHARED + b'"')
    assert b"* OK [PERMANENTFLAGS (\\Seen)] Flags permitted" in await client.ok(b'SELECT "' + SHARED + b'"')
    (line,) = await client.ok(b"STORE 1 FLAGS (\\Seen \\Answered)")
    assert set(line.partition(b"FLAGS (")[2].rstrip(b")").split()) >= {b"\\Seen", b"\\Deleted", b"\\Flagged", b"word"}
    assert b"\\Answered" not in line
    await client.ok(b"STORE 1 FLAGS ()")
    (line,) = await client.ok(b"FETCH 1 FLAGS")
    assert b"\\Seen" not in line
    assert b"\\Deleted" in line


async def test_reading_without_s_does_not_set_seen(team: ImapEdge) -> None:
    await _as_anna(team, b"SETACL Projects bert@example.org lrw")
    client = await team.login("bert@example.org")
    await client.ok(b'SELECT "' + SHARED + b'"')
    await client.ok(b"FETCH 1 BODY[]")
    assert b"\\Seen" not in (await client.ok(b"FETCH 1 FLAGS"))[0]


async def test_only_r_is_read_only(team: ImapEdge) -> None:
    await _as_anna(team, b"SETACL Projects bert@example.org lr")
    client = await team.login("bert@example.org")
    assert b"OK [READ-ONLY]" in (await client.ask(b'SELECT "' + SHARED + b'"'))[-1]
    assert b"NO [READ-ONLY]" in (await client.ask(b"STORE 1 +FLAGS (\\Seen)"))[-1]


async def test_copy_and_move_between_accounts(tmp_path: Path) -> None:
    """Quota is each owner's; the octets are the same."""
    async with open_imap(tmp_path) as edge:
        anna = edge.logins.accounts["anna@example.org"] = await add_account(
            edge.database, "anna@example.org", quota=3 * len(MESSAGE)
        )
        edge.logins.accounts["bert@example.org"] = await add_account(
            edge.database, "bert@example.org", quota=2 * len(MESSAGE), colleague=anna
        )
        owner = await edge.login("anna@example.org")
        await owner.ok(b"CREATE Projects")
        await owner.append(b"Projects", MESSAGE, b"(\\Flagged) ")
        await owner.ok(b"SETACL Projects bert@example.org lrite")
        client = await edge.login("bert@example.org")
        await client.append(b"INBOX", MESSAGE, b"(\\Flagged word) ")
        await client.ok(b"SELECT INBOX")
        assert b"OK [COPYUID" in (await client.ask(b'COPY 1 "' + SHARED + b'"'))[-1]
        assert any(b"COPYUID" in line for line in await client.ok(b'MOVE 1 "' + SHARED + b'"'))
        await client.ok(b'SELECT "' + SHARED + b'"')
        one, two, three = await client.ok(b"FETCH 1:3 (FLAGS BODY.PEEK[])")
        assert b"\\Flagged" in one
        assert b"\\Flagged" not in two + three
        assert three.endswith(MESSAGE + b")")
        assert b"NO [OVERQUOTA]" in (await client.ask(b'COPY 1 "' + SHARED + b'"'))[-1]
        await client.ok(b"MOVE 1:2 INBOX")
        assert b"NO [OVERQUOTA]" in (await client.ask(b"MOVE 1 INBOX"))[-1]
        await client.ok(b"SELECT INBOX")
        assert len(await client.ok(b"FETCH 1:* BODY.PEEK[]")) == 2
        assert await owner.ok(b"STATUS Projects (MESSAGES)") == [b"* STATUS Projects (MESSAGES 1)"]


async def test_a_right_taken_back_ends_at_once(team: ImapEdge) -> None:
    """Also in a session that has the mailbox open, and in IDLE before the next change is told."""
    await _as_anna(team, b"SETACL Projects bert@example.org lrswite")
    client, idler = [await team.login("bert@example.org") for _ in range(2)]
    for one in (client, idler):
        await one.ok(b'SELECT "' + SHARED + b'"')
    await idler.send(b"i IDLE\r\n")
    assert (await idler.line()).startswith(b"+")
    await _as_anna(team, b"DELETEACL Projects bert@example.org")
    owner = await team.login("anna@example.org")
    await owner.append(b"Projects", MESSAGE)
    lines = await idler.until(b"i")
    assert lines[-1].startswith(b"i NO [NONEXISTENT]")
    assert not any(b"EXISTS" in line for line in lines)
    assert b"NO [NONEXISTENT]" in (await client.ask(b"FETCH 1 BODY[]"))[-1]
    assert b" BAD " in (await client.ask(b"FETCH 1 FLAGS"))[-1]


async def test_lists_of_rights(team: ImapEdge) -> None:
    """RFC 4314 §3: SETACL adds, removes and replaces; the owner's line is fixed; obsolete letters are understood."""
    client = await team.login("anna@example.org")
    await client.ok(b"SETACL Projects bert@example.org lrcd")
    await client.ok(b"SETACL Projects bert@example.org +si")
    await client.ok(b"SETACL Projects BERT@example.org -x")
    await client.ok(b"SETACL Projects anyone l")
    assert await client.ok(b"GETACL Projects") == [
        b"* ACL Projects anna@example.org lrswipkxteacd bert@example.org lrsiktecd anyone l"
    ]
    assert await client.ok(b"LISTRIGHTS Projects bert@example.org") == [
        b'* LISTRIGHTS Projects bert@example.org "" l r s w i p k x t e a'
    ]
    assert await client.ok(b"LISTRIGHTS Projects anna@example.org") == [
        b"* LISTRIGHTS Projects anna@example.org lrswipkxteacd"
    ]
    assert await client.ok(b"MYRIGHTS Projects") == [b"* MYRIGHTS Projects lrswipkxteacd"]
    assert b"NO [CANNOT]" in (await client.ask(b"SETACL Projects anna@example.org l"))[-1]
    assert b"NO [NOPERM]" in (await client.ask(b"SETACL Projects -bert@example.org l"))[-1]
    assert b" BAD " in (await client.ask(b"SETACL Projects bert@example.org lz"))[-1]
    await client.ok(b"DELETEACL Projects bert@example.org")
    assert b"bert" not in (await client.ok(b"GETACL Projects"))[0]


async def test_new_mailboxes_inherit_and_deleted_ones_forget(team: ImapEdge) -> None:
    await _as_anna(team, b"SETACL Projects bert@example.org lrk")
    client = await team.login("bert@example.org")
    await client.ok(b'CREATE "' + SHARED + b'/deep/er"')
    assert b" lrk" in (await client.ok(b'MYRIGHTS "' + SHARED + b'/deep/er"'))[0]
    await _as_anna(team, b"DELETE Projects/deep/er", b"DELETE Projects", b"CREATE Projects")
    assert b"NO [NONEXISTENT]" in (await client.ask(b'SELECT "' + SHARED + b'"'))[-1]


async def test_names_of_others_can_not_be_made(team: ImapEdge) -> None:
    client: ImapClient = await team.login("bert@example.org")
    for command in (b'CREATE "Other Users"', b'CREATE "Other Users/x"', b'RENAME Archive "Other Users/y"'):
        assert _code(await client.ask(command)).startswith(b"NO ["), command
    assert not any(b"Other Users" in line for line in await client.ok(b'LIST "" *'))


async def test_a_letter_box_takes_mail_and_shows_nothing(team: ImapEdge) -> None:
    """`i` alone: what may be put in is all that is known."""
    await _as_anna(team, b"SETACL Projects bert@example.org i")
    client = await team.login("bert@example.org")
    await client.ok(b'APPEND "' + SHARED + b'" (\\Seen \\Flagged) {%d+}\r\n%s' % (len(MESSAGE), MESSAGE))
    for command in _all(SHARED):
        if not command.startswith((b"APPEND", b"MYRIGHTS")):
            assert b"NO [NONEXISTENT]" in (await client.ask(command))[-1], command
    assert not any(b"Other Users" in line for line in await client.ok(b'LIST "" *'))
    owner = await team.login("anna@example.org")
    await owner.ok(b"SELECT Projects")
    assert b"Flagged" not in (await owner.ok(b"FETCH 2 FLAGS"))[0]


async def test_nothing_is_made_or_moved_around_a_mailbox_that_is_not_shared(team: ImapEdge) -> None:
    """`k` above a hidden mailbox makes nothing below it; `x` above does not move it along."""
    await _as_anna(team, b"CREATE Projects/Secret/Plan", b"SETACL Projects bert@example.org lrkx")
    client = await team.login("bert@example.org")
    assert b"NO [NONEXISTENT]" in (await client.ask(b'CREATE "' + SHARED + b'/Secret/mine"'))[-1]
    await client.ok(b'CREATE "' + SHARED + b'/Open"')
    assert b"NO [NOPERM]" in (await client.ask(b'RENAME "' + SHARED + b'" "' + SHARED + b'/Open/x"'))[-1]
    owner = await team.login("anna@example.org")
    names = [line.rpartition(b'"/" ')[2] for line in await owner.ok(b'LIST "" Projects*')]
    assert names == [b"Projects", b"Projects/Old", b"Projects/Open", b"Projects/Secret", b"Projects/Secret/Plan"]


async def test_the_mail_of_an_inbox_is_not_moved_by_a_rename(team: ImapEdge) -> None:
    await _as_anna(team, b"SETACL INBOX bert@example.org lrswipkxtea", b"SETACL Projects bert@example.org lrswipkxtea")
    client = await team.login("bert@example.org")
    assert b"NO [NOPERM]" in (await client.ask(b'RENAME "' + ANNA + b'INBOX" "' + SHARED + b'/new"'))[-1]
