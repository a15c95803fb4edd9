"""What full-text search is asked: fields, phrases of terms, and the queries made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
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


# The query people write (filtering.md section 10), parsed.


@dataclass(frozen=True, slots=True)
class TextTerm:
    """A phrase in one of the fields."""

    phrase: Phrase
    fields: tuple[SearchField, ...]


@dataclass(frozen=True, slots=True)
class FlagTerm:
    """A bit of `domain.flags` that is set, or is not."""

    flag: int
    present: bool


@dataclass(frozen=True, slots=True)
class AttachmentTerm:
    """The mail has attachments."""


class SearchOrder(StrEnum):
    """What comes first: the newest, or what has the words where they say most."""

    NEWEST = "-received_at"
    RELEVANCE = "relevance"


class NameKind(StrEnum):
    """What a name or id is of: `mailbox`, `tag` and `category` are names, a mailbox's role too; the others ids."""

    MAILBOX = "in"
    TAG = "tag"
    CATEGORY = "category"
    THREAD = "thread"
    MESSAGE = "id"


@dataclass(frozen=True, slots=True)
class NameTerm:
    kind: NameKind
    name: str


@dataclass(frozen=True, slots=True)
class DayTerm:
    """Received on `since` or later and before `before`, in the tenant's time zone; None = no bound."""

    since: date | None
    before: date | None


@dataclass(frozen=True, slots=True)
class AgeTerm:
    """Received within the span before now, or earlier than that."""

    span: timedelta
    newer: bool


@dataclass(frozen=True, slots=True)
class SizeTerm:
    octets: int
    larger: bool


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[SearchQuery, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[SearchQuery, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    part: SearchQuery


SearchQuery = TextTerm | FlagTerm | AttachmentTerm | NameTerm | DayTerm | AgeTerm | SizeTerm | AllOf | AnyOf | NoneOf


def text_terms(query: SearchQuery, *, wanted: bool = True) -> list[TextTerm]:
    """The query's terms of text, in order; with `wanted` only those that a result shows, not what NOT rules out."""
    match query:
        case TextTerm():
            return [query]
        case AllOf(parts) | AnyOf(parts):
            return [term for part in parts for term in text_terms(part, wanted=wanted)]
        case NoneOf(part):
            return [] if wanted else text_terms(part, wanted=wanted)
        case _:
            return []
