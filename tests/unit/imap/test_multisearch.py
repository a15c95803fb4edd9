"""ESEARCH as a command (RFC 7377)."""

from __future__ import annotations

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge


@pytest.fixture
async def client(edge: ImapEdge) -> ImapClient:
    client = await edge.login()
    for name in (b"work", b"work/a", b"work/a/deep", b"other"):
        await client.ok(b"CREATE " + name)
    for mailbox, subject in (
        (b"INBOX", b"pears"),
        (b"INBOX", b"plums"),
        (b"work", b"plums"),
        (b"work/a", b"pears"),
        (b"work/a/deep", b"pears"),
        (b"other", b"pears"),
        (b"other", b"pears"),
    ):
        await client.append(mailbox, b"Subject: " + subject + b"\r\n\r\nx\r\n")
    return client


async def _found(client: ImapClient, command: bytes) -> dict[bytes, bytes]:
    found = {}
    for line in await client.ok(command):
        assert line.startswith(b'* ESEARCH (TAG "t')
        source, _, result = line.partition(b") ")
        found[source.split(b"MAILBOX ")[1].split(b" UIDVALIDITY ")[0]] = result
    return found


async def test_sources(client: ImapClient) -> None:
    """RFC 7377 §2.1-2: one response a mailbox with hits, by UID."""
    assert await _found(client, b'ESEARCH IN (mailboxes ("INBOX" other missing)) SUBJECT pears') == {
        b"INBOX": b"UID ALL 1",
        b"other": b"UID ALL 1:2",
    }
    deep = await _found(client, b"ESEARCH IN (subtree work) RETURN (COUNT) SUBJECT pears")
    assert deep == {b"work/a": b"UID COUNT 1", b"work/a/deep": b"UID COUNT 1"}
    assert await _found(client, b"ESEARCH IN (subtree-one work) SUBJECT pears") == {b"work/a": b"UID ALL 1"}
    assert set(await _found(client, b"ESEARCH IN (personal) RETURN (MIN) SUBJECT pears")) == {
        b"INBOX",
        b"work/a",
        b"work/a/deep",
        b"other",
    }
    assert await _found(client, b"ESEARCH IN (inboxes) SUBJECT plums") == {b"INBOX": b"UID ALL 2"}
    await client.ok(b"UNSUBSCRIBE other")
    assert b"other" not in await _found(client, b"ESEARCH IN (subscribed) SUBJECT pears")
    both = await _found(client, b"ESEARCH IN (mailboxes other inboxes subtree other) SUBJECT pears")
    assert both == {b"INBOX": b"UID ALL 1", b"other": b"UID ALL 1:2"}


async def test_the_selected_mailbox(client: ImapClient) -> None:
    """RFC 7377 §2.2: without IN, or by name, in either state."""
    assert b"BAD" in (await client.ask(b"ESEARCH ALL"))[-1]
    assert await client.ok(b"ESEARCH IN (selected mailboxes missing) ALL") == []
    await client.ok(b"SELECT other")
    (line,) = await client.ok(b"ESEARCH 2")
    assert line.endswith(b'") UID ALL 2')
    assert await _found(client, b"ESEARCH IN (selected inboxes) SUBJECT pears") == {
        b"other": b"UID ALL 1:2",
        b"INBOX": b"UID ALL 1",
    }
    assert await client.ok(b"ESEARCH RETURN (SAVE) 2") == []
    assert await client.ok(b"SEARCH $") == [b"* SEARCH 2"]


@pytest.mark.parametrize(
    "command",
    [
        b"ESEARCH IN (personal) 1:2",
        b"ESEARCH IN (personal) UID $",
        b"ESEARCH IN (personal) RETURN (SAVE) ALL",
        b"ESEARCH IN () ALL",
        b"ESEARCH IN (bogus) ALL",
        b"ESEARCH IN (mailboxes) ALL",
        b"ESEARCH IN (personal (x)) ALL",
    ],
)
async def test_what_is_refused(client: ImapClient, command: bytes) -> None:
    assert b"BAD" in (await client.ask(command))[-1]


async def test_others_mailboxes_are_not_searched(edge: ImapEdge, client: ImapClient) -> None:
    other = await edge.login("b@example.org")
    assert await other.ok(b'ESEARCH IN (mailboxes "Other Users/a@example.org/other" personal) ALL') == []
