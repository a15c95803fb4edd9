"""Grants by the API: who else may use an account's mailboxes."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from server.services.identity.accounts import NewAccount
from server.services.identity.domains import NewDomain
from server.services.identity.tenants import NewTenant
from server.store.schema import audit
from tests.support.api import Api

GRANTS = "/api/v1/accounts/anna@example.com/grants"
SEND_GRANTS = "/api/v1/accounts/anna@example.com/send-grants"


async def test_a_grant_is_set_listed_and_removed(api: Api) -> None:
    await api.identity.account("anna@example.com")
    await api.identity.account("ben@example.com")
    body = {"mailbox": "inbox", "grantee": "Ben@example.com", "rights": "srld"}
    made = await api.unix("PUT", GRANTS, body)
    assert made.status == 200
    grant = {"mailbox": "INBOX", "grantee": "ben@example.com", "rights": "lrsxte"}
    assert made.json == grant
    await api.unix("PUT", GRANTS, {"mailbox": "Sent", "grantee": "anyone", "rights": "l"})
    assert (await api.unix("GET", GRANTS)).json["items"] == [
        grant,
        {"mailbox": "Sent", "grantee": "anyone", "rights": "l"},
    ]
    assert (await api.unix("DELETE", GRANTS + "?mailbox=INBOX&grantee=ben@example.com")).status == 204
    assert (await api.unix("DELETE", GRANTS + "?mailbox=INBOX&grantee=ben@example.com")).status == 404
    assert len((await api.unix("GET", GRANTS)).json["items"]) == 1


async def test_grants_that_can_not_be(api: Api) -> None:
    await api.identity.account("anna@example.com")
    for body, status in (
        ({"mailbox": "INBOX", "grantee": "anna@example.com", "rights": "l"}, 422),
        ({"mailbox": "INBOX", "grantee": "nobody@example.com", "rights": "l"}, 404),
        ({"mailbox": "Nothing", "grantee": "anyone", "rights": "l"}, 404),
        ({"mailbox": "INBOX", "grantee": "anyone", "rights": "lz"}, 422),
        ({"mailbox": "INBOX", "grantee": "anyone", "rights": ""}, 422),
    ):
        answer = await api.unix("PUT", GRANTS, body)
        assert answer.status == status, (body, answer.json)
    assert (await api.unix("GET", GRANTS)).json["items"] == []


async def test_a_right_to_send_is_added_listed_audited_and_removed(api: Api) -> None:
    await api.identity.account("anna@example.com")
    await api.identity.account("ben@example.com")
    for _ in range(2):
        made = await api.unix("PUT", SEND_GRANTS, {"grantee": "Ben@example.com"})
        assert (made.status, made.json) == (200, {"grantee": "ben@example.com"})
    assert (await api.unix("GET", SEND_GRANTS)).json["items"] == [{"grantee": "ben@example.com"}]
    assert (await api.unix("DELETE", SEND_GRANTS + "?grantee=ben@example.com")).status == 204
    assert (await api.unix("DELETE", SEND_GRANTS + "?grantee=ben@example.com")).status == 404
    assert (await api.unix("GET", SEND_GRANTS)).json["items"] == []
    rows = await api.identity.database.read("test", lambda tx: tx.fetch(select(audit).order_by(audit.c.seq)))
    assert [row["type"] for row in rows if str(row["type"]).startswith("send_grant")] == [
        "send_grant.added",
        "send_grant.removed",
    ]


async def test_rights_to_send_that_can_not_be(api: Api) -> None:
    identity = api.identity
    await identity.account("anna@example.com")
    other = await identity.tenants.create(identity.root, NewTenant(name="other"))
    scope = replace(identity.root, tenant_id=other.id)
    await identity.domains.create(scope, NewDomain(name="example.net"))
    await identity.accounts.create(scope, NewAccount(address="eve@example.net"))
    for grantee, status, words in (
        ("anna@example.com", 422, "as itself"),
        ("nobody@example.com", 404, "same organisation"),
        ("eve@example.net", 404, "same organisation"),
    ):
        answer = await api.unix("PUT", SEND_GRANTS, {"grantee": grantee})
        assert answer.status == status, (grantee, answer.json)
        assert words in str(answer.json)
