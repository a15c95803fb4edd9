"""App passwords: one for each device, good for its protocols only (security.md §4, api.md §2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from server.domain.access import AppPassword, MailProtocol
from server.domain.errors import Conflict, Forbidden, InvalidInput, MaiRustError, NotFound, Unauthenticated
from server.domain.identity import Principal, Role
from server.domain.paging import PageRequest
from server.protocol.sasl.scram import ScramServer
from server.services.identity.app_passwords import (
    CHARACTERS,
    PASSWORDS_MAX,
    IssuedAppPassword,
    NewAppPassword,
    digest_of,
    make_text,
)
from tests.support.identity import PASSWORD, Identity, connection
from tests.support.scram import ScramClient

ANNA = "anna@example.org"


async def made(identity: Identity, name: str = "phone", *protocols: str, **more: object) -> IssuedAppPassword:
    words = [MailProtocol(word) for word in protocols or ("smtp", "imap")]
    return await identity.app_passwords.create(identity.root, ANNA, NewAppPassword(name=name, protocols=words, **more))  # type: ignore[arg-type]


async def log_in(identity: Identity, secret: str, listener: str = "imaps") -> Principal:
    return await identity.login.authenticate(
        login=ANNA, password=secret.encode(), connection=connection(listener=listener), mechanism="PLAIN"
    )


async def listed(identity: Identity) -> tuple[AppPassword, ...]:
    return (await identity.app_passwords.page(identity.root, ANNA, PageRequest(limit=50))).items


def test_a_password_has_140_bits_in_groups_and_is_found_however_it_is_typed() -> None:
    text = make_text()
    assert [len(group) for group in text.split("-")] == [4] * 7
    assert CHARACTERS * 5 >= 128
    digest = digest_of(text.encode())
    assert digest is not None
    assert digest_of(text.upper().replace("-", " ").encode()) == digest == digest_of(text.replace("-", "").encode())
    assert make_text() != text


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * 27, b"0" * 28, b"a" * 29, b"\xff" * 28, b"-" * 40])
def test_other_texts_are_no_app_password(secret: bytes) -> None:
    assert digest_of(secret) is None


async def test_it_opens_its_protocols_and_no_other(identity: Identity) -> None:
    await identity.account(ANNA)
    issued = await made(identity, "reader", "imap")
    principal = await log_in(identity, issued.text)
    assert (principal.address, principal.app_password_id) == (ANNA, issued.password.id)
    for listener in ("submission", "submissions", "pop3s", "sieve", "api"):
        with pytest.raises(Unauthenticated):
            await log_in(identity, issued.text, listener)
    assert (await log_in(identity, PASSWORD)).app_password_id is None


async def test_use_for_another_protocol_bans_nobody(identity: Identity) -> None:
    await identity.account(ANNA)
    issued = await made(identity, "reader", "imap")
    for _ in range(30):
        with pytest.raises(Unauthenticated):
            await log_in(identity, issued.text, "submissions")
    assert (await log_in(identity, issued.text)).address == ANNA


async def test_it_costs_no_slow_hash(identity: Identity) -> None:
    await identity.account(ANNA)
    issued = await made(identity)
    before = identity.worker.runs
    await log_in(identity, issued.text)
    assert identity.worker.runs == before


async def test_last_use_is_written_at_most_once_a_minute(identity: Identity) -> None:
    await identity.account(ANNA)
    issued = await made(identity)
    assert (await listed(identity))[0].last_used_at is None
    await log_in(identity, issued.text)
    first = (await listed(identity))[0]
    assert (first.last_used_ip, first.last_used_protocol) == ("192.0.2.7", "imaps")
    await log_in(identity, issued.text, "submissions")
    assert (await listed(identity))[0].last_used_protocol == "imaps"
    identity.clock.step(61)
    await log_in(identity, issued.text, "submissions")
    assert (await listed(identity))[0].last_used_protocol == "submissions"


async def test_an_ended_one_is_refused_and_bans_nobody(identity: Identity) -> None:
    await identity.account(ANNA)
    expiring = await made(identity, "guest", expires_at=identity.clock.now() + timedelta(hours=1))
    removed = await made(identity, "lost")
    await log_in(identity, expiring.text)
    await identity.app_passwords.revoke(identity.root, ANNA, removed.password.id)
    identity.clock.step(3601)
    for issued in (expiring, removed):
        for _ in range(15):
            with pytest.raises(Unauthenticated):
                await log_in(identity, issued.text)
    assert [one.name for one in await listed(identity)] == ["guest"]
    assert (await log_in(identity, PASSWORD)).address == ANNA
    with pytest.raises(NotFound):
        await identity.app_passwords.revoke(identity.root, ANNA, removed.password.id)


async def test_a_disabled_account_has_none(identity: Identity) -> None:
    await identity.account(ANNA)
    issued = await made(identity)
    await identity.accounts.disable(identity.root, ANNA)
    with pytest.raises(Unauthenticated):
        await log_in(identity, issued.text)


async def test_it_is_nobody_elses(identity: Identity) -> None:
    await identity.account(ANNA)
    await identity.account("ben@example.org")
    issued = await made(identity)
    with pytest.raises(Unauthenticated):
        await identity.login.authenticate(
            login="ben@example.org", password=issued.text.encode(), connection=connection(), mechanism="PLAIN"
        )


async def scram(identity: Identity, secret: str, listener: str = "imaps") -> tuple[Principal, bool]:
    """A whole exchange; the principal, and whether the client trusts the server's signature."""
    client, server = ScramClient(ANNA, secret), ScramServer(b"server-nonce-server-nonce")
    login = server.client_first(client.first())
    challenge = server.server_first(await identity.login.scram(login, app_passwords=True))
    signature = server.client_final(client.final(challenge))
    principal = await identity.login.scram_result(
        login=login, ok=signature is not None, connection=connection(listener=listener), matched=server.matched
    )
    assert signature is not None
    return principal, client.trusts(signature)


