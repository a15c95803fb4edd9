"""Odd and broken mail of the world (tests/data/charsets): what a person reads, and what a search finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.domain.search import ANY_FIELD
from server.protocol.mime.document import make_document
from server.protocol.mime.render import render
from server.protocol.mime.structure import parse_structure
from server.protocol.mime.terms import make_phrase

_FOLDER = Path(__file__).parents[3] / "data" / "charsets"
_EXPECTED: dict[str, dict[str, Any]] = json.loads((_FOLDER / "expected.json").read_text(encoding="utf-8"))


def test_every_message_has_its_expectation() -> None:
    assert sorted(path.stem for path in _FOLDER.glob("*.eml")) == sorted(_EXPECTED)


@pytest.mark.parametrize("name", _EXPECTED)
def test_a_person_reads_what_was_meant(name: str) -> None:
    octets, expected = (_FOLDER / f"{name}.eml").read_bytes(), _EXPECTED[name]
    structure = parse_structure(octets)
    rendered = render(octets, structure)
    assert rendered.subject == expected["subject"]
    assert rendered.preview == expected["text"]
    names = [part.filename for part in structure.walk() if part.filename]
    assert names == ([expected["filename"]] if "filename" in expected else [])


@pytest.mark.parametrize("name", _EXPECTED)
def test_a_search_finds_it(name: str) -> None:
    octets, expected = (_FOLDER / f"{name}.eml").read_bytes(), _EXPECTED[name]
    document = make_document(octets, parse_structure(octets))
    for text in (expected["subject"], expected["text"], expected.get("filename", ""), *expected.get("found", ())):
        phrase = make_phrase(text, open_end=False)
        assert not phrase.terms or document.has(phrase, ANY_FIELD), text
