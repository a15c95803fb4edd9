"""Formats, times, sizes, escaping: what is printed, and that a terminal can trust it."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from mairust_cli.output import times
from mairust_cli.output.escape import json_text, safe, safe_lines
from mairust_cli.output.table import Column, cut_middle, display_width, fitted, table_lines
from mairust_cli.output.yaml_text import yaml_text
from tests.cli.conftest import Mairust
from tests.cli.fake_api import FakeApi, delivery, trace, uuid

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066\r\nX\x00\x9b31m\ud800"
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=12,
)


def _harmless(text: str) -> bool:
    return all(character == "\n" or character == "\t" or safe(character) == character for character in text)


def test_escape_shows_what_it_took_out() -> None:
    assert safe("a\x1b[31mb\u202ec\x9bd") == "a\\x1b[31mb\\u202ec\\x9bd"
    assert safe("Grüße 💥 日本") == "Grüße 💥 日本"
    assert safe_lines("a\nb\rc") == "a\nb\\x0dc"


@given(text=st.text())
def test_nothing_that_acts_on_a_terminal_survives(text: str) -> None:
    assert safe(safe(text)) == safe(text)
    assert _harmless(safe(text))


@given(value=_JSON)
def test_json_keeps_every_value_and_is_harmless(value: object) -> None:
    assert json.loads(json_text(value)) == value
    assert json.loads(json_text(value, indent=2)) == value
    assert _harmless(json_text(value, indent=2))


@given(value=_JSON)
def test_yaml_reads_back_the_same(value: object) -> None:
    assert YAML(typ="safe", pure=True).load(yaml_text(value)) == value


@pytest.mark.parametrize("form", ["table", "wide", "plain", "json", "ndjson", "yaml", "name"])
@pytest.mark.parametrize(
    "command", ["queue list", "trace --from x@y", "trace anna@example.com", "queue show {id}", "log tail"]
)
def test_hostile_mail_fields_do_not_reach_the_terminal(form: str, command: str, mairust: Mairust, api: FakeApi) -> None:
    bad = delivery(1, **{"from": HOSTILE, "recipient": HOSTILE, "hold_reason": HOSTILE})
    bad["last_reply"] = {"code": 550, "text": HOSTILE, "host": HOSTILE}
    api.state.queue = [bad]
    api.state.traces = [trace(1, subject=HOSTILE, summary=HOSTILE, next_command=HOSTILE)]
    api.state.traces[0]["timeline"][1]["reply"] = HOSTILE
    api.state.events[0]["data"] = {"recipient": HOSTILE, HOSTILE: "x"}
    result = mairust(*command.format(id=bad["id"]).split(), "-o", form)
    assert result.code == 0, result.err
    assert _harmless(result.out)
    assert _harmless(result.err)


def test_hostile_error_details_do_not_reach_the_terminal(mairust: Mairust, api: FakeApi) -> None:
    api.fail("GET", "/domains", 404, "not_found", HOSTILE)
    result = mairust("domain", "list")
    assert _harmless(result.err)
    assert len(result.err.splitlines()) == 3


def test_tables_line_up_with_wide_characters() -> None:
    lines = table_lines(("A", "B"), [["日本", "x"], ["ab", "y"]])
    assert [display_width(line.rsplit(" ", 1)[0]) for line in lines] == [5, 5, 5]


def test_cut_in_the_middle() -> None:
    assert cut_middle("abcdefghij", 5) == "ab…ij"
    assert cut_middle("abc", 5) == "abc"


def test_table_stops_at_200_rows_and_says_how_many_more(mairust: Mairust, api: FakeApi) -> None:
    api.state.domains = [{"id": uuid(n), "name": f"d{n}.example"} for n in range(1404)]
    result = mairust("domain", "list", "-o", "table")
    assert len(result.out.splitlines()) == 201
    assert "... 1,204 more, use --limit or -o ndjson" in result.err


def test_json_has_every_page(mairust: Mairust, api: FakeApi) -> None:
    api.state.domains = [{"id": uuid(n), "name": f"d{n}.example"} for n in range(450)]
    assert len(json.loads(mairust("domain", "list", "--json").out)) == 450
    assert len(json.loads(mairust("domain", "list", "--json", "--limit", "7").out)) == 7


def test_table_shows_id_tails_and_machines_get_whole_ids(mairust: Mairust, api: FakeApi) -> None:
    ident = api.state.queue[0]["id"]
    assert ident not in mairust("queue", "list", "-o", "table").out
    assert ident[-8:] in mairust("queue", "list", "-o", "table").out
    assert ident in mairust("queue", "list", "-o", "plain").out


def test_plain_is_the_default_without_a_terminal(mairust: Mairust) -> None:
    assert mairust("domain", "list").out == mairust("domain", "list", "-o", "plain").out
    assert "NAME" in mairust("domain", "list", tty=True).out


def test_a_table_fits_the_terminal(mairust: Mairust, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.state.queue[0] |= {"from": "a" * 60 + "@example.com", "recipient": "b" * 60 + "@example.net"}
    monkeypatch.setenv("COLUMNS", "80")
    narrow = mairust("queue", "list", "--no-pager", tty=True).out.splitlines()
    assert max(len(line) for line in narrow) <= 80
    assert any("…" in line for line in narrow)
    assert max(len(line) for line in mairust("queue", "list", "-o", "wide").out.splitlines()) > 120


def test_prose_is_cut_at_its_end_and_addresses_in_the_middle() -> None:
    columns = (Column(name="to", cut=48), Column(name="summary", cut=60, prose=True))
    cells = [["anna@example.com", "Delivered to anna@example.com and to many more."]]
    assert fitted(columns, cells, 36) == [["anna@example.com", "Delivered to anna…"]]


def test_columns_and_no_header(mairust: Mairust) -> None:
    result = mairust("domain", "list", "-o", "table", "--columns", "status,name", "--no-header")
    assert result.out.splitlines()[0].split() == ["active", "example.com"]


def test_quiet_prints_ids_for_list_and_add_only(mairust: Mairust, api: FakeApi) -> None:
    assert mairust("domain", "list", "-q").out.split() == [row["id"] for row in api.state.domains]
    assert mairust("domain", "add", "new.example", "-q").out.strip() == api.state.domains[-1]["id"]
    assert mairust("domain", "remove", "new.example", "--confirm", "new.example", "-q").out == ""


def test_signs_are_words_with_ascii(mairust: Mairust, api: FakeApi) -> None:
    api.state.checks = [{"id": "PTR", "severity": "error", "subject": "x", "found": "y", "wanted": "z"}]
    assert "FAIL PTR" in mairust("doctor", "--ascii").out
    assert "✗ PTR" in mairust("doctor").out


def test_colour_only_where_it_is_wanted(mairust: Mairust, api: FakeApi) -> None:
    api.fail("GET", "/domains", 500, "internal")
    assert "\x1b[31m" in mairust("domain", "list", tty=True).err
    assert "\x1b" not in mairust("domain", "list", "--color", "never", tty=True).err
    assert "\x1b" not in mairust("domain", "list").err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("now", NOW),
        ("2026-11-22T14:00Z", NOW),
        ("2026-11-22T15:00+01:00", NOW),
    ],
)
def test_times_that_may_be_typed(text: str, wanted: datetime) -> None:
    assert times.read_moment(text, NOW) == wanted


@given(text=st.text(max_size=20))
def test_other_times_are_refused_by_one_error(text: str) -> None:
    with suppress(ValueError):
        assert times.read_moment(text, NOW).tzinfo is not None


def test_sizes_are_binary() -> None:
    assert times.read_size("5G") == 5 << 30
    assert times.read_size("1.5M") == 3 << 19
    assert times.read_size("50MiB") == 50 << 20
    assert times.size_words(48 << 10) == "48 KiB"
    for bad in ("", "5X", "-1", "1e9", "9999999999999T"):
        with pytest.raises(ValueError, match=r"."):
            times.read_size(bad)


def test_spans_and_ages() -> None:
    assert [times.span(s) for s in (5, 65, 7300, 200_000)] == ["5s", "1m", "2h", "2d"]
    assert times.ago("2026-11-22T12:00:00Z", NOW) == "2h ago"
    assert times.ago("2026-11-22T14:09:00Z", NOW) == "in 9m"
    assert times.age("garbage", NOW) == "garbage"
