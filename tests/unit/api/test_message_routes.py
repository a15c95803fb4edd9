"""Mailboxes and messages over the real API: reading, changing, tags, and whose mail it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.api import Answer, Api, open_api

PREFIX = "/api/v1"
MAIL = (
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.net>\r\nTo: Anna <anna@example.org>, ben@example.org\r\n"
    b"Subject: Angebot %d\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <m%d@example.net>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello \xc3\xbc\r\n"
    b'--b\r\nContent-Type: application/pdf; name="a/b.pdf"\r\nContent-Disposition: attachment\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n"
)


@dataclass(slots=True)
class Mail:
    """The API as the key of anna@example.org sees it."""

    api: Api
    key: str

    async def call(self, method: str, path: str, body: object = None, **query: Any) -> Answer:
        asked = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        target = f"{PREFIX}{path}" + (f"?{urlencode(asked)}" if asked else "")
        return await self.api.tcp(method, target, body, key=self.key)

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.call("GET", path, **query)
        assert answer.status == 200, answer.body
        return answer.json

    async def mailbox(self, name: str) -> str:
        found = next(one for one in (await self.get("/mailboxes"))["items"] if one["name"] == name)
        return str(found["id"])

    async def add(self, number: int = 1, mailbox: str = "INBOX", flags: str = "") -> dict[str, Any]:
        query = urlencode({"mailbox_id": await self.mailbox(mailbox), "flags": flags})
        answer = await self.api.tcp(
            "POST",
            f"{PREFIX}/messages?{query}",
            MAIL % (number, number),
            key=self.key,
            Content_Type="message/rfc822",
        )
        assert answer.status == 201, answer.body
        made: dict[str, Any] = answer.json
        return made


@pytest.fixture
async def mail(state_dir: Path) -> AsyncIterator[Mail]:
    async with open_api(state_dir) as api:
        await api.identity.account("anna@example.org")
        await api.identity.account("ben@example.org")
        key = await api.key("mail:read", "mail:write", account_id="anna@example.org")
        yield Mail(api, key)


async def test_default_mailboxes_are_listed_with_roles_and_counts(mail: Mail) -> None:
    await mail.add()
    rows = {row["name"]: row for row in (await mail.get("/mailboxes"))["items"]}
    assert {row["role"] for row in rows.values()} == {"inbox", "drafts", "sent", "junk", "trash", "archive"}
    assert (rows["INBOX"]["total"], rows["INBOX"]["unread"]) == (1, 1)


async def test_mailboxes_are_made_renamed_and_deleted(mail: Mail) -> None:
    made = await mail.call("POST", "/mailboxes", {"name": "Work/2026", "subscribed": True})
    assert made.status == 201
    assert made.json["parent_id"] == await mail.mailbox("Work")
    path = f"/mailboxes/{made.json['id']}"
    assert (await mail.call("POST", "/mailboxes", {"name": "Work/2026"})).json["code"] == "conflict"
    assert (await mail.call("POST", "/mailboxes", {"name": "a//b"})).status == 422
    renamed = await mail.call("PATCH", path, {"name": "Work/2027", "subscribed": False})
    assert (renamed.json["name"], renamed.json["subscribed"]) == ("Work/2027", False)
    await mail.add(mailbox="Work/2027")
    assert (await mail.call("DELETE", path)).json["code"] == "in_use"
    assert (await mail.call("DELETE", path, messages="trash")).status == 204
    assert (await mail.call("GET", path)).status == 404
    assert [row["mailbox_ids"] for row in (await mail.get("/messages"))["items"]] == [[await mail.mailbox("Trash")]]


async def test_mailboxes_with_a_role_stay(mail: Mail) -> None:
    for name in ("INBOX", "Trash"):
        answer = await mail.call("DELETE", f"/mailboxes/{await mail.mailbox(name)}", messages="delete")
        assert (answer.status, answer.json["code"]) == (409, "invalid_state")
    answer = await mail.call("PATCH", f"/mailboxes/{await mail.mailbox('INBOX')}", {"name": "Other"})
    assert (answer.status, answer.json["code"]) == (409, "invalid_state")


async def test_message_shows_text_headers_and_attachments(mail: Mail) -> None:
    made = await mail.add(flags="seen,flagged")
    shown = await mail.get(f"/messages/{made['id']}")
    assert shown["from"] == [{"name": "Jörg", "address": "joerg@example.net"}]
    assert [one["address"] for one in shown["to"]] == ["anna@example.org", "ben@example.org"]
    assert (shown["subject"], shown["text"].strip()) == ("Angebot 1", "Hello ü")
    assert shown["flags"] == {"seen": True, "answered": False, "flagged": True, "draft": False, "forwarded": False}
    assert {"name": "Message-ID", "value": "<m1@example.net>"} in shown["headers"]
    attachment = shown["attachments"][0]
    assert (attachment["filename"], attachment["size_bytes"], attachment["inline"]) == ("a/b.pdf", 5, False)
    assert attachment["sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


async def test_downloads_are_attachments_that_no_browser_shows(mail: Mail) -> None:
    made = await mail.add()
    for part, wanted in (("raw", MAIL % (1, 1)), ("attachments/0", b"hello"), ("headers", (MAIL % (1, 1))[:265])):
        answer = await mail.call("GET", f"/messages/{made['id']}/{part}")
        assert answer.status == 200
        assert answer.body.startswith(wanted[:100])
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "/" not in answer.headers["content-disposition"].split("filename*")[0]
    assert (await mail.call("GET", f"/messages/{made['id']}/raw")).body == MAIL % (1, 1)
    assert (await mail.call("GET", f"/messages/{made['id']}/headers")).body.endswith(b"boundary=b\r\n\r\n")
    assert (await mail.call("GET", f"/messages/{made['id']}/attachments/1")).status == 404


async def test_lists_are_paged_newest_first_over_all_mailboxes(mail: Mail) -> None:
    made = [(await mail.add(n, mailbox="INBOX" if n % 2 else "Sent"))["id"] for n in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = await mail.get("/messages", **query)
        seen += [row["id"] for row in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == made[::-1]
    assert (await mail.get("/messages", sort="received_at", limit=2))["items"][0]["id"] == made[0]
    for sort in ("date", "-date", "size_bytes", "-size_bytes"):
        assert len((await mail.get("/messages", sort=sort))["items"]) == 7
    inbox = await mail.get("/messages", mailbox_id=await mail.mailbox("INBOX"), count=True)
    assert (len(inbox["items"]), inbox["total"]) == (3, 3)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"seen": True}, [2, 1]),
        ({"seen": False}, [3]),
        ({"flagged": True}, [2]),
        ({"tag": "Büro & mehr"}, [3]),
        ({"tag": "nobody"}, []),
        ({"after": "2000-01-01T00:00:00Z", "before": "2001-01-01T00:00:00Z"}, []),
    ],
)
async def test_lists_are_filtered(mail: Mail, query: dict[str, Any], wanted: list[int]) -> None:
    for number, flags in ((1, "seen"), (2, "seen,flagged"), (3, "")):
        made = await mail.add(number, flags=flags)
    await mail.call("PUT", f"/messages/{made['id']}/tags", {"tags": ["Büro & mehr"]})
    found = await mail.get("/messages", count=True, **query)
    assert [row["subject"] for row in found["items"]] == [f"Angebot {number}" for number in wanted]
    assert found["total"] == len(wanted)
    assert found["next_cursor"] is None


async def test_a_filtered_page_looks_at_a_bounded_number_of_rows(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.services.mailstore.reading.SCAN_ROWS", 2)
    monkeypatch.setattr("server.services.mailstore.reading.SCAN_ROWS_LEAST", 2)
    await mail.add(0, flags="flagged")
    for number in range(1, 6):
        await mail.add(number)
    found: list[str] = []
    cursor, pages = "", 0
    while cursor is not None:
        page = await mail.get("/messages", flagged=True, **({"cursor": cursor} if cursor else {}))
        found += [row["subject"] for row in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert found == ["Angebot 0"]
    assert pages >= 3


async def test_flags_tags_move_copy_and_delete(mail: Mail) -> None:
    made = await mail.add()
    path = f"/messages/{made['id']}"
    flags = (await mail.call("PATCH", f"{path}/flags", {"seen": True, "forwarded": True})).json["flags"]
    assert (flags["seen"], flags["forwarded"], flags["flagged"]) == (True, True, False)
    assert not (await mail.call("PATCH", f"{path}/flags", {"forwarded": False})).json["flags"]["forwarded"]
    assert (await mail.call("POST", f"{path}/tags", {"tags": ["Rot", "Grün"]})).json["tags"] == ["Rot", "Grün"]
    assert (await mail.call("DELETE", f"{path}/tags", {"tags": ["rot"]})).json["tags"] == ["Grün"]
    assert (await mail.call("PUT", f"{path}/tags", {"tags": ["Blau"]})).json["tags"] == ["Blau"]
    assert (await mail.call("GET", path)).json["flags"]["seen"], "tags leave flags alone"
    archive, trash = await mail.mailbox("Archive"), await mail.mailbox("Trash")
    copied = await mail.call("POST", f"{path}/copy", {"mailbox_id": archive})
    assert copied.status == 201
    assert copied.json["id"] != made["id"]
    assert copied.json["tags"] == ["Blau"]
    moved = await mail.call("POST", f"{path}/move", {"mailbox_id": archive})
    assert (moved.json["id"], moved.json["mailbox_ids"]) == (made["id"], [archive])
    assert (await mail.call("DELETE", path)).status == 204
    assert (await mail.get(path))["mailbox_ids"] == [trash]
    assert (await mail.call("DELETE", path)).status == 204
    assert (await mail.call("GET", path)).status == 404


async def test_categories_are_there_from_the_start_and_the_owner_sets_one(mail: Mail) -> None:
    made = await mail.add()
    admin = await mail.api.key("filtering:read", "filtering:write")
    rows = (await mail.api.tcp("GET", f"{PREFIX}/categories", key=admin)).json["items"]
    assert [row["name"] for row in rows] == ["Primary", "Social", "Promotions", "Updates", "Forums"]
    answer = await mail.call("PUT", f"/messages/{made['id']}/category", {"category_id": rows[1]["id"]})
    assert answer.json["category"] == {"id": rows[1]["id"], "name": "Social", "confidence": 1.0, "source": "user"}
    found = await mail.get("/messages", category=rows[1]["id"])
    assert [row["id"] for row in found["items"]] == [made["id"]]
    assert (await mail.call("PUT", f"/messages/{made['id']}/category", {"category_id": "x"})).status == 404
    none = await mail.call("PUT", f"/messages/{made['id']}/category", {"category_id": None})
    assert none.json["category"] is None


async def test_batch_does_many_as_one_and_tells_of_each(mail: Mail) -> None:
    first, second = (await mail.add(1))["id"], (await mail.add(2, mailbox="Sent"))["id"]
    body = {"ids": [second, "missing", first], "action": "flags", "flags": {"seen": True}}
    results = (await mail.call("POST", "/messages/batch", body)).json["results"]
    assert [row["status"] for row in results] == ["done", "not_found", "done"]
    assert all(row["flags"]["seen"] for row in (await mail.get("/messages"))["items"])
    archive = await mail.mailbox("Archive")
    body = {"ids": [first, second], "action": "copy", "mailbox_id": archive}
    copies = (await mail.call("POST", "/messages/batch", body)).json["results"]
    assert not {row["message_id"] for row in copies} & {first, second}
    body = {"ids": [first, second], "action": "move"}
    assert (await mail.call("POST", "/messages/batch", body)).json["errors"][0]["pointer"] == "/mailbox_id"
    body = {"ids": [first] * 501, "action": "delete"}
    assert (await mail.call("POST", "/messages/batch", body)).status == 422


async def test_tags_are_defined_changed_and_shown_by_their_name(mail: Mail) -> None:
    made = await mail.add()
    admin = await mail.api.key("filtering:read", "filtering:write")

    async def tags(method: str, path: str = "", body: object = None) -> Answer:
        return await mail.api.tcp(method, f"{PREFIX}/tags{path}", body, key=admin)

    tag = (await tags("POST", body={"name": "urgent", "colour": "#ff0000"})).json
    assert tag["keyword"] == "urgent"
    assert (await tags("POST", body={"name": "URGENT"})).json["code"] == "conflict"
    assert (await tags("POST", body={"name": "$Junk"})).status == 422
    assert (await tags("POST", body={"name": "x", "colour": "red"})).json["errors"][0]["pointer"] == "/colour"
    await mail.call("POST", f"/messages/{made['id']}/tags", {"tags": ["urgent"]})
    assert (await tags("PATCH", f"/{tag['id']}", {"name": "Dringend!"})).json["keyword"] == "urgent"
    assert (await mail.get(f"/messages/{made['id']}"))["tags"] == ["Dringend!"]
    await mail.call("POST", f"/messages/{made['id']}/tags", {"tags": ["urgent"]})
    assert (await mail.get(f"/messages/{made['id']}"))["tags"] == ["Dringend!"]
    assert (await tags("DELETE", f"/{tag['id']}")).status == 204
    assert (await mail.get(f"/messages/{made['id']}"))["tags"] == ["urgent"]


async def test_too_many_tags_are_refused(mail: Mail) -> None:
    made = await mail.add()
    answer = await mail.call("PUT", f"/messages/{made['id']}/tags", {"tags": [f"t{n}" for n in range(51)]})
    assert (answer.status, answer.json["code"]) == (422, "validation_failed")
    await mail.call("PUT", f"/messages/{made['id']}/tags", {"tags": [f"t{n}" for n in range(50)]})
    answer = await mail.call("POST", f"/messages/{made['id']}/tags", {"tags": ["one more"]})
    assert (answer.status, answer.json["code"]) == (422, "validation_failed")


async def test_mail_of_others_needs_the_scope_a_reason_and_leaves_a_record(mail: Mail) -> None:
    """api.md section 2: `mail:any`, each use, also by the socket."""
    made = await mail.add()
    path = f"/messages/{made['id']}"
    ben = await mail.api.key("mail:read", "mail:write", account_id="ben@example.org")
    assert (await mail.api.tcp("GET", f"{PREFIX}{path}", key=ben)).status == 404
    asked = f"{PREFIX}{path}?account_id=anna@example.org&reason=why"
    assert (await mail.api.tcp("GET", asked, key=ben)).json["code"] == "scope_missing"
    unix = await mail.api.unix("GET", f"{PREFIX}{path}")
    assert (unix.status, unix.json["errors"][0]["pointer"]) == (422, "/reason")
    assert (await mail.api.unix("GET", f"{PREFIX}/messages")).json["errors"][0]["pointer"] == "/account_id"
    assert (await mail.api.unix("GET", f"{PREFIX}{path}?reason=lost%20mail")).status == 200
    from server.store.repositories import audit

    records = await mail.api.identity.database.read("audit", lambda tx: audit.newest(tx, None, limit=1))
    entry = records[0].entry
    assert (entry.type, entry.target_name, entry.reason) == ("mail.accessed", "anna@example.org", "lost mail")
    assert entry.changes[0].new == "show message"


async def test_mail_of_another_tenant_is_not_there(mail: Mail) -> None:
    made = await mail.add()
    await mail.api.unix("POST", f"{PREFIX}/tenants", {"name": "acme"})
    for path in (f"messages/{made['id']}", f"mailboxes/{made['mailbox_ids'][0]}"):
        answer = await mail.api.unix("GET", f"{PREFIX}/tenants/acme/{path}?reason=x")
        assert answer.status == 404
    answer = await mail.api.unix("GET", f"{PREFIX}/tenants/acme/messages?account_id=anna@example.org&reason=x")
    assert answer.status == 404


async def test_append_is_limited_and_typed(mail: Mail) -> None:
    target = f"{PREFIX}/messages?mailbox_id={await mail.mailbox('INBOX')}"
    json_body = await mail.api.tcp("POST", target, {"a": 1}, key=mail.key)
    assert json_body.status == 415
    empty = await mail.api.tcp("POST", target, b"", key=mail.key, Content_Type="message/rfc822")
    assert empty.status == 422
    flags = await mail.api.tcp(
        "POST", f"{target}&flags=nope", b"a: b\r\n\r\n", key=mail.key, Content_Type="message/rfc822"
    )
    assert flags.json["errors"][0]["pointer"] == "/flags"
    await mail.api.unix("PATCH", f"{PREFIX}/accounts/anna@example.org", {"quota_bytes": 1000})
    big = await mail.api.tcp("POST", target, b"a: b\r\n\r\n" + b"x" * 2000, key=mail.key, Content_Type="message/rfc822")
    assert (big.status, big.json["code"]) == (507, "quota_exceeded")


async def test_a_large_message_is_taken_and_given_back_whole(mail: Mail) -> None:
    octets = b"Subject: big\r\n\r\n" + b"0123456789abcdef" * (11 * 65536) + b"\r\n"
    target = f"{PREFIX}/messages?mailbox_id={await mail.mailbox('INBOX')}"
    made = await mail.api.tcp("POST", target, octets, key=mail.key, Content_Type="message/rfc822")
    assert made.status == 201, made.body
    assert (await mail.call("GET", f"/messages/{made.json['id']}/raw")).body == octets
    shown = await mail.get(f"/messages/{made.json['id']}")
    assert shown["text_truncated"]


async def test_unknown_thread_and_message_are_404(mail: Mail) -> None:
    assert (await mail.call("GET", "/threads/x")).status == 404
    assert (await mail.call("GET", "/messages/x")).status == 404
    assert (await mail.call("GET", "/messages", mailbox_id="x")).status == 404


async def test_deleted_messages_are_listed_and_restored(mail: Mail) -> None:
    made = await mail.add(7)
    for _ in range(2):
        assert (await mail.call("DELETE", f"/messages/{made['id']}")).status == 204
    rows = (await mail.get("/deleted-messages", q="ANGEBOT"))["items"]
    assert [(row["id"], row["mailbox"]) for row in rows] == [(made["id"], "Trash")]
    assert rows[0]["deleted_at"]
    assert (await mail.get("/deleted-messages", q="nothing"))["items"] == []
    back = await mail.call("POST", f"/deleted-messages/{made['id']}/restore")
    assert (back.status, back.json["id"], back.json["mailbox_ids"]) == (200, made["id"], made["mailbox_ids"])
    assert (await mail.get("/deleted-messages"))["items"] == []
    again = await mail.call("POST", f"/deleted-messages/{made['id']}/restore")
    assert (again.status, again.json["code"]) == (409, "invalid_state")


async def test_a_deleted_message_is_restored_into_a_mailbox_that_is_named(mail: Mail) -> None:
    made = await mail.add()
    for _ in range(2):
        await mail.call("DELETE", f"/messages/{made['id']}")
    archive = await mail.mailbox("Archive")
    back = await mail.call("POST", f"/deleted-messages/{made['id']}/restore", {"mailbox_id": archive})
    assert back.json["mailbox_ids"] == [archive]


async def test_usage_counts_the_tenant_and_each_domain(mail: Mail) -> None:
    made = await mail.add()
    await mail.api.unix("PATCH", f"{PREFIX}/domains/example.org", {"quota_bytes": 5_000_000})
    usage = (await mail.api.unix("GET", f"{PREFIX}/usage")).json
    assert (usage["accounts"], usage["messages"], usage["storage_bytes"]) == (2, 1, made["size_bytes"])
    assert usage["by_domain"] == [
        {"name": "example.org", "accounts": 2, "used_bytes": made["size_bytes"], "quota_bytes": 5_000_000}
    ]


async def test_a_full_domain_takes_no_more_from_any_of_its_accounts(mail: Mail) -> None:
    await mail.add()
    await mail.api.unix("PATCH", f"{PREFIX}/domains/example.org", {"quota_bytes": 700})
    target = f"{PREFIX}/messages?mailbox_id={await mail.mailbox('INBOX')}"
    full = await mail.api.tcp("POST", target, MAIL % (2, 2), key=mail.key, Content_Type="message/rfc822")
    assert (full.status, full.json["code"]) == (507, "quota_exceeded")


async def test_an_account_is_purged_for_good_by_an_owner_only(mail: Mail) -> None:
    await mail.add()
    helper = await mail.api.key("accounts:read", "accounts:write")
    path = f"{PREFIX}/accounts/anna@example.org"
    assert (await mail.api.tcp("DELETE", f"{path}?purge=true", key=helper)).json["code"] == "scope_missing"
    assert (await mail.api.unix("DELETE", f"{path}?purge=true")).status == 204
    assert (await mail.api.unix("POST", f"{path}/restore")).status == 404
    assert (await mail.api.unix("POST", f"{PREFIX}/accounts", {"address": "anna@example.org"})).status == 201


async def test_answers_are_shown_as_one_thread(mail: Mail) -> None:
    target = f"{PREFIX}/messages?mailbox_id={await mail.mailbox('INBOX')}"
    ids = []
    for octets in (
        b"Subject: Plan\r\nMessage-ID: <a@x>\r\n\r\nhi\r\n",
        b"Subject: Re: Plan\r\nMessage-ID: <b@x>\r\nIn-Reply-To: <a@x>\r\n\r\nyes\r\n",
    ):
        made = await mail.api.tcp("POST", target, octets, key=mail.key, Content_Type="message/rfc822")
        ids.append(made.json["id"])
    thread = await mail.get(f"/threads/{made.json['thread_id']}")
    assert sorted(one["id"] for one in thread["messages"]) == sorted(ids)
    listed = await mail.get("/messages", thread_id=thread["id"], count=True)
    assert (len(listed["items"]), listed["total"]) == (2, 2)
