"""Everything a command prints.

- stdout carries data only; notes, questions and next steps go to stderr.
- One call per shape of answer (`rows`, `record`, `made`, `done`), each knowing all seven formats.
- A reader that goes away ends the command silently.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TextIO

from mairust_cli.exits import CliError, Exit
from mairust_cli.hoist import Options
from mairust_cli.output import times
from mairust_cli.output.escape import json_text, safe
from mairust_cli.output.table import Column, Row, fitted, plain_cell, table_cell, table_lines

ERROR_CHARACTERS = 2000
TABLE_ROWS = 200
_SYMBOLS = {"ok": ("✓", "ok", "32"), "warning": ("!", "warn", "33"), "error": ("✗", "FAIL", "31")}


class Printer:
    """Writes answers in the format that was asked for."""

    def __init__(self, options: Options, *, out: TextIO, err: TextIO, environment: Mapping[str, str]) -> None:
        self.options = options
        self._out = out
        self._err = err
        self._environment = environment
        self.format = options.output or ("table" if out.isatty() else "plain")
        self.ascii = options.ascii or "utf" not in (getattr(out, "encoding", "") or "utf-8").lower()

    @property
    def for_people(self) -> bool:
        """Whether stdout is read by a person: the table and wide formats, and plain for running text."""
        return self.format in ("table", "wide", "plain")

    def rows(
        self,
        rows: Iterable[Row],
        columns: Sequence[Column],
        *,
        name: str = "name",
        total: Callable[[], int | None] | None = None,
        empty: str = "nothing found",
    ) -> int:
        """Print a list; returns how many rows were printed."""
        limit = self.options.limit
        if self.options.quiet or self.format == "name":
            key = "id" if self.options.quiet else name
            return self._lines(plain_cell(row.get(key, row.get("id"))) for row in islice(rows, limit or None))
        match self.format:
            case "json":
                found = list(islice(rows, limit or None))
                self.data(json_text(found, indent=2))
                return len(found)
            case "ndjson":
                return self._lines(json_text(row) for row in islice(rows, limit or None))
            case "yaml":
                return self._yaml_rows(islice(rows, limit or None))
            case "plain":
                chosen = self._chosen(columns, wide=False)
                lines = ("\t".join(plain_cell(c.value(row)) for c in chosen) for row in islice(rows, limit or None))
                return self._lines(lines)
            case _:
                return self._table(rows, columns, total, empty)

    def record(self, row: Row, *, name: str = "name", title: str = "") -> None:
        """Print one object, every field that is set."""
        match self.format:
            case _ if self.options.quiet:
                return
            case "json":
                self.data(json_text(row, indent=2))
            case "ndjson":
                self.data(json_text(row))
            case "yaml":
                self._yaml_rows([row], as_list=False)
            case "name":
                self.data(plain_cell(row.get(name, row.get("id"))))
            case "plain":
                self._lines(f"{safe(key)}\t{plain_cell(value)}" for key, value in row.items())
            case _:
                cells = [cell for key, value in row.items() for cell in _record_cells(key, value)]
                self._lines(([safe(title)] if title else []) + table_lines((), cells))

    def made(self, row: Row, text: str, *, name: str = "name", then: str = "") -> None:
        """Print what was created: its id with `-q`, the object for machines, a sentence for people."""
        if self.options.quiet:
            self.data(plain_cell(row.get("id")))
        elif self.for_people:
            self.data(text)
            self.next(then)
        else:
            self.record(row, name=name)

    def done(self, text: str, *, then: str = "") -> None:
        """Tell a person that something was done; machines read the exit code."""
        if self.for_people and not self.options.quiet:
            self.data(text)
        self.next(then)

    def data(self, text: str) -> None:
        """One piece of stdout, which the caller has made safe."""
        self._write(self._out, text + "\n")

    def flush(self) -> None:
        """Have what was printed seen now, for commands that stay."""
        self._out.flush()

    def note(self, text: str) -> None:
        """One line on stderr; silent with `-q`."""
        if not self.options.quiet:
            self._write(self._err, text + "\n")

    def warn(self, text: str) -> None:
        """One line on stderr, even with `-q`."""
        self._write(self._err, text + "\n")

    def next(self, command: str) -> None:
        """The next step, for people only."""
        if command and self.for_people:
            self.note(f"next: {command}")

    def sign(self, severity: str) -> str:
        """`✓ ! ✗`, or words without UTF-8."""
        sign, word, _ = _SYMBOLS.get(severity, _SYMBOLS["warning"])
        return word if self.ascii else sign

    def symbol(self, severity: str) -> str:
        """The sign in its colour, where colour is on."""
        return self.paint(self.sign(severity), _SYMBOLS.get(severity, _SYMBOLS["warning"])[2])

    def paint(self, text: str, colour: str, *, stream: TextIO | None = None) -> str:
        """The text in an SGR colour when the stream shows colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour(stream or self._out) else text

    def failure(self, error: CliError, hint: str) -> None:
        """An error on stderr: three lines, or the problem object as one line of JSON with `-o json`."""
        if self.format in ("json", "ndjson"):
            made_up = {
                "title": error.what,
                "detail": error.why,
                "code": error.code.name.lower(),
                "exit": int(error.code),
            }
            problem: dict[str, object] = dict(error.problem) if error.problem is not None else made_up
            self._write(self._err, json_text(problem) + "\n")
            return
        first = self.paint(f"error: {safe(_cut(error.what))}", "31", stream=self._err)
        self._write(self._err, f"{first}\n{safe(_cut(error.why))}\ntry: {safe(_cut(error.hint or hint))}\n")

    def page(self, lines: Sequence[str]) -> None:
        """Print long output through the pager when a person reads it and it does not fit."""
        text = "\n".join(lines)
        if not (self._out.isatty() and self.options.pager and self.format in ("table", "wide")):
            self.data(text)
            return
        import shutil
        import subprocess

        pager = (self._environment.get("PAGER") or "less -FRX").split()
        if len(lines) < shutil.get_terminal_size().lines or not shutil.which(pager[0]):
            self.data(text)
            return
        subprocess.run(pager, input=text.encode() + b"\n", check=False)

    def _table(
        self, rows: Iterable[Row], columns: Sequence[Column], total: Callable[[], int | None] | None, empty: str
    ) -> int:
        limit = self.options.limit or TABLE_ROWS
        wide = self.format == "wide"
        iterator = iter(rows)
        shown = list(islice(iterator, limit))
        if not shown:
            self.note(empty)
            return 0
        now = datetime.now(UTC)
        chosen = self._chosen(columns, wide=wide)
        cells: Sequence[Sequence[str]] = [
            [table_cell(column, row, now=now, whole=wide) for column in chosen] for row in shown
        ]
        if not wide and self._out.isatty():
            import shutil

            cells = fitted(chosen, cells, shutil.get_terminal_size().columns)
        lines = table_lines([c.name.upper() for c in chosen] if self.options.header else (), cells)
        self.page([line.replace("…", "~") for line in lines] if self.ascii else lines)
        if next(iterator, None) is not None:
            whole = total() if total is not None else None
            more = f"{whole - len(shown):,} more" if whole and whole > len(shown) else "more"
            self.note(f"... {more}, use --limit or -o ndjson")
        return len(shown)

    def _chosen(self, columns: Sequence[Column], *, wide: bool) -> list[Column]:
        if not self.options.columns:
            return [column for column in columns if wide or not column.wide]
        known = {column.name: column for column in columns}
        unknown = [name for name in self.options.columns if name not in known]
        if unknown:
            what = f"no such column '{unknown[0]}'"
            raise CliError(
                what, code=Exit.USAGE, why=f"columns here: {', '.join(known)}", hint=f"--columns {next(iter(known))}"
            )
        return [known[name] for name in self.options.columns]

    def _yaml_rows(self, rows: Iterable[Row], *, as_list: bool = True) -> int:
        from mairust_cli.output.yaml_text import yaml_text

        found = list(rows)
        self._write(self._out, yaml_text(found if as_list else found[0]))
        return len(found)

    def _lines(self, lines: Iterable[str]) -> int:
        count = 0
        for line in lines:
            self._write(self._out, line + "\n")
            count += 1
        return count

    def _colour(self, stream: TextIO) -> bool:
        if self.options.colour != "auto":
            return self.options.colour == "always"
        if self._environment.get("NO_COLOR") or self._environment.get("TERM") == "dumb":
            return False
        return bool(self._environment.get("CLICOLOR_FORCE")) or stream.isatty()

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
        except BrokenPipeError:
            close_quietly(stream)
            raise SystemExit(0) from None
        except OSError as error:
            close_quietly(stream)
            raise unwritable(error) from None


