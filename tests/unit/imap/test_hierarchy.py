"""Names and hierarchies (RFC 9051 §5.1, §6.3.4-6; RFC 5258, RFC 3348, RFC 6154) over a real socket."""

from __future__ import annotations

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
DEEP = b"/".join(b"%d" % level for level in range(1, 21))


def _names(lines: list[bytes]) -> list[bytes]:
    return [line.partition(b'"/" ')[2] for line in lines]


@pytest.fixture
async def client(edge: ImapEdge) -> ImapClient:
    return await edge.login()


async def test_twenty_levels_and_no_more(client: ImapClient) -> None:
    await client.ok(b"CREATE " + DEEP)
    assert len(await client.ok(b'LIST "" 1*')) == 20
    assert b"NO [CANNOT]" in (await client.ask(b"CREATE " + DEEP + b"/21"))[-1]
    await client.ok(b"CREATE two/levels")
    assert b"NO [CANNOT]" in (await client.ask(b"RENAME 1 two/levels/x"))[-1]
    await client.ok(b"RENAME 1/2 moved")
    assert _names(await client.ok(b'LIST "" moved/3/4')) == [b"moved/3/4"]
    assert _names(await client.ok(b'LIST "" 1*')) == [b"1"]


async def test_a_parent_that_is_deleted_stays_as_a_name_until_its_children_go(client: ImapClient) -> None:
    """RFC 9051 §6.3.5: its messages are gone at once; RFC 5258 §3.2 for \\NonExistent, RFC 3348 for \\HasChildren."""
    await client.ok(b"CREATE a/b")
    await client.append(b"a", MESSAGE)
    await client.ok(b"DELETE a")
    assert await client.ok(b'LIST "" a') == [b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" a']
    assert b"NO [NONEXISTENT]" in (await client.ask(b"SELECT a"))[-1]
    assert b"NO [NONEXISTENT]" in (await client.ask(b"DELETE a"))[-1]
    await client.ok(b"CREATE a")
    assert await client.ok(b"STATUS a (MESSAGES)") == [b"* STATUS a (MESSAGES 0)"]
    await client.ok(b"DELETE a")
    await client.ok(b"DELETE a/b")
    assert await client.ok(b'LIST "" a*') == []


async def test_a_name_used_again_has_another_uidvalidity(client: ImapClient) -> None:
    """RFC 9051 §2.3.1.1, §6.3.4."""
    await client.ok(b"CREATE a")
    first = await client.ok(b"STATUS a (UIDVALIDITY)")
    await client.ok(b"DELETE a")
    await client.ok(b"CREATE a")
    assert await client.ok(b"STATUS a (UIDVALIDITY)") != first


async def test_rename_takes_the_children_along(client: ImapClient) -> None:
    """RFC 9051 §6.3.6: also those of a name that only leads to others; the new parents are made."""
    for name in (b"a/b/c", b"ab"):
        await client.ok(b"CREATE " + name)
    await client.append(b"a/b/c", MESSAGE)
    await client.ok(b"DELETE a/b")
    await client.ok(b"RENAME a/b x/y/z")
    assert _names(await client.ok(b'LIST "" *'))[-6:] == [b"a", b"ab", b"x", b"x/y", b"x/y/z", b"x/y/z/c"]
    assert await client.ok(b"STATUS x/y/z/c (MESSAGES)") == [b"* STATUS x/y/z/c (MESSAGES 1)"]
    assert b"NO [ALREADYEXISTS]" in (await client.ask(b"RENAME ab a"))[-1]


async def test_rename_of_inbox_moves_its_mail_and_leaves_it(client: ImapClient) -> None:
    """RFC 9051 §6.3.6: children of INBOX stay."""
    await client.ok(b"CREATE inbox/child")
    await client.append(b"INBOX", MESSAGE, b"(\\Flagged) ")
    await client.ok(b"RENAME InBox old/mail")
    assert await client.ok(b"STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 0)"]
    assert await client.ok(b"STATUS old/mail (MESSAGES)") == [b"* STATUS old/mail (MESSAGES 1)"]
    assert _names(await client.ok(b'LIST "" INBOX*')) == [b"INBOX", b"INBOX/child"]
    await client.ok(b"SELECT old/mail")
    assert b"\\Flagged" in (await client.ok(b"FETCH 1 FLAGS"))[0]


async def test_a_renamed_special_mailbox_keeps_its_use(client: ImapClient) -> None:
    """RFC 6154 §2."""
    await client.ok(b"RENAME Trash Bin/Deleted")
    assert b'* LIST (\\HasNoChildren \\Trash) "/" Bin/Deleted' in await client.ok(b'LIST (SPECIAL-USE) "" *')
    assert b"NO [NOPERM]" in (await client.ask(b"DELETE Bin/Deleted"))[-1]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"&U,BTFw-", b"&U,BTFw-"),
        (b'"a&-b"', b"a&-b"),
        (b'"with space"', b'"with space"'),
        (b'"quo\\"te"', b'"quo\\"te"'),
        (b"{3+}\r\nNIL", b'"NIL"'),
        ("{8+}\r\nÜber uns".replace("{8+}", "{9+}").encode(), b'"&ANw-ber uns"'),
    ],
)
async def test_names_come_back_as_they_went(client: ImapClient, name: bytes, shown: bytes) -> None:
    """RFC 3501 §5.1.3; UTF-8 that a client sends unasked is understood."""
    await client.ok(b"CREATE " + name)
    assert shown in _names(await client.ok(b'LIST "" *'))


