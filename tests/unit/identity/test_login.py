"""Logins: one answer for every cause, one limiter for every protocol (security.md §4)."""

from __future__ import annotations

import asyncio
import time

import pytest
from argon2 import PasswordHasher

from server.config.schema import Login
from server.domain.errors import MaiRustError, RateLimited, Unauthenticated, Unavailable
from server.services.identity.passwords import HASH_QUEUE_MAX, Passwords
from server.services.identity.scram import ITERATIONS, derive
from server.store.repositories import credentials
from server.store.repositories.credentials import StoredCredential
from server.store.transaction import Transaction
from tests.support.identity import PASSWORD, Identity, connection


async def attempt(
    identity: Identity, login: str, password: str = PASSWORD, ip: str = "192.0.2.7"
) -> MaiRustError | None:
    try:
        await identity.login.authenticate(
            login=login, password=password.encode(), connection=connection(ip), mechanism="PLAIN"
        )
    except MaiRustError as error:
        return error
    return None


async def patient(identity: Identity, login: str, password: str, ip: str) -> MaiRustError | None:
    """An attempt that may have to wait: the clock moves on whenever it sleeps."""
    task = asyncio.create_task(attempt(identity, login, password, ip))
    while not task.done():
        await asyncio.sleep(0.001)
        if identity.clock.sleepers:
            await identity.clock.advance(9)
    return await task


async def test_right_password_gives_the_principal(identity: Identity) -> None:
    account = await identity.account("anna@example.org")
    principal = await identity.login.authenticate(
        login="Anna@Example.ORG", password=PASSWORD.encode(), connection=connection(), mechanism="PLAIN"
    )
    assert (principal.account_id, principal.address) == (account.id, "anna@example.org")


async def test_every_cause_of_failure_has_one_text(identity: Identity) -> None:
    await identity.account("anna@example.org")
    await identity.account("nopass@example.org", password=None)
    await identity.account("off@example.org")
    await identity.accounts.disable(identity.root, "off@example.org")
    causes = [
        await attempt(identity, "anna@example.org", "wrong wrong wrong"),
        await attempt(identity, "nobody@example.org"),
        await attempt(identity, "not an address"),
        await attempt(identity, "nopass@example.org"),
        await attempt(identity, "off@example.org"),
        await attempt(identity, "anna@example.org", "x" * 1025),
        await attempt(identity, "anna@example.org", ""),
    ]
    assert {(type(error), error.public) for error in causes if error} == {
        (Unauthenticated, "the login or the password is wrong")
    }
    assert None not in causes


async def test_unknown_login_costs_one_hash_like_a_known_one(identity: Identity) -> None:
    await identity.account("anna@example.org")
    before = identity.worker.runs
    await attempt(identity, "anna@example.org", "wrong wrong wrong")
    known = identity.worker.runs - before
    await attempt(identity, "nobody@example.org", "wrong wrong wrong")
    assert identity.worker.runs - before - known == known == 1


async def test_success_is_remembered_for_a_minute_and_not_past_a_password_change(identity: Identity) -> None:
    await identity.account("anna@example.org")
    assert await attempt(identity, "anna@example.org") is None
    hashed = identity.worker.runs
    assert await attempt(identity, "anna@example.org") is None
    assert identity.worker.runs == hashed
    identity.clock.step(61)
    assert await attempt(identity, "anna@example.org") is None
    assert identity.worker.runs == hashed + 1
    await identity.accounts.set_password(identity.root, "anna@example.org", "another good one 7")
    assert isinstance(await attempt(identity, "anna@example.org"), Unauthenticated)
    assert await attempt(identity, "anna@example.org", "another good one 7") is None


async def test_password_in_either_unicode_form_logs_in(identity: Identity) -> None:
    await identity.account("anna@example.org", password="pa\u0308ssword orbit")
    assert await attempt(identity, "anna@example.org", "p\u00e4ssword orbit") is None


async def test_eleventh_failure_in_a_minute_is_refused_on_every_protocol(identity: Identity) -> None:
    await identity.account("anna@example.org")
    for number in range(10):
        assert isinstance(await attempt(identity, f"user{number}@example.org", f"wrong {number}"), Unauthenticated)
    for listener in ("imaps", "submission", "api"):
        with pytest.raises(RateLimited):
            await identity.login.authenticate(
                login="anna@example.org",
                password=PASSWORD.encode(),
                connection=connection(listener=listener),
                mechanism="PLAIN",
            )
    assert await attempt(identity, "anna@example.org", ip="198.51.100.1") is None


async def test_ban_ends_and_doubles(identity: Identity) -> None:
    for number in range(10):
        await attempt(identity, f"a{number}@example.org")
    first = await attempt(identity, "x@example.org")
    assert isinstance(first, RateLimited)
    assert 890 <= first.retry_after_s <= 900
    identity.clock.step(901)
    for number in range(10):
        await attempt(identity, f"b{number}@example.org")
    second = await attempt(identity, "x@example.org")
    assert isinstance(second, RateLimited)
    assert 1790 <= second.retry_after_s <= 1800


