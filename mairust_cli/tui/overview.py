"""Screen 1: the server at a glance."""

from __future__ import annotations

from textwrap import wrap

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from mairust_cli.client.api import Json, items_of
from mairust_cli.health import certificate_words, counts_words, disk_words, queue_words, today_words
from mairust_cli.output import times
from mairust_cli.output.table import plain_cell
from mairust_cli.tui.feed import Snapshot
from mairust_cli.tui.frame import View, bars, memory_words


class Overview(View):
    """Health, today's counts, traffic since the console was opened, what waits, what is wrong."""

    view_name = "overview"

    def body(self) -> ComposeResult:
        yield Static(id="today")
        yield Static(id="traffic")
        yield Static(id="tiles")
        with VerticalScroll(id="warnings", can_focus=False):
            yield Static(id="warning-lines")

    def show(self, snapshot: Snapshot) -> None:
        status = snapshot.status
        self.query_one("#today", Static).update(Text(f" Today   {today_words(status)}"))
        self.query_one("#traffic", Static).update(Text(self._traffic()))
        self.query_one("#tiles", Static).update(Text("\n".join(_tiles(status, snapshot))))
        lines = warning_lines(status, "ok" if self.console.ascii_only else "✓", self.app.size.width - 2)
        self.query_one("#warning-lines", Static).update(Text("\n".join(lines)))

    def _traffic(self) -> str:
        """In and out since the console was opened, side by side."""
        width = max(0, self.app.size.width // 2 - 8)
        parts = [
            f"{label:<4}{bars(self.console.samples(name), width, ascii_only=self.console.ascii_only):<{width}}"
            for label, name in (("In", "in"), ("Out", "out"))
        ]
        return " " + "  ".join(parts)


def _tiles(status: Json, snapshot: Snapshot) -> list[str]:
    ports = " ".join(plain_cell(listener.get("port")) for listener in items_of(status.get("listeners")))
    pairs = (
        (("Queue", queue_words(status)), ("Certificate", certificate_words(status, snapshot.taken_at))),
        (("Disk", disk_words(status)), ("Runs", memory_words(status))),
    )
    lines = [f" {name:<7} {value:<28} {other:<12} {text}" for (name, value), (other, text) in pairs]
    return [*lines, f" {'Has':<7} {counts_words(status)}", f" {'Ports':<7} {ports or 'none'}"]


def warning_lines(status: Json, fine: str, width: int) -> list[str]:
    """What is wrong and what to try, long lines continued under their own words."""
    lines: list[str] = []
    for warning in items_of(status.get("warnings")):
        command = plain_cell(warning.get("try"))
        words = f" ! {plain_cell(warning.get('id'))}  {plain_cell(warning.get('text'))}"
        lines += wrap(words, width, subsequent_indent="     ") or [words]
        if command:
            lines.append(f"     try: {command}")
    since = plain_cell(times.local_iso(str(status.get("started_at") or "")))
    return lines or [f" {fine} nothing to mend" + (f", running since {since}" if since else "")]
