"""The console by keys alone: screens, verbs, faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from mairust_cli.output.escape import safe
from mairust_cli.tui.app import Console
from mairust_cli.tui.dialogs import Ask, Confirm, Page
from mairust_cli.tui.feed import read_filter
from mairust_cli.tui.keymap import EVERYWHERE, KEYS, key_lines
from mairust_cli.tui.overview import Overview, warning_lines
from mairust_cli.tui.queue import Queue
from tests.cli.fake_api import PREFIX, FakeApi, delivery

Make = Callable[..., Console]
SIZE = (80, 24)
HOSTILE = "\x1b[2J\x1b]0;x\x07\u202egpj[red]x[/]"


def painted(app: Console) -> str:
    """What the terminal shows, row by row."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines[:height]) if width else ""


async def until(pilot: Pilot[int], true: Callable[[], bool]) -> None:
    """Let the application work until something holds; ten seconds at most."""
    async with asyncio.timeout(10):
        while not true():
            await pilot.pause(0.02)


async def at_queue(pilot: Pilot[int], api: FakeApi) -> DataTable[object]:
    await pilot.press("2")
    await until(pilot, lambda: isinstance(pilot.app.screen, Queue))
    table = pilot.app.screen.query_one(DataTable)
    await until(pilot, lambda: table.row_count == len(api.state.queue))
    return table


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_overview_shows_health_counts_and_warnings(size: tuple[int, int], api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "BACKUP" in painted(app))
        text = painted(app)
    assert "mail.example.com  ● healthy, 1 warning" in text
    assert "in 1,204  out 611  refused 3,870" in text
    assert "12, oldest 2 h" in text
    assert "38 % of 80 GiB" in text
    assert "[1 Overview]" in text
    assert all(len(line) <= size[0] for line in text.split("\n"))


