"""Live connections: seen while they last, ended when their right ends (security.md §4: within 5 s)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from server.domain.access import MailProtocol
from server.domain.envelope import ConnectionInfo, TlsInfo
from server.domain.errors import Forbidden, NotFound
from server.domain.identity import Principal
from server.domain.paging import PageRequest
from server.services.identity.app_passwords import NewAppPassword
from server.services.identity.connections import LiveConnection
from server.services.identity.watch import LOOK_ANYWAY_S, LOOK_S, AccessWatch
from tests.support.identity import PASSWORD, Identity, connection, make_identity
from tests.support.stores import open_sqlite

ANNA, BEN = "anna@example.org", "ben@example.org"
ALL = PageRequest(limit=50)


class Edge:
    """Opens connections and sees which are closed."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.closed: list[str] = []
        self._made = 0

    async def log_in(self, login: str, secret: str = PASSWORD, listener: str = "imaps") -> tuple[Principal, str]:
        self._made += 1
        name = f"c{self._made}"
        info = self.info(name, listener)
        principal = await self.identity.login.authenticate(
            login=login, password=secret.encode(), connection=info, mechanism="PLAIN"
        )
        self.identity.connections.entered(principal, info, lambda: self.closed.append(name))
        return principal, name

    def info(self, name: str, listener: str = "imaps") -> ConnectionInfo:
        tls = TlsInfo(version="TLSv1.3", cipher="x")
        return replace(connection(listener=listener), connection_id=name, tls=tls)


def watch(identity: Identity) -> AccessWatch:
    return AccessWatch(identity.database, identity.clock, bans=identity.bans, connections=identity.connections)


def shown(identity: Identity, **wanted: object) -> list[str]:
    return [one.id for one in identity.connections.page(identity.root, ALL, **wanted).items]  # type: ignore[arg-type]


async def test_a_connection_is_listed_while_it_lasts(identity: Identity) -> None:
    account = await identity.account(ANNA)
    await identity.account(BEN)
    edge = Edge(identity)
    await edge.log_in(ANNA)
    await edge.log_in(BEN, listener="submission")
    live = identity.connections.page(identity.root, ALL).items[1]
    assert isinstance(live, LiveConnection)
    assert (live.address, live.protocol, live.tls, live.remote_ip) == (ANNA, MailProtocol.IMAP, "TLSv1.3", "192.0.2.7")
    assert shown(identity, protocol=MailProtocol.SMTP) == ["c2"]
    assert shown(identity, account=account.id) == shown(identity, account="Anna@example.org") == ["c1"]
    first = identity.connections.page(identity.root, PageRequest(limit=1))
    assert first.next_after == "c2"
    assert [one.id for one in identity.connections.page(identity.root, PageRequest(limit=1, after="c2")).items] == [
        "c1"
    ]
    identity.connections.left("c1")
    identity.connections.left("c1")
    assert shown(identity) == ["c2"]
    assert edge.closed == []


async def test_nothing_changes_for_those_whose_right_stands(identity: Identity) -> None:
    await identity.account(ANNA)
    await identity.account(BEN)
    edge = Edge(identity)
    await edge.log_in(ANNA)
    looking = watch(identity)
    await looking.look()
    await identity.accounts.set_password(identity.root, BEN, "another good one 7")
    await looking.look()
    assert edge.closed == []


@pytest.mark.parametrize("change", ["password", "disable", "delete", "suspend"])
async def test_connections_end_with_their_right(identity: Identity, change: str) -> None:
    await identity.account(ANNA)
    edge = Edge(identity)
    await edge.log_in(ANNA)
    await edge.log_in(ANNA, listener="submissions")
    looking = watch(identity)
    await looking.look()
    match change:
        case "password":
            await identity.accounts.set_password(identity.root, ANNA, "another good one 7")
        case "disable":
            await identity.accounts.disable(identity.root, ANNA)
        case "delete":
            await identity.accounts.delete(identity.root, ANNA)
        case _:
            await identity.tenants.suspend(identity.root, "default")
    await looking.look()
    assert sorted(edge.closed) == ["c1", "c2"]
    assert identity.connections.count == 0
    assert LOOK_S < 5


async def test_removing_an_app_password_ends_what_it_opened_and_nothing_else(identity: Identity) -> None:
    await identity.account(ANNA)
    phone = await identity.app_passwords.create(identity.root, ANNA, NewAppPassword(name="phone"))
    tablet = await identity.app_passwords.create(identity.root, ANNA, NewAppPassword(name="tablet"))
    edge = Edge(identity)
    for secret in (PASSWORD, phone.text, tablet.text):
        await edge.log_in(ANNA, secret)
    looking = watch(identity)
    await looking.look()
    await identity.app_passwords.revoke(identity.root, ANNA, phone.password.id)
    await looking.look()
    assert edge.closed == ["c2"]


async def test_an_app_password_that_runs_out_ends_its_connections(identity: Identity) -> None:
    await identity.account(ANNA)
    until = identity.clock.now() + timedelta(minutes=5)
    guest = await identity.app_passwords.create(identity.root, ANNA, NewAppPassword(name="guest", expires_at=until))
    edge = Edge(identity)
    await edge.log_in(ANNA, guest.text)
    looking = watch(identity)
    await looking.look()
    identity.clock.step(300)
    await looking.look()
    assert edge.closed == ["c1"]
    assert LOOK_ANYWAY_S < 300


async def test_a_login_that_was_checked_just_before_the_change_ends_too(identity: Identity) -> None:
    """The password changes and is seen to have changed before the session registers."""
    await identity.account(ANNA)
    edge = Edge(identity)
    looking = watch(identity)
    await looking.look()
    info = edge.info("late")
    principal = await identity.login.authenticate(
        login=ANNA, password=PASSWORD.encode(), connection=info, mechanism="PLAIN"
    )
    await identity.accounts.set_password(identity.root, ANNA, "another good one 7")
    await looking.look()
    identity.connections.entered(principal, info, lambda: edge.closed.append("late"))
    await looking.look()
    assert edge.closed == ["late"]


async def test_another_process_sees_the_change(state_dir: Path) -> None:
    async with open_sqlite(state_dir) as database:
        here, there = await make_identity(database), await make_identity(database)
        await here.account(ANNA)
        edge = Edge(there)
        await edge.log_in(ANNA)
        looking = watch(there)
        await looking.look()
        await here.accounts.set_password(here.root, ANNA, "another good one 7")
        await looking.look()
        assert edge.closed == ["c1"]


async def test_administrators_end_connections(identity: Identity) -> None:
    await identity.account(ANNA)
    await identity.account(BEN)
    edge = Edge(identity)
    for login in (ANNA, ANNA, BEN):
        await edge.log_in(login)
    await identity.connections.drop(identity.root, "c1")
    assert edge.closed == ["c1"]
    with pytest.raises(NotFound):
        await identity.connections.drop(identity.root, "c1")
    assert await identity.connections.end_all(identity.root, ANNA) == 1
    assert edge.closed == ["c1", "c2"]
    with pytest.raises(NotFound):
        await identity.connections.end_all(identity.root, "nobody@example.org")
    tenant = replace(identity.root, system=False)
    with pytest.raises(Forbidden):
        await identity.connections.drop(tenant, "c3")
    with pytest.raises(Forbidden):
        identity.connections.page(tenant, ALL)
    assert await identity.connections.end_all(tenant, BEN) == 1
