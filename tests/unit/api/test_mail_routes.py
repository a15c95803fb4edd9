"""Sending, the queue, traces and events over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from http.client import HTTPConnection

import pytest

from server.domain.changes import TraceEvent
from server.store.transaction import Transaction
from tests.support.api import Api, UnixConnection


@pytest.fixture
async def mail(api: Api) -> Api:
    await api.identity.account("anna@example.org")
    return api


MESSAGE = {
    "from": "Anna Ode <anna@example.org>",
    "to": ["bob@example.net"],
    "cc": ["carol@example.net"],
    "bcc": ["secret@example.net"],
    "subject": "Grüße",
    "body": "Hello",
}


async def test_send_queues_and_answers_202(mail: Api) -> None:
    """product.md 21 and section 5: the original's third example, given a key."""
    key = await mail.key("mail:send", "queue:read", "trace:read")
    tenant = mail.identity.root.tenant_id
    sent = await mail.tcp("POST", f"/tenants/{tenant}/send", MESSAGE, key=key)
    assert sent.status == 202
    assert sent.json["status"] == "queued"
    assert sent.json["recipients_count"] == 3
    status = await mail.tcp("GET", f"/api/v1/submissions/{sent.json['submission_id']}", key=key)
    assert {row["recipient"] for row in status.json["deliveries"]} == {
        "bob@example.net",
        "carol@example.net",
        "secret@example.net",
    }
    queue = (await mail.tcp("GET", "/api/v1/queue?from=anna@example.org&count=true", key=key)).json
    assert queue["total"] == 3
    assert {row["from"] for row in queue["items"]} == {"anna@example.org"}
    trace = await mail.tcp("GET", f"/api/v1/trace/{sent.json['trace_id']}", key=key)
    assert trace.json["summary"].startswith("Waiting in the queue for")
    assert [row["event"] for row in trace.json["timeline"]].count("submission.accepted") == 3
    assert trace.json["final"] is False


async def test_send_writes_what_was_meant(mail: Api) -> None:
    attachment = {"filename": "a b.txt", "content_type": "text/plain", "content": base64.b64encode(b"hi").decode()}
    body = {**MESSAGE, "html": "<p>Hello</p>", "attachments": [attachment], "headers": {"X-Ticket": "7"}}
    sent = await mail.unix("POST", "/api/v1/send", body)
    assert sent.status == 202, sent.body


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"from": "stranger@example.org"}, 403, "sender_not_allowed"),
        ({"from": "anna@example.com"}, 403, "sender_not_allowed"),
        ({"from": "not an address"}, 422, "validation_failed"),
        ({"to": [], "cc": [], "bcc": []}, 422, "validation_failed"),
        ({"to": [f"u{n}@example.net" for n in range(101)]}, 422, "validation_failed"),
        ({"subject": "a\r\nBcc: x@example.net"}, 422, "validation_failed"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, 422, "validation_failed"),
        ({"headers": {"Bcc": "x@example.net"}}, 422, "validation_failed"),
        ({"text": "a", "body": "b"}, 422, "validation_failed"),
        ({"scheduled_at": "2027-01-01T00:00:00Z"}, 422, "unknown_field"),
        ({"attachments": [{"filename": "a", "content_type": "text/plain", "content": "%"}]}, 422, "validation_failed"),
    ],
)
async def test_send_refuses(mail: Api, change: dict[str, object], status: int, code: str) -> None:
    answer = await mail.unix("POST", "/api/v1/send", {**MESSAGE, **change})
    assert (answer.status, answer.json["code"]) == (status, code)
    assert (await mail.unix("GET", "/api/v1/queue")).json["items"] == []


async def test_key_of_an_account_sends_as_that_account_only(mail: Api) -> None:
    await mail.identity.account("ben@example.org")
    key = await mail.key("mail:send", account_id="ben@example.org")
    assert (await mail.tcp("POST", "/api/v1/send", MESSAGE, key=key)).status == 403
    own = {**MESSAGE, "from": "ben@example.org"}
    assert (await mail.tcp("POST", "/api/v1/send", own, key=key)).status == 202
    await mail.unix("POST", "/api/v1/send", MESSAGE)
    listed = (await mail.tcp("GET", "/api/v1/submissions", key=key)).json["items"]
    assert [row["from"] for row in listed] == ["ben@example.org"]


async def test_key_of_an_account_sends_as_one_that_granted_it(mail: Api) -> None:
    await mail.identity.account("ben@example.org")
    key = await mail.key("mail:send", account_id="ben@example.org")
    await mail.unix("PUT", "/api/v1/accounts/anna@example.org/send-grants", {"grantee": "ben@example.org"})
    assert (await mail.tcp("POST", "/api/v1/send", MESSAGE, key=key)).status == 202
    await mail.unix("DELETE", "/api/v1/accounts/anna@example.org/send-grants?grantee=ben@example.org")
    assert (await mail.tcp("POST", "/api/v1/send", MESSAGE, key=key)).status == 403