async def test_scram_takes_every_password_of_the_account(identity: Identity) -> None:
    """RFC 5802 §5: the client names a login only; its proof says which password it has."""
    await identity.account(ANNA)
    first, second = await made(identity, "phone"), await made(identity, "tablet", "imap")
    for secret, wanted in ((PASSWORD, None), (first.text, first.password.id), (second.text, second.password.id)):
        principal, trusted = await scram(identity, secret)
        assert (principal.app_password_id, trusted) == (wanted, True)
    with pytest.raises(Unauthenticated):
        await scram(identity, second.text, "submissions")
    with pytest.raises(Unauthenticated):
        await scram(identity, "another password")


async def test_scram_goes_on_after_the_accounts_password_changed(identity: Identity) -> None:
    await identity.account(ANNA, password=None)
    issued = await made(identity)
    assert (await scram(identity, issued.text))[0].app_password_id == issued.password.id
    for password in ("first good one 42", "second good one 42"):
        await identity.accounts.set_password(identity.root, ANNA, password)
        assert (await scram(identity, issued.text))[0].app_password_id == issued.password.id
        assert (await scram(identity, password))[0].app_password_id is None


async def test_an_edge_that_can_not_tell_which_password_is_given_the_accounts_only(identity: Identity) -> None:
    await identity.account(ANNA)
    await made(identity)
    assert (await identity.login.scram(ANNA)).others == ()


async def test_bearer_takes_an_app_password_with_or_without_a_login(identity: Identity) -> None:
    """RFC 7628 §3.1: the identity may be left to the token."""
    await identity.account(ANNA)
    issued = await made(identity)
    for login in (ANNA, ""):
        principal = await identity.login.bearer(token=issued.text, login=login, connection=connection())
        assert (principal.address, principal.app_password_id) == (ANNA, issued.password.id)
    for token, login in ((PASSWORD, ANNA), (make_text(), ""), (make_text(), ANNA), (issued.text, "ben@example.org")):
        with pytest.raises(Unauthenticated):
            await identity.login.bearer(token=token, login=login, connection=connection())


async def test_number_and_names_are_limited(identity: Identity) -> None:
    await identity.account(ANNA)
    for number in range(PASSWORDS_MAX):
        await made(identity, f"device {number}")
    with pytest.raises(Conflict):
        await made(identity, "one more")
    await identity.app_passwords.revoke(identity.root, ANNA, (await listed(identity))[0].id)
    with pytest.raises(Conflict):
        await made(identity, "Device 3")
    await made(identity, "one more")


@pytest.mark.parametrize(
    "changed",
    [
        lambda new: replace_new(new, name=""),
        lambda new: replace_new(new, name="x" * 65),
        lambda new: replace_new(new, protocols=[]),
        lambda new: replace_new(new, expires_at=new.expires_at - timedelta(days=400)),
    ],
)
async def test_bad_input_is_refused(identity: Identity, changed: Callable[[NewAppPassword], NewAppPassword]) -> None:
    await identity.account(ANNA)
    good = NewAppPassword(name="x", expires_at=identity.clock.now() + timedelta(days=1))
    with pytest.raises(InvalidInput):
        await identity.app_passwords.create(identity.root, ANNA, changed(good))


def replace_new(new: NewAppPassword, **changes: object) -> NewAppPassword:
    values = {"name": new.name, "protocols": new.protocols, "expires_at": new.expires_at} | changes
    return NewAppPassword(**values)  # type: ignore[arg-type]


async def test_a_key_gives_no_more_than_it_has(identity: Identity) -> None:
    account = await identity.account(ANNA)
    own = replace(identity.root, account_id=account.id, scopes=frozenset({"mail:read", "mail:write"}))
    reader = NewAppPassword(name="reader", protocols=[MailProtocol.IMAP])
    issued = await identity.app_passwords.create(own, None, reader)
    with pytest.raises(Forbidden):
        await identity.app_passwords.create(own, None, NewAppPassword(name="both"))
    with pytest.raises(Forbidden):
        await identity.app_passwords.create(own, ANNA, reader)
    await identity.app_passwords.revoke(own, None, issued.password.id)
    with pytest.raises(NotFound):
        await identity.app_passwords.create(identity.root, None, reader)


async def test_helpdesk_can_not_make_one_for_an_owner(identity: Identity) -> None:
    await identity.account("boss@example.org", role=Role.OWNER)
    helpdesk = replace(identity.root, system=False, scopes=frozenset({"accounts:read", "accounts:reset"}))
    await identity.account(ANNA)
    await identity.app_passwords.create(helpdesk, ANNA, NewAppPassword(name="x"))
    with pytest.raises(Forbidden):
        await identity.app_passwords.create(helpdesk, "boss@example.org", NewAppPassword(name="x"))


async def test_many_at_once_are_all_right(identity: Identity) -> None:
    await identity.account(ANNA)
    issued = await made(identity)

    async def one(number: int) -> MaiRustError | Principal:
        try:
            return await log_in(identity, issued.text if number % 2 else PASSWORD)
        except MaiRustError as error:
            return error

    assert all(isinstance(done, Principal) for done in await asyncio.gather(*(one(n) for n in range(20))))
