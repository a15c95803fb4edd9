"""Search over HTTP, and the index behind it (api.md section 4)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from server.store.schema import events
from tests.support.api import Api

REASON = "account_id=anna@example.org&reason=ticket"


@pytest.fixture
async def mail(api: Api) -> Api:
    """An account with three mails."""
    await api.identity.account("anna@example.org")
    inbox = (await api.unix("GET", f"/api/v1/mailboxes?{REASON}")).json["items"]
    box = next(one["id"] for one in inbox if one["name"] == "INBOX")
    for number, words in enumerate(("red apple", "green apple", "red pear")):
        octets = f"Subject: Fruit {number}\r\nFrom: a@b.test\r\n\r\nA {words}.\r\n".encode()
        path = f"/api/v1/messages?mailbox_id={box}&{REASON}"
        made = await api.unix("POST", path, octets, Content_Type="message/rfc822")
        assert made.status == 201, made.json
    return api


async def _found(api: Api, query: str, more: str = "") -> list[str]:
    answer = await api.unix("GET", f"/api/v1/search?q={query}&{REASON}{more}")
    assert answer.status == 200, answer.json
    return [item["message"]["subject"] for item in answer.json["items"]]


async def test_words_are_found(mail: Api) -> None:
    assert sorted(await _found(mail, "apple")) == ["Fruit 0", "Fruit 1"]
    assert await _found(mail, "red%20-apple") == ["Fruit 2"]
    assert await _found(mail, "nothing") == []


async def test_matches_are_marked(mail: Api) -> None:
    answer = await mail.unix("GET", f"/api/v1/search?q=pear&{REASON}")
    assert answer.json["items"][0]["highlights"] == {"subject": None, "preview": "A red <mark>pear</mark>."}
    assert answer.json["next_cursor"] is None
    assert answer.json["took_ms"] >= 0


async def test_pages_go_on(mail: Api) -> None:
    first = await mail.unix("GET", f"/api/v1/search?q=subject:fruit&limit=2&{REASON}")
    cursor = first.json["next_cursor"]
    second = await mail.unix("GET", f"/api/v1/search?q=subject:fruit&limit=2&cursor={cursor}&{REASON}")
    assert len(first.json["items"]) == 2
    assert len(second.json["items"]) == 1
    other = await mail.unix("GET", f"/api/v1/search?q=apple&cursor={cursor}&{REASON}")
    assert other.status == 400


async def test_a_fault_in_the_query_is_422_with_its_place(mail: Api) -> None:
    answer = await mail.unix("GET", f"/api/v1/search?q=red%20is:blue&{REASON}")
    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "/q"
    assert "character 5" in answer.json["errors"][0]["detail"]


async def test_the_index_tells_how_far_it_is_and_is_made_anew(mail: Api) -> None:
    status = await mail.unix("GET", "/api/v1/search/status")
    assert {name: status.json[name] for name in ("engine", "available", "indexed", "pending", "total")} == {
        "engine": "sqlite",
        "available": True,
        "indexed": 0,
        "pending": 3,
        "total": 3,
    }
    anew = await mail.unix("POST", "/api/v1/search/reindex", {"account_id": "anna@example.org"})
    assert (anew.status, anew.json["pending"]) == (202, 3)
    whole = await mail.unix("POST", "/api/v1/search/reindex", {})
    assert (whole.status, whole.json["pending"]) == (202, 3)
    checked = await mail.unix("POST", "/api/v1/search/reindex", {"verify": True})
    assert checked.json == {"pending": 3, "checked": 0, "wrong": 0, "damaged": False}
    unknown = await mail.unix("POST", "/api/v1/search/reindex", {"account_id": "nobody@example.org"})
    assert unknown.status == 404
    query = select(events.c.type).where(events.c.type.like("search.%")).order_by(events.c.seq)
    rows = await mail.identity.database.read("t", lambda tx: tx.fetch(query))
    assert [row[0] for row in rows] == ["search.reindexed", "search.reindexed", "search.verified"]