async def test_repeated_send_with_a_key_queues_once(mail: Api) -> None:
    first = await mail.unix("POST", "/api/v1/send", MESSAGE, Idempotency_Key="once")
    again = await mail.unix("POST", "/api/v1/send", MESSAGE, Idempotency_Key="once")
    assert first.json == again.json
    assert len((await mail.unix("GET", "/api/v1/submissions")).json["items"]) == 1


async def test_disk_reserve_is_507_and_nothing_is_queued(mail: Api) -> None:
    from server.domain.errors import DiskReserve

    mail.space.error = DiskReserve("insufficient system storage")
    answer = await mail.unix("POST", "/api/v1/send", MESSAGE)
    assert (answer.status, answer.json["code"]) == (507, "disk_reserve")
    mail.space.error = None
    assert (await mail.unix("GET", "/api/v1/submissions")).json["items"] == []


async def test_queue_actions(mail: Api) -> None:
    await mail.unix("POST", "/api/v1/send", {**MESSAGE, "cc": [], "bcc": []})
    delivery = (await mail.unix("GET", "/api/v1/queue")).json["items"][0]
    path = f"/api/v1/queue/{delivery['id']}"
    assert (await mail.unix("POST", f"{path}/hold", {})).json["status"] == "held"
    assert (await mail.unix("POST", f"{path}/release")).json["status"] == "queued"
    assert (await mail.unix("GET", f"{path}/attempts")).json == {"items": []}
    assert (await mail.unix("POST", f"{path}/explode")).status == 422
    plan = await mail.unix("POST", "/api/v1/queue/bulk", {"action": "hold", "filter": {}, "dry_run": True})
    assert (plan.json["count"], plan.json["done"]) == (1, 0)
    pause = await mail.unix("POST", "/api/v1/queue/pauses", {"domain": "Example.net"})
    assert (pause.status, pause.json["domain"]) == (201, "example.net")
    assert (await mail.unix("POST", "/api/v1/queue/pauses", {"all": True})).json["domain"] is None
    assert len((await mail.unix("GET", "/api/v1/queue/pauses")).json["items"]) == 2
    assert (await mail.unix("DELETE", f"/api/v1/queue/pauses/{pause.json['id']}")).status == 204
    assert (await mail.unix("DELETE", path)).status == 204
    assert (await mail.unix("GET", "/api/v1/queue")).json["items"] == []
    trace = await mail.unix("GET", f"/api/v1/trace/{delivery['id']}")
    assert trace.json["final"] is True
    assert "Deleted from the queue" in trace.json["summary"]


async def test_trace_is_found_by_everything(mail: Api) -> None:
    sent = (await mail.unix("POST", "/api/v1/send", MESSAGE)).json
    for query in (
        f"message_id_header={sent['message_id_header'].strip('<>')}",
        "address=BOB@example.net",
        "address=example.net",
        "from=anna@example.org&to=carol@example.net",
        "subject=Gr%C3%BC",
        "since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00Z",
    ):
        found = (await mail.unix("GET", f"/api/v1/trace?{query}")).json["items"]
        assert [row["trace_id"] for row in found] == [sent["trace_id"]], query
    for query in ("address=nobody@example.net", "until=2020-01-01T00:00:00Z", "ip=192.0.2.1"):
        assert (await mail.unix("GET", f"/api/v1/trace?{query}")).json["items"] == [], query
    for ref in (sent["trace_id"], sent["submission_id"]):
        assert (await mail.unix("GET", f"/api/v1/trace/{ref}")).json["trace_id"] == sent["trace_id"]
    assert (await mail.unix("GET", "/api/v1/trace?since=yesterday")).status == 422


async def test_refused_recipient_is_a_trace_of_its_own(mail: Api) -> None:
    async def unit(tx: Transaction) -> None:
        tx.record(
            TraceEvent(
                type="message.refused",
                component="smtp",
                verdict="refused",
                reply="550 5.1.1 no such mailbox",
                recipient="nobody@example.org",
            )
        )

    await mail.identity.database.write("test.refuse", unit)
    found = (await mail.unix("GET", "/api/v1/trace?address=nobody@example.org")).json["items"]
    assert found[0]["summary"] == "Refused for nobody@example.org: there is no such mailbox."
    assert (await mail.unix("GET", f"/api/v1/trace/{found[0]['trace_id']}")).json["timeline"][0]["verdict"] == "refused"