async def test_neighbours_share_a_wider_allowance(identity: Identity) -> None:
    """Three times the allowance for a /26: turning through its addresses ends at 30 failures."""
    for number in range(30):
        await attempt(identity, f"u{number}@example.org", ip=f"192.0.2.{number % 20 + 1}")
    assert isinstance(await attempt(identity, "u@example.org", ip="192.0.2.60"), RateLimited)
    assert isinstance(await attempt(identity, "u@example.org", ip="192.0.2.70"), Unauthenticated)


async def test_ipv6_counts_by_64(identity: Identity) -> None:
    for number in range(10):
        await attempt(identity, f"u{number}@example.org", ip=f"2001:db8::{number + 1:x}")
    assert isinstance(await attempt(identity, "u@example.org", ip="2001:db8::ffff"), RateLimited)


async def test_same_wrong_password_counts_once_an_hour(identity: Identity) -> None:
    await identity.account("anna@example.org")
    for _ in range(12):
        error = await patient(identity, "anna@example.org", "old old old old", "192.0.2.7")
        assert isinstance(error, Unauthenticated)


async def test_trusted_network_is_never_banned(identity: Identity) -> None:
    await identity.account("anna@example.org")
    for number in range(60):
        await attempt(identity, f"user{number}@example.org", ip="127.0.0.1")
    assert await attempt(identity, "anna@example.org", ip="127.0.0.1") is None


async def test_guessing_one_account_slows_strangers_and_never_locks_its_owner_out(identity: Identity) -> None:
    await identity.account("anna@example.org")
    assert await attempt(identity, "anna@example.org", ip="203.0.113.9") is None
    for number in range(4):
        error = await patient(identity, "anna@example.org", f"guess {number} guess", f"10.{number}.0.1")
        assert isinstance(error, Unauthenticated)
    stranger = asyncio.create_task(attempt(identity, "anna@example.org", ip="10.9.0.1"))
    for _ in range(200):
        await asyncio.sleep(0.001)
        if identity.clock.sleepers:
            break
    assert not stranger.done()
    assert await attempt(identity, "anna@example.org", ip="203.0.113.9") is None
    await identity.clock.advance(9)
    assert await stranger is None


async def test_suspended_tenant_can_not_log_in(identity: Identity) -> None:
    await identity.account("anna@example.org")
    assert await attempt(identity, "anna@example.org") is None
    await identity.tenants.suspend(identity.root, "default")
    assert isinstance(await attempt(identity, "anna@example.org"), Unauthenticated)


async def test_old_parameters_are_rehashed_at_login(identity: Identity) -> None:
    account = await identity.account("anna@example.org")
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD.encode())

    async def weaken(tx: Transaction) -> None:
        stored = await credentials.get(tx, account.id)
        assert stored is not None
        await credentials.rehash(tx, account.id, old=stored.argon2, new=old)

    await identity.database.write("test.weaken", weaken)
    assert await attempt(identity, "anna@example.org") is None
    stored = await identity.database.read("test.stored", lambda tx: credentials.get(tx, account.id))
    assert stored is not None
    assert stored.argon2.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_scram_keys_are_those_of_the_password(identity: Identity) -> None:
    """RFC 5802 §3."""
    await identity.account("anna@example.org")
    keys = await identity.login.scram("anna@example.org")
    assert keys == derive(PASSWORD.encode(), salt=keys.salt, iterations=ITERATIONS)
    principal = await identity.login.scram_result(login="anna@example.org", ok=True, connection=connection())
    assert principal.address == "anna@example.org"


async def test_scram_for_an_unknown_login_is_stable_and_never_right(identity: Identity) -> None:
    first = await identity.login.scram("nobody@example.org")
    assert first == await identity.login.scram("Nobody@example.org")
    assert first.salt != (await identity.login.scram("other@example.org")).salt
    assert first.iterations == ITERATIONS
    with pytest.raises(Unauthenticated):
        await identity.login.scram_result(login="nobody@example.org", ok=True, connection=connection())


async def test_hash_queue_is_bounded(identity: Identity) -> None:
    """T34: beyond the queue a login is a temporary failure, at once."""
    release = asyncio.Event()

    class Stuck:
        async def run(self, work: object) -> bool:
            await release.wait()
            return False

    passwords = Passwords(Stuck(), Login)  # type: ignore[arg-type]
    waiting = [asyncio.create_task(passwords.verify(None, b"x")) for _ in range(HASH_QUEUE_MAX)]
    await asyncio.sleep(0)
    started = time.perf_counter()
    with pytest.raises(Unavailable):
        await passwords.verify(None, b"x")
    assert time.perf_counter() - started < 1
    release.set()
    assert not any(await asyncio.gather(*waiting))


def test_stored_credential_shows_no_password() -> None:
    names = set(StoredCredential.__dataclass_fields__)
    assert names == {"argon2", "scram_salt", "scram_iterations", "scram_stored_key", "scram_server_key"}
