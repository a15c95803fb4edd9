"""A message's life as lines of text, for `trace`, `demo --once` and the console.

- The remote's reply is shown exactly as it came, escaped for the terminal.
- The last line says what happened in words and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence

from mairust_cli.client.api import Json, items_of
from mairust_cli.output import times
from mairust_cli.output.escape import safe
from mairust_cli.output.table import plain_cell, table_lines


def timeline_lines(trace: Json) -> list[str]:
    """The header, one line per event, the summary and the next command."""
    return [*header_lines(trace), *event_lines(items_of(trace.get("timeline"))), *ending_lines(trace)]


def header_lines(trace: Json) -> list[str]:
    """Who wrote to whom about what, with the trace's id."""
    sender = plain_cell(trace.get("sender")) or "<>"
    recipients = trace.get("recipients")
    to = plain_cell(recipients) if isinstance(recipients, list) else plain_cell(trace.get("recipient"))
    subject = plain_cell(trace.get("subject"))
    parts = [f"{sender} -> {to.replace(',', ', ')}" if to else sender, f'"{subject}"' if subject else ""]
    ident = plain_cell(trace.get("trace_id") or trace.get("id"))
    return ["   ".join(part for part in (*parts, f"trace {ident[-8:]}" if ident else "") if part)]


def event_lines(events: Sequence[Json]) -> list[str]:
    """Aligned lines of time, component, verdict and what was said."""
    return table_lines((), [event_cells(event) for event in events])


def event_cells(event: Json) -> list[str]:
    """One event's cells: time, component, verdict, detail with the remote's reply."""
    what = plain_cell(event.get("verdict") or event.get("event"))
    said = [plain_cell(event.get("detail")), reply_words(event.get("reply"))]
    detail = ": ".join(part for part in said if part)
    return [safe(times.clock(str(event.get("time") or ""))), plain_cell(event.get("component")), what, detail]


def reply_words(reply: object) -> str:
    """A reply, whether the API gives it as text or as an object with code and text."""
    if isinstance(reply, dict):
        return " ".join(plain_cell(reply.get(key)) for key in ("code", "enhanced", "text") if reply.get(key))
    return plain_cell(reply)


def ending_lines(trace: Json) -> list[str]:
    """The summary sentence and the command to try."""
    summary, command = safe(str(trace.get("summary") or "")), safe(str(trace.get("next_command") or ""))
    return ["      ".join(part for part in (summary, f"try: {command}" if command else "") if part)]
