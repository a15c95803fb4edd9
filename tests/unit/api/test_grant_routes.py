"""Grants by the API: who else may use an account's mailboxes."""

from __future__ import annotations

from tests.support.api import Api

GRANTS = "/api/v1/accounts/anna@example.com/grants"


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
