"""What each command asks of the API, and what it refuses to do without being told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Mairust
from tests.cli.fake_api import PREFIX, FakeApi, delivery, trace, uuid


def test_domain_add_names_the_keys_and_the_next_step(mairust: Mairust) -> None:
    result = mairust("domain", "add", "new.example")
    assert result.out == "new.example added; DKIM keys r1 (RSA-2048), e1 (Ed25519)\n"
    assert result.err == "next: mairust domain dns show new.example\n"


def test_domain_add_of_several_goes_on_after_a_failure_and_exits_9(mairust: Mairust, api: FakeApi) -> None:
    result = mairust("domain", "add", "example.com", "new.example")
    assert result.code == 9
    assert "example.com: exists already" in result.err
    assert api.state.domains[-1]["name"] == "new.example"


def test_arguments_from_stdin(mairust: Mairust, api: FakeApi) -> None:
    assert mairust("domain", "add", "-", stdin="a.example\n\nb.example\n").code == 0
    assert [row["name"] for row in api.state.domains[-2:]] == ["a.example", "b.example"]


def test_dns_show_only_what_is_missing_and_as_a_zone(mairust: Mairust) -> None:
    result = mairust("domain", "dns", "show", "example.org", "--missing", "-o", "table")
    assert "✗ miss" in result.out
    assert "SPF" not in result.out
    zone = mairust("domain", "dns", "show", "example.org", "--format", "zone").out.splitlines()
    assert zone[0].split("\t") == ["example.org.", "3600", "IN", "MX", "10 mail.example.com."]


@pytest.mark.parametrize(
    "command", ["domain remove example.com", "account remove anna@example.com", "tenant remove default"]
)
def test_what_loses_mail_needs_its_name_not_just_yes(command: str, mairust: Mairust, api: FakeApi) -> None:
    name = command.split()[-1]
    refused = mairust(*command.split(), "--yes")
    assert refused.code == 2
    assert f"--confirm {name}" in refused.err
    assert mairust(*command.split(), "--confirm", "other").code == 2
    assert not [request for request in api.requests if request.method == "DELETE"]
    assert mairust(*command.split(), "--confirm", name).code == 0


def test_severe_confirmation_by_typing_the_name(mairust: Mairust, api: FakeApi) -> None:
    wrong = mairust("domain", "remove", "example.com", tty=True, stdin="example.org\n")
    assert wrong.code == 1
    assert len(api.state.domains) == 2
    right = mairust("domain", "remove", "example.com", tty=True, stdin="example.com\n")
    assert right.code == 0
    assert len(api.state.domains) == 1


def test_no_input_never_asks(mairust: Mairust) -> None:
    result = mairust("domain", "remove", "example.com", "--no-input", tty=True, stdin="example.com\n")
    assert result.code == 2


def test_interrupted_prompt_is_130(mairust: Mairust) -> None:
    assert mairust("alias", "remove", "sales@example.com", tty=True, stdin="").code == 130


def test_account_add_with_a_made_password_shows_it_once(mairust: Mairust, api: FakeApi) -> None:
    result = mairust("account", "add", "ben@example.org", "--name", "Ben Ode", "--quota", "5G", "--generate")
    sent = api.sent("POST", f"{PREFIX}/accounts")[0]
    assert sent["quota_bytes"] == 5 << 30
    assert sent["display_name"] == "Ben Ode"
    assert len(sent["password"]) >= 24
    assert result.out == f"ben@example.org added   password (shown once): {sent['password']}\n"
    as_json = json.loads(mairust("account", "add", "c@example.org", "--generate", "--json").out)
    assert as_json["password"] == api.sent("POST", f"{PREFIX}/accounts")[1]["password"]


def test_passwords_from_file_and_stdin_never_from_arguments(mairust: Mairust, api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from a file, long\nsecond line\n")
    assert mairust("account", "add", "a@example.org", "--password-file", str(tmp_path / "pw")).code == 0
    assert mairust("account", "password", "a@example.org", "--password-stdin", stdin="from stdin, long\n").code == 0
    assert api.sent("POST", f"{PREFIX}/accounts")[0]["password"] == "from a file, long"
    assert api.sent("POST", f"{PREFIX}/accounts/a@example.org/password")[0]["password"] == "from stdin, long"
    assert mairust("account", "add", "b@example.org", "--password", "x").code == 2
    assert mairust("account", "add", "b@example.org", "--generate", "--password-stdin").code == 2
    assert mairust("account", "add", "b@example.org", "--password-file", "/nonexistent").code == 7


def test_debug_shows_requests_and_masks_secrets(mairust: Mairust) -> None:
    result = mairust("account", "add", "b@example.org", "--password-stdin", "--debug", stdin="very secret thing\n")
    assert "> POST /api/v1/accounts" in result.err
    assert "very secret" not in result.err


def test_alias_is_found_by_address_and_by_tail(mairust: Mairust, api: FakeApi) -> None:
    assert mairust("alias", "set", "sales@example.com", "--to", "x@example.com,y@example.com").code == 0
    assert api.state.aliases[0]["targets"] == ["x@example.com", "y@example.com"]
    assert mairust("alias", "show", api.state.aliases[0]["id"][-6:]).code == 0
    assert mairust("alias", "show", "nobody@example.com").code == 3


def test_id_tails_that_fit_twice_name_both(mairust: Mairust, api: FakeApi) -> None:
    api.state.queue = [delivery(1, id="019a0000-aaaabbbb"), delivery(2, id="019a1111-aaaabbbb")]
    result = mairust("queue", "hold", "aaaabbbb")
    assert result.code == 5
    assert "019a0000-aaaabbbb" in result.err
    assert "019a1111-aaaabbbb" in result.err
    assert mairust("queue", "hold", "bbbb").code == 2
    assert mairust("queue", "hold", "cccccc").code == 3


@pytest.mark.parametrize("verb", ["retry", "hold", "release"])
def test_mild_verbs_act_on_one_delivery_at_once(verb: str, mairust: Mairust, api: FakeApi) -> None:
    ident = api.state.queue[0]["id"]
    assert mairust("queue", verb, ident[-8:]).code == 0
    assert len(api.sent("POST", f"{PREFIX}/queue/{ident}/{verb}")) == 1


@pytest.mark.parametrize("verb", ["bounce", "delete"])
def test_bounce_and_delete_ask_first(verb: str, mairust: Mairust, api: FakeApi) -> None:
    ident = api.state.queue[0]["id"]
    assert mairust("queue", verb, ident).code == 2
    assert not [request for request in api.requests if request.method != "GET"]
    assert mairust("queue", verb, ident, "--yes").code == 0
    assert [request.method for request in api.requests if request.method != "GET"] == [
        "DELETE" if verb == "delete" else "POST"
    ]


def test_filters_are_counted_and_sampled_before_anything_happens(mairust: Mairust, api: FakeApi) -> None:
    result = mairust("queue", "delete", "--domain", "bigmail.example", "--older", "2h", "--dry-run")
    assert result.code == 0
    assert "would be deleted: 2" in result.out
    assert "anna@example.com -> bob1@bigmail.example" in result.err
    assert api.sent("POST", f"{PREFIX}/queue/bulk") == [
        {"filter": {"domain": "bigmail.example", "older_than": 7200}, "action": "delete", "dry_run": True}
    ]


def test_deleting_everything_needs_all_spelled_out_and_confirmed(mairust: Mairust) -> None:
    assert mairust("queue", "delete", "--yes").code == 2
    assert mairust("queue", "delete", "--all", "--yes").code == 2
    assert mairust("queue", "delete", "--all", "--confirm", "all").code == 0


def test_partly_done_bulk_is_exit_9(mairust: Mairust, api: FakeApi) -> None:
    api.state.bulk_failed = 1
    result = mairust("queue", "hold", "--domain", "bigmail.example", "--yes")
    assert result.code == 9
    assert "held 1, skipped 1" in result.out


def test_pause_shows_in_the_list_and_resumes(mairust: Mairust) -> None:
    assert mairust("queue", "pause", "--to", "slow.example").code == 0
    listed = mairust("queue", "list", "-o", "table")
    assert "paused: slow.example" in listed.err
    assert mairust("queue", "resume", "--to", "other.example").code == 3
    assert mairust("queue", "resume", "--to", "slow.example").code == 0
    assert mairust("queue", "pause").code == 2


def test_queue_list_tells_reply_and_hold(mairust: Mairust) -> None:
    text = mairust("queue", "list", "-o", "table").out
    assert "421 4.7.28 rate limited" in text
    assert "HELD" in text


def test_queue_stats_counts_by_group(mairust: Mairust) -> None:
    assert mairust("queue", "stats", "-o", "table").out.splitlines()[1].split() == ["status", "1,234", "deferred"]
    assert len(mairust("queue", "stats", "--group", "domain").out.splitlines()) == 1
    assert "by_status" in json.loads(mairust("queue", "stats", "--json").out)
    assert mairust("queue", "stats", "--group", "x").code == 2


def test_queue_show_has_the_attempts(mairust: Mairust, api: FakeApi) -> None:
    ident = api.state.queue[0]["id"]
    assert "TLS 1.3" in mairust("queue", "show", ident[-8:], "-o", "table").out
    assert json.loads(mairust("queue", "show", ident, "--json").out)["attempt_list"][0]["code"] == 421


def test_trace_by_address_prints_the_whole_life(mairust: Mairust) -> None:
    result = mairust("trace", "bob1@bigmail.example")
    lines = result.out.splitlines()
    assert lines[0].startswith('anna@example.com -> bob1@bigmail.example   "Offer 2211"   trace ')
    assert "mx1.bigmail.example: 421 4.7.28 rate limited" in lines[2]
    assert lines[-1] == "Deferred: the receiver limits our rate.      try: mairust queue list"


def test_trace_by_message_id_with_and_without_brackets(mairust: Mairust) -> None:
    assert "bob1@" in mairust("trace", "<m1@example.com>").out
    assert "bob1@" in mairust("trace", "m1@example.com").out


def test_trace_by_the_id_of_trace_delivery_and_submission(mairust: Mairust, api: FakeApi) -> None:
    row = api.state.queue[0]
    for ident in (row["trace_id"], row["trace_id"][-8:], row["id"], row["id"][-8:], row["submission_id"]):
        assert "bob1@bigmail.example" in mairust("trace", ident).out, ident
    assert mairust("trace", uuid(0xDEA)).code == 3
    assert mairust("trace", "nobody@nowhere.example").code == 3


def test_trace_with_several_hits_lists_them_and_tells_the_newest(mairust: Mairust) -> None:
    result = mairust("trace", "anna@example.com", "-o", "table")
    assert "SUMMARY" in result.out
    assert "421 4.7.28 rate limited" in result.out
    assert len(json.loads(mairust("trace", "anna@example.com", "--json").out)) == 2


def test_trace_follow_ends_with_the_message(mairust: Mairust, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.state.traces = [trace(1)]

    def arrive(_seconds: float) -> None:
        told = api.state.traces[0]
        told["timeline"].append({**told["timeline"][1], "seq": 3, "verdict": "sent", "reply": "250 ok"})
        told.update(summary="Delivered.", final=True)

    monkeypatch.setattr("time.sleep", arrive)
    result = mairust("trace", api.state.traces[0]["trace_id"], "--follow")
    assert result.code == 0
    assert result.out.rstrip().endswith("Delivered.      try: mairust queue list")


def test_log_tail_filters(mairust: Mairust) -> None:
    assert len(mairust("log", "tail").out.splitlines()) == 2
    assert "delivery.deferred" in mairust("log", "tail", "--severity", "warning").out
    assert "message.received" not in mairust("log", "tail", "--severity", "warning").out
    assert mairust("log", "tail", "--grep", "nothing").out == ""
    assert len(mairust("log", "tail", "-n", "1").out.splitlines()) == 1
    assert len(json.loads(mairust("log", "tail", "--json").out)) == 2


def test_log_tail_looks_back_until_it_has_enough(mairust: Mairust, api: FakeApi) -> None:
    base = api.state.events[0]
    api.state.events = [{**base, "seq": n, "severity": "error" if n < 4 else "info"} for n in range(1, 3001)]
    assert len(mairust("log", "tail", "-n", "700").out.splitlines()) == 700
    assert len(mairust("log", "tail", "-n", "3", "--severity", "error").out.splitlines()) == 3
    assert len(mairust("log", "tail", "--since", "2026-11-22T00:00Z").out.splitlines()) == 3000
    assert len(api.requests) < 40


def test_api_key_is_shown_once(mairust: Mairust) -> None:
    result = mairust("api-key", "add", "--name", "x", "--scopes", "read,mail:send", "--expires", "90d")
    assert "key (shown once): mk_made_secret" in result.out
    assert "mk_" not in mairust("api-key", "list", "--columns", "name,scopes").out
    assert "mk_new_secret" in mairust("api-key", "rotate", "website", "--grace", "7d").out
    assert "mk_made_secret" in mairust("api-key", "add", "--name", "y", "--scopes", "read", "-q").err


def test_app_password_is_shown_once(mairust: Mairust, api: FakeApi) -> None:
    added = mairust("app-password", "add", "anna@example.com", "--name", "tablet", "--protocols", "imap, smtp")
    assert "password (shown once): abcd-efgh" in added.out
    path = f"{PREFIX}/accounts/anna@example.com/app-passwords"
    assert api.sent("POST", path) == [{"name": "tablet", "protocols": ["imap", "smtp"]}]
    assert "abcd" not in mairust("app-password", "list", "anna@example.com").out
    assert "abcd-efgh" in mairust("app-password", "add", "anna@example.com", "--name", "y", "-q").err
    assert mairust("app-password", "remove", "anna@example.com", "--name", "tablet", "--yes").code == 0
    assert "tablet" not in mairust("app-password", "list", "anna@example.com").out


def test_ban_is_lifted_by_network_or_id(mairust: Mairust) -> None:
    assert mairust("ban", "remove", "192.0.2.0/24").code == 0
    assert mairust("ban", "rm", "9f31c2aa").code == 0
    assert "no network is banned" in mairust("ban", "list", "-o", "table").err
    assert mairust("ban", "remove", "203.0.113.7").code == 3


def test_a_session_is_kicked_by_any_word_for_it(mairust: Mairust, api: FakeApi) -> None:
    for word in ("kick", "remove"):
        assert mairust("session", word, "anna@example.com", "--yes").code == 0
    path = f"{PREFIX}/accounts/anna@example.com/sessions"
    assert [request.path for request in api.requests if request.method == "DELETE"] == [path, path]
    assert mairust("connection", "remove", "9f31c2aa").code == 0


def test_reload_says_what_waits_for_a_restart(mairust: Mairust, api: FakeApi) -> None:
    api.answers[("POST", "/settings/reload")] = (200, {"applied": ["log.level"], "restart_required": ["server.bind"]})
    result = mairust("reload")
    assert "reloaded: log.level" in result.out
    assert "needs a restart: server.bind" in result.err
    api.fail("POST", "/settings/reload", 422, "validation_failed", "line 3: smtp.nope is not known")
    faulty = mairust("reload")
    assert faulty.code == 7
    assert "smtp.nope" in faulty.err


def test_tenant_flag_reaches_tenant_paths_only(mairust: Mairust, api: FakeApi) -> None:
    mairust("--tenant", "acme", "domain", "list")
    mairust("--tenant", "acme", "status")
    assert [request.path for request in api.requests] == [f"{PREFIX}/tenants/acme/domains", f"{PREFIX}/system/status"]


def test_status_of_an_unwell_server_says_so(mairust: Mairust, api: FakeApi) -> None:
    api.answers[("GET", "/system/status")] = (200, {"hostname": "mail.example.com", "health": "unhealthy"})
    assert mairust("status").out.startswith("mail.example.com  unhealthy")


def test_status_is_one_screen(mairust: Mairust) -> None:
    lines = mairust("status").out.splitlines()
    assert lines[0].startswith("mail.example.com  healthy, 1 warning")
    assert "up 6 d, SQLite, 3 domains, 41 accounts" in lines[0]
    assert "in 1,204  out 611  refused 3,870" in lines[1]
    assert "queue 12, oldest 2 h" in lines[1]
    assert "25 993" in lines[2]
    assert lines[3] == "! BACKUP  no backup yet    try: mairust doctor"


@pytest.mark.parametrize(("severity", "code", "nagios"), [("ok", 0, 0), ("warning", 10, 1), ("error", 11, 2)])
def test_doctor_exit_codes(severity: str, code: int, nagios: int, mairust: Mairust, api: FakeApi) -> None:
    api.state.checks = [{"id": "DISK", "severity": severity, "subject": "/", "found": "98 %", "wanted": "90 %"}]
    assert mairust("doctor").code == code
    assert mairust("doctor", "--json").code == code
    result = mairust("doctor", "--nagios")
    assert result.code == nagios
    assert len(result.out.splitlines()) == 1


def test_api_command_reaches_any_route(mairust: Mairust, api: FakeApi, tmp_path: Path) -> None:
    assert json.loads(mairust("api", "get", "/domains", "--query", "limit=1").out)["next_cursor"] == "1"
    assert mairust("api", "GET", "/health").code == 0
    (tmp_path / "b.json").write_text('{"name": "f.example"}')
    assert mairust("api", "POST", "/domains", "--data", f"@{tmp_path}/b.json").code == 0
    assert mairust("api", "POST", "/domains", "--data", "{nonsense").code == 7
    assert mairust("api", "GET", "/nothing").code == 3
    assert mairust("api", "GET", "domains").code == 2


def test_help_topics(mairust: Mairust) -> None:
    assert "10  a check found warnings" in mairust("help", "exit-codes").out
    assert mairust("help", "nonsense").code == 3


def test_help_of_a_command_is_the_commands_help(mairust: Mairust) -> None:
    assert mairust("help", "queue").out == mairust("queue", "--help").out
    assert mairust("help", "user", "ls").out == mairust("account", "list", "--help").out
    assert mairust("help", "queue", "list", "more").code == 3
    assert "Did you mean" not in mairust("help", "queue").err


def test_help_of_a_noun_cuts_no_sentence(mairust: Mairust) -> None:
    assert "..." not in mairust("queue", "--help").out.replace("[ARGS]...", "")


@pytest.mark.parametrize(
    ("command", "path", "detail", "hint"),
    [
        ("ban remove 10.9.9.9", "", "", "mairust ban list"),
        ("job show ffffffff", "", "", "mairust job list"),
        ("session kick zoe@example.com --yes", "sessions", "no such account", "mairust account list"),
        ("app-password add zoe@example.com --name x", "app-passwords", "gone", "ADDR"),
        ("grant set zoe@example.com --mailbox X --to a@b.example", "grants", "no such mailbox", "mairust mailbox list"),
    ],
)
def test_what_is_not_there_is_answered_by_where_to_look(
    command: str, path: str, detail: str, hint: str, mairust: Mairust, api: FakeApi
) -> None:
    for method in ("POST", "PUT", "DELETE"):
        api.fail(method, f"/accounts/zoe@example.com/{path}", 404, "not_found", detail=detail)
    result = mairust(*command.split())
    assert result.code == 3
    assert "try: " in result.err
    assert hint in result.err.splitlines()[-1]


def test_a_fault_of_the_input_names_its_field_once(mairust: Mairust, api: FakeApi) -> None:
    errors = [{"pointer": "/rules/0/actions", "detail": "the field is needed"}]
    api.fail("POST", "/domains", 422, "validation_failed", detail="the field is needed", errors=errors)
    error = mairust("domain", "add", "x.example").err
    assert "\nrules/0/actions: the field is needed   [request" in error
    assert error.count("the field is needed") == 1


@pytest.mark.parametrize(
    ("status", "pointer", "hint"),
    [
        (422, "/address", "mairust domain list"),
        (422, "/password", "mairust account add --help"),
        (409, "", "mairust account list"),
    ],
)
def test_a_refused_account_says_where_to_look(
    status: int, pointer: str, hint: str, mairust: Mairust, api: FakeApi
) -> None:
    api.fail("POST", "/accounts", status, "refused", errors=[{"pointer": pointer, "detail": "no"}])
    result = mairust("account", "add", "zoe@nowhere.example", "--generate")
    assert f"try: {hint}" in result.err
