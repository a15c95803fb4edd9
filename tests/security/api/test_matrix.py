"""Every route against every kind of caller (T26, T27; ST12, ST14): a new route is in the matrix by being described."""

from __future__ import annotations

import json
from datetime import timedelta
from importlib import resources
from typing import Any

import pytest

from server.api.paths import PREFIX
from tests.support.api import Api

OPERATIONS: list[tuple[str, str, str]] = [
    (method.upper(), path, operation.get("x-scope", ""))
    for path, item in json.loads(resources.files("server.api").joinpath("openapi.json").read_text(encoding="utf-8"))[
        "paths"
    ].items()
    for method, operation in item.items()
]
SCOPED = [row for row in OPERATIONS if row[2]]
PUBLIC = [row for row in OPERATIONS if not row[2]]
BODIES: dict[str, Any] = {
    "POST /api/v1/tenants": {"name": "zeta"},
    "POST /api/v1/domains": {"name": "zeta.example"},
    "POST /api/v1/domain-aliases": {"name": "zeta.example", "domain_id": "victim.example"},
    "POST /api/v1/accounts": {"address": "x@victim.example"},
    "POST /api/v1/accounts/{ref}/password": {"password": "kelp orbit 42 maple x"},
    "POST /api/v1/aliases": {"address": "x@victim.example", "targets": ["y@example.net"]},
    "POST /api/v1/api-keys": {"name": "x", "scopes": ["mail:send"]},
    "POST /api/v1/app-passwords": {"name": "phone"},
    "POST /api/v1/accounts/{ref}/app-passwords": {"name": "phone"},
    "PUT /api/v1/accounts/{ref}/grants": {"mailbox": "INBOX", "grantee": "anyone", "rights": "lr"},
    "PUT /api/v1/accounts/{ref}/send-grants": {"grantee": "anna@victim.example"},
    "PUT /api/v1/accounts/{ref}/vacation": {"text": "x"},
    "PUT /api/v1/accounts/{ref}/forward": {"targets": ["x@example.net"]},
    "PUT /api/v1/accounts/{ref}/sieve/{name}": {"content": "keep;"},
    "POST /api/v1/accounts/{ref}/sieve-check": {"content": "keep;"},
    "POST /api/v1/accounts/{ref}/sieve-test": {"message": "Subject: x"},
    "PUT /api/v1/sieve-scripts/{name}": {"place": "before", "content": "keep;"},
    "POST /api/v1/bans": {"network": "198.51.100.7"},
    "POST /api/v1/send": {"from": "anna@victim.example", "to": ["x@example.net"], "text": "x"},
    "POST /api/v1/queue/bulk": {"action": "delete", "filter": {}},
    "POST /api/v1/queue/pauses": {"domain": "zeta.example"},
    "POST /api/v1/settings/validate": {"yaml": ""},
}
NOT_OF_A_TENANT = ("tenants", "system", "settings", "doctor", "health", "bans", "connections")


def filled(path: str, refs: dict[str, str], tenant: str) -> str:
    """The path with ids of the victim's objects."""
    root = path.removeprefix(PREFIX).removeprefix("/tenants/{tenant_id}").strip("/").partition("/")[0]
    path = path.replace("{tenant_id}", tenant).replace("{action}", "hold").replace("{key}", "smtp.max_hops")
    path = path.replace("{index}", "1")
    for name in (
        "{ref}",
        "{key_id}",
        "{delivery_id}",
        "{submission_id}",
        "{pause_id}",
        "{app_password_id}",
        "{ban_id}",
        "{connection_id}",
        "{name}",
    ):
        path = path.replace(name, refs.get(f"{root} {name}", refs.get(root, "nothing")))
    return path


UPLOADS = {"/pieces": "application/mbox", "/messages": "message/rfc822"}
"""The media type of routes that take no JSON."""


def headers_of(method: str, path: str) -> dict[str, str]:
    if method != "POST":
        return {}
    return next(({"Content-Type": kind} for leaf, kind in UPLOADS.items() if path.endswith(leaf)), {})


def body_of(method: str, path: str) -> Any:
    if headers_of(method, path):
        return b"From a@b Thu Jan  1 00:00:00 2026\n"
    if method in ("GET", "DELETE"):
        return None
    own = path.replace("/tenants/{tenant_id}", "", 1).replace("/admin/tenants", "/api/v1/tenants")
    own = own if own.startswith(PREFIX) else PREFIX + own
    return BODIES.get(f"{method} {own}", {})