@pytest.mark.parametrize("name", [b'""', b'"/"', b'"/a"', b'"a//b"', b'"a%"', b'" "', b"&ZeVnLIqe", b"&AGEAYg-"])
async def test_names_that_can_not_be(client: ImapClient, name: bytes) -> None:
    line = (await client.ask(b"CREATE " + name))[-1]
    assert b" NO [CANNOT]" in line or b" BAD " in line


async def _tree(client: ImapClient) -> None:
    """The tree of RFC 5258 §5's examples, as far as it can be here."""
    for name in (b"Fruit/Apple", b"Fruit/Banana", b"Tofu", b"Vegetable/Broccoli", b"Vegetable/Corn"):
        await client.ok(b"CREATE " + name)
    for name in (b"Fruit/Banana", b"Vegetable", b"Vegetable/Broccoli"):
        await client.ok(b"SUBSCRIBE " + name)
    for name in (b"Archive", b"Drafts", b"INBOX", b"Junk", b"Sent", b"Trash"):
        await client.ok(b"UNSUBSCRIBE " + name)


async def test_subscribed_names(client: ImapClient) -> None:
    """RFC 5258 §5 example 2 and 3: \\Subscribed with the selection and with RETURN."""
    await _tree(client)
    assert await client.ok(b'LIST (SUBSCRIBED) "" "*"') == [
        b'* LIST (\\Subscribed \\HasNoChildren) "/" Fruit/Banana',
        b'* LIST (\\Subscribed \\HasChildren) "/" Vegetable',
        b'* LIST (\\Subscribed \\HasNoChildren) "/" Vegetable/Broccoli',
    ]
    assert await client.ok(b'LIST "" ("Vegetable" "Tofu") RETURN (SUBSCRIBED CHILDREN)') == [
        b'* LIST (\\HasNoChildren) "/" Tofu',
        b'* LIST (\\Subscribed \\HasChildren) "/" Vegetable',
    ]


async def test_recursive_match(client: ImapClient) -> None:
    """RFC 5258 §5 example 8: what lies below is told by CHILDINFO; a name selected itself says both."""
    await _tree(client)
    assert await client.ok(b'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"') == [
        b'* LIST (\\HasChildren) "/" Fruit ("CHILDINFO" ("SUBSCRIBED"))',
        b'* LIST (\\Subscribed \\HasChildren) "/" Vegetable ("CHILDINFO" ("SUBSCRIBED"))',
    ]
    assert b" BAD " in (await client.ask(b'LIST (RECURSIVEMATCH) "" "%"'))[-1]
    assert b" BAD " in (await client.ask(b'LIST (REMOTE RECURSIVEMATCH) "" "%"'))[-1]
    await client.ok(b"RENAME Trash Bin/Deleted")
    assert b'* LIST (\\HasChildren) "/" Bin ("CHILDINFO" ("SPECIAL-USE"))' in await client.ok(
        b'LIST (SPECIAL-USE RECURSIVEMATCH) "" "%"'
    )


async def test_no_selection_and_several_patterns(client: ImapClient) -> None:
    """RFC 5258 §3, §4: an empty list of options is a LIST; a name that fits two patterns comes once."""
    await _tree(client)
    assert _names(await client.ok(b'LIST () "Fruit/" ("A*" "%e")')) == [b"Fruit/Apple"]
    assert _names(await client.ok(b'LIST (REMOTE) "" "Tofu"')) == [b"Tofu"]
    assert await client.ok(b'LIST (SUBSCRIBED) "" ""') == []


async def test_namespaces(client: ImapClient) -> None:
    """RFC 2342 §5: the personal one, and that of other users."""
    assert await client.ok(b"NAMESPACE") == [b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL']


async def test_unselect_expunges_nothing(client: ImapClient) -> None:
    """RFC 3691 §2."""
    await client.append(b"INBOX", MESSAGE, b"(\\Deleted) ")
    await client.ok(b"SELECT INBOX")
    await client.ok(b"UNSELECT")
    assert await client.ok(b"STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 1)"]
