"""What every screen of the console has: two lines on top, a footer, and a line when there is too little room."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer, Static

from mairust_cli.health import part, state_words
from mairust_cli.output import times
from mairust_cli.output.table import plain_cell
from mairust_cli.tui.feed import Lost, Snapshot
from mairust_cli.tui.keymap import KEYS

if TYPE_CHECKING:
    from mairust_cli.tui.app import Console

WIDTH, HEIGHT = 80, 24
VIEWS = (("overview", "1 Overview"), ("queue", "2 Queue"))
_NAMES = {"question_mark": "?", "colon": ":", "slash": "/", "asterisk": "*"}


class View(Screen[None]):
    """One of the numbered screens."""

    view_name = ""

    @property
    def console(self) -> Console:
        return cast("Console", self.app)

    def compose(self) -> ComposeResult:
        yield Static(id="small")
        yield Static(id="health", classes="bar")
        yield Static(id="tabs", classes="bar")
        yield from self.body()
        yield Static(id="banner")
        yield Footer(show_command_palette=False, compact=True)

    @abstractmethod
    def body(self) -> ComposeResult:
        """The rows between the tabs and the footer."""

    @abstractmethod
    def show(self, snapshot: Snapshot) -> None:
        """Paint new data."""

    def on_mount(self) -> None:
        self.set_interval(1, self.paint)
        self.paint()

    def on_screen_resume(self) -> None:
        self.console.look(self.view_name)
        self.paint(self.console.snapshot)

    def paint(self, snapshot: Snapshot | None = None) -> None:
        """Paint the frame, and new data when there is some; nothing before or after the widgets are there."""
        if self.is_mounted and self.query("#banner"):
            self._paint_frame()
            if snapshot is not None:
                self.show(snapshot)

    def on_resize(self, event: events.Resize) -> None:
        small = event.size.width < WIDTH or event.size.height < HEIGHT
        self.set_class(small, "-small")
        text = f"{event.size.width}x{event.size.height}: the console needs {WIDTH}x{HEIGHT}; q quits"
        for line in self.query("#small").results(Static):
            line.update(Text(text))

    def on_key(self, event: events.Key) -> None:
        """A key that is dim now tells why."""
        active = self.active_bindings.get(event.key)
        if active is not None and not active.enabled:
            self.notify(self.console.why_not(), severity="warning")

    def _paint_frame(self) -> None:
        """The two lines on top, and the banner."""
        app = self.console
        status = app.snapshot.status if app.snapshot is not None else {}
        clock = times.now().astimezone().strftime("%H:%M:%S")
        sign = "o" if app.ascii_only else "●"
        if app.paused_at:
            clock = f"PAUSED {app.paused_at}"
        left = f" {plain_cell(status.get('hostname')) or '...'}  {sign} {state_words(status) if status else 'looking'}"
        rates = f"in {app.rate('in')}/min  out {app.rate('out')}/min  " if status else ""
        self.query_one("#health", Static).update(Text(spread(left, f"{rates}{clock} ", self.size.width)))
        tabs = Text(" ")
        for name, label in VIEWS:
            tabs.append(
                f"[{label}]" if name == self.view_name else f" {label} ", "bold" if name == self.view_name else ""
            )
        mode = "READ-ONLY " if app.read_only else "rw "
        tabs.append(mode.rjust(max(0, self.size.width - len(tabs.plain))))
        self.query_one("#tabs", Static).update(tabs)
        banner = self.query_one("#banner", Static)
        banner.display = app.lost is not None
        if app.lost is not None:
            banner.update(Text(lost_words(app.lost)))
        self.set_class(app.lost is not None, "-stale")


def lost_words(lost: Lost) -> str:
    """The banner while the daemon does not answer as it should."""
    what = f"mairustd refuses: {lost.refusal}" if lost.refusal else "no answer from mairustd"
    return f" ! {what}, again in {lost.again_s:g} s"


def spread(left: str, right: str, width: int) -> str:
    """Two texts at the two ends of a line; the left one is cut when both do not fit."""
    room = max(0, width - len(right) - 1)
    return f"{left[:room]:<{room}} {right}"


def memory_words(status: dict[str, object]) -> str:
    """Version, age and database of the daemon."""
    uptime = status.get("uptime_s")
    up = f", up {times.span_words(uptime)}" if isinstance(uptime, (int, float)) else ""
    return f"{plain_cell(status.get('version'))}{up}, {plain_cell(status.get('database'))}"


def changing_actions() -> frozenset[str]:
    """Names of the actions that read-only mode forbids."""
    return frozenset(key.id.split("(")[0] for key in KEYS if key.changes)


def bars(values: Sequence[int], width: int, *, ascii_only: bool) -> str:
    """The newest values as a line of bars, as high as the largest of them."""
    levels = " .:-=+*#" if ascii_only else "▁▂▃▄▅▆▇█"
    shown = list(values)[-width:] if width > 0 else []
    top = max(shown, default=0)
    return "".join(levels[value * (len(levels) - 1) // top] if top else levels[0] for value in shown)


def count_of(status: dict[str, object], name: str) -> int:
    """One of today's counts."""
    value = part(status, "today").get(name)
    return value if isinstance(value, int) else 0
