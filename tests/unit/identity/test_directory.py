"""Tenants, domains, accounts, aliases and who owns which address."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from server.domain.address import Address
from server.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from server.domain.identity import Role, Status
from server.domain.ids import TenantId
from server.domain.paging import PageRequest
from server.services.identity.accounts import AccountChange, NewAccount
from server.services.identity.aliases import AliasChange, NewAlias
from server.services.identity.domain_aliases import NewDomainAlias
from server.services.identity.domains import DomainChange, NewDomain
from server.services.identity.permissions import ROLES
from server.services.identity.tenants import NewTenant
from server.store.repositories import accounts, audit, domains
from server.store.repositories.domains import dkim_context
from server.store.schema import audit as audit_table
from server.store.transaction import Transaction
from tests.support.identity import Identity, fake_key, scope_of


async def test_account_with_several_addresses_is_found_by_each(identity: Identity) -> None:
    account = await identity.account("anna@example.org", addresses=["Anna.B@example.org", "anna@example.org"])
    assert account.addresses == ("anna@example.org", "anna.b@example.org")
    entry = await identity.directory.lookup(Address("ANNA.B", "example.org"))
    assert entry.account is not None
    assert entry.account.id == account.id
    assert entry.domain is not None
    assert entry.domain.is_open


async def test_address_belongs_to_one_object_and_the_conflict_names_the_kind(identity: Identity) -> None:
    await identity.account("anna@example.org")
    with pytest.raises(Conflict, match="belongs to an account"):
        await identity.aliases.create(identity.root, NewAlias(address="anna@example.org", targets=["x@example.net"]))
    await identity.aliases.create(identity.root, NewAlias(address="info@example.org", targets=["x@example.net"]))
    with pytest.raises(Conflict, match="belongs to an alias"):
        await identity.account("info@example.org")


async def test_directory_sees_a_change_of_this_process_at_once(identity: Identity) -> None:
    address = Address("ben", "example.org")
    await identity.account("anna@example.org")
    assert (await identity.directory.lookup(address)).account is None
    await identity.account("ben@example.org")
    assert (await identity.directory.lookup(address)).account is not None
    await identity.accounts.disable(identity.root, "ben@example.org")
    entry = await identity.directory.lookup(address)
    assert entry.account is not None
    assert entry.account.status is Status.DISABLED


async def test_directory_forgets_after_two_seconds(identity: Identity) -> None:
    """A change by another process is seen soon."""
    address = Address("anna", "example.org")
    account = await identity.account("anna@example.org")
    assert (await identity.directory.lookup(address)).account is not None

    async def elsewhere(tx: Transaction) -> None:
        await accounts.change(tx, account.tenant_id, account.id, {"status": "disabled"})

    await identity.database.write("test.elsewhere", elsewhere)
    entry = await identity.directory.lookup(address)
    assert entry.account is not None
    assert entry.account.status is Status.ACTIVE
    identity.clock.step(2.1)
    entry = await identity.directory.lookup(address)
    assert entry.account is not None
    assert entry.account.status is Status.DISABLED


async def test_domain_alias_maps_addresses(identity: Identity) -> None:
    account = await identity.account("anna@example.org")
    await identity.domain_aliases.create(identity.root, NewDomainAlias(name="example.net", domain_id="example.org"))
    entry = await identity.directory.lookup(Address("anna", "example.net"))
    assert entry.address == Address("anna", "example.org")
    assert entry.account is not None
    assert entry.account.id == account.id
    with pytest.raises(Conflict, match="domain alias"):
        await identity.domains.create(identity.root, NewDomain(name="example.net"))


async def test_foreign_domain_is_not_ours(identity: Identity) -> None:
    assert (await identity.directory.lookup(Address("a", "elsewhere.example"))).domain is None
    assert await identity.directory.domain("elsewhere.example") is None


async def test_deleted_account_keeps_its_address_and_comes_back(identity: Identity) -> None:
    await identity.account("anna@example.org")
    await identity.accounts.delete(identity.root, "anna@example.org")
    assert (await identity.directory.lookup(Address("anna", "example.org"))).account is None
    with pytest.raises(Conflict):
        await identity.account("anna@example.org")
    restored = await identity.accounts.restore(identity.root, "anna@example.org")
    assert restored.status is Status.ACTIVE


async def test_new_domain_gets_sealed_keys_and_records_to_publish(identity: Identity) -> None:
    view = await identity.domains.create(identity.root, NewDomain(name="Bücher.example"))
    assert view.domain.name == "xn--bcher-kva.example"
    assert [key.algorithm for key in view.keys] == ["rsa-2048", "ed25519"]
    for key in view.keys:
        private = fake_key(key.algorithm).private_key
        assert private not in key.sealed_key
        assert identity.box.open(key.sealed_key, context=dkim_context(key.id)) == private
    records = await identity.domains.dns(identity.root, view.domain.id, live=False)
    assert [(r.type, r.purpose) for r in records] == [
        ("MX", "receiving"),
        ("TXT", "SPF"),
        ("TXT", "DKIM"),
        ("TXT", "DKIM"),
        ("TXT", "DMARC"),
        ("A", "host"),
    ]
    signing = await identity.database.read("test.keys", lambda tx: domains.signing_keys(tx, view.domain.name))
    assert len(signing) == 2


async def test_domain_in_use_is_not_deleted(identity: Identity) -> None:
    await identity.account("anna@example.org")
    with pytest.raises(Conflict) as caught:
        await identity.domains.delete(identity.root, "example.org")
    assert caught.value.code == "in_use"
    await identity.accounts.delete(identity.root, "anna@example.org")
    assert (await identity.domains.delete(identity.root, "example.org")).domain.status is Status.DELETED
    assert await identity.directory.domain("example.org") is None
    assert (await identity.domains.restore(identity.root, "example.org")).domain.status is Status.ACTIVE


async def test_catch_all_leads_to_an_own_address_only(identity: Identity) -> None:
    await identity.account("anna@example.org")
    with pytest.raises(InvalidInput):
        await identity.domains.change(identity.root, "example.org", DomainChange(catch_all="x@foreign.example"))
    changed = await identity.domains.change(identity.root, "example.org", DomainChange(catch_all="Anna@example.org"))
    assert changed.domain.catch_all == "anna@example.org"
    cleared = await identity.domains.change(identity.root, "example.org", DomainChange(catch_all=None))
    assert cleared.domain.catch_all is None


@pytest.mark.parametrize("targets", [["a@example.org"], ["A@example.org", "x@example.net"], ["b@example.org"]])
async def test_alias_loop_is_refused(identity: Identity, targets: list[str]) -> None:
    await identity.account("anna@example.org")
    await identity.aliases.create(identity.root, NewAlias(address="b@example.org", targets=["c@example.org"]))
    await identity.aliases.create(identity.root, NewAlias(address="c@example.org", targets=["a@example.org"]))
    with pytest.raises(InvalidInput, match="itself"):
        await identity.aliases.create(identity.root, NewAlias(address="a@example.org", targets=targets))


async def test_alias_change_is_checked_for_loops_too(identity: Identity) -> None:
    await identity.account("anna@example.org")
    await identity.aliases.create(identity.root, NewAlias(address="a@example.org", targets=["anna@example.org"]))
    await identity.aliases.create(identity.root, NewAlias(address="b@example.org", targets=["a@example.org"]))
    with pytest.raises(InvalidInput):
        await identity.aliases.change(identity.root, "a@example.org", AliasChange(targets=["b@example.org"]))
    changed = await identity.aliases.change(identity.root, "a@example.org", AliasChange(enabled=False))
    assert (changed.enabled, changed.targets) == (False, ("anna@example.org",))


@pytest.mark.parametrize("count", [0, 101])
async def test_alias_has_1_to_100_targets(identity: Identity, count: int) -> None:
    await identity.account("anna@example.org")
    targets = [f"t{number}@example.net" for number in range(count)]
    with pytest.raises(InvalidInput):
        await identity.aliases.create(identity.root, NewAlias(address="a@example.org", targets=targets))


async def test_revision_decides_between_two_writers(identity: Identity) -> None:
    account = await identity.account("anna@example.org")
    change = AccountChange(display_name="Anna")
    changed = await identity.accounts.change(identity.root, account.id, change, revision=account.revision)
    assert changed.revision == account.revision + 1
    with pytest.raises(Conflict) as caught:
        await identity.accounts.change(identity.root, account.id, change, revision=account.revision)
    assert caught.value.code == "revision_mismatch"


async def test_other_tenant_sees_nothing(identity: Identity) -> None:
    account = await identity.account("anna@example.org")
    other = await identity.tenants.create(identity.root, NewTenant(name="other"))
    stranger = scope_of(other.id, system=False)
    for ref in (account.id, "anna@example.org"):
        with pytest.raises(NotFound):
            await identity.accounts.get(stranger, ref)
    with pytest.raises(NotFound):
        await identity.domains.get(stranger, "example.org")
    with pytest.raises(InvalidInput):
        await identity.accounts.create(stranger, NewAccount(address="x@example.org"))
    page = await identity.accounts.page(stranger, PageRequest(limit=10))
    assert page.items == ()


async def test_helpdesk_touches_users_only(identity: Identity) -> None:
    await identity.account("user@example.org")
    await identity.account("boss@example.org", role=Role.OWNER)
    helpdesk = scope_of(identity.root.tenant_id, system=False, scopes=ROLES[Role.HELPDESK])
    await identity.accounts.set_password(helpdesk, "user@example.org", "another good one 7")
    with pytest.raises(Forbidden):
        await identity.accounts.set_password(helpdesk, "boss@example.org", "another good one 7")
    with pytest.raises(Forbidden):
        await identity.accounts.disable(helpdesk, "user@example.org")


async def test_domain_admin_can_not_make_an_owner(identity: Identity) -> None:
    await identity.account("user@example.org")
    admin = scope_of(identity.root.tenant_id, system=False, scopes=ROLES[Role.DOMAIN_ADMIN])
    with pytest.raises(Forbidden):
        await identity.accounts.create(admin, NewAccount(address="x@example.org", role=Role.OWNER))
    with pytest.raises(Forbidden):
        await identity.accounts.change(admin, "user@example.org", AccountChange(role=Role.OWNER))


async def test_pages_go_newest_first_without_gap(identity: Identity) -> None:
    made = [await identity.account(f"u{number}@example.org", password=None) for number in range(5)]
    first = await identity.accounts.page(identity.root, PageRequest(limit=2))
    second = await identity.accounts.page(identity.root, PageRequest(limit=2, after=first.next_after))
    third = await identity.accounts.page(identity.root, PageRequest(limit=2, after=second.next_after))
    got = [account.id for page in (first, second, third) for account in page.items]
    assert got == [account.id for account in reversed(made)]
    assert third.next_after is None


async def test_search_takes_wildcards_as_text(identity: Identity) -> None:
    await identity.account("anna@example.org", password=None)
    assert (await identity.accounts.page(identity.root, PageRequest(limit=9), containing="%")).items == ()
    assert len((await identity.accounts.page(identity.root, PageRequest(limit=9), containing="ANNA")).items) == 1


async def test_every_change_is_audited_in_one_chain(identity: Identity) -> None:
    account = await identity.account("anna@example.org")
    await identity.accounts.set_password(identity.root, account.id, "another good one 7")
    records = await identity.database.read("test.audit", lambda tx: audit.newest(tx, None, limit=10))
    assert [record.entry.type for record in records] == [
        "account.password_changed",
        "account.created",
        "domain.created",
        "tenant.created",
    ]
    assert "good one" not in str(records)
    checked, first_bad = await identity.database.read("test.verify", lambda tx: audit.verify(tx, after=0, count=100))
    assert (checked, first_bad) == (4, None)


async def test_audit_shows_a_changed_record(identity: Identity) -> None:
    await identity.account("anna@example.org")

    async def forge(tx: Transaction) -> None:
        await tx.execute(update(audit_table).where(audit_table.c.seq == 2).values(actor_name="nobody"))

    await identity.database.write("test.forge", forge)
    _, first_bad = await identity.database.read("test.verify", lambda tx: audit.verify(tx, after=0, count=100))
    assert first_bad == 2


async def test_default_tenant_is_made_once_and_stays(identity: Identity) -> None:
    again = await identity.tenants.ensure_default()
    assert again.id == TenantId(identity.root.tenant_id)
    with pytest.raises(Conflict):
        await identity.tenants.delete(identity.root, "default")
