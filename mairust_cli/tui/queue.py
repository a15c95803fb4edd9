"""Screen 2: deliveries that wait, and what can be done with them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.widgets import DataTable, Static
from textual.widgets.data_table import RowKey

from mairust_cli.client.api import Json, items_of
from mairust_cli.commands.queue import COLUMNS
from mairust_cli.exits import CliError
from mairust_cli.output import times
from mairust_cli.output.escape import json_text
from mairust_cli.output.table import Column, cut_end, cut_middle, plain_cell, table_cell
from mairust_cli.queue_verbs import BY_NAME, Verb, act_on, reply_text
from mairust_cli.timeline import reply_words, timeline_lines
from mairust_cli.tui.dialogs import Ask, Confirm, Page, Question
from mairust_cli.tui.feed import Snapshot, read_filter
from mairust_cli.tui.frame import View, changing_actions, spread
from mairust_cli.tui.keymap import QUEUE, bindings

_SHOWN = ("id", "age", "from", "to", "try", "next", "reason")
# With the gap of one column each, and two for mark and scroll bar, these fill 80 columns.
_WIDTHS = {"id": 8, "age": 4, "from": 17, "to": 17, "try": 3, "next": 4, "reason": 17}
_WIDE = 120


class Queue(View):
    """The table keeps cursor, scroll and marks while rows come and go."""

    view_name = "queue"
    BINDINGS = bindings(QUEUE)

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, Json] = {}
        self._marked: set[str] = set()
        self._filter_text = ""
        self._more = False

    def body(self) -> ComposeResult:
        yield Static(id="title")
        yield DataTable(id="deliveries", cursor_type="row", zebra_stripes=False, cell_padding=0)

    def on_mount(self) -> None:
        table = self._table
        table.add_column(" ", key="mark", width=2)
        for name in _SHOWN:
            table.add_column(name.upper(), key=name, width=self._width(name) + 1)
        table.focus()
        super().on_mount()

    def show(self, snapshot: Snapshot) -> None:
        if snapshot.queue is None:
            return
        fresh = {str(row.get("id")): row for row in snapshot.queue}
        for gone in [ident for ident in self._rows if ident not in fresh]:
            self._table.remove_row(gone)
            self._marked.discard(gone)
        for ident, row in fresh.items():
            if ident not in self._rows:
                self._table.add_row(*self._cells(ident, row), key=ident)
            elif row != self._rows[ident]:
                self._update(ident, row)
            else:
                for name in ("age", "next"):
                    self._table.update_cell(ident, name, self._cell(name, row))
        self._rows = fresh
        self._more = snapshot.more
        self._paint_title()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """None dims a key: changes while read-only or while the daemon is away."""
        if action in changing_actions() and self.console.why_not():
            return None
        return True

    def action_mark(self) -> None:
        ident = self._current()
        if ident is not None:
            self._marked ^= {ident}
            self._table.update_cell(ident, "mark", self._mark(ident))
            self._table.action_cursor_down()
            self._paint_title()

    def action_mark_all(self) -> None:
        self._marked = set() if self._marked >= set(self._rows) else set(self._rows)
        for ident in self._rows:
            self._table.update_cell(ident, "mark", self._mark(ident))
        self._paint_title()

    def action_hold(self) -> None:
        chosen = self._chosen()
        held = bool(chosen) and all(self._rows[ident].get("status") == "held" for ident in chosen)
        self.action_do("release" if held else "hold")

    def action_do(self, name: str) -> None:
        """Ask where needed, then change the marked rows, or the one under the cursor."""
        kind, chosen = BY_NAME[name], self._chosen()
        if not chosen:
            self.notify("nothing here to act on")
            return
        if kind.mild and len(chosen) == 1:
            self._act(kind, chosen)
            return
        count = "1 delivery" if len(chosen) == 1 else f"{len(chosen)} deliveries"
        question = Question(
            text=f"{kind.name.capitalize()} {count}?", samples=self._samples(chosen), command=_command(kind, chosen)
        )

        def answered(agreed: bool | None) -> None:
            if agreed:
                self._act(kind, chosen)

        self.app.push_screen(Confirm(question), answered)

    def action_open(self) -> None:
        if (ident := self._current()) is not None:
            self._fetch_page(ident, "delivery")

    def action_trace(self) -> None:
        if (ident := self._current()) is not None:
            self._fetch_page(ident, "trace")

    def action_raw(self) -> None:
        if (ident := self._current()) is not None:
            lines = json_text(self._rows[ident], indent=2).split("\n")
            self.app.push_screen(Page(f" delivery {ident}", lines))

    def action_copy_id(self) -> None:
        if (ident := self._current()) is not None:
            self._copy(ident)

    def action_copy_command(self) -> None:
        if (ident := self._current()) is not None:
            self._copy(f"mairust queue show {ident[-8:]}")

    def action_filter(self) -> None:
        label = " Filter: example.net   bob@example.net   from: to: domain: status: reason:"
        self.app.push_screen(Ask(label, self._filter_text), self.set_filter)

    def set_filter(self, text: str | None) -> None:
        """Have the server filter; None leaves the filter as it is."""
        if text is None:
            return
        try:
            self.console.filter_queue(read_filter(text))
        except ValueError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        self._filter_text = text
        self._paint_title()

    @work(thread=True, group="act")
    def _act(self, kind: Verb, idents: Sequence[str]) -> None:
        """In a thread: the changes, one by one; what failed stays marked."""
        client = self.console.connect()
        failed: dict[str, str] = {}
        for ident in idents:
            try:
                act_on(client, kind, ident)
            except CliError as error:
                failed[ident] = f"{error.what}: {error.why}"
        client.close()
        self.app.call_from_thread(self._acted, kind, len(idents), failed)

    def _acted(self, kind: Verb, count: int, failed: dict[str, str]) -> None:
        self._marked = set(failed) & set(self._rows)
        for ident in self._rows:
            self._table.update_cell(ident, "mark", self._mark(ident))
        if failed:
            first = next(iter(failed.values()))
            text = f"{kind.past} {count - len(failed)}, failed {len(failed)}: {plain_cell(first)}"
            self.notify(text, severity="error", timeout=10, markup=False)
        else:
            self.notify(f"{kind.past} {count}", markup=False)
        self.console.look_now()

    @work(thread=True, exclusive=True, group="page")
    def _fetch_page(self, ident: str, what: str) -> None:
        client = self.console.connect()
        try:
            if what == "trace":
                title, lines = " trace", timeline_lines(client.get(f"/trace/{self._rows[ident].get('trace_id')}"))
            else:
                attempts = items_of(client.call("GET", f"/queue/{ident}/attempts"))
                title, lines = f" delivery {ident}", _delivery_lines(client.get(f"/queue/{ident}"), attempts)
        except CliError as error:
            text = f"{plain_cell(error.what)}: {plain_cell(error.why)}"
            self.app.call_from_thread(self.notify, text, severity="error", markup=False)
            return
        finally:
            client.close()
        self.app.call_from_thread(self.app.push_screen, Page(title, lines))

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#deliveries", DataTable)

    def _current(self) -> str | None:
        if not self._table.row_count:
            return None
        key: RowKey = self._table.coordinate_to_cell_key(self._table.cursor_coordinate).row_key
        return key.value

    def _chosen(self) -> list[str]:
        marked = [ident for ident in self._rows if ident in self._marked]
        current = self._current()
        return marked or ([current] if current is not None else [])

    def _samples(self, idents: Sequence[str]) -> list[str]:
        rows = [self._rows[ident] for ident in idents[:3]]
        return [
            f"{str(row.get('id'))[-8:]}  {cut_middle(plain_cell(row.get('from')) or '<>', 24)} -> "
            f"{cut_middle(plain_cell(row.get('recipient')), 28)}"
            for row in rows
        ]

    def _cells(self, ident: str, row: Json) -> list[Text]:
        return [self._mark(ident), *(self._cell(name, row) for name in _SHOWN)]

    def _cell(self, name: str, row: Json) -> Text:
        text = table_cell(_COLUMN[name], row, now=times.now(), whole=name == "reason")
        width = self._width(name)
        cut = cut_end(text, width) if name == "reason" else cut_middle(text, width)
        return Text(cut.replace("…", "~") if self.console.ascii_only else cut)

    def _update(self, ident: str, row: Json) -> None:
        for name in _SHOWN:
            self._table.update_cell(ident, name, self._cell(name, row))

    def _mark(self, ident: str) -> Text:
        return Text("*" if ident in self._marked else " ")

    def _width(self, name: str) -> int:
        extra = max(0, self.app.size.width - 80)
        return _WIDTHS[name] + (extra // 4 if name in ("from", "to") else extra // 2 if name == "reason" else 0)

    def _paint_title(self) -> None:
        shown = len(self._rows)
        marks = f"{len(self._marked)} marked " if self._marked else ""
        left = f" Queue  {shown}{' of more' if self._more else ''}   filter: {self._filter_text or '-'}"
        if not shown:
            left += "   nothing matches: / changes the filter" if self._filter_text else "   nothing waits"
        self.query_one("#title", Static).update(Text(spread(left, marks, self.app.size.width)))

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)
        self.notify(f"copied: {text}", markup=False)


_COLUMN: dict[str, Column] = {column.name: column for column in COLUMNS}


def _command(kind: Verb, idents: Sequence[str]) -> str:
    """The command line that does the same, ids by their tails."""
    tails = " ".join(ident[-8:] for ident in idents[:3])
    return f"mairust queue {kind.name} {tails}{' ...' if len(idents) > 3 else ''}"


def _delivery_lines(delivery: Json, attempts: Sequence[Json]) -> list[str]:
    told = {**delivery, "last_reply": reply_text(delivery) if delivery.get("last_reply") else None}
    lines = [f"{plain_cell(key):<18} {plain_cell(value)}" for key, value in told.items() if value not in (None, "")]
    lines += ["", "attempts, newest first:" if attempts else "no attempt yet"]
    for attempt in reversed(attempts):
        moment = times.clock(str(attempt.get("at") or attempt.get("started_at") or ""))
        host, tls = plain_cell(attempt.get("host")) or "-", plain_cell(attempt.get("tls")) or "no TLS"
        words = reply_words(attempt.get("reply")) or reply_text({"last_reply": attempt})
        lines.append(f"  {plain_cell(moment)}  {host}  {tls}  {words}")
    return lines
