"""Which RFC is where in the code, and which test shows it: `python -m tests.rfcs` prints the table as Markdown.

- Made from the references that docstrings and comments of `server` and `tests` hold (`RFC 7162 §3.1.4`): nothing is
  kept by hand but which RFC a capability of IMAP comes from.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES_SHOWN = 6
"""Files named in a cell; the rest is counted."""

_REFERENCE = re.compile(r"RFC (\d{3,5})((?:(?:,| and)? ?§[0-9A-Za-z.]+(?:-[0-9.]+)?)*)")
_LIST = re.compile(r"RFCs? ((?:\d{3,5}(?:, | and ))+\d{3,5})")
_SECTION = re.compile(r"§([0-9A-Za-z.]+)")

CAPABILITIES: dict[str, int] = {
    "ACL": 4314,
    "APPENDLIMIT": 7889,
    "AUTH=LOGIN": 9051,
    "AUTH=OAUTHBEARER": 7628,
    "AUTH=PLAIN": 4616,
    "AUTH=SCRAM-SHA-256": 7677,
    "AUTH=SCRAM-SHA-256-PLUS": 7677,
    "BINARY": 3516,
    "CHILDREN": 3348,
    "COMPRESS=DEFLATE": 4978,
    "CONDSTORE": 7162,
    "CONTEXT=SEARCH": 5267,
    "CONTEXT=SORT": 5267,
    "CREATE-SPECIAL-USE": 6154,
    "ENABLE": 5161,
    "ESEARCH": 4731,
    "ESORT": 5267,
    "ID": 2971,
    "IDLE": 2177,
    "IMAP4rev1": 3501,
    "IMAP4rev2": 9051,
    "INPROGRESS": 9585,
    "LIST-EXTENDED": 5258,
    "LIST-METADATA": 9590,
    "LIST-MYRIGHTS": 8440,
    "LIST-STATUS": 5819,
    "LITERAL-": 7888,
    "LOGINDISABLED": 9051,
    "MESSAGELIMIT": 9738,
    "METADATA": 5464,
    "MOVE": 6851,
    "MULTIAPPEND": 3502,
    "MULTISEARCH": 7377,
    "NAMESPACE": 2342,
    "NOTIFY": 5465,
    "OBJECTID": 8474,
    "PARTIAL": 9394,
    "PREVIEW": 8970,
    "QRESYNC": 7162,
    "QUOTA": 9208,
    "QUOTA=RES-STORAGE": 9208,
    "REPLACE": 8508,
    "RIGHTS": 4314,
    "SASL-IR": 4959,
    "SAVEDATE": 8514,
    "SAVELIMIT": 9738,
    "SEARCHRES": 5182,
    "SORT": 5256,
    "SORT=DISPLAY": 5957,
    "SPECIAL-USE": 6154,
    "STARTTLS": 9051,
    "STATUS=SIZE": 8438,
    "THREAD=ORDEREDSUBJECT": 5256,
    "THREAD=REFERENCES": 5256,
    "UIDONLY": 9586,
    "UIDPLUS": 4315,
    "UNSELECT": 3691,
    "UTF8=ACCEPT": 6855,
    "WITHIN": 5032,
}
"""The RFC that defines each capability the IMAP server may announce, without its value."""


@dataclass(slots=True)
class Row:
    """One RFC: the files that name it, with the sections they name."""

    code: dict[str, set[str]] = field(default_factory=dict)
    tests: dict[str, set[str]] = field(default_factory=dict)


def table(root: Path = ROOT) -> dict[int, Row]:
    """Rows by number of the RFC."""
    rows: dict[int, Row] = {}
    for folder in ("server", "mairust_cli", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            if path == Path(__file__).resolve():
                continue
            name = path.relative_to(root).as_posix()
            for number, sections in references(path.read_text(encoding="utf-8")):
                row = rows.setdefault(number, Row())
                side = row.tests if folder == "tests" else row.code
                side.setdefault(name, set()).update(sections)
    return dict(sorted(rows.items()))


def references(text: str) -> Iterator[tuple[int, list[str]]]:
    """Numbers of RFCs in a text, with the sections named behind each."""
    for found in _REFERENCE.finditer(text):
        yield int(found[1]), [section.rstrip(".") for section in _SECTION.findall(found[2])]
    for found in _LIST.finditer(text):
        for number in re.findall(r"\d{3,5}", found[1]):
            yield int(number), []


def markdown(rows: dict[int, Row]) -> str:
    """The table; an RFC without code or without a test has an empty cell."""
    lines = ["| RFC | Where | Tests |", "|---|---|---|"]
    for number, row in rows.items():
        lines.append(f"| {number} | {_cell(row.code)} | {_cell(row.tests)} |")
    return "\n".join(lines) + "\n"


def _cell(files: dict[str, set[str]]) -> str:
    ranked = sorted(files, key=lambda name: (-len(files[name]), name))
    shown = [f"`{name}`" + "".join(f" §{section}" for section in sorted(files[name])) for name in ranked[:FILES_SHOWN]]
    rest = len(ranked) - len(shown)
    return "<br>".join(shown) + (f"<br>and {rest} more" if rest else "")


if __name__ == "__main__":
    sys.stdout.write(markdown(table()))
