"""App passwords, connections and bans over HTTP (api.md §2, §7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from server.services.identity.bans import NewBan
from tests.support.api import Api
from tests.support.identity import PASSWORD, connection

ANNA = "anna@example.org"
PATH = f"/api/v1/accounts/{ANNA}/app-passwords"


async def test_an_app_password_is_shown_once_and_listed_without(api: Api) -> None:
    await api.identity.account(ANNA)
    made = await api.unix("POST", PATH, {"name": "phone", "protocols": ["imap"]}, Idempotency_Key="k1")
    assert made.status == 201
    assert made.headers["location"].endswith(made.json["id"])
    assert len(made.json["password"].split("-")) == 7
    again = await api.unix("POST", PATH, {"name": "phone", "protocols": ["imap"]}, Idempotency_Key="k1")
    assert (again.json["id"], "password" in again.json) == (made.json["id"], False)
    (row,) = (await api.unix("GET", PATH)).json["items"]
    assert (row["name"], row["protocols"], row["last_used_at"], "password" in row) == ("phone", ["imap"], None, False)
    assert (await api.unix("DELETE", f"{PATH}/{made.json['id']}")).status == 204
    assert (await api.unix("DELETE", f"{PATH}/{made.json['id']}")).status == 404
    assert (await api.unix("GET", PATH)).json["items"] == []


async def test_a_key_that_acts_for_an_account_sees_its_own_only(api: Api) -> None:
    await api.identity.account(ANNA)
    await api.identity.account("ben@example.org")
    await api.unix("POST", "/api/v1/accounts/ben@example.org/app-passwords", {"name": "ben's"})
    key = await api.key("mail:read", "mail:write", account_id=ANNA)
    made = await api.tcp("POST", "/api/v1/app-passwords", {"name": "phone", "protocols": ["imap"]}, key=key)
    assert made.status == 201
    denied = await api.tcp("POST", "/api/v1/app-passwords", {"name": "sender"}, key=key)
    assert (denied.status, denied.json["detail"]) == (403, "the scope mail:send is needed")
    listed = await api.tcp("GET", "/api/v1/app-passwords", key=key)
    assert [row["name"] for row in listed.json["items"]] == ["phone"]
    assert (await api.tcp("GET", PATH, key=key)).status == 403
    assert (await api.tcp("DELETE", f"/api/v1/app-passwords/{made.json['id']}", key=key)).status == 204


async def test_wrong_words_are_422(api: Api) -> None:
    await api.identity.account(ANNA)
    for body in (
        {"name": "x", "protocols": ["ftp"]},
        {"name": "x", "protocols": []},
        {"name": ""},
        {"name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "x", "secret": "y"},
    ):
        assert (await api.unix("POST", PATH, body)).status == 422, body
    assert (await api.unix("GET", "/api/v1/connections?protocol=ftp")).status in (400, 422)


async def test_connections_are_listed_and_dropped(api: Api) -> None:
    identity, closed = api.identity, []
    await identity.account(ANNA)
    for name in ("c1", "c2", "c3"):
        info = replace(connection(), connection_id=name)
        principal = await identity.login.authenticate(
            login=ANNA, password=PASSWORD.encode(), connection=info, mechanism="PLAIN"
        )
        identity.connections.entered(principal, info, lambda name=name: closed.append(name)).command = "IDLE"  # type: ignore[misc]
    page = (await api.unix("GET", "/api/v1/connections?limit=2")).json
    assert [row["id"] for row in page["items"]] == ["c3", "c2"]
    rest = (await api.unix("GET", f"/api/v1/connections?limit=2&cursor={page['next_cursor']}")).json
    (row,) = rest["items"]
    assert (row["id"], row["address"], row["protocol"], row["command"], row["ip"]) == (
        "c1",
        ANNA,
        "imap",
        "IDLE",
        "192.0.2.7",
    )
    assert (await api.unix("DELETE", "/api/v1/connections/c3")).status == 204
    assert (await api.unix("DELETE", "/api/v1/connections/c3")).status == 404
    assert (await api.unix("DELETE", f"/api/v1/accounts/{ANNA}/sessions")).status == 204
    assert closed == ["c3", "c1", "c2"]


async def test_bans_are_made_shown_and_lifted(api: Api) -> None:
    until = api.identity.clock.now() + timedelta(hours=1)
    body = {"network": "198.51.100.7", "reason": "noise", "expires_at": until.isoformat()}
    made = await api.unix("POST", "/api/v1/bans", body)
    assert (made.status, made.json["network"], made.json["made_by"]) == (201, "198.51.100.7/32", "uid root")
    assert (await api.unix("GET", f"/api/v1/bans/{made.json['id']}")).json == made.json
    assert (await api.unix("GET", "/api/v1/bans")).json["items"] == [made.json]
    trusted = await api.unix("POST", "/api/v1/bans", {"network": "127.0.0.0/16"})
    assert (trusted.status, trusted.json["errors"][0]["pointer"]) == (422, "/network")
    assert (await api.unix("DELETE", f"/api/v1/bans/{made.json['id']}")).status == 204
    assert (await api.unix("GET", "/api/v1/bans")).json["items"] == []


async def test_a_banned_network_gets_403_but_for_health(api: Api) -> None:
    identity = api.identity
    key = await api.key("accounts:read")
    await identity.bans.add(identity.root, NewBan(network="198.51.100.7"))
    refused = api.app._refuses
    api.app._refuses = lambda ip: ip == "127.0.0.1" or refused(ip)
    answer = await api.tcp("GET", "/api/v1/accounts", key=key)
    assert (answer.status, answer.json["code"]) == (403, "network_banned")
    assert (await api.tcp("GET", "/health/live")).status == 200
    assert (await api.unix("GET", "/api/v1/accounts")).status == 200
