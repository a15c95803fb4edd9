"""The table writer: aligned columns of text that a terminal can be trusted with.

- Cells are escaped before they are measured; wide and combining characters count as the terminal draws them.
- The last column is never padded, so copied lines carry no trailing blanks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mairust_cli.output import times
from mairust_cli.output.escape import json_text, safe

Row = Mapping[str, object]
ID_TAIL = 8
CUT_LEAST = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a list.

    Attributes:
        name: Word for `--columns`; the heading is the same in capitals.
        read: Where the value comes from; by default the field of the same name.
        kind: `text`, `id`, `age` (time, as a span), `size` (octets) or `number`.
        wide: Shown only by `-o wide` or when named by `--columns`.
        cut: Most characters in a table; 0 = whole.
        prose: Words that are read from the start, so cut at their end; addresses are cut in the middle.
    """

    name: str
    read: Callable[[Row], object] | None = None
    kind: str = "text"
    wide: bool = False
    cut: int = 0
    prose: bool = False

    def shortened(self, text: str, width: int) -> str:
        return cut_end(text, width) if self.prose else cut_middle(text, width)

    def value(self, row: Row) -> object:
        return row.get(self.name) if self.read is None else self.read(row)


def field(path: str) -> Callable[[Row], object]:
    """A reader for a nested field, `last_reply.code`; None where any part is missing."""
    keys = path.split(".")

    def read(row: Row) -> object:
        value: object = row
        for key in keys:
            if not isinstance(value, Mapping):
                return None
            value = value.get(key)
        return value

    return read


def plain_cell(value: object) -> str:
    """A value for a machine: whole, unescaped but for what would break the line."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return safe(value)
        case list():
            return ",".join(plain_cell(item) for item in value)
        case dict():
            return json_text(value)
        case _:
            return str(value)


def table_cell(column: Column, row: Row, *, now: datetime, whole: bool) -> str:
    """A value for a person: ids by their tail, times as ages, octets in binary units."""
    value = column.value(row)
    if value is None or value == "" or value == []:
        return "-"
    if column.kind == "id" and not whole:
        return safe(str(value))[-ID_TAIL:]
    if column.kind == "age":
        return safe(times.age(str(value), now))
    if column.kind == "size" and isinstance(value, int):
        return times.size_words(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.kind == "number" and isinstance(value, int):
        return f"{value:,}"
    text = plain_cell(value)
    return column.shortened(text, column.cut) if column.cut and not whole else text


def cut_middle(text: str, width: int) -> str:
    """The text in at most `width` characters, cut in the middle with an ellipsis."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def cut_end(text: str, width: int) -> str:
    """The text in at most `width` characters, cut at its end with an ellipsis."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def display_width(text: str) -> int:
    """Columns the text takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    width = 0
    for character in text:
        if not unicodedata.combining(character):
            width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return width


def fitted(columns: Sequence[Column], cells: Sequence[Sequence[str]], room: int) -> list[list[str]]:
    """The cells with those that may be cut made narrower, the widest first, until a line has `room`.

    A column is never made narrower than `CUT_LEAST` or its heading, so a line may still be longer.
    """
    grid = [list(row) for row in cells]
    widths = [max([len(c.name), *(display_width(row[i]) for row in grid)]) for i, c in enumerate(columns)]
    excess = sum(widths) + 2 * (len(widths) - 1) - room
    cuttable = [index for index, column in enumerate(columns) if column.cut]
    while excess > 0 and cuttable:
        widest = max(cuttable, key=lambda index: widths[index])
        least = max(CUT_LEAST, len(columns[widest].name))
        if widths[widest] <= least:
            cuttable.remove(widest)
            continue
        widths[widest] -= 1
        excess -= 1
    for row in grid:
        for index, column in enumerate(columns):
            if column.cut:
                row[index] = column.shortened(row[index], widths[index])
    return grid


def table_lines(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines, two blanks between columns; no heading line when `headings` is empty."""
    grid = [list(headings), *cells] if headings else list(cells)
    if not grid:
        return []
    widths = [max(display_width(row[index]) for row in grid) for index in range(len(grid[0]))]
    lines = []
    for row in grid:
        parts = [cell + " " * (width - display_width(cell)) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return lines
