"""Order messages by what SORT names (RFC 5256 §2.2, §3; RFC 5957).

- Stable: messages that are equal stay in the order of their numbers.
- Pieces of SORT_CHUNK are sorted at once and merged step by step: a long sort leaves other threads their turns.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import cast

from server.protocol.imap.envelope import EnvelopeField, first_address
from server.protocol.imap.sort import SortCriterion, SortKey
from server.protocol.mime.encoded_words import decode_text
from server.services.mailstore.match import Slice
from server.store.repositories.message_order import SortRow

SORT_CHUNK = 25_000
_FIELDS = {
    SortKey.FROM: EnvelopeField.FROM,
    SortKey.DISPLAYFROM: EnvelopeField.FROM,
    SortKey.TO: EnvelopeField.TO,
    SortKey.DISPLAYTO: EnvelopeField.TO,
    SortKey.CC: EnvelopeField.CC,
}


class Sortables:
    """Messages to sort, by column: numbers, UIDs, and a column of values for each criterion."""

    def __init__(self, criteria: Sequence[SortCriterion]) -> None:
        self._criteria = criteria
        self._numbered: list[tuple[int, int]] = []
        self._columns: list[list[int | str]] = [[] for _ in criteria]

    @property
    def needs_rows(self) -> bool:
        """Whether the view in memory is not enough."""
        return any(criterion.key not in (SortKey.ARRIVAL, SortKey.SIZE) for criterion in self._criteria)

    @property
    def needs_envelopes(self) -> bool:
        return any(criterion.key in _FIELDS for criterion in self._criteria)

    def add(self, messages: Slice, rows: Sequence[SortRow]) -> None:
        """Take the values of a page, in the order of numbers; a message whose row is gone is left out."""
        places: Sequence[int] = range(len(messages.uids))
        by_place: Sequence[SortRow] = rows
        if self.needs_rows and len(rows) < len(messages.uids):
            by_uid = {row.uid: row for row in rows}
            places = [place for place in places if messages.uids[place] in by_uid]
            by_place = [by_uid[messages.uids[place]] for place in places]
        self._numbered += [(messages.numbers[place], messages.uids[place]) for place in places]
        for column, criterion in zip(self._columns, self._criteria, strict=True):
            match criterion.key:
                case SortKey.ARRIVAL:
                    column += [messages.dates_us[place] for place in places]
                case SortKey.SIZE:
                    column += [messages.sizes[place] for place in places]
                case SortKey.DATE:
                    column += [row.sent_us for row in by_place]
                case SortKey.SUBJECT:
                    column += [row.base_subject for row in by_place]
                case _:
                    column += [_address(row.envelope, criterion.key) for row in by_place]

    def in_order(self) -> list[tuple[int, int]]:
        """Number and UID, sorted by the criteria, the first one counting most."""
        order = list(range(len(self._numbered)))
        for column, criterion in zip(reversed(self._columns), reversed(self._criteria), strict=True):
            order = _sorted(order, column, reverse=criterion.reverse)
        return [self._numbered[place] for place in order]


def _sorted(order: list[int], column: list[int | str], *, reverse: bool) -> list[int]:
    # The values of one column are of one type: mypy can't know.
    key = cast("Callable[[int], int]", column.__getitem__)
    pieces = [
        sorted(order[start : start + SORT_CHUNK], key=key, reverse=reverse)
        for start in range(0, len(order), SORT_CHUNK)
    ]
    return pieces[0] if len(pieces) == 1 else list(heapq.merge(*pieces, key=key, reverse=reverse))


def _address(envelope: bytes, key: SortKey) -> str:
    """The first address's mailbox, or what is displayed of it (RFC 5957 §3); empty without one."""
    address = first_address(envelope, _FIELDS[key])
    if address is None:
        return ""
    mailbox = address.mailbox.decode("utf-8", "replace")
    if key not in (SortKey.DISPLAYFROM, SortKey.DISPLAYTO):
        return mailbox.casefold()
    name = decode_text(address.name).strip()
    return (name or f"{mailbox}@{address.host.decode('utf-8', 'replace')}").casefold()
