"""The client against the API's document: nothing is sent that it does not take, nothing read that it does not give."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from mairust_cli.commands import (
    account,
    alias,
    api_key,
    app_password,
    ban,
    connection,
    domain,
    domain_alias,
    grant,
    grant_send_as,
    job,
    mailbox,
    message,
    message_deleted,
    queue,
    sieve,
    tenant,
    trace,
)
from mairust_cli.health import status_lines
from mairust_cli.output import times
from mairust_cli.output.table import Column
from mairust_cli.timeline import timeline_lines
from tests.cli.conftest import Mairust
from tests.cli.contract import faults, sample, schema
from tests.cli.fake_api import PREFIX, FakeApi, Request
from tests.cli.test_contract import LEAVES, answered, prepare, runs_here

LISTS: tuple[tuple[str, Sequence[Column]], ...] = (
    ("DomainOut", domain.COLUMNS),
    ("DomainAliasOut", domain_alias.COLUMNS),
    ("AccountOut", account.COLUMNS),
    ("AliasOut", alias.COLUMNS),
    ("ApiKeyOut", api_key.COLUMNS),
    ("AppPasswordOut", app_password.COLUMNS),
    ("GrantOut", grant.COLUMNS),
    ("SendGrantOut", grant_send_as.COLUMNS),
    ("BanOut", ban.COLUMNS),
    ("ConnectionOut", connection.COLUMNS),
    ("ScriptNameOut", sieve.COLUMNS),
    ("AdminScriptOut", sieve.ADMIN_COLUMNS),
    ("TenantOut", tenant.COLUMNS),
    ("JobOut", job.COLUMNS),
    ("MailboxOut", mailbox.COLUMNS),
    ("MessageOut", message.COLUMNS),
    ("DeletedMessageOut", message_deleted.COLUMNS),
    ("DeliveryOut", queue.COLUMNS),
    ("TraceOut", trace.COLUMNS),
)
COMMANDS = (
    "queue list --from a@b.example --to c@d.example --domain d.example --status held --reason x --older 2h --tries 3",
    "queue hold --from a@b.example --to c@d.example --domain d.example --status held --reason x --older 2h --tries 3",
    "queue list --history -o wide",
    "queue pause --all",
    "quota report --domain example.com --above 10",
    "quota report --domains",
    "account remove anna@example.com --purge --confirm anna@example.com",
    "message list a@b.example --mailbox INBOX --tag x --seen --flagged --since 2h --until now --sort -date --reason x",
    "mailbox search a@b.example words --relevance --reason x",
    "mailbox reindex",
    "message deleted restore --account anna@example.com --all --reason x",
    "trace --from a@b.example --to c@d.example --subject x --ip 192.0.2.1 --since 2h --until now",
    "trace <m1@example.com>",
    "trace bob1@bigmail.example",
    "account add x@example.com --name X --quota 5G --role user --also y@example.com --generate",
    "account set anna@example.com --name X --quota 5G --role user --also y@example.com",
    "account list --domain example.com --status active --query an",
    "alias add x@example.com --to y@example.com --internal-only --description z",
    "domain set example.com --catch-all none --max-message-size 1M --require-tls-in --require-tls-out --subaddressing",
    "domain set example.com --quota 50G",
    "domain dns show example.com --format zone",
    "api-key add --name x --scopes read --expires 9d --network 192.0.2.0/24 --account anna@example.com",
    "api-key rotate website --grace 7d",
    "app-password add anna@example.com --name x --protocols imap,smtp --expires 90d",
    "grant set anna@example.com --mailbox Projects --to ben@example.com --rights edit",
    "grant remove anna@example.com --mailbox Projects --to ben@example.com",
    "grant send-as list anna@example.com",
    "grant send-as add anna@example.com --to ben@example.com",
    "grant send-as remove anna@example.com --to ben@example.com",
    "app-password remove anna@example.com --name phone",
    "account vacation set anna@example.com --text x --subject y --from 2026-12-01 --until 2w --every 3d",
    "account forward set anna@example.com --to x@elsewhere.example --no-keep-copy",
    "account filter clear anna@example.com",
    "sieve activate anna@example.com main",
    "sieve show anna@example.com main",
    "session list --account anna@example.com --protocol imap",
    "session kick anna@example.com",
    "connection list --account anna@example.com --protocol smtp",
    "ban add 203.0.113.0/24 --for 1h --account anna@example.com --reason x",
    "ban remove 192.0.2.0/24",
    "reload",
    "tenant add x --display-name y",
    "log tail --type a.* --severity warning --since 2h",
    "doctor --only DISK",
    "config get server.bind",
    "config show --effective",
)


@pytest.mark.parametrize("example", [one for leaf in LEAVES.values() for one in leaf.examples if runs_here(one)])
def test_examples_send_what_the_api_takes(
    example: str, mairust: Mairust, api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.state = prepare(example, api.state)
    (tmp_path / "password").write_text("a fine password\n")
    monkeypatch.chdir(tmp_path)
    mairust(*answered(shlex.split(example)[1:]), "--yes")
    assert faults(api.requests) == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("scope", [(), ("--tenant", "acme")])
def test_every_flag_is_something_the_api_takes(
    command: str, scope: tuple[str, ...], mairust: Mairust, api: FakeApi
) -> None:
    result = mairust(*scope, *shlex.split(command.replace("<", "'<").replace(">", ">'")), "--yes")
    assert result.code == 0, result.err
    assert api.requests
    assert faults(api.requests) == []


@pytest.mark.parametrize(("name", "columns"), LISTS)
def test_every_column_is_a_field_of_the_api(name: str, columns: Sequence[Column]) -> None:
    row = sample(name)
    assert [column.name for column in columns if column.value(row) in (None, "", [])] == []


def test_the_status_screen_reads_what_the_api_gives() -> None:
    status = {**sample("StatusOut"), "started_at": "2026-11-22T12:00:00Z"}
    lines = status_lines(status, times.now(), sign=str)
    assert not any(" - " in f" {line} " for line in lines)
    assert "<try>" in lines[-1]


def test_the_timeline_reads_what_the_api_gives() -> None:
    text = "\n".join(timeline_lines(sample("TraceOut")))
    for field in ("sender", "recipients", "subject", "component", "verdict", "detail", "reply", "summary"):
        assert f"<{field}>" in text
    assert "final" in schema("TraceOut")["properties"]


def test_checks_read_what_the_api_gives(mairust: Mairust, api: FakeApi) -> None:
    api.state.checks = [{**sample("CheckOut"), "severity": "error"}]
    text = mairust("doctor", "-o", "wide").out
    for field in ("id", "subject", "found", "wanted", "fix_by", "fix"):
        assert f"<{field}>" in text


def test_the_judge_sees_unknown_routes_parameters_and_fields() -> None:
    bad = (
        Request("GET", f"{PREFIX}/nothing", {}, None, {}),
        Request("GET", f"{PREFIX}/queue", {"colour": "red"}, None, {}),
        Request("POST", f"{PREFIX}/accounts/a@b.example/password", {}, {"password": "x", "secret": "y"}, {}),
    )
    assert [fault.rsplit(": ", 1)[1] for fault in faults(bad)] == [
        "no such route",
        "query parameter colour",
        "field secret",
    ]
