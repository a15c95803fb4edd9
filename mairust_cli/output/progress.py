"""Progress on stderr: a bar on a terminal, a line in ten seconds elsewhere, NDJSON with `--progress json`."""

from __future__ import annotations

import json
import sys
import time

from mairust_cli.output import times
from mairust_cli.output.printer import Printer

LINE_S = 10.0
BAR_S = 0.2
BAR_WIDTH = 24


class Progress:
    """Shows how far one piece of work is.

    Args:
        total: In the same unit as `done`; 0 = not known.
        unit: Word behind the numbers, `messages` or `MiB`.
    """

    def __init__(self, out: Printer, phase: str, *, total: int = 0, unit: str = "messages") -> None:
        self._out = out
        self._phase = phase
        self.total = total
        self._unit = unit
        self._json = out.options.progress == "json"
        self._bar = not self._json and not out.options.quiet and sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown = self._started if not self._bar else 0.0
        self._drawn = False

    def update(self, done: int, *, note: str = "") -> None:
        """Show it when it is time to."""
        now = time.monotonic()
        if now - self._shown < (BAR_S if self._bar else 1.0 if self._json else LINE_S):
            return
        self._shown = now
        self._show(done, note, now)

    def close(self, done: int) -> None:
        """Take the bar away; `json` gets its last line."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        if self._json:
            self._show(done, "", time.monotonic())

    def _show(self, done: int, note: str, now: float) -> None:
        rate = done / max(0.001, now - self._started)
        left = (self.total - done) / rate if self.total and rate else None
        if self._json:
            eta = None if left is None else round(max(0.0, left))
            line = {
                "phase": self._phase,
                "done": done,
                "total": self.total or None,
                "rate": round(rate, 1),
                "eta_s": eta,
            }
            self._out.note(json.dumps(line))
            return
        text = f"{self._phase}  {done:,}" + (f" of {self.total:,}" if self.total else "") + f" {self._unit}"
        text += f", {rate:,.0f}/s" + (f", {times.span(max(1.0, left))} left" if left is not None and left > 0 else "")
        text += f"  {note}" if note else ""
        if not self._bar:
            self._out.note(text)
            return
        full = BAR_WIDTH * min(done, self.total) // self.total if self.total else 0
        bar = f"[{'#' * full}{'.' * (BAR_WIDTH - full)}] " if self.total else ""
        sys.stderr.write(f"\r\x1b[K{bar}{text}"[:160])
        sys.stderr.flush()
        self._drawn = True