@pytest.fixture
async def victim(api: Api) -> tuple[Api, dict[str, str]]:
    """A tenant with one object of each kind, in `default`."""
    await api.identity.account("anna@victim.example")
    alias = await api.unix("POST", "/api/v1/aliases", {"address": "i@victim.example", "targets": ["x@example.net"]})
    second = await api.unix("POST", "/api/v1/domain-aliases", {"name": "second.example", "domain_id": "victim.example"})
    sent = await api.unix("POST", "/api/v1/send", {"from": "anna@victim.example", "to": ["x@example.net"], "text": "x"})
    pause = await api.unix("POST", "/api/v1/queue/pauses", {"domain": "paused.example"})
    key = await api.unix("POST", "/api/v1/api-keys", {"name": "victim", "scopes": ["mail:send"]})
    delivery = (await api.unix("GET", "/api/v1/queue")).json["items"][0]["id"]
    return api, {
        "domains": "victim.example",
        "domain-aliases": second.json["id"],
        "accounts": "anna@victim.example",
        "aliases": alias.json["id"],
        "api-keys": key.json["id"],
        "queue": delivery,
        "queue {pause_id}": pause.json["id"],
        "trace": sent.json["trace_id"],
        "submissions": sent.json["submission_id"],
        "send": sent.json["submission_id"],
        "tenants": "default",
        "admin": "default",
    }


def test_the_matrix_covers_the_api() -> None:
    assert len(SCOPED) > 80
    assert {path for _, path, _ in PUBLIC} == {
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/{name}",
    }


async def snapshot(api: Api) -> list[Any]:
    paths = ("domains", "accounts", "aliases", "domain-aliases", "api-keys", "queue", "queue/pauses", "submissions")
    shown = [(await api.unix("GET", f"/api/v1/{path}")).json["items"] for path in paths]
    for row in shown[4]:
        row["last_used_at"] = row["last_used_ip"] = None
    return shown


async def test_without_a_credential_every_route_is_401(victim: tuple[Api, dict[str, str]]) -> None:
    api, refs = victim
    api.settings_override(anonymous_rate_per_minute=100_000)
    before = await snapshot(api)
    for method, path, _ in SCOPED:
        answer = await api.tcp(method, filled(path, refs, "default"), body_of(method, path), **headers_of(method, path))
        assert (answer.status, answer.json["code"]) == (401, "unauthenticated"), (method, path)
    assert await snapshot(api) == before


async def test_bad_credentials_are_401_with_one_text(victim: tuple[Api, dict[str, str]]) -> None:
    api, _ = victim
    api.settings_override(anonymous_rate_per_minute=100_000)
    revoked = await api.key("accounts:read")
    key_id = (await api.unix("GET", "/api/v1/api-keys?limit=1")).json["items"][0]["id"]
    await api.unix("DELETE", f"/api/v1/api-keys/{key_id}")
    networked = await api.key("accounts:read", allowed_networks=["198.51.100.0/24"])
    good = await api.key("accounts:read")
    wrong = [
        revoked,
        networked,
        good[:-1] + ("a" if good[-1] != "a" else "b"),
        good[:15],
        "mk_" + "a" * 12 + "_" + "a" * 52,
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIwIn0.",
        "",
        "x" * 5000,
    ]
    bodies = set()
    for key in wrong:
        answer = await api.tcp("GET", "/api/v1/accounts", key=key)
        assert answer.status == 401, key
        bodies.add(answer.json["detail"])
    assert len(bodies) == 1
    basic = await api.tcp("GET", "/api/v1/accounts", Authorization="Basic YTpi")
    assert basic.status == 401


async def test_a_lower_scope_is_403_on_every_route(victim: tuple[Api, dict[str, str]]) -> None:
    api, refs = victim
    api.settings_override(rate_per_minute=100_000, anonymous_rate_per_minute=100_000)
    key = await api.key("campaigns:read")
    before = await snapshot(api)
    for method, path, scope in SCOPED:
        answer = await api.tcp(
            method, filled(path, refs, "default"), body_of(method, path), key=key, **headers_of(method, path)
        )
        wanted = 200 if scope == "any" else 403
        assert answer.status == wanted, (method, path, answer.body[:200])
    assert await snapshot(api) == before


async def test_another_tenant_sees_and_changes_nothing(victim: tuple[Api, dict[str, str]]) -> None:
    """T27: foreign ids are 404, whether named in the path, in the body, or as the tenant."""
    api, refs = victim
    api.settings_override(rate_per_minute=100_000, anonymous_rate_per_minute=100_000)
    await api.unix("POST", "/api/v1/tenants", {"name": "stranger"})
    key = await api.tenant_key("stranger")
    before = await snapshot(api)
    for method, path, _ in SCOPED:
        answer = await api.tcp(
            method, filled(path, refs, "default"), body_of(method, path), key=key, **headers_of(method, path)
        )
        named = "{tenant_id}" in path
        system = path.removeprefix(PREFIX).strip("/").partition("/")[0] in (*NOT_OF_A_TENANT, "admin") and not named
        text = answer.body.decode()
        for secret in ("victim.example", "second.example", "paused.example"):
            sent = body_of(method, path)
            shown = text if isinstance(sent, bytes) else text.replace(json.dumps(sent), "")
            asked = filled(path, refs, "default")
            assert secret not in shown.replace(asked, ""), (method, path, text[:300])
        if named:
            assert answer.status == 404, (method, path)
        elif system:
            assert answer.status in (200, 201, 403, 404, 409, 412, 422), (method, path)
    assert await snapshot(api) == before


