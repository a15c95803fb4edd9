"""Vacation, forward, rules and scripts over the API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api

ANNA = "/api/v1/accounts/anna@example.com"
MESSAGE = "From: b@x.example\r\nTo: anna@example.com\r\nSubject: Invoice 7\r\n\r\ntext\r\n"


@pytest.fixture
async def anna(api: Api) -> Api:
    await api.identity.account("anna@example.com")
    return api


async def version(api: Api) -> int:
    from server.protocol.smtp.address import parse_address

    entry = await api.identity.directory.lookup(parse_address("anna@example.com"))
    assert entry.account is not None
    return entry.account.filter_version


async def test_vacation_is_set_shown_and_cleared(anna: Api) -> None:
    assert (await anna.unix("GET", f"{ANNA}/vacation")).json["enabled"] is False
    words = {"text": "I am away", "subject": "Away", "from": "2026-12-01T00:00:00Z", "until": "2026-12-24T00:00:00Z"}
    answer = await anna.unix("PUT", f"{ANNA}/vacation", words)
    assert answer.status == 200, answer.body
    shown = (await anna.unix("GET", f"{ANNA}/vacation")).json
    assert shown == {**shown, "enabled": True, "days": 7, "text": "I am away", "from": "2026-12-01T00:00:00.000Z"}
    assert await version(anna) > 0
    assert (await anna.unix("DELETE", f"{ANNA}/vacation")).status == 204
    assert (await anna.unix("GET", f"{ANNA}/vacation")).json["enabled"] is False
    assert await version(anna) == 0


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"text": " "}, "/text"),
        ({"days": 0}, "/days"),
        ({"from": "2026-12-01T00:00:00"}, "/from"),
        ({"from": "2026-12-02T00:00:00Z", "until": "2026-12-01T00:00:00Z"}, "/until"),
        ({"subject": "a\nb"}, "/subject"),
        ({"nope": 1}, "/nope"),
    ],
)
async def test_a_vacation_that_can_not_be_is_refused(anna: Api, change: dict[str, Any], pointer: str) -> None:
    answer = await anna.unix("PUT", f"{ANNA}/vacation", {"text": "x", **change})
    assert answer.status == 422, answer.body
    assert answer.json["errors"][0]["pointer"] == pointer


async def test_forward_is_set_shown_and_cleared(anna: Api) -> None:
    assert (await anna.unix("GET", f"{ANNA}/forward")).json == {"targets": [], "keep_copy": True}
    wanted = {"targets": ["Anna@Elsewhere.Example", "anna@elsewhere.example"], "keep_copy": False}
    answer = await anna.unix("PUT", f"{ANNA}/forward", wanted)
    assert answer.json == {"targets": ["Anna@elsewhere.example"], "keep_copy": False}
    assert (await anna.unix("DELETE", f"{ANNA}/forward")).status == 204
    assert (await anna.unix("GET", f"{ANNA}/forward")).json["targets"] == []
    itself = await anna.unix("PUT", f"{ANNA}/forward", {"targets": ["anna@example.com"]})
    assert (itself.status, itself.json["errors"][0]["pointer"]) == (422, "/targets/0")


RULE = {
    "name": "Bills",
    "conditions": [{"type": "subject", "operator": "contains", "value": "invoice"}],
    "actions": [{"type": "move", "parameters": {"mailbox": "Bills"}}, {"type": "mark_seen"}],
}


async def test_rules_are_set_and_run(anna: Api) -> None:
    answer = await anna.unix("PUT", f"{ANNA}/filters", {"rules": [RULE]})
    assert answer.status == 200, answer.body
    shown = (await anna.unix("GET", f"{ANNA}/filters")).json["rules"]
    assert [(rule["name"], rule["enabled"], rule["match"]) for rule in shown] == [("Bills", True, "all")]
    tried = await anna.unix("POST", f"{ANNA}/sieve-test", {"message": MESSAGE})
    assert tried.json == {"actions": ["store in Bills, made if missing, flags \\Seen"], "failed": False}
    other = await anna.unix("POST", f"{ANNA}/sieve-test", {"message": MESSAGE.replace("Invoice", "Lunch")})
    assert other.json["actions"] == ["keep in INBOX"]
    assert (await anna.unix("DELETE", f"{ANNA}/filters")).status == 204
    assert await version(anna) == 0


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/rules/0/name"),
        ({"conditions": []}, "/rules/0"),
        ({"actions": []}, "/rules/0/actions"),
        ({"conditions": [{"type": "moon", "value": "x"}]}, "/rules/0/conditions/0/type"),
        ({"conditions": [{"type": "subject", "operator": "ne", "value": "x"}]}, "/rules/0/conditions/0/operator"),
        ({"conditions": [{"type": "subject", "operator": "regex", "value": "("}]}, "/rules/0/conditions/0/value"),
        ({"actions": [{"type": "move"}]}, "/rules/0/actions/0/parameters/mailbox"),
        (
            {"actions": [{"type": "redirect", "parameters": {"addresses": ["x"]}}]},
            "/rules/0/actions/0/parameters/addresses",
        ),
    ],
)
async def test_a_rule_that_can_not_be_is_refused_with_its_place(
    anna: Api, change: dict[str, Any], pointer: str
) -> None:
    answer = await anna.unix("PUT", f"{ANNA}/filters", {"rules": [{**RULE, **change}]})
    assert answer.status == 422, answer.body
    assert answer.json["errors"][0]["pointer"] == pointer


async def test_scripts_are_stored_listed_activated_and_removed(anna: Api) -> None:
    path = f"{ANNA}/sieve/main%20one"
    answer = await anna.unix("PUT", path, {"content": 'require "include"; include "other";'})
    assert answer.status == 200, answer.body
    assert answer.json["warnings"] == ["the included script 'other' is not there yet"]
    assert (await anna.unix("POST", f"{path}/activate")).status == 204
    assert (await anna.unix("GET", f"{ANNA}/sieve")).json == {"items": [{"name": "main one", "active": True}]}
    assert (await anna.unix("GET", path)).json["active"] is True
    assert (await anna.unix("DELETE", path)).status == 409
    assert (await anna.unix("POST", f"{ANNA}/sieve-deactivate")).status == 204
    assert (await anna.unix("DELETE", path)).status == 204
    assert (await anna.unix("GET", path)).status == 404


async def test_a_script_that_does_not_compile_is_refused_with_its_line(anna: Api) -> None:
    for method, path in (("PUT", f"{ANNA}/sieve/x"), ("POST", f"{ANNA}/sieve-check")):
        answer = await anna.unix(method, path, {"content": "keep;\nfrob;"})
        assert (answer.status, answer.json["errors"][0]["code"]) == (422, "script_invalid")
        assert "line 2: the command 'frob' is not known" in answer.body.decode()
    assert (await anna.unix("GET", f"{ANNA}/sieve")).json == {"items": []}


async def test_a_script_is_tried_without_being_stored(anna: Api) -> None:
    script = 'require ["fileinto", "duplicate", "mailbox"]; if duplicate { discard; } else { fileinto :create "New"; }'
    message = "Message-ID: <a@b>\n\nx"
    first = await anna.unix("POST", f"{ANNA}/sieve-test", {"message": message, "content": script})
    assert first.json["actions"] == ["store in New, made if missing"]
    again = {"message": message, "content": script, "seen_before": True}
    assert (await anna.unix("POST", f"{ANNA}/sieve-test", again)).json["actions"] == ["the script discards the mail"]
    loop = 'require "include"; include "none";'
    failed = await anna.unix("POST", f"{ANNA}/sieve-test", {"message": message, "content": loop})
    assert failed.json["failed"] is True


async def test_the_owner_sets_their_own_by_me_and_nobody_elses(anna: Api) -> None:
    await anna.identity.account("ben@example.com")
    key = await anna.key("mail:read", "mail:write", account_id="anna@example.com")
    assert (await anna.tcp("PUT", "/api/v1/accounts/me/vacation", {"text": "x"}, key=key)).status == 200
    assert (await anna.tcp("GET", f"{ANNA}/vacation", key=key)).status == 403
    assert (await anna.tcp("PUT", "/api/v1/accounts/ben@example.com/vacation", {"text": "x"}, key=key)).status == 403
    assert (await anna.unix("GET", f"{ANNA}/vacation")).json["text"] == "x"
    reader = await anna.key("mail:read", account_id="anna@example.com")
    assert (await anna.tcp("GET", "/api/v1/accounts/me/sieve", key=reader)).status == 200
    assert (await anna.tcp("PUT", "/api/v1/accounts/me/sieve/x", {"content": "keep;"}, key=reader)).status == 403
    assert (await anna.unix("GET", "/api/v1/accounts/me/vacation")).status == 404


async def test_changes_are_audited(anna: Api) -> None:
    await anna.unix("PUT", f"{ANNA}/forward", {"targets": ["a@elsewhere.example"]})
    await anna.unix("PUT", f"{ANNA}/sieve/x", {"content": "keep;"})
    types = [event["type"] for event in (await anna.unix("GET", "/api/v1/events?after=0&limit=100")).json["items"]]
    assert "account.forward_changed" in types
    assert "account.script_stored" in types


async def test_administrators_scripts_run_for_every_account_from_then_on(anna: Api) -> None:
    path = "/api/v1/sieve-scripts/1-all"
    answer = await anna.unix("PUT", path, {"place": "before", "content": 'require "imap4flags"; addflag "Seen1";'})
    assert answer.status == 200, answer.body
    assert await version(anna) > 0
    tried = await anna.unix("POST", f"{ANNA}/sieve-test", {"message": MESSAGE})
    assert tried.json["actions"] == ["keep in INBOX, flags Seen1"]
    assert [one["name"] for one in (await anna.unix("GET", "/api/v1/sieve-scripts")).json["items"]] == ["1-all"]
    assert (await anna.unix("GET", path)).json["place"] == "before"
    assert (await anna.unix("PUT", path, {"place": "user", "content": "keep;"})).status == 422
    assert (await anna.unix("PUT", path, {"place": "after", "content": "keep"})).status == 422
    assert (await anna.unix("DELETE", path)).status == 204
    assert (await anna.unix("GET", path)).status == 404
    assert await version(anna) == 0
