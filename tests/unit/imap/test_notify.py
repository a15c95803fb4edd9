"""NOTIFY over a real socket (RFC 5465): what is told while no command runs, and in IDLE."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.domain.changes import StateChange
from server.domain.ids import AccountId
from server.imap import watch
from tests.support.imap_edge import ImapClient, ImapEdge, add_account

MESSAGE = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\n\r\nbody\r\n"
ALL = b"(MessageNew MessageExpunge FlagChange)"


async def _next(client: ImapClient) -> bytes:
    return (await client.line()).removesuffix(b"\r\n")


async def _told(client: ImapClient, *starts: bytes) -> list[bytes]:
    """The next responses, which nothing was asked for."""
    lines = [await _next(client) for _ in starts]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines
    return lines


async def _quiet(client: ImapClient) -> None:
    """Nothing has been told; whatever was to be told is over."""
    assert await client.ok(b"NAMESPACE") == [b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL']


@pytest.fixture
async def actor(edge: ImapEdge) -> ImapClient:
    client = await edge.login()
    for name in (b"misc", b"Lists", b"Lists/Im2000"):
        await client.ok(b"CREATE " + name)
    await client.append(b"misc", MESSAGE)
    return client


async def test_the_initial_status_responses(edge: ImapEdge, actor: ImapClient) -> None:
    """RFC 5465 §3.1: before the tagged OK, for each mailbox but the selected one."""
    client = await edge.selected()
    lines = await client.ok(
        b"NOTIFY SET STATUS (selected (MessageNew MessageExpunge)) (subtree Lists (MessageNew MessageExpunge)) "
        b"(mailboxes (INBOX misc) " + ALL + b") (mailboxes misc NONE)"
    )
    uids = b"UIDNEXT %d UIDVALIDITY "
    starts = [b"* STATUS Lists (MESSAGES 0 " + uids % 1, b"* STATUS Lists/Im2000 (MESSAGES 0 " + uids % 1]
    starts.append(b"* STATUS misc (MESSAGES 1 " + uids % 2)
    assert len(lines) == 3
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines
    assert b"UNSEEN 1 HIGHESTMODSEQ " in lines[2]
    assert await client.ok(b"NOTIFY SET (personal (MessageNew MessageExpunge))") == []


async def test_messages_of_other_mailboxes(edge: ImapEdge, actor: ImapClient) -> None:
    """RFC 5465 §5.1-3: STATUS, at once, with no command running; flags only where they are wanted."""
    client = await edge.selected()
    await client.ok(b"NOTIFY SET (mailboxes misc " + ALL + b") (personal (MessageNew MessageExpunge))")
    await actor.append(b"misc", MESSAGE)
    await _told(client, b"* STATUS misc (MESSAGES 2 UIDNEXT 3 UIDVALIDITY ")
    await actor.append(b"Lists/Im2000", MESSAGE)
    await _told(client, b"* STATUS Lists/Im2000 (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ")
    await actor.ok(b"SELECT misc")
    await actor.ok(b"STORE 1 +FLAGS (\\Seen \\Deleted)")
    (line,) = await _told(client, b"* STATUS misc (MESSAGES 2 ")
    assert b"UNSEEN 1 HIGHESTMODSEQ " in line
    await actor.ok(b"EXPUNGE")
    await _told(client, b"* STATUS misc (MESSAGES 1 ")
    await actor.ok(b"SELECT Lists/Im2000")
    await actor.ok(b"STORE 1 +FLAGS (\\Seen)")
    await actor.append(b"misc", MESSAGE)
    await _told(client, b"* STATUS misc (MESSAGES 2 ")


async def test_names_and_subscriptions(edge: ImapEdge, actor: ImapClient) -> None:
    """RFC 5465 §5.4-5: LIST responses, with \\NonExistent, OLDNAME and \\Subscribed."""
    client = await edge.login()
    await client.ok(b"NOTIFY SET (personal (MailboxName SubscriptionChange))")
    await actor.ok(b"CREATE NewMailbox")
    await _told(client, b'* LIST (\\HasNoChildren) "/" NewMailbox')
    await actor.ok(b"SUBSCRIBE NewMailbox")
    await _told(client, b'* LIST (\\Subscribed \\HasNoChildren) "/" NewMailbox')
    await actor.ok(b"UNSUBSCRIBE NewMailbox")
    await _told(client, b'* LIST (\\HasNoChildren) "/" NewMailbox')
    await actor.ok(b"RENAME Lists Post")
    await _told(
        client,
        b'* LIST (\\HasChildren) "/" Post ("OLDNAME" (Lists))',
        b'* LIST (\\HasNoChildren) "/" Post/Im2000 ("OLDNAME" (Lists/Im2000))',
    )
    await actor.ok(b"DELETE NewMailbox")
    await _told(client, b'* LIST (\\NonExistent) "/" NewMailbox')
    await actor.append(b"misc", MESSAGE)
    await _quiet(client)


async def test_subscribed_follows_the_subscriptions(edge: ImapEdge, actor: ImapClient) -> None:
    """RFC 5465 §6.4: the list is looked up anew each time."""
    client = await edge.login()
    await client.ok(b"NOTIFY SET (subscribed (MessageNew MessageExpunge))")
    await actor.ok(b"SUBSCRIBE misc")
    await _told(client, b"* STATUS misc (MESSAGES 1 ")
    await actor.append(b"Lists", MESSAGE)
    await actor.append(b"misc", MESSAGE)
    await _told(client, b"* STATUS misc (MESSAGES 2 ")


async def test_the_selected_mailbox_is_told_at_once(edge: ImapEdge, actor: ImapClient) -> None:
    """RFC 5465 §5.1-3, §6.1: EXISTS, what is wanted of the message, flags with UID, EXPUNGE; no command running."""
    client = await edge.selected()
    await client.ok(
        b"NOTIFY SET (selected (MessageNew (uid body.peek[header.fields (from to subject)]) MessageExpunge FlagChange))"
    )
    await actor.append(b"INBOX", MESSAGE)
    lines = await _told(
        client, b"* 1 EXISTS", b"* 1 RECENT", b"* 1 FETCH (UID 1 BODY[HEADER.FIELDS (from to subject)] {"
    )
    assert b"Subject: x" in lines[2]
    await actor.ok(b"SELECT INBOX")
    await actor.ok(b"STORE 1 +FLAGS (\\Deleted)")
    (line,) = await _told(client, b"* 1 FETCH (UID 1 FLAGS (")
    assert b"\\Deleted" in line
    await actor.ok(b"EXPUNGE")
    await _told(client, b"* 1 EXPUNGE")
    await _quiet(client)


async def test_without_flag_change_flags_wait_for_a_command(edge: ImapEdge, actor: ImapClient) -> None:
    await actor.append(b"INBOX", MESSAGE)
    await actor.ok(b"SELECT INBOX")
    client = await edge.selected()
    await client.ok(b"NOTIFY SET (selected (MessageNew (uid) MessageExpunge))")
    await actor.ok(b"STORE 1 +FLAGS (\\Flagged)")
    await actor.append(b"INBOX", MESSAGE)
    while not (line := await _next(client)).startswith(b"* 2 FETCH"):
        assert line.endswith((b" EXISTS", b" RECENT"))
    assert line == b"* 2 FETCH (UID 2)"
    (line,) = await client.ok(b"NOOP")
    assert line.startswith(b"* 1 FETCH (UID 1 FLAGS (\\Flagged")


async def test_selected_delayed_keeps_numbers(edge: ImapEdge, actor: ImapClient) -> None:
    """RFC 5465 §6.1: EXPUNGE waits for a command that may bring it, or for IDLE."""
    for _ in range(2):
        await actor.append(b"INBOX", MESSAGE)
    await actor.ok(b"SELECT INBOX")
    client = await edge.selected()
    await client.ok(b"NOTIFY SET (selected-delayed " + ALL + b")")
    await actor.ok(b"STORE 1 +FLAGS (\\Deleted)")
    await _told(client, b"* 1 FETCH (UID 1 FLAGS (")
    await actor.ok(b"EXPUNGE")
    await actor.ok(b"STORE 1 +FLAGS (\\Flagged)")
    await _told(client, b"* 2 FETCH (UID 2 FLAGS (")
    assert await client.ok(b"NOOP") == [b"* 1 EXPUNGE"]
    await actor.ok(b"STORE 1 +FLAGS (\\Deleted)")
    await _told(client, b"* 1 FETCH (UID 2 FLAGS (")
    await client.send(b"i IDLE\r\n")
    await _told(client, b"+ idling")
    await actor.ok(b"EXPUNGE")
    await _told(client, b"* 1 EXPUNGE")
    await client.send(b"DONE\r\n")
    assert await client.until(b"i") == [b"i OK IDLE terminated"]


async def test_idle_tells_the_same(edge: ImapEdge, actor: ImapClient) -> None:
    """RFC 5465 §4: in IDLE exactly what NOTIFY asked for: here nothing of the selected mailbox."""
    client = await edge.selected()
    await client.ok(b"NOTIFY SET (mailboxes misc (MessageNew MessageExpunge))")
    await client.send(b"i IDLE\r\n")
    await _told(client, b"+ idling")
    await actor.append(b"INBOX", MESSAGE)
    await actor.append(b"misc", MESSAGE)
    await _told(client, b"* STATUS misc (MESSAGES 2 ")
    await client.send(b"DONE\r\n")
    assert (await client.until(b"i"))[-1] == b"i OK IDLE terminated"


async def test_what_a_mailbox_kept_back_is_told_when_it_is_left(edge: ImapEdge, actor: ImapClient) -> None:
    client = await edge.selected(b"misc")
    await client.ok(b"NOTIFY SET (personal (MessageNew MessageExpunge))")
    await actor.append(b"misc", MESSAGE)
    await actor.append(b"Lists", MESSAGE)
    await _told(client, b"* STATUS Lists (MESSAGES 1 ")
    await client.ok(b"UNSELECT")
    await _told(client, b"* STATUS misc (MESSAGES 2 ")


async def test_none_ends_it(edge: ImapEdge, actor: ImapClient) -> None:
    client = await edge.selected()
    await client.ok(b"NOTIFY SET (personal (MessageNew MessageExpunge)) (selected (MessageNew MessageExpunge))")
    await client.ok(b"NOTIFY NONE")
    await actor.append(b"misc", MESSAGE)
    await actor.append(b"INBOX", MESSAGE)
    assert await client.ok(b"NOOP") == [b"* 1 EXISTS", b"* 1 RECENT"]


async def test_one_watch_a_session(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each NOTIFY replaces the last, and the end of the session ends it: no subscription is left over."""
    followed: list[int] = []
    subscribe = edge.mailstore.on_change

    def counted(account_id: AccountId, wake: Callable[[], None]) -> Callable[[], None]:
        end = subscribe(account_id, wake)
        followed.append(1)
        return lambda: (end(), followed.pop())[0]

    monkeypatch.setattr(edge.mailstore, "on_change", counted)
    client = await edge.login()
    for _ in range(3):
        await client.ok(b"NOTIFY SET (personal (MailboxName)) (inboxes (MessageNew MessageExpunge))")
        assert len(followed) == 1
    await client.ok(b"NOTIFY NONE")
    assert not followed
    await client.ok(b"NOTIFY SET (personal (MailboxName))")
    await client.ask(b"LOGOUT")
    assert await client.rest() == b""
    assert not followed


