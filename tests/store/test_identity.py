"""Identity, audit, traces and repeats on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from server.domain.address import Address
from server.domain.changes import TraceEvent, TraceFilter
from server.domain.errors import Conflict, InvalidInput, NotFound
from server.domain.identity import Status
from server.domain.ids import QueueId, TraceId, new_id
from server.domain.paging import PageRequest
from server.services.identity.accounts import AccountChange
from server.services.identity.aliases import AliasChange, NewAlias
from server.services.identity.domain_aliases import DomainAliasChange, NewDomainAlias
from server.services.identity.domains import DomainChange, NewDomain
from server.services.identity.idempotency import IdempotencyService
from server.services.identity.tenants import NewTenant, TenantChange
from server.services.identity.tokens import ApiKeyChange, NewApiKey
from server.services.trace.query import EventsExpired, TraceService
from server.store.database import Database
from server.store.repositories import audit, status, submissions, trace
from server.store.times import to_us
from server.store.transaction import Transaction
from tests.support.identity import Identity, make_identity
from tests.support.stores import WallClock


@pytest.fixture
async def identity(store: Database) -> Identity:
    return await make_identity(store)


async def test_life_of_a_directory(identity: Identity) -> None:
    root = identity.root
    tenant = await identity.tenants.create(root, NewTenant(name="acme"))
    await identity.tenants.change(root, "acme", TenantChange(display_name="Acme"), revision=tenant.revision)
    with pytest.raises(Conflict):
        await identity.tenants.create(root, NewTenant(name="acme"))
    await identity.domains.create(root, NewDomain(name="example.org", max_message_size=1_000_000))
    with pytest.raises(Conflict):
        await identity.domains.create(root, NewDomain(name="example.org"))
    account = await identity.account("anna@example.org", addresses=["a@example.org"])
    changed = await identity.accounts.change(
        root, account.id, AccountChange(addresses=["b@example.org"], quota_bytes=5), revision=account.revision
    )
    assert changed.addresses == ("anna@example.org", "b@example.org")
    assert (await identity.directory.lookup(Address("a", "example.org"))).account is None
    await identity.domains.change(root, "example.org", DomainChange(catch_all="b@example.org", require_tls_in=True))
    alias = await identity.aliases.create(root, NewAlias(address="i@example.org", targets=["b@example.org"]))
    await identity.aliases.change(root, alias.id, AliasChange(targets=["x@example.net"], enabled=False))
    second = await identity.domain_aliases.create(root, NewDomainAlias(name="example.net", domain_id="example.org"))
    await identity.domain_aliases.change(root, second.id, DomainAliasChange(enabled=False))
    assert (await identity.directory.lookup(Address("b", "example.net"))).domain is None
    page = await identity.accounts.page(root, PageRequest(limit=10), containing="ANNA", domain="example.org")
    assert [row.id for row in page.items] == [account.id]
    await identity.accounts.delete(root, account.id)
    assert (await identity.accounts.page(root, PageRequest(limit=10))).items == ()
    deleted = await identity.accounts.page(root, PageRequest(limit=10), status=Status.DELETED)
    assert [row.id for row in deleted.items] == [account.id]
    assert (await identity.accounts.restore(root, account.id)).status is Status.ACTIVE
    checked, bad = await identity.database.read("test.audit", lambda tx: audit.verify(tx, after=0, count=1000))
    assert checked > 10
    assert bad is None


async def test_keys_are_made_used_rotated_and_revoked(identity: Identity) -> None:
    root = identity.root
    issued = await identity.tokens.create(root, NewApiKey(name="k", scopes=["read"], allowed_networks=["192.0.2.0/24"]))
    scope = await identity.tokens.authenticate(issued.text, ip="192.0.2.1", request_id="r")
    assert "accounts:read" in scope.scopes
    await identity.tokens.change(root, issued.key.id, ApiKeyChange(name="new", allowed_networks=[]))
    await identity.tokens.authenticate(issued.text, ip="203.0.113.1", request_id="r")
    rotated = await identity.tokens.rotate(root, issued.key.id, grace_s=0)
    await identity.tokens.authenticate(rotated.text, ip="203.0.113.1", request_id="r")
    assert [key.name for key in (await identity.tokens.page(root, PageRequest(limit=5))).items] == ["new"]
    await identity.tokens.revoke(root, issued.key.id)
    with pytest.raises(NotFound):
        await identity.tokens.get(root, issued.key.id)


async def test_repeats_act_once(identity: Identity) -> None:
    repeats = IdempotencyService(identity.database, WallClock())
    first = await repeats.claim(identity.root, path="/p", key="k", body=b"1")
    assert first.answer is None
    with pytest.raises(Conflict):
        await repeats.claim(identity.root, path="/p", key="k", body=b"1")
    await repeats.finish(first, status=201, headers="[]", body=b"{}")
    again = await repeats.claim(identity.root, path="/p", key="k", body=b"1")
    assert again.answer is not None
    assert again.answer.status == 201
    with pytest.raises(InvalidInput):
        await repeats.claim(identity.root, path="/p", key="k", body=b"2")
    other = await repeats.claim(identity.root, path="/q", key="k", body=b"1")
    await repeats.finish(other, status=503, headers="[]", body=b"")
    assert (await repeats.claim(identity.root, path="/q", key="k", body=b"1")).answer is None


async def test_traces_and_events_are_found(identity: Identity) -> None:
    traces = TraceService(identity.database, WallClock())
    ids = [TraceId(new_id()) for _ in range(3)]

    async def unit(tx: Transaction) -> None:
        for number, trace_id in enumerate(ids):
            for kind, verdict in (("submission.accepted", "accepted"), ("delivery.deferred", "deferred")):
                tx.record(
                    TraceEvent(
                        type=kind,
                        component="queue",
                        verdict=verdict,
                        reply="451 4.7.1 come back" if verdict == "deferred" else "",
                        tenant_id=identity.root.tenant_id,
                        trace_id=trace_id,
                        message_id_header=f"<{number}@example.org>",
                        subject="100 % off_er",
                        sender="anna@example.org",
                        recipient=f"bob{number}@example.net",
                    )
                )

    await identity.database.write("test.trace", unit)
    first = await traces.find(identity.root, TraceFilter(sender="anna@example.org"), PageRequest(limit=2))
    assert [row.trace_id for row in first.items] == [ids[2], ids[1]]
    rest = await traces.find(
        identity.root, TraceFilter(sender="anna@example.org"), PageRequest(limit=2, after=first.next_after)
    )
    assert [row.trace_id for row in rest.items] == [ids[0]]
    now = datetime.now(UTC)
    for wanted, count in (
        (TraceFilter(message_id_header="<1@example.org>"), 1),
        (TraceFilter(address="@example.net"), 3),
        (TraceFilter(subject="% off_"), 3),
        (TraceFilter(subject="%x"), 0),
        (TraceFilter(since=now - timedelta(minutes=5), until=now + timedelta(minutes=5)), 3),
        (TraceFilter(since=now + timedelta(minutes=5)), 0),
        (TraceFilter(until=now - timedelta(minutes=5)), 0),
    ):
        assert len((await traces.find(identity.root, wanted, PageRequest(limit=9))).items) == count, wanted
    life = await traces.get(identity.root, ids[0])
    assert [event.type for event in life.events] == ["submission.accepted", "delivery.deferred"]
    assert life.explanation.final is False
    page = await traces.events(identity.root, after=0, types=["delivery.*"], limit=2)
    assert [event.recipient for event in page.items] == ["bob0@example.net", "bob1@example.net"]
    oldest, newest = await identity.database.read("test.bounds", trace.bounds)
    assert (oldest, newest) == (1, 7)
    with pytest.raises(NotFound):
        await traces.get(identity.root, new_id())
    assert EventsExpired(5).code == "events_expired"


async def test_counts_and_submissions_of_an_empty_queue(identity: Identity) -> None:
    await identity.account("anna@example.org")
    since_us = to_us(datetime.now(UTC) - timedelta(hours=1))
    totals = await identity.database.read("test.totals", lambda tx: status.totals(tx, since_us=since_us))
    assert (totals.tenants, totals.domains, totals.accounts, totals.waiting.length) == (1, 1, 1, 0)
    await identity.database.read("test.alive", status.alive)
    tenant_id = identity.root.tenant_id

    async def unit(tx: Transaction) -> tuple[object, object]:
        return (
            await submissions.get(tx, tenant_id, None, QueueId("x")),
            (await submissions.page(tx, tenant_id, None, PageRequest(limit=5))).items,
        )

    assert await identity.database.read("test.submissions", unit) == (None, ())