async def test_a_tenants_own_key_never_gets_system_routes(victim: tuple[Api, dict[str, str]]) -> None:
    api, refs = victim
    api.settings_override(rate_per_minute=100_000, anonymous_rate_per_minute=100_000)
    owner = await api.tenant_key("default")
    for method, path, scope in SCOPED:
        if scope.startswith(("tenants:", "system:")):
            answer = await api.tcp(
                method, filled(path, refs, "default"), body_of(method, path), key=owner, **headers_of(method, path)
            )
            assert (answer.status, answer.json["code"]) == (403, "scope_missing"), (method, path)


async def test_disabling_the_account_ends_its_key(victim: tuple[Api, dict[str, str]]) -> None:
    api, _ = victim
    key = await api.key("mail:send", account_id="anna@victim.example")
    assert (await api.tcp("GET", "/api/v1/submissions", key=key)).status == 200
    await api.unix("POST", "/api/v1/accounts/anna@victim.example/disable")
    assert (await api.tcp("GET", "/api/v1/submissions", key=key)).status == 401


async def test_a_key_ends_at_its_time(victim: tuple[Api, dict[str, str]]) -> None:
    """Expired looks like unknown; the wall clock decides, whatever was asked just before."""
    api, _ = victim
    clock = api.identity.clock
    key = await api.key("accounts:read", expires_at=clock.now() + timedelta(hours=1))
    assert (await api.tcp("GET", "/api/v1/accounts", key=key)).status == 200
    clock.step(3599)
    assert (await api.tcp("GET", "/api/v1/accounts", key=key)).status == 200
    clock.step(1)
    answer = await api.tcp("GET", "/api/v1/accounts", key=key)
    unknown = await api.tcp("GET", "/api/v1/accounts", key="mk_" + "a" * 12 + "_" + "a" * 52)
    assert (answer.status, answer.json["detail"]) == (401, unknown.json["detail"])
    past = {"name": "x", "scopes": ["accounts:read"], "expires_at": "2020-01-01T00:00:00Z"}
    refused = await api.unix("POST", "/api/v1/api-keys", past)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/expires_at")


async def test_a_key_never_exceeds_its_maker(victim: tuple[Api, dict[str, str]]) -> None:
    api, _ = victim
    maker = await api.key("keys:write", "keys:read", "accounts:read")
    for scopes in (["accounts:write"], ["mail:any"], ["tenants:write"], ["system:read"]):
        answer = await api.tcp("POST", "/api/v1/api-keys", {"name": "x", "scopes": scopes}, key=maker)
        assert answer.status == 403, scopes
    admin = await api.tcp("POST", "/api/v1/api-keys", {"name": "x", "scopes": ["admin"]}, key=maker)
    assert admin.json["scopes"] == ["accounts:read", "keys:read", "keys:write"]


async def test_tcp_can_not_claim_the_sockets_identity(api: Api) -> None:
    """T28: headers are headers."""
    for name in ("X-Peer-Uid", "X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Peer", "Peer", "State-Peer"):
        assert (await api.tcp("GET", "/api/v1/accounts", **{name: "0"})).status == 401


async def test_no_answer_ever_holds_a_secret(victim: tuple[Api, dict[str, str]]) -> None:
    """R6, T33: canaries in the password, the DKIM keys and the key digests are looked for in every answer."""
    api, refs = victim
    canary = "canary kelp orbit 42"
    await api.unix("POST", "/api/v1/accounts", {"address": "c@victim.example", "password": canary})
    made = await api.unix("POST", "/api/v1/api-keys", {"name": "c", "scopes": ["admin"]})
    secret = made.json["key"].rpartition("_")[2]
    private = [key.private_key for key in api.keys_made()]
    seen = bytearray()
    for method, path, _ in OPERATIONS:
        if method == "GET" and "events" not in path:
            asked = filled(path, refs, "default")
            answer = await api.unix(method, asked)
            if answer.status == 422:
                # Content belongs to an account, which this caller must name, with a reason.
                whose = "?account_id=anna@victim.example&reason=canaries"
                answer = await api.unix(method, asked + whose + ("&q=canary" if path.endswith("/search") else ""))
            assert answer.status in (200, 404), (path, answer.body[:200])
            seen += answer.body
    seen += (await api.unix("GET", "/api/v1/events?after=0&limit=1000")).body
    for needle in (canary.encode(), secret.encode(), b"$argon2", b"PRIVATE KEY", *private):
        assert needle not in seen
