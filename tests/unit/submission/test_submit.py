"""Mail of our users: rights to the sender, completion, signature, queue (RFC 6409)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from sqlalchemy import select

from server.domain.errors import Forbidden, Unavailable
from server.domain.ids import BlobId
from server.domain.inbound import Inbound, Submission
from server.domain.queue import Origin
from server.protocol.smtp.address import parse_address
from server.services.identity.send_grants import NewSendGrant, SendGrantService
from server.services.submission.sign import SigningKey
from server.store.repositories import blobs, send_grants
from server.store.schema import queued_messages
from tests.support.doors import Doors

MINE = b"From: Anna <anna@example.org>\r\nTo: eve@far.example\r\nSubject: Hello\r\n\r\nText\r\n"


@pytest.fixture(autouse=True)
def _unsigned(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture's domain has keys that are no keys; signing has its own tests."""

    async def no_keys(_domain: str) -> Sequence[SigningKey]:
        return ()

    monkeypatch.setattr(doors.submission._keys, "keys", no_keys)


async def _submission(doors: Doors, octets: bytes = MINE, *, to: Sequence[str] = ("eve@far.example",)) -> Inbound:
    return await doors.inbound(octets, to=to, sender="anna@example.org", listener="submissions", local_port=465)


async def _message(doors: Doors) -> bytes:
    """What would be sent for the first delivery: prefix and blob."""
    row = await doors.identity.database.read("test", lambda tx: tx.fetch_one(select(queued_messages)))
    assert row is not None
    blob_id = BlobId(cast(str, row["blob_id"]))
    blob = await doors.identity.database.read("test", lambda tx: blobs.get(tx, blob_id))
    assert blob is not None
    return cast(bytes, row["prefix"]) + await doors.blobs.read(blob)


async def test_a_submission_is_queued_with_what_was_missing(doors: Doors) -> None:
    octets = MINE.replace(b"Subject", b"Bcc: secret@far.example\r\nSubject")
    principal = await doors.principal("anna@example.org")
    answer = await doors.submission.accept(await _submission(doors, octets), principal)
    assert (answer.code, answer.enhanced) == (250, "2.0.0")
    (row,) = await doors.queued()
    assert (row["recipient"], row["kind"], row["status"]) == ("eve@far.example", "remote", "queued")
    event = next(e for e in await doors.events() if e["type"] == "submission.accepted")
    assert event["sender"] == "anna@example.org"
    assert event["message_id_header"] is not None
    assert doors.woken
    message = await _message(doors)
    assert b"Date: " in message
    assert b"Message-ID: <" in message
    assert b"secret" not in message
    assert b"from [authenticated]" in message
    assert b"192.0.2.7" not in message, "the client's address stays here (product.md 5)"


async def test_a_complete_message_is_not_changed_by_an_octet(doors: Doors) -> None:
    octets = b"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <a@example.org>\r\n" + MINE
    await doors.submission.accept(await _submission(doors, octets), await doors.principal("anna@example.org"))
    assert (await _message(doors)).endswith(octets)


@pytest.mark.parametrize(
    "author",
    [
        b"From: boss@example.org",
        b"From: anna@elsewhere.example",
        b"From: anna@example.org, boss@example.org",
        b'From: "anna@example.org" <boss@example.org>',
        b"From: (anna@example.org) boss@example.org",
        b"From: =?utf-8?q?anna=40example.org?= <boss@example.org>",
        b"From: =?utf-8?q?anna=40example.org?=",
        b"From:",
        b"Subject: no author",
        b"From: anna@example.org\r\nFrom: boss@example.org",
        b"From: Friends: boss@example.org;",
    ],
)
async def test_nobody_writes_as_somebody_else(doors: Doors, author: bytes) -> None:
    await doors.identity.account("boss@example.org")
    octets = author + b"\r\nTo: eve@far.example\r\n\r\nText\r\n"
    answer = await doors.submission.accept(await _submission(doors, octets), await doors.principal("anna@example.org"))
    assert answer.code == 550
    assert await doors.queued() == []
    assert [e["type"] for e in await doors.events() if e["component"] == "submissions"] == ["message.refused"]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("anna@example.org", True),
        ("ANNA@example.org", True),
        ("anna+shop@example.org", True),
        ("ben@example.org", False),
        ("anna@elsewhere.example", False),
        ("postmaster@example.org", False),
        (None, True),
    ],
)
async def test_reverse_paths_a_login_may_use(doors: Doors, address: str | None, allowed: bool) -> None:
    principal = await doors.principal("anna@example.org")
    path = None if address is None else parse_address(address)
    assert await doors.submission.sender_allowed(principal, path) is allowed