async def test_queue_shows_deliveries_and_their_reasons(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        await until(pilot, lambda: "421" in painted(app))
        text = painted(app)
    assert api.state.queue[0]["id"][-8:] in text
    assert "HELD" in text
    assert "Queue  2   filter: -" in text


async def test_an_empty_queue_says_so(api: FakeApi, console: Make) -> None:
    api.state.queue.clear()
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        await until(pilot, lambda: "nothing waits" in painted(app))


def test_long_warnings_go_on_under_their_words() -> None:
    text = "outbound mail is written to /var/lib/mairust/outbound for now, nothing of it is sent"
    lines = warning_lines({"warnings": [{"id": "CAPTURE", "text": text, "try": "mairust config show"}]}, "ok", 60)
    assert lines[0].startswith(" ! CAPTURE  outbound mail")
    assert lines[1].startswith("     ")
    assert lines[-1] == "     try: mairust config show"
    assert all(len(line) <= 60 for line in lines)


async def test_both_screens_and_back_by_keys(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        await pilot.press("1")
        await until(pilot, lambda: isinstance(app.screen, Overview))
        await pilot.press("colon", *"queue bigmail.example", "enter")
        await until(pilot, lambda: isinstance(app.screen, Queue))
        await until(pilot, lambda: any(request.query.get("domain") == "bigmail.example" for request in api.requests))
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0


async def test_retry_needs_no_question_and_is_sent_once(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        path = f"{PREFIX}/queue/{api.state.queue[0]['id']}/retry"
        await pilot.press("r")
        await until(pilot, lambda: len(api.sent("POST", path)) == 1)
        await pilot.pause(0.2)
        assert len(api.sent("POST", path)) == 1


async def test_h_holds_and_lets_go(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        await pilot.press("h")
        await until(pilot, lambda: bool(api.sent("POST", f"{PREFIX}/queue/{api.state.queue[0]['id']}/hold")))
        await pilot.press("down", "h")
        await until(pilot, lambda: bool(api.sent("POST", f"{PREFIX}/queue/{api.state.queue[1]['id']}/release")))


async def test_delete_asks_names_the_command_and_refuses_by_default(api: FakeApi, console: Make) -> None:
    app = console()
    ident = api.state.queue[0]["id"]
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await until(pilot, lambda: f"runs: mairust queue delete {ident[-8:]}" in painted(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Queue))
        assert not [request for request in api.requests if request.method == "DELETE"]
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: any(request.method == "DELETE" for request in api.requests))
        table = app.screen.query_one(DataTable)
        await until(pilot, lambda: table.row_count == 1)


async def test_marked_rows_go_together_and_failures_stay_marked(api: FakeApi, console: Make) -> None:
    app = console()
    first, second = (row["id"] for row in api.state.queue)
    api.fail("POST", f"{PREFIX}/queue/{second}/bounce".removeprefix(PREFIX), 409, "invalid_state", "already sent")
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await at_queue(pilot, api)
        await pilot.press("asterisk", "b")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await until(pilot, lambda: "Bounce 2 deliveries?" in painted(app))
        await pilot.press("y")
        await until(pilot, lambda: bool(api.sent("POST", f"{PREFIX}/queue/{first}/bounce")))
        await until(pilot, lambda: "1 marked" in painted(app))
        await until(pilot, lambda: "already sent" in painted(app))


async def test_read_only_dims_changes_and_says_why(api: FakeApi, console: Make) -> None:
    app = console(read_only=True)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await at_queue(pilot, api)
        assert "READ-ONLY" in painted(app)
        await pilot.press("r", "d")
        await until(pilot, lambda: "read-only: ctrl+r allows changes" in painted(app))
        assert all(request.method == "GET" for request in api.requests)
        await pilot.press("ctrl+r", "r")
        await until(pilot, lambda: any(request.method == "POST" for request in api.requests))


@pytest.mark.parametrize(
    ("key", "wanted"), [("enter", "attempts, newest first"), ("t", "Offer 2211"), ("v", '"recipient"')]
)
async def test_pages_open_and_esc_goes_back(key: str, wanted: str, api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, Page))
        await until(pilot, lambda: wanted in painted(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Queue))


async def test_filter_is_sent_to_the_server(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        await pilot.press("slash", *"from:anna@example.com status:held", "enter")
        await until(
            pilot,
            lambda: any(
                request.query.get("from") == "anna@example.com" and request.query.get("status") == "held"
                for request in api.requests
            ),
        )
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Queue))


async def test_cursor_and_marks_survive_new_rows(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        table = await at_queue(pilot, api)
        await pilot.press("space")
        assert table.cursor_row == 1
        marked = api.state.queue[0]["id"]
        api.state.queue = [*api.state.queue, *(delivery(n) for n in range(10, 30))]
        await until(pilot, lambda: table.row_count == 22)
        assert table.cursor_row == 1
        api.state.queue = api.state.queue[:5]
        await until(pilot, lambda: table.row_count == 5)
        assert str(table.get_cell(marked, "mark")) == "*"


async def test_the_console_finds_a_daemon_that_restarts(tmp_path: Path, api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await at_queue(pilot, api)
        api.close()
        await until(pilot, lambda: "no answer from mairustd, again in" in painted(app))
        assert api.state.queue[0]["id"][-8:] in painted(app)
        await pilot.press("r")
        await until(pilot, lambda: app.why_not() != "" and "no answer from mairustd" in painted(app))
        again = FakeApi(api.socket)
        try:
            await until(pilot, lambda: app.lost is None and "again in" not in painted(app))
        finally:
            again.close()


@pytest.mark.parametrize(("status", "code"), [(403, "scope_missing"), (500, "internal"), (410, "events_expired")])
async def test_api_faults_become_a_banner(status: int, code: str, api: FakeApi, console: Make) -> None:
    api.fail("GET", "/system/status", status, code)
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: f"mairustd refuses: {code}, again in" in painted(app))


async def test_hostile_text_does_not_reach_the_terminal(api: FakeApi, console: Make) -> None:
    bad = delivery(1, **{"from": HOSTILE, "recipient": HOSTILE})
    bad["last_reply"] = {"code": 550, "text": HOSTILE * 2000}
    api.state.queue = [bad]
    api.state.status["hostname"] = HOSTILE
    api.state.status["warnings"] = [{"id": HOSTILE, "text": HOSTILE, "try": HOSTILE}]
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "\\x1b" in painted(app))
        texts = [painted(app)]
        await at_queue(pilot, api)
        await until(pilot, lambda: "550" in painted(app))
        texts.append(painted(app))
        for key in ("enter", "v", "d"):
            await pilot.press(key)
            await pilot.pause(0.2)
            texts.append(painted(app))
            await pilot.press("escape")
    for text in texts:
        assert safe(text.replace("\n", "")) == text.replace("\n", "")


async def test_too_little_room_is_said_not_crashed(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=(60, 10)) as pilot:
        await until(pilot, lambda: "the console needs 80x24" in painted(app))


async def test_ascii_only_paints_ascii(api: FakeApi, console: Make) -> None:
    app = console(ascii_only=True)
    async with app.run_test(size=SIZE) as pilot:
        await at_queue(pilot, api)
        await until(pilot, lambda: "421" in painted(app))
        table_rows = [line for line in painted(app).split("\n") if "421" in line or "healthy" in line]
        assert all(line.isascii() for line in table_rows)


async def test_pause_stops_painting_not_reading(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=SIZE) as pilot:
        table = await at_queue(pilot, api)
        await pilot.press("p")
        await until(pilot, lambda: "PAUSED" in painted(app))
        before = len(api.requests)
        api.state.queue = []
        await until(pilot, lambda: len(api.requests) > before + 4)
        assert table.row_count == 2
        await pilot.press("p")
        await until(pilot, lambda: table.row_count == 0)


async def test_question_mark_lists_every_key(api: FakeApi, console: Make) -> None:
    app = console()
    async with app.run_test(size=(80, 40)) as pilot:
        await until(pilot, lambda: app.snapshot is not None)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, Page))
        await until(pilot, lambda: all(line.strip() in painted(app) for line in key_lines()))


def test_no_key_is_bound_twice() -> None:
    for screen in {key.screen for key in KEYS}:
        keys = Counter(name for key in KEYS if key.screen in (screen, EVERYWHERE) for name in key.keys.split(","))
        assert [name for name, count in keys.items() if count > 1] == []


def test_every_binding_has_its_action() -> None:
    homes = {EVERYWHERE: Console, "queue": Queue, "text": Page}
    for key in KEYS:
        name = key.id.split("(")[0]
        assert name == "quit" or hasattr(homes[key.screen], f"action_{name}"), key.id


def test_filters_that_may_be_typed() -> None:
    assert read_filter("big.example") == {"domain": "big.example"}
    assert read_filter("a@b.c status:held") == {"recipient": "a@b.c", "status": "held"}
    with pytest.raises(ValueError, match="filters are"):
        read_filter("nonsense:x")
