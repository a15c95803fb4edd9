"""Mail from the world: what is stored, what is refused, and what the trace says of it."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from server.domain.errors import Unavailable
from server.domain.ids import BlobId
from server.services.identity.accounts import AccountChange
from server.services.identity.aliases import NewAlias
from server.store.repositories import blobs
from tests.support.doors import MESSAGE, Doors


async def _octets(doors: Doors, row: object) -> bytes:
    blob_id = BlobId(cast(str, row["blob_id"]))  # type: ignore[index]
    blob = await doors.identity.database.read("test", lambda tx: blobs.get(tx, blob_id))
    assert blob is not None
    return await doors.blobs.read(blob)


@pytest.mark.parametrize("size", [10, 5_000, 600_000])
async def test_a_message_is_stored_as_it_came_with_trace_fields_before_it(doors: Doors, size: int) -> None:
    octets = MESSAGE + b"\r\n" + b"x" * 70 + b"\r\n" * (size // 2)
    answer = await doors.reception.receive(await doors.inbound(octets))
    assert (answer.code, answer.enhanced) == (250, "2.0.0")
    (row,) = await doors.stored()
    assert row["name"] == "INBOX"
    assert await _octets(doors, row) == octets
    prefix = cast(bytes, row["prefix"]).decode()
    fields = [line.split(":")[0] for line in prefix.split("\r\n") if line and line[0] not in " \t"]
    assert fields == ["Return-Path", "Delivered-To", "Authentication-Results", "Received"]
    assert "Return-Path: <carol@outside.example>" in prefix
    assert "spf=pass" in prefix
    assert "with ESMTPS id" in prefix
    assert prefix.endswith("\r\n")
    assert list(doors.blobs._tmp.iterdir()) == []


async def test_one_message_for_many_is_one_blob(doors: Doors) -> None:
    await doors.identity.account("ben@example.org")
    answer = await doors.reception.receive(await doors.inbound(to=["anna@example.org", "ben@example.org"]))
    assert answer.code == 250
    rows = await doors.stored()
    assert len(rows) == 2
    assert len({row["blob_id"] for row in rows}) == 1
    assert all(b"for <" not in cast(bytes, row["prefix"]) for row in rows), "no recipient learns of the other"


async def test_the_same_account_by_two_addresses_gets_one_copy(doors: Doors) -> None:
    await doors.reception.receive(await doors.inbound(to=["anna@example.org", "anna+two@example.org"]))
    assert len(await doors.stored()) == 1


async def test_events_tell_the_way_in_one_trace(doors: Doors) -> None:
    await doors.reception.receive(await doors.inbound())
    told = [row for row in await doors.events() if row["trace_id"]]
    assert [row["type"] for row in told] == ["message.received", "message.authenticated", "message.stored"]
    assert len({row["trace_id"] for row in told}) == 1
    assert told[0]["message_id_header"] == "<m1@outside>"
    assert told[2]["recipient"] == "anna@example.org"


@pytest.mark.parametrize(
    ("head", "code", "enhanced"),
    [
        (b"Subject: no author\r\n", 550, "5.7.1"),
        (b"From: a@outside.example\r\nFrom: b@outside.example\r\n", 550, "5.7.1"),
        (b"From : a@outside.example\r\nFrom: b@outside.example\r\n", 550, "5.7.1"),
        (MESSAGE + b"Received: by x\r\n" * 51, 554, "5.4.6"),
        (MESSAGE + b"X: y\r\n" * 2_000, 552, "5.3.4"),
    ],
)
async def test_headers_that_cannot_be_taken(doors: Doors, head: bytes, code: int, enhanced: str) -> None:
    answer = await doors.reception.receive(await doors.inbound(head + b"\r\nbody\r\n"))
    assert (answer.code, answer.enhanced) == (code, enhanced)
    assert await doors.stored() == []
    (event,) = [row for row in await doors.events() if row["type"] == "message.refused"]
    assert event["reply"] == answer.text
    assert event["recipient"] == "anna@example.org"


async def test_fifty_hops_are_taken(doors: Doors) -> None:
    answer = await doors.reception.receive(await doors.inbound(MESSAGE + b"Received: by x\r\n" * 50 + b"\r\n"))
    assert answer.code == 250


@pytest.mark.parametrize(
    ("author", "mode", "code", "mailbox"),
    [
        ("x@strict.example", "honour", 550, None),
        ("x@wary.example", "honour", 250, "Junk"),
        ("x@strict.example", "junk", 250, "Junk"),
        ("x@strict.example", "score", 250, "INBOX"),
        ("x@down.example", "honour", 250, "INBOX"),
        ("x@nothing.example", "honour", 250, "INBOX"),
    ],
)
async def test_dmarc_is_obeyed_as_configured_and_dns_failure_refuses_nothing(
    doors: Doors, author: str, mode: str, code: int, mailbox: str | None
) -> None:
    """RFC 9989; F08."""
    doors.set(mailauth=msgspec.structs.replace(doors.live[0].mailauth, dmarc=mode))  # type: ignore[arg-type]
    octets = f"From: {author}\r\nSubject: s\r\n\r\nbody\r\n".encode()
    answer = await doors.reception.receive(await doors.inbound(octets))
    assert answer.code == code
    rows = await doors.stored()
    assert [row["name"] for row in rows] == ([mailbox] if mailbox else [])
    if code == 550:
        assert answer.enhanced == "5.7.1"
        assert any("strict.example" in cast(str, row["detail"]) for row in await doors.events())


async def test_an_alias_to_the_outside_is_queued_with_the_mail(doors: Doors) -> None:
    identity = doors.identity
    alias = NewAlias(address="away@example.org", targets=["eve@far.example", "anna@example.org"])
    await identity.aliases.create(identity.root, alias)
    answer = await doors.reception.receive(await doors.inbound(to=["away@example.org"]))
    assert answer.code == 250
    (queued,) = await doors.queued()
    assert (queued["recipient"], queued["kind"], queued["sender"]) == (
        "eve@far.example",
        "forward",
        "carol@outside.example",
    )
    assert b"Delivered-To: away@example.org" in cast(bytes, queued["prefix"])
    assert doors.woken
    assert len(await doors.stored()) == 1


@pytest.mark.parametrize(
    ("sender", "heard_by"),
    [("x@forged.example", "postmaster@example.org"), ("carol@outside.example", "carol@outside.example"), (None, "")],
)
async def test_only_a_genuine_sender_hears_of_a_forward_that_fails(
    doors: Doors, sender: str | None, heard_by: str
) -> None:
    """R4: no DSN to a reverse-path that nothing vouches for; R2: nor may the mail vanish unseen."""
    identity = doors.identity
    await identity.aliases.create(identity.root, NewAlias(address="away@example.org", targets=["eve@far.example"]))
    await doors.reception.receive(await doors.inbound(to=["away@example.org"], sender=sender))
    assert [row["sender"] for row in await doors.queued()] == [heard_by]


async def test_a_mail_that_comes_back_to_the_address_that_forwarded_it_is_a_loop(doors: Doors) -> None:
    """RFC 9228 §4."""
    identity = doors.identity
    await identity.aliases.create(identity.root, NewAlias(address="away@example.org", targets=["eve@far.example"]))
    octets = b"Delivered-To: away@example.org\r\n" + MESSAGE + b"\r\nx\r\n"
    answer = await doors.reception.receive(await doors.inbound(octets, to=["away@example.org"]))
    assert (answer.code, answer.enhanced) == (554, "5.4.6")
    assert await doors.queued() == []


async def test_a_message_beyond_the_quota_is_refused_while_the_sender_can_hear_it(doors: Doors) -> None:
    identity = doors.identity
    await identity.accounts.change(identity.root, "anna@example.org", AccountChange(quota_bytes=2_000))
    doors.identity.directory.invalidate()
    answer = await doors.reception.receive(await doors.inbound(MESSAGE + b"\r\n" + b"x\r\n" * 1_000))
    assert (answer.code, answer.enhanced) == (552, "5.2.2")
    assert await doors.stored() == []


async def test_once_accepted_for_several_it_goes_over_the_quota_of_one(doors: Doors) -> None:
    identity = doors.identity
    await identity.account("ben@example.org")
    await identity.accounts.change(identity.root, "anna@example.org", AccountChange(quota_bytes=2_000))
    inbound = await doors.inbound(MESSAGE + b"\r\n" + b"x\r\n" * 1_000, to=["anna@example.org", "ben@example.org"])
    assert (await doors.reception.receive(inbound)).code == 250
    assert len(await doors.stored()) == 2


async def test_low_space_defers_at_rcpt_and_our_own_fault_is_never_permanent(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F03, P4."""
    inbound = await doors.inbound()
    doors.blobs.reserve = 1 << 62
    doors.blobs._space_checked = float("-inf")
    refusal = await doors.reception.recipient(
        inbound.connection, inbound.envelope.reverse_path, inbound.envelope.recipients[0].address
    )
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (452, "4.3.1")

    async def broken(*_: object) -> None:
        raise RuntimeError("a path: /secret")

    monkeypatch.setattr(doors.blobs, "place", broken)
    answer = await doors.reception.receive(inbound)
    assert (answer.code, answer.enhanced) == (451, "4.3.0")
    assert "secret" not in answer.text


async def test_a_store_that_is_away_defers(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    inbound = await doors.inbound()

    async def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(doors.reception._database, "write", away)
    assert (await doors.reception.receive(inbound)).code == 451


async def test_the_null_reverse_path_is_taken(doors: Doors) -> None:
    await doors.reception.receive(await doors.inbound(sender=None))
    (row,) = await doors.stored()
    assert b"Return-Path: <>\r\n" in cast(bytes, row["prefix"])


async def test_a_hostile_helo_stays_in_its_field(doors: Doors) -> None:
    await doors.reception.receive(await doors.inbound(helo="a) (b\r\nX-Evil: 1\x00" + "y" * 900))
    (row,) = await doors.stored()
    prefix = cast(bytes, row["prefix"])
    assert b"\r\nX-Evil" not in prefix
    assert b"\x00" not in prefix