def close_quietly(stream: TextIO) -> None:
    """Point a stream that takes nothing more at nothing, so that the interpreter's own last flush is silent too."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def unwritable(error: OSError) -> CliError:
    """The output's disk is full, or its device is gone."""
    why = error.strerror or type(error).__name__
    return CliError("the output can not be written", code=Exit.FAILED, why=why, hint="df -h")


def standard_printer(options: Options, environment: Mapping[str, str]) -> Printer:
    """A printer on the process's own streams, which escape what their encoding can not write; stdin never fails."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace" if stream is sys.stdin else "backslashreplace")
    return Printer(options, out=sys.stdout, err=sys.stderr, environment=environment)


def _record_cells(key: str, value: object, prefix: str = "") -> list[list[str]]:
    label = f"{prefix}{safe(key)}"
    if isinstance(value, dict) and value:
        return [cell for inner, item in value.items() for cell in _record_cells(inner, item, f"{label}.")]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [[label if index == 0 else "", _inline(item)] for index, item in enumerate(value)]
    if isinstance(value, bool):
        return [[label, "yes" if value else "no"]]
    if isinstance(value, int) and key.endswith("_bytes"):
        return [[label, times.size_words(value)]]
    if isinstance(value, str) and (key.endswith("_at") or key in ("time", "at", "not_after")):
        return [[label, safe(times.local_iso(value)) or "-"]]
    return [[label, plain_cell(value) or "-"]]


def _cut(text: str) -> str:
    """A line of an error; what it repeats of the input may be of any length."""
    return text if len(text) <= ERROR_CHARACTERS else f"{text[:ERROR_CHARACTERS]}..."


def _inline(item: object) -> str:
    if not isinstance(item, dict):
        return plain_cell(item)
    return "  ".join(f"{safe(str(key))}={plain_cell(value)}" for key, value in item.items() if value not in (None, ""))
