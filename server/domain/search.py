"""What full-text search is asked: fields and phrases of terms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SearchField(StrEnum):
    """Where a term stands; also the columns of the index, in this order."""

    SUBJECT = "subject"
    FROM = "sender"
    TO = "recipient"
    CC = "cc"
    BCC = "bcc"
    BODY = "body"
    FILENAME = "filename"
    LIST = "list"
    OTHER = "other"


ANY_FIELD = tuple(SearchField)
FIELD_PLACE = {field: place for place, field in enumerate(SearchField)}


@dataclass(frozen=True, slots=True)
class Phrase:
    """Terms that must follow one another (`protocol.mime.terms` makes them).

    Attributes:
        terms: In order; empty when the text asked for holds no letter and no digit.
        open_end: Whether the last term may be the beginning of a longer one.
    """

    terms: tuple[str, ...]
    open_end: bool

    def found_in(self, line: str) -> bool:
        """Whether the phrase stands in a line of terms with one space between them."""
        needle = f" {' '.join(self.terms)}" if self.open_end else f" {' '.join(self.terms)} "
        return bool(self.terms) and needle in f" {line} "


@dataclass(frozen=True, slots=True)
class Document:
    """A message as its terms; `lines` in the order of `SearchField`."""

    lines: tuple[str, ...]

    def has(self, phrase: Phrase, fields: tuple[SearchField, ...]) -> bool:
        """Whether the phrase stands in one of the fields."""
        return any(phrase.found_in(self.lines[FIELD_PLACE[field]]) for field in fields)