async def _grant(doors: Doors, owner: str, grantee: str) -> SendGrantService:
    await doors.identity.account(owner)
    grants = SendGrantService(doors.identity.database)
    await grants.add(doors.identity.root, owner, NewSendGrant(grantee=grantee))
    return grants


async def test_a_grantee_sends_as_the_owner_until_it_is_revoked(doors: Doors) -> None:
    grants = await _grant(doors, "info@example.org", "anna@example.org")
    principal = await doors.principal("anna@example.org")
    octets = MINE.replace(b"anna@example.org", b"info@example.org")
    for address in ("info@example.org", "info+shop@example.org"):
        assert await doors.submission.sender_allowed(principal, parse_address(address)), address
    assert not await doors.submission.sender_allowed(
        await doors.principal("info@example.org"), parse_address("anna@example.org")
    )
    assert (await doors.submission.accept(await _submission(doors, octets), principal)).code == 250
    event = next(e for e in await doors.events() if e["type"] == "submission.accepted")
    assert str(event["detail"]).startswith("anna@example.org as info@example.org from ")
    await grants.remove(doors.identity.root, "info@example.org", grantee="anna@example.org")
    answer = await doors.submission.accept(await _submission(doors, octets), principal)
    assert (answer.code, answer.enhanced) == (550, "5.7.1")


async def test_own_addresses_ask_for_no_grant(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(*_given: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(send_grants, "holds", asked)
    principal = await doors.principal("anna@example.org")
    assert (await doors.submission.accept(await _submission(doors), principal)).code == 250


async def test_the_api_sends_as_the_owner_by_a_grant(doors: Doors) -> None:
    await _grant(doors, "info@example.org", "anna@example.org")
    principal = await doors.principal("anna@example.org")
    inbound = await doors.inbound(MINE, to=["eve@far.example"], sender="info@example.org")
    await doors.submission.submit(
        Submission(
            tenant_id=principal.tenant_id,
            account_id=principal.account_id,
            origin=Origin.API,
            envelope=inbound.envelope,
            content=inbound.content,
        )
    )
    event = next(e for e in await doors.events() if e["type"] == "submission.accepted")
    assert "by api, anna@example.org as info@example.org" in str(event["detail"])


async def test_an_unknown_local_recipient_is_refused_and_an_outside_one_is_not(doors: Doors) -> None:
    principal = await doors.principal("anna@example.org")
    inbound = await _submission(doors)
    for address, code in (("nobody@example.org", 550), ("x@far.example", None), ("anna@example.org", None)):
        refusal = await doors.submission.recipient(
            inbound.connection, principal, inbound.envelope.reverse_path, parse_address(address)
        )
        assert (refusal.code if refusal else None) == code, address


async def test_local_recipients_go_through_the_queue_into_the_mailbox(doors: Doors) -> None:
    await doors.identity.account("ben@example.org")
    inbound = await _submission(doors, to=["ben@example.org", "nobody@example.org"])
    await doors.submission.accept(inbound, await doors.principal("anna@example.org"))
    assert {row["kind"] for row in await doors.queued()} == {"local"}


async def test_without_its_keys_nothing_leaves_unsigned(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_domain: str) -> Sequence[SigningKey]:
        raise Unavailable

    monkeypatch.setattr(doors.submission._keys, "keys", broken)
    answer = await doors.submission.accept(await _submission(doors), await doors.principal("anna@example.org"))
    assert answer.code == 451
    assert await doors.queued() == []


async def test_the_api_may_only_send_as_its_account(doors: Doors) -> None:
    principal = await doors.principal("anna@example.org")
    inbound = await doors.inbound(MINE, to=["eve@far.example"], sender="ben@example.org")
    with pytest.raises(Forbidden, match="sender address"):
        await doors.submission.submit(
            Submission(
                tenant_id=principal.tenant_id,
                account_id=principal.account_id,
                origin=Origin.API,
                envelope=inbound.envelope,
                content=inbound.content,
            )
        )
