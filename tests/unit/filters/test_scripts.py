"""Scripts of accounts: what ManageSieve and the API ask of the store (RFC 5804 §2)."""

from __future__ import annotations

import pytest

from server.domain.errors import Conflict, InvalidInput, NotFound, OverQuota
from server.domain.ids import AccountId
from server.protocol.smtp.address import parse_address
from server.services.filters.scripts import SCRIPTS_MAX, ScriptInvalid, ScriptService
from tests.support.identity import Identity


@pytest.fixture
async def anna(identity: Identity) -> AccountId:
    return await account(identity, "anna@example.org")


async def account(identity: Identity, address: str) -> AccountId:
    entry = await identity.directory.lookup(parse_address(address))
    assert entry.account is not None
    return entry.account.id


@pytest.fixture
def scripts(identity: Identity) -> ScriptService:
    return ScriptService(database=identity.database, directory=identity.directory, worker=identity.worker)


async def version(identity: Identity, address: str = "anna@example.org") -> int:
    entry = await identity.directory.lookup(parse_address(address))
    assert entry.account is not None
    return entry.account.filter_version


async def test_rfc_5804_2_6_putscript_replaces_and_listscripts_names_the_active(
    scripts: ScriptService, anna: AccountId
) -> None:
    await scripts.put(anna, "b", b"keep;")
    await scripts.put(anna, "a", b"keep;")
    assert await scripts.put(anna, "a", b"# nothing") == ("the script does nothing: all mail is kept",)
    await scripts.activate(anna, "a")
    assert await scripts.list(anna) == [("a", True), ("b", False)]
    assert await scripts.get(anna, "a") == b"# nothing"
    await scripts.activate(anna, "b")
    assert await scripts.list(anna) == [("a", False), ("b", True)]
    await scripts.activate(anna, "")
    assert await scripts.list(anna) == [("a", False), ("b", False)]


async def test_rfc_5804_2_6_a_script_with_an_error_changes_nothing(scripts: ScriptService, anna: AccountId) -> None:
    await scripts.put(anna, "a", b"keep;")
    with pytest.raises(ScriptInvalid, match=r"line 2: ") as caught:
        await scripts.put(anna, "a", b"keep;\nnonsense;")
    assert caught.value.line == 2
    assert await scripts.get(anna, "a") == b"keep;"


async def test_rfc_5804_2_10_the_active_script_can_not_be_deleted(scripts: ScriptService, anna: AccountId) -> None:
    await scripts.put(anna, "a", b"keep;")
    await scripts.activate(anna, "a")
    with pytest.raises(Conflict) as caught:
        await scripts.delete(anna, "a")
    assert caught.value.code == "active"
    await scripts.activate(anna, "")
    await scripts.delete(anna, "a")
    for call in (scripts.get(anna, "a"), scripts.delete(anna, "a"), scripts.activate(anna, "a")):
        with pytest.raises(NotFound):
            await call


async def test_rfc_5804_2_11_1_renamescript_keeps_it_active(scripts: ScriptService, anna: AccountId) -> None:
    await scripts.put(anna, "a", b"keep;")
    await scripts.put(anna, "b", b"keep;")
    await scripts.activate(anna, "a")
    with pytest.raises(Conflict) as caught:
        await scripts.rename(anna, "a", "b")
    assert caught.value.code == "already_exists"
    await scripts.rename(anna, "a", "c")
    assert await scripts.list(anna) == [("b", False), ("c", True)]
    with pytest.raises(NotFound):
        await scripts.rename(anna, "a", "d")


async def test_rfc_5804_2_5_havespace(scripts: ScriptService, anna: AccountId) -> None:
    await scripts.have_space(anna, "a", 1000)
    with pytest.raises(OverQuota) as caught:
        await scripts.have_space(anna, "a", 300_000)
    assert caught.value.code == "max_size"
    for number in range(SCRIPTS_MAX):
        await scripts.put(anna, f"s{number}", b"keep;")
    with pytest.raises(OverQuota) as full:
        await scripts.put(anna, "one more", b"keep;")
    assert full.value.code == "max_scripts"
    await scripts.put(anna, "s0", b"discard;")


async def test_all_scripts_of_an_account_have_a_limit_together(scripts: ScriptService, anna: AccountId) -> None:
    big = b"#" + b"x" * 250_000
    for number in range(4):
        await scripts.put(anna, f"big{number}", big)
    with pytest.raises(OverQuota):
        await scripts.put(anna, "big5", big)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129, "a\u2028b", "a/b", "\x7f"])
async def test_rfc_5804_1_6_names(scripts: ScriptService, anna: AccountId, name: str) -> None:
    with pytest.raises(InvalidInput):
        await scripts.put(anna, name, b"keep;")


async def test_names_are_compared_in_nfc(scripts: ScriptService, anna: AccountId) -> None:
    await scripts.put(anna, "e\u0301te", b"keep;")
    assert await scripts.get(anna, "\u00e9te") == b"keep;"


async def test_accounts_do_not_see_each_other(scripts: ScriptService, anna: AccountId, identity: Identity) -> None:
    ben = await account(identity, "ben@example.org")
    await scripts.put(anna, "a", b"keep;")
    await scripts.activate(anna, "a")
    assert await scripts.list(ben) == []
    with pytest.raises(NotFound):
        await scripts.get(ben, "a")
    assert await version(identity, "ben@example.org") == 0
    with pytest.raises(NotFound):
        await scripts.put(AccountId("nobody"), "a", b"keep;")


async def test_the_version_is_zero_only_while_nothing_runs(
    scripts: ScriptService, anna: AccountId, identity: Identity
) -> None:
    await scripts.put(anna, "a", b"keep;")
    assert await version(identity) == 0
    await scripts.activate(anna, "a")
    first = await version(identity)
    await scripts.put(anna, "a", b"discard;")
    second = await version(identity)
    assert 0 < first < second
    await scripts.activate(anna, "")
    assert await version(identity) == 0


async def test_missing_includes_are_warned_of(scripts: ScriptService, anna: AccountId) -> None:
    text = b'require "include"; include "other"; include "a"; include :global "company";'
    assert await scripts.put(anna, "a", text) == ("the included script 'other' is not there yet",)
