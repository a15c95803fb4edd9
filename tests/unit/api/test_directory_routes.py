"""Tenants, domains, accounts, aliases and keys over real sockets."""

from __future__ import annotations

from tests.support.api import Api

PASSWORD = "kelp orbit 42 maple"


async def test_first_steps_over_the_admin_socket(api: Api) -> None:
    made = await api.unix("POST", "/api/v1/domains", {"name": "Example.org"})
    assert made.status == 201
    assert made.json["name"] == "example.org"
    assert [key["algorithm"] for key in made.json["dkim"]] == ["rsa-2048", "ed25519"]
    assert made.json["dns_records"][0]["value"] == "10 mail.example.com."
    assert made.headers["location"] == f"/api/v1/domains/{made.json['id']}"
    account = await api.unix("POST", "/api/v1/accounts", {"address": "anna@example.org", "password": PASSWORD})
    assert account.status == 201
    assert "password" not in account.json
    alias = await api.unix("POST", "/api/v1/aliases", {"address": "info@example.org", "targets": ["anna@example.org"]})
    assert alias.status == 201
    listed = await api.unix("GET", "/api/v1/accounts")
    assert [row["address"] for row in listed.json["items"]] == ["anna@example.org"]
    assert listed.json["next_cursor"] is None
    changed = await api.unix("PATCH", "/api/v1/accounts/anna@example.org", {"display_name": "Anna"})
    assert (changed.status, changed.json["display_name"]) == (200, "Anna")
    assert (await api.unix("DELETE", "/api/v1/aliases/info@example.org")).status == 204
    assert (await api.unix("GET", "/api/v1/aliases/info@example.org")).status == 404


async def test_readme_examples_answer_as_printed(api: Api) -> None:
    """product.md section 5: health without a credential, tenants with one."""
    assert (await api.tcp("GET", "/health")).json == {"status": "degraded"}
    key = await api.key("tenants:read", "tenants:write")
    body = {"name": "acme", "display_name": "Acme Corporation"}
    made = await api.tcp("POST", "/admin/tenants", body, X_API_Key=key)
    assert (made.status, made.json["name"], made.json["display_name"]) == (201, "acme", "Acme Corporation")
    assert (await api.tcp("POST", "/admin/tenants", body)).status == 401


async def test_tenant_path_acts_in_that_tenant(api: Api) -> None:
    await api.unix("POST", "/api/v1/tenants", {"name": "acme"})
    await api.unix("POST", "/api/v1/tenants/acme/domains", {"name": "acme.example"})
    assert (await api.unix("GET", "/api/v1/domains/acme.example")).status == 404
    assert (await api.unix("GET", "/api/v1/tenants/acme/domains/acme.example")).status == 200
    assert (await api.unix("GET", "/api/v1/tenants/nobody/domains")).status == 404


async def test_pages_and_cursors(api: Api) -> None:
    await api.unix("POST", "/api/v1/domains", {"name": "example.org"})
    for number in range(5):
        await api.unix("POST", "/api/v1/accounts", {"address": f"u{number}@example.org"})
    first = (await api.unix("GET", "/api/v1/accounts?limit=3")).json
    second = (await api.unix("GET", f"/api/v1/accounts?limit=3&cursor={first['next_cursor']}")).json
    names = [row["address"][:2] for row in first["items"] + second["items"]]
    assert names == ["u4", "u3", "u2", "u1", "u0"]
    forged = await api.unix("GET", f"/api/v1/aliases?cursor={first['next_cursor']}")
    assert (forged.status, forged.json["code"]) == (400, "bad_cursor")
    assert (await api.unix("GET", "/api/v1/accounts?limit=201")).status == 422


async def test_etag_and_if_match(api: Api) -> None:
    made = await api.unix("POST", "/api/v1/tenants", {"name": "acme"})
    etag = made.headers["etag"]
    changed = await api.unix("PATCH", "/api/v1/tenants/acme", {"display_name": "A"}, If_Match=etag)
    assert changed.status == 200
    stale = await api.unix("PATCH", "/api/v1/tenants/acme", {"display_name": "B"}, If_Match=etag)
    assert (stale.status, stale.json["code"]) == (412, "revision_mismatch")


async def test_unknown_field_parameter_and_type_are_refused_by_name(api: Api) -> None:
    unknown = await api.unix("POST", "/api/v1/tenants", {"name": "acme", "colour": "red"})
    assert (unknown.status, unknown.json["code"]) == (422, "unknown_field")
    assert unknown.json["errors"][0]["pointer"] == "/colour"
    typed = await api.unix("POST", "/api/v1/aliases", {"address": "a@b.example", "targets": ["x@y.example", 7]})
    assert (typed.status, typed.json["errors"][0]["pointer"]) == (422, "/targets/1")
    missing = await api.unix("POST", "/api/v1/tenants", {})
    assert (missing.status, missing.json["errors"][0]["pointer"]) == (422, "/name")
    query = await api.unix("GET", "/api/v1/tenants?colour=red")
    assert (query.status, query.json["code"]) == (422, "unknown_field")
    assert (await api.unix("GET", "/api/v1/tenants?status=purple")).status == 422


async def test_problem_shape(api: Api) -> None:
    """RFC 9457 §3."""
    answer = await api.unix("GET", "/api/v1/tenants/nobody", X_Request_Id="abc-1")
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json == {
        "type": "urn:mairust:problem:not_found",
        "title": "Not found",
        "status": 404,
        "code": "not_found",
        "request_id": "abc-1",
        "detail": "no such tenant",
        "instance": "/api/v1/tenants/nobody",
    }
    assert answer.headers["x-request-id"] == "abc-1"


