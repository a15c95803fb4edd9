"""The console: wires screens, keys and the feed together.

- Everything on the network runs in threads; the interface is never blocked.
- A daemon that restarts is found again by itself; what is shown stays until then, dim.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import App
from textual.binding import BindingType
from textual.message import Message

from mairust_cli.client.api import Client, Json
from mairust_cli.output import times
from mairust_cli.tui.dialogs import Ask, Confirm, Page
from mairust_cli.tui.feed import INTERVAL_S, Feed, Lost, Snapshot
from mairust_cli.tui.frame import View, count_of
from mairust_cli.tui.keymap import EVERYWHERE, bindings, key_lines
from mairust_cli.tui.overview import Overview
from mairust_cli.tui.queue import Queue

SAMPLES = 120


class Console(App[int]):
    """The application.

    Args:
        connect: Makes a client; each thread uses its own.
        read_only: Start without changes.
        ascii_only: No signs beyond ASCII.
    """

    CSS_PATH = "console.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], View]]] = {"overview": Overview, "queue": Queue}  # type: ignore[assignment]
    DEFAULT_MODE = "overview"
    BINDINGS: ClassVar[list[BindingType]] = bindings(EVERYWHERE)
    HORIZONTAL_BREAKPOINTS = [(0, "-std"), (120, "-wide"), (160, "-full")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (40, "-tall")]  # noqa: RUF012
    TITLE = "MaiRust"

    class Looked(Message):
        """The feed's result, from its thread."""

        def __init__(self, found: Snapshot | Lost) -> None:
            super().__init__()
            self.found = found

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        read_only: bool = False,
        ascii_only: bool = False,
        interval_s: float = INTERVAL_S,
    ) -> None:
        super().__init__()
        self.connect = connect
        self.read_only = read_only
        self.ascii_only = ascii_only
        self.snapshot: Snapshot | None = None
        self.lost: Lost | None = None
        self.paused_at = ""
        self._feed = Feed(connect, self._tell, interval_s=interval_s)
        self._samples: dict[str, deque[int]] = {name: deque(maxlen=SAMPLES) for name in ("in", "out")}
        self._interval_s = interval_s

    def on_mount(self) -> None:
        self.run_worker(self._feed.run, thread=True, group="feed", exit_on_error=False)

    def on_unmount(self) -> None:
        self._feed.stop()

    def on_console_looked(self, message: Looked) -> None:
        """New data, or the news that there is none."""
        found = message.found
        if not self.screen_stack:
            return
        if isinstance(found, Lost):
            self.lost = found
        else:
            self.lost = None
            self._sample(found)
            self.snapshot = found
        self.refresh_bindings()
        if isinstance(self.screen, View) and not self.paused_at:
            self.screen.paint(found if isinstance(found, Snapshot) else None)

    def look(self, view: str) -> None:
        """Fetch what this view shows."""
        self._feed.with_queue = view == "queue"
        self._feed.look_now()

    def look_now(self) -> None:
        self._feed.look_now()

    def filter_queue(self, wanted: Json) -> None:
        self._feed.filter = wanted
        self._feed.look_now()

    def why_not(self) -> str:
        """Why changes are off now; empty when they are on."""
        if self.read_only:
            return "read-only: ctrl+r allows changes"
        return "no answer from mairustd now" if self.lost is not None else ""

    def samples(self, name: str) -> Sequence[int]:
        """Messages per look since the console was opened, oldest first."""
        return self._samples[name]

    def rate(self, name: str) -> int:
        """Messages a minute, over the last minute that was seen."""
        looks = max(1, int(60 / self._interval_s)) if self._interval_s else 1
        recent = list(self._samples[name])[-looks:]
        return round(sum(recent) * looks / len(recent)) if recent else 0

    def action_view(self, name: str) -> None:
        if not isinstance(self.screen, (Confirm, Ask)):
            while not isinstance(self.screen, View):
                self.pop_screen()
            self.switch_mode(name)

    def action_jump(self) -> None:
        self.push_screen(Ask(" Jump: overview, queue, queue example.net"), self._jump)

    def action_pause_painting(self) -> None:
        self.paused_at = "" if self.paused_at else times.now().astimezone().strftime("%H:%M")
        if isinstance(self.screen, View):
            self.screen.paint()

    def action_read_only(self) -> None:
        self.read_only = not self.read_only
        self.refresh_bindings()
        if isinstance(self.screen, View):
            self.screen.paint()

    def action_keys(self) -> None:
        if not isinstance(self.screen, (Page, Confirm, Ask)):
            self.push_screen(Page(" Keys", key_lines()))

    def _jump(self, text: str | None) -> None:
        name, _, rest = (text or "").partition(" ")
        if not name:
            return
        if name not in self.MODES:
            self.notify(f"no screen '{name}'", severity="warning", markup=False)
            return
        self.action_view(name)
        if name == "queue":
            self.call_after_refresh(self._filter_screen, rest)

    def _filter_screen(self, text: str) -> None:
        if isinstance(self.screen, Queue):
            self.screen.set_filter(text)

    def _tell(self, found: Snapshot | Lost) -> None:
        """From the feed's thread."""
        self.post_message(self.Looked(found))

    def _sample(self, found: Snapshot) -> None:
        if self.snapshot is not None:
            for name, samples in self._samples.items():
                samples.append(max(0, count_of(found.status, name) - count_of(self.snapshot.status, name)))
