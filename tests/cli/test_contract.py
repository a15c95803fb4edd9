"""What holds for every command: help, examples, formats, exit codes, no traceback."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from typer import Context

from mairust_cli.app import NOUNS, root
from mairust_cli.commands.completion import walk
from mairust_cli.hoist import GLOBAL_FLAGS, hoist
from mairust_cli.shell import Leaf
from tests.cli.conftest import Mairust, runner
from tests.cli.fake_api import FakeApi, State

_ROOT = root()
LEAVES = {" ".join(path): command for path, command in walk(_ROOT, Context(_ROOT), ()) if isinstance(command, Leaf)}
LISTS = (
    "domain list",
    "domain alias list",
    "account list",
    "alias list",
    "queue list",
    "quota report",
    "quota report --domains",
    "mailbox list anna@example.com --reason x",
    "mailbox search anna@example.com words --reason x",
    "message list anna@example.com --reason x",
    "message deleted list --account anna@example.com --reason x",
    "api-key list",
    "job list",
    "app-password list anna@example.com",
    "session list",
    "connection list",
    "ban list",
    "tenant list",
    "trace --from a@b.c",
)
# Examples that need a whole daemon, a terminal, files of their own, or that wait.
_NOT_HERE = (
    "demo",
    "setup",
    "sudo",
    "tui",
    "config set",
    "config unset",
    "config validate",
    "config show",
    "log tail -f",
    "mairust import",
    "mairust export",
    "filter set",
    "--text-file",
    "sieve put",
    "sieve admin put",
    "sieve check",
    "sieve test",
    "> rules.json",
)


@pytest.mark.parametrize("name", LEAVES)
def test_help_shows_two_examples_of_the_command_itself(name: str, mairust: Mairust) -> None:
    examples = LEAVES[name].examples
    assert len(examples) >= 2
    assert all(
        shlex.split(example.removeprefix("sudo "))[: 1 + len(name.split())] == ["mairust", *name.split()]
        for example in examples
    )
    short, full = mairust(*name.split(), "-h"), mairust(*name.split(), "--help")
    assert short.code == full.code == 0
    assert short.out.lstrip().startswith("Examples:")
    assert "Global flags" in full.out
    assert "Global flags" not in short.out
    for example in examples:
        assert example in short.out
        assert example in full.out


@pytest.mark.parametrize("name", LEAVES)
def test_no_local_flag_hides_a_global_one(name: str) -> None:
    flags = {flag for parameter in LEAVES[name].params for flag in parameter.opts}
    assert not flags & GLOBAL_FLAGS


def runs_here(example: str) -> bool:
    """Whether an example needs nothing but the API: no daemon, terminal or files of its own."""
    return not any(part in example for part in _NOT_HERE)


def prepare(example: str, state: State) -> State:
    """The objects that an example names, and none that it makes."""
    if " add " in example or "api POST" in example:
        account = {"id": "a", "address": "anna@example.com"}
        return State(domains=[], accounts=[account], aliases=[], keys=[], tenants=[], app_passwords=[])
    state.domains.append({"id": "x", "name": "example.net", "status": "active"})
    for address in ("ben@example.org", "all@example.com", "info@example.com"):
        state.accounts.append({"id": address, "address": address})
        state.aliases.append({"id": address, "address": address, "targets": []})
    state.tenants += [{"id": "t", "name": "acme"}, {"id": "u", "name": "other"}]
    state.second_names += [{"id": "s", "name": "example.net"}, {"id": "o", "name": "other.example"}]
    state.keys.append({"id": "0000-9f31c2aa", "name": "old"})
    state.queue = [] if "queue-empty" in example else [{**state.queue[0], "id": "019a-7c4f2a91"}]
    found = {"trace_id": "019a-93be10d4", "message_id_header": "<a1b2@mail.example.com>", "final": True}
    state.traces = [{**state.traces[0], **found, "recipients": ["bob@bigmail.example"]}]
    state.pauses = [{"id": "p1", "domain": "bigmail.example"}, {"id": "p2", "all": True}]
    return state


def answered(words: list[str]) -> list[str]:
    """The words with what a person would answer at the prompt."""
    if "--watch" in words:
        return words[: words.index("--watch")]
    if words[:2] in (["account", "remove"], ["tenant", "remove"]) and "--confirm" not in words:
        return [*words, "--confirm", words[2]]
    if words[:2] == ["account", "password"] and "--generate" not in words:
        return [*words, "--generate"]
    return words


@pytest.mark.parametrize("example", [one for leaf in LEAVES.values() for one in leaf.examples if runs_here(one)])
def test_every_example_runs(
    example: str, mairust: Mairust, api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.state = prepare(example, api.state)
    (tmp_path / "password").write_text("a fine password\n")
    monkeypatch.chdir(tmp_path)
    result = mairust(*answered(shlex.split(example)[1:]), "--yes")
    assert result.code == 0, result.err


@pytest.mark.parametrize("command", LISTS)
@pytest.mark.parametrize("form", ["table", "plain", "json", "ndjson", "yaml", "name", "wide"])
def test_every_list_speaks_every_format(command: str, form: str, mairust: Mairust) -> None:
    result = mairust(*command.split(), "-o", form)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines
    match form:
        case "json":
            assert isinstance(json.loads(result.out), list)
        case "ndjson":
            assert all(isinstance(json.loads(line), dict) for line in lines)
        case "yaml":
            assert isinstance(YAML(typ="safe").load(result.out), list)
        case "plain":
            assert all("\t" in line for line in lines)
        case "name":
            assert not any("\t" in line or " " in line for line in lines)


@pytest.mark.parametrize("form", ["table", "plain", "json", "ndjson", "yaml", "name", "wide"])
@pytest.mark.parametrize(
    "command",
    [
        "domain show example.com",
        "account show anna@example.com",
        "alias show sales@example.com",
        "tenant show default",
        "status",
        "version",
    ],
)
def test_every_show_speaks_every_format(command: str, form: str, mairust: Mairust) -> None:
    result = mairust(*command.split(), "-o", form)
    assert result.code == 0, result.err
    if form == "json":
        assert isinstance(json.loads(result.out), dict)
    if form == "yaml":
        assert isinstance(YAML(typ="safe").load(result.out), dict)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "bad_request", 7),
        (401, "unauthenticated", 4),
        (403, "scope_missing", 4),
        (404, "not_found", 3),
        (409, "conflict", 5),
        (410, "events_expired", 3),
        (412, "revision_mismatch", 5),
        (413, "too_large", 7),
        (422, "validation_failed", 7),
        (429, "rate_limited", 1),
        (500, "internal", 1),
        (503, "unavailable", 1),
        (503, "not_configured", 7),
        (507, "disk_reserve", 1),
    ],
)
def test_exit_code_follows_the_http_status(
    status: int, code: str, expected: int, mairust: Mairust, api: FakeApi
) -> None:
    api.fail("GET", "/domains", status, code)
    result = mairust("domain", "list")
    assert result.code == expected
    lines = result.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("error: ")
    assert lines[2].startswith("try: ")
    assert result.out == ""


def test_json_errors_are_the_problem_object_on_one_line(mairust: Mairust, api: FakeApi) -> None:
    api.fail("GET", "/domains", 409, "conflict", errors=[{"pointer": "/name", "detail": "taken"}])
    result = mairust("domain", "list", "--json")
    assert json.loads(result.err)["code"] == "conflict"
    assert result.err.count("\n") == 1


def test_errors_name_the_request(mairust: Mairust, api: FakeApi) -> None:
    api.fail("GET", "/domains", 500, "internal")
    assert "[request " in mairust("domain", "list").err


@pytest.mark.parametrize(
    "body", [b"<html>", b"[1, 2", b'{"items": 3}', b'{"items": [1, null]}', b"[]", b'"x"', b"\xff\xfe"]
)
def test_a_garbled_answer_is_no_traceback(body: bytes, mairust: Mairust, api: FakeApi) -> None:
    api.answers[("GET", "/domains")] = (200, body)
    result = mairust("domain", "list")
    assert "Traceback" not in result.err
    assert result.code in (0, 1)


@pytest.mark.parametrize(
    ("typed", "meant"), [("que", "queue"), ("domian", "domain"), ("acount", "account"), ("statsu", "status")]
)
def test_a_slip_is_named_and_never_acted_on(typed: str, meant: str, mairust: Mairust, api: FakeApi) -> None:
    result = mairust(typed, "list")
    assert result.code == 2
    assert f"no such command '{typed}'. Did you mean '{meant}'?" in result.err
    assert api.requests == []


@pytest.mark.parametrize(
    ("alias", "canonical"),
    [
        ("domain ls", "domain list"),
        ("user list", "account list"),
        ("account get anna@example.com", "account show anna@example.com"),
        ("queue ls", "queue list"),
    ],
)
def test_hidden_aliases_work_and_are_not_shown(alias: str, canonical: str, mairust: Mairust) -> None:
    assert mairust(*alias.split(), "--json") == mairust(*canonical.split(), "--json")
    assert "ls " not in mairust(alias.split()[0], "--help").out


def test_removing_by_any_name(mairust: Mairust, api: FakeApi) -> None:
    for word in ("rm", "delete"):
        api.state.aliases = [{"id": "1", "address": "a@example.com"}]
        assert mairust("alias", word, "a@example.com", "--yes").code == 0
        assert api.state.aliases == []
    assert mairust("queue", "rm", api.state.queue[0]["id"], "--yes").code == 0


def test_absent_capabilities_are_absent_from_help(mairust: Mairust) -> None:
    text = mairust("--help").out
    for noun in ("backup", "quarantine", "campaign", "plugin", "policy"):
        assert noun not in text
    assert all(noun in text for noun in NOUNS)


def test_global_flags_before_and_after_mean_the_same(mairust: Mairust) -> None:
    assert (
        mairust("--json", "domain", "list")
        == mairust("domain", "--json", "list")
        == mairust("domain", "list", "-ojson")
    )


def test_flags_after_a_bare_double_dash_are_arguments() -> None:
    options, rest = hoist(["domain", "add", "--", "--json"], {})
    assert options.output == ""
    assert rest == ["domain", "add", "--", "--json"]


def test_a_flag_beats_the_environment(tmp_path: Path, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = runner({"MAIRUST_URL": "https://192.0.2.1", "PATH": "/bin"}, monkeypatch)
    assert wrong("--socket", str(api.socket), "domain", "list").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--limit", "x"],
        ["-o", "xml", "domain", "list"],
        ["--timeout", "never"],
        ["--output"],
        ["domain", "list", "--columns", "nope"],
        ["domain", "add"],
        ["domain", "list", "--nope"],
        ["queue", "delete"],
        ["--url", "http://192.0.2.1", "domain", "list"],
        ["--url", "nonsense", "domain", "list"],
        ["api", "BREW", "/coffee"],
        ["trace"],
        ["trace", "xyz"],
        ["queue", "stats", "--group", "x"],
        ["log", "tail", "--severity", "loud"],
        ["log", "tail", "--grep", "("],
        ["queue", "list", "--older", "soon"],
        ["account", "set", "anna@example.com"],
        ["account", "add", "x@example.com"],
        ["wait", "--for", "godot"],
        ["domain", "dns", "show", "example.com", "--format", "xml"],
    ],
)
def test_wrong_usage_is_exit_2_in_three_lines(arguments: list[str], mairust: Mairust) -> None:
    result = mairust(*arguments)
    assert result.code == 2, result
    assert len(result.err.splitlines()) == 3


_WORDS = st.one_of(
    st.sampled_from(
        sorted({word for name in LEAVES for word in name.split()} - {"demo", "setup", "tui", "log", "wait", "status"})
    ),
    st.sampled_from(sorted(GLOBAL_FLAGS - {"--socket", "--url", "--timeout"})),
    st.sampled_from(
        ["-", "--", "-h", "--help", "--all", "--yes", "example.com", "\x1b[31m", "\u202e", "\x00", "💥", "a" * 300]
    ),
    st.text(max_size=12),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(_WORDS, max_size=6))
def test_no_arguments_make_a_traceback(arguments: list[str], mairust: Mairust) -> None:
    result = mairust(*arguments)
    assert "Traceback" not in result.err + result.out
    assert "unexpected way" not in result.err, result.err
    assert result.code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 130)


@pytest.mark.parametrize("typed", [["x" * 100_000], ["trace", "x" * 100_000], ["queue", "show", "\x1b]0;" * 20_000]])
def test_an_error_repeats_little_of_what_was_typed(typed: list[str], mairust: Mairust) -> None:
    result = mairust(*typed)
    assert result.code != 0
    assert len(result.err) < 20_000
    assert "\x1b" not in result.err