async def test_bodies_that_are_not_json(api: Api) -> None:
    assert (await api.unix("POST", "/api/v1/tenants", b"{")).json["code"] == "bad_request"
    assert (await api.unix("POST", "/api/v1/tenants", b"[" * 100 + b"]" * 100)).status == 422
    assert (await api.unix("POST", "/api/v1/tenants", b"")).status == 422
    form = await api.unix("POST", "/api/v1/tenants", b"name=x", Content_Type="application/x-www-form-urlencoded")
    assert (form.status, form.json["code"]) == (415, "unsupported_media_type")
    large = await api.unix("POST", "/api/v1/tenants", b'{"name": "' + b"a" * 1_048_576 + b'"}')
    assert (large.status, large.json["code"]) == (413, "too_large")


async def test_unknown_path_and_method(api: Api) -> None:
    assert (await api.unix("GET", "/api/v1/nothing")).json["code"] == "not_found"
    wrong = await api.unix("PUT", "/api/v1/tenants")
    assert (wrong.status, wrong.json["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


async def test_api_key_is_shown_once(api: Api) -> None:
    made = await api.unix("POST", "/api/v1/api-keys", {"name": "web", "scopes": ["accounts:read"]})
    key = made.json["key"]
    assert made.status == 201
    shown = await api.unix("GET", f"/api/v1/api-keys/{made.json['id']}")
    assert "key" not in shown.json
    assert shown.json["prefix"] == key[:15]
    assert (await api.tcp("GET", "/api/v1/accounts", key=key)).status == 200
    denied = await api.tcp("GET", "/api/v1/domains", key=key)
    assert (denied.status, denied.json["code"]) == (403, "scope_missing")
    rotated = await api.unix("POST", f"/api/v1/api-keys/{made.json['id']}/rotate", {"grace": 0})
    assert (await api.tcp("GET", "/api/v1/accounts", key=key)).status == 401
    assert (await api.tcp("GET", "/api/v1/accounts", key=rotated.json["key"])).status == 200
    assert (await api.unix("DELETE", f"/api/v1/api-keys/{made.json['id']}")).status == 204
    assert (await api.tcp("GET", "/api/v1/accounts", key=rotated.json["key"])).status == 401


async def test_idempotency_key_acts_once_and_hides_the_secret(api: Api) -> None:
    body = {"name": "web", "scopes": ["accounts:read"]}
    first = await api.unix("POST", "/api/v1/api-keys", body, Idempotency_Key="k1")
    again = await api.unix("POST", "/api/v1/api-keys", body, Idempotency_Key="k1")
    assert (first.status, again.status) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json["id"] == first.json["id"]
    assert "key" not in again.json
    other = await api.unix("POST", "/api/v1/api-keys", {**body, "name": "x"}, Idempotency_Key="k1")
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    assert len((await api.unix("GET", "/api/v1/api-keys")).json["items"]) == 1


async def test_rate_limit_without_credential(api: Api) -> None:
    codes = [(await api.tcp("GET", "/api/v1/tenants")).status for _ in range(62)]
    assert codes.count(401) == 60
    assert codes[-1] == 429
    assert (await api.tcp("GET", "/health")).status == 200


async def test_health_routes(api: Api) -> None:
    assert (await api.tcp("GET", "/health/live")).status == 200
    assert (await api.tcp("GET", "/health/ready")).status == 200
    assert (await api.tcp("GET", "/health/detailed")).status == 401
    detailed = await api.unix("GET", "/health/detailed")
    assert detailed.json["checks"]["database"]["status"] == "healthy"
    assert detailed.json["checks"]["queue"]["length"] == 0
    from server.domain.errors import DiskReserve

    api.space.error = DiskReserve("the disk is too full")
    assert (await api.tcp("GET", "/health/ready")).status == 503
    assert (await api.tcp("GET", "/health")).json == {"status": "unhealthy"}
    api.space.error = None
    api.draining = True
    assert (await api.tcp("GET", "/health/ready")).json["reason"] == "the server is stopping"


async def test_status_has_what_the_screen_shows(api: Api) -> None:
    status = (await api.unix("GET", "/api/v1/system/status")).json
    assert status["listeners"] == [{"name": "smtp", "port": 25}]
    assert status["today"] == {"in": 0, "out": 0, "refused": 0}
    assert status["queue"] == {"length": 0, "oldest_s": 0, "held": 0}
    assert status["counts"] == {"tenants": 1, "domains": 0, "accounts": 0}


async def test_status_says_what_is_unwell(api: Api) -> None:
    """A server that refuses all mail does not call itself healthy."""
    from server.domain.errors import DiskReserve

    api.space.error = DiskReserve("the disk is too full")
    status = (await api.unix("GET", "/api/v1/system/status")).json
    assert status["health"] == "unhealthy"
    assert {"id": "STORAGE", "text": "the disk is too full", "try": "mairust doctor"} in status["warnings"]


async def test_metrics_for_loopback(api: Api) -> None:
    await api.unix("GET", "/api/v1/accounts/nobody@example.org")
    answer = await api.tcp("GET", "/metrics")
    assert answer.status == 200
    route = 'mairust_api_requests_total{method="GET",route="/api/v1/accounts/{ref}",status="404"}'
    assert route in answer.body.decode()