async def test_events_are_paged_and_filtered(mail: Api) -> None:
    everything = (await mail.unix("GET", "/api/v1/events?after=0&limit=1000")).json
    assert [row["type"] for row in everything["items"]] == ["tenant.created", "domain.created", "account.created"]
    assert [row["seq"] for row in everything["items"]] == [1, 2, 3]
    first = (await mail.unix("GET", "/api/v1/events?after=0&limit=2")).json
    rest = (await mail.unix("GET", f"/api/v1/events?after={first['next_after']}")).json
    assert [row["seq"] for row in rest["items"]] == [3]
    some = (await mail.unix("GET", "/api/v1/events?after=0&types=domain.*,account.created")).json
    assert [row["type"] for row in some["items"]] == ["domain.created", "account.created"]
    assert (await mail.unix("GET", "/api/v1/events?types=a;b")).status == 422
    now = (await mail.unix("GET", "/api/v1/events")).json
    assert (now["items"], now["next_after"]) == ([], 3)


async def test_long_poll_wakes_for_a_new_event(mail: Api) -> None:
    waiting = asyncio.create_task(mail.unix("GET", "/api/v1/events?after=3&wait=10"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await mail.identity.account("ben@example.org")
    assert [row["type"] for row in (await waiting).json["items"]] == ["account.created"]


async def test_followers_end_when_the_server_stops(mail: Api) -> None:
    def follow() -> bytes:
        connection: HTTPConnection = UnixConnection(mail.socket_path)
        connection.request("GET", "/api/v1/events", headers={"Accept": "text/event-stream"})
        with contextlib.closing(connection), connection.getresponse() as response:
            return response.read()

    waiting = asyncio.create_task(mail.unix("GET", "/api/v1/events?after=3&wait=60"))
    following = asyncio.create_task(asyncio.to_thread(follow))
    await asyncio.sleep(0.3)
    mail.app.stop()
    assert (await asyncio.wait_for(waiting, 5)).json["items"] == []
    assert (await asyncio.wait_for(following, 5)).startswith(b": events")


async def test_server_sent_events_go_on_from_last_event_id(mail: Api) -> None:
    def read() -> list[str]:
        connection: HTTPConnection = UnixConnection(mail.socket_path)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
        connection.request("GET", "/api/v1/events", headers=headers)
        response = connection.getresponse()
        assert response.getheader("Content-Type", "").startswith("text/event-stream")
        lines = []
        while len([line for line in lines if line.startswith("data")]) < 2:
            lines.append(response.fp.readline().decode().strip())
        connection.close()
        return lines

    lines = await asyncio.to_thread(read)
    assert "id: 2" in lines
    assert "event: account.created" in lines
    data = json.loads(next(line for line in lines if line.startswith("data:")).removeprefix("data:"))
    assert data["type"] == "domain.created"


async def test_deleted_events_are_410(mail: Api) -> None:
    from sqlalchemy import delete

    from server.store.schema import events

    async def unit(tx: Transaction) -> None:
        await tx.execute(delete(events).where(events.c.seq < 3))

    await mail.identity.database.write("test.expire", unit)
    answer = await mail.unix("GET", "/api/v1/events?after=1")
    assert (answer.status, answer.json["code"]) == (410, "events_expired")
    assert (await mail.unix("GET", "/api/v1/events?after=2")).status == 200


async def test_doctor_names_what_is_wrong_and_who_mends_it(mail: Api) -> None:
    checks = {row["id"]: row for row in (await mail.unix("POST", "/api/v1/doctor", {})).json["checks"]}
    assert checks["DATABASE"]["severity"] == "ok"
    assert checks["LISTENER"]["severity"] == "ok"
    assert checks["TLS"]["severity"] == "error"
    assert checks["DNS-MX"]["severity"] == "error"
    assert checks["DNS-MX"]["fix_by"] == "you, at your DNS provider"
    only = (await mail.unix("POST", "/api/v1/doctor", {"only": ["STORAGE"]})).json["checks"]
    assert [row["id"] for row in only] == ["STORAGE-SPACE"]
    local = (await mail.unix("POST", "/api/v1/doctor", {"only": ["local"]})).json["checks"]
    assert not [row for row in local if row["id"].startswith(("DNS", "TLS"))]
    assert (await mail.unix("GET", "/api/v1/doctor/latest")).json["checks"]


async def test_settings_are_shown_without_secrets(mail: Api) -> None:
    settings = (await mail.unix("GET", "/api/v1/settings")).json
    assert settings["database"]["url"] == {"set": True}
    assert settings["smtp"]["max_recipients"] == 1000
    one = (await mail.unix("GET", "/api/v1/settings/smtp.max_recipients")).json
    assert (one["key"], one["value"], one["reloadable"]) == ("smtp.max_recipients", 1000, True)
    assert (await mail.unix("GET", "/api/v1/settings/smtp.nope")).status == 404
    checked = (await mail.unix("POST", "/api/v1/settings/validate", {"yaml": "x: 1"})).json
    assert (checked["valid"], checked["faults"][0]["line"]) == (False, 1)
    assert (await mail.unix("POST", "/api/v1/settings/reload")).json["applied"] == ["log.level"]
