"""Answers of search."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from server.api.schemas.common import Output, time_text
from server.api.schemas.messages import MessageOut
from server.services.mailstore.finding import FoundMessage
from server.services.upkeep.index_admin import IndexState, Reindexed


class HighlightsOut(Output, frozen=True, kw_only=True):
    """HTML: the text escaped, what matched in `<mark>`; null where nothing matched (RFC 8621 §5)."""

    subject: str | None
    preview: str | None


class FoundOut(Output, frozen=True, kw_only=True):
    """A message that was found."""

    message: MessageOut
    highlights: HighlightsOut

    @classmethod
    def of(cls, found: FoundMessage) -> FoundOut:
        marks = found.highlights
        return cls(
            message=MessageOut.of(found.view),
            highlights=HighlightsOut(subject=marks.subject, preview=marks.preview),
        )


class SearchOut(Output, frozen=True, kw_only=True):
    """A page of what was found; mail that came up to `indexed_through` was searched completely."""

    items: list[FoundOut]
    next_cursor: str | None
    took_ms: int
    indexed_through: str


class SearchStatusOut(Output, frozen=True, kw_only=True):
    """How far the index is: `indexed` of `total` mails, `pending` wait."""

    engine: str
    available: bool
    indexed: int
    pending: int
    total: int
    indexed_through: str

    @classmethod
    def of(cls, state: IndexState) -> SearchStatusOut:
        count = state.count
        return cls(
            engine=state.engine,
            available=True,
            indexed=count.indexed,
            pending=count.pending,
            total=count.total,
            indexed_through=time_text(state.indexed_through),
        )


class ReindexIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`account_id` is an id or address; without it the whole index is meant. `verify` checks instead, and mends."""

    account_id: str | UnsetType = UNSET
    verify: bool = False


class ReindexOut(Output, frozen=True, kw_only=True):
    """`pending` mails wait; `checked` and `wrong` documents with `verify`, `damaged` when all is made anew for it."""

    pending: int
    checked: int | None
    wrong: int | None
    damaged: bool

    @classmethod
    def of(cls, done: Reindexed) -> ReindexOut:
        found = done.verified
        return cls(
            pending=done.pending,
            checked=None if found is None else found.checked,
            wrong=None if found is None else found.wrong,
            damaged=found is not None and found.damaged,
        )
