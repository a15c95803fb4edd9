"""What the server announces stands in the table of RFCs, with code and with a test."""

from __future__ import annotations

from pathlib import Path

from tests.rfcs import CAPABILITIES, markdown, references, table
from tests.support.imap_edge import ImapEdge


async def _announced(edge: ImapEdge) -> set[str]:
    plain, secure, inside = await edge.connect(secure=False), await edge.connect(), await edge.login()
    words: set[str] = set()
    for client in (plain, secure, inside):
        (line,) = await client.ok(b"CAPABILITY")
        words.update(line.decode("ascii").removeprefix("* CAPABILITY ").split())
    return words


async def test_every_capability_has_code_and_a_test(edge: ImapEdge) -> None:
    """Run `python -m tests.rfcs` to see the table."""
    rows = table()
    for word in await _announced(edge):
        number = CAPABILITIES.get(word) or CAPABILITIES.get(word.partition("=")[0])
        assert number is not None, f"{word}: of which RFC?"
        assert number in rows, f"{word}: RFC {number} is named nowhere"
        assert rows[number].code, f"{word}: no code names RFC {number}"
        assert rows[number].tests, f"{word}: no test names RFC {number}"


def test_references_are_found() -> None:
    text = "(RFC 9051 §6.3.12, RFC 3502; RFC 7162 §3.1, §3.2.5) and RFCs 6376, 8463 and 7208"
    assert list(references(text)) == [
        (9051, ["6.3.12"]),
        (3502, []),
        (7162, ["3.1", "3.2.5"]),
        (6376, []),
        (8463, []),
        (7208, []),
    ]


def test_the_table_is_markdown(tmp_path: Path) -> None:
    for folder in ("server", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "server" / "a.py").write_text('"""RFC 9051 §7.1."""\n')
    (tmp_path / "tests" / "test_a.py").write_text('"""RFC 9051."""\n')
    assert markdown(table(tmp_path)).splitlines()[2:] == ["| 9051 | `server/a.py` §7.1 | `tests/test_a.py` |"]