async def test_events_that_are_not_told_are_refused_and_change_nothing(edge: ImapEdge, actor: ImapClient) -> None:
    """RFC 5465 §3.1: NO with BADEVENT and all events there are; BAD for what can't come so."""
    client = await edge.login()
    await client.ok(b"NOTIFY SET (personal (MessageNew MessageExpunge))")
    (line,) = await client.ask(b"NOTIFY SET (personal (MessageNew MessageExpunge AnnotationChange))")
    known = b"MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange"
    assert line.partition(b" ")[2].startswith(b"NO [BADEVENT (" + known + b")]")
    assert b" BAD " in (await client.ask(b"NOTIFY SET (personal (FlagChange))"))[-1]
    await actor.append(b"misc", MESSAGE)
    await _told(client, b"* STATUS misc (MESSAGES 2 ")


async def test_too_much_ends_it(edge: ImapEdge, actor: ImapClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5465 §3.1, §5.8: NO [NOTIFICATIONOVERFLOW], or untagged when it happens later."""
    client = await edge.login()
    await client.ok(b"NOTIFY SET (personal (MailboxName))")
    monkeypatch.setattr(watch, "LINES_MAX", 1)
    await actor.ok(b"RENAME Lists Post")
    await _told(client, b"* OK [NOTIFICATIONOVERFLOW] ")
    await actor.ok(b"CREATE another")
    await _quiet(client)
    monkeypatch.setattr(watch, "MAILBOXES_MAX", 2)
    assert b" NO [NOTIFICATIONOVERFLOW] " in (await client.ask(b"NOTIFY SET (personal (MailboxName))"))[-1]
    await client.ok(b"SELECT INBOX")
    await client.ok(b"NOTIFY SET (selected (MessageNew (uid) MessageExpunge))")
    monkeypatch.setattr(watch, "NEW_MAX", 0)
    await actor.append(b"INBOX", MESSAGE)
    await _told(client, b"* 1 EXISTS", b"* 1 RECENT", b"* OK [NOTIFICATIONOVERFLOW] ")


async def test_a_lost_hint_is_made_up_for(edge: ImapEdge, actor: ImapClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "REREAD_S", 0.1)
    client = await edge.login()

    def lose(change: StateChange) -> None:
        edge.notifier.published.append(change)

    monkeypatch.setattr(edge.notifier, "publish", lose)
    await client.ok(b"NOTIFY SET (personal (MailboxName))")
    await actor.ok(b"CREATE unheard")
    await _told(client, b'* LIST (\\HasNoChildren) "/" unheard')


async def test_mailboxes_of_others(edge: ImapEdge) -> None:
    """RFC 5465 §3.1, §5.9; RFC 4314: with `l` and `r`; \\NoAccess without `r`; nothing at all without both."""
    anna = await add_account(edge.database, "anna@example.org")
    edge.logins.accounts["anna@example.org"] = anna
    edge.logins.accounts["bert@example.org"] = await add_account(edge.database, "bert@example.org", colleague=anna)
    owner, client = await edge.login("anna@example.org"), await edge.login("bert@example.org")
    for name in (b"open", b"listed", b"hidden"):
        await owner.ok(b"CREATE " + name)
    await owner.ok(b"SETACL open bert@example.org lr")
    await owner.ok(b"SETACL listed bert@example.org l")
    others = b'"Other Users/anna@example.org/%s"'
    names = b" ".join(others % name for name in (b"open", b"listed", b"hidden"))
    lines = await client.ok(b"NOTIFY SET STATUS (mailboxes (" + names + b") (MessageNew MessageExpunge))")
    assert sorted(line.partition(b" (MESSAGES")[0] for line in lines) == [
        b'* LIST (\\NoAccess) "/" ' + others % b"listed",
        b"* STATUS " + others % b"open",
    ]
    for name in (b"hidden", b"listed", b"open"):
        await owner.append(name, MESSAGE)
    await _told(client, b"* STATUS " + others % b"open" + b" (MESSAGES 1 ")
