"""Whole messages as programs write them, each beside what we make of it (tests/data/mime).

A golden file is reviewed by hand when it changes: `python -m tests.unit.protocol.mime.test_golden` writes them anew.
"""

from __future__ import annotations

import email
from email.message import Message
from email.policy import compat32
from pathlib import Path

import pytest

from server.protocol.mime.render import render
from server.protocol.mime.structure import Part, parse_structure

_FOLDER = Path(__file__).parents[3] / "data" / "mime"
_MESSAGES = sorted(path.stem for path in _FOLDER.glob("*.eml"))


def _golden(name: str) -> str:
    octets = (_FOLDER / f"{name}.eml").read_bytes()
    structure = parse_structure(octets)
    rendered = render(octets, structure)
    lines = [
        f"{field}: {value.decode('utf-8', 'backslashreplace') if isinstance(value, bytes) else value}"
        for field, value in (
            ("envelope", rendered.envelope),
            ("body", rendered.body),
            ("bodystructure", rendered.bodystructure),
            ("subject", rendered.subject),
            ("sender", rendered.sender),
            ("recipients", rendered.recipients),
            ("message_id", rendered.message_id_header),
            ("sent_at", rendered.sent_at),
            ("preview", rendered.preview),
            ("has_attachments", rendered.has_attachments),
            ("truncated", structure.truncated),
        )
    ]
    for part in structure.walk():
        kind = f"{part.kind.decode()}/{part.subtype.decode()}"
        place = f"{part.header_start}-{part.body_start}-{part.end}"
        lines.append(f"{'  ' * part.depth}{kind} {place} {part.filename or ''}".rstrip())
    return "\n".join(lines).replace("\r\n", "\\r\\n") + "\n"


@pytest.mark.parametrize("name", _MESSAGES)
def test_golden(name: str) -> None:
    assert _golden(name) == (_FOLDER / f"{name}.golden").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in _MESSAGES if name != "damaged"])
def test_the_standard_library_sees_the_same_tree(name: str) -> None:
    """ST7: leaves and their decoded octets."""
    octets = (_FOLDER / f"{name}.eml").read_bytes()

    def theirs(message: Message) -> object:
        payload = message.get_payload()
        inner = [theirs(part) for part in payload] if isinstance(payload, list) else []
        return (message.get_content_type(), message.get_filename() is not None, inner)

    def ours(part: Part) -> object:
        kind = f"{part.kind.decode()}/{part.subtype.decode()}"
        return (kind, part.filename is not None, [ours(child) for child in part.children])

    def without_status_fields(tree: object) -> object:
        # The reference reads message/delivery-status as header blocks; for us it is a leaf.
        assert isinstance(tree, tuple)
        kind, named, children = tree
        if kind == "message/delivery-status":
            return (kind, named, [])
        return (kind, named, [without_status_fields(child) for child in children])

    reference = without_status_fields(theirs(email.message_from_bytes(octets, policy=compat32)))
    assert ours(parse_structure(octets).root) == reference


if __name__ == "__main__":
    for _name in _MESSAGES:
        (_FOLDER / f"{_name}.golden").write_text(_golden(_name), encoding="utf-8")
