"""Order messages by what SORT names (RFC 5256 §2.2, §3; RFC 5957).

- Stable: messages that are equal stay in the order of their numbers.
- Pieces of SORT_CHUNK are sorted at once and merged step by step: a long sort leaves other threads their turns.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.protocol.imap.envelope import EnvelopeField, first_address
from server.protocol.imap.sort import SortCriterion, SortKey
from server.protocol.mime.encoded_words import decode_text
from server.services.mailstore.match import Slice
from server.store.repositories.message_order import SortRow

SORT_CHUNK = 4000
_FIELDS = {
    SortKey.FROM: EnvelopeField.FROM,
    SortKey.DISPLAYFROM: EnvelopeField.FROM,
    SortKey.TO: EnvelopeField.TO,
    SortKey.DISPLAYTO: EnvelopeField.TO,
    SortKey.CC: EnvelopeField.CC,
}


@dataclass(frozen=True, slots=True)
class Sortable:
    """One message: number, UID, and its values in the order of the criteria."""

    number: int
    uid: int
    values: tuple[int | str, ...]


def needs_rows(criteria: Sequence[SortCriterion]) -> bool:
    """Whether the view in memory is not enough."""
    return any(criterion.key not in (SortKey.ARRIVAL, SortKey.SIZE) for criterion in criteria)


def sortables(messages: Slice, rows: Sequence[SortRow], criteria: Sequence[SortCriterion]) -> list[Sortable]:
    """The values of a page; a message whose row is gone is left out."""
    by_uid = {row.uid: row for row in rows}
    wanted = needs_rows(criteria)
    found: list[Sortable] = []
    for place, uid in enumerate(messages.uids):
        row = by_uid.get(uid)
        if wanted and row is None:
            continue
        values = tuple(_value(criterion.key, messages, place, row) for criterion in criteria)
        found.append(Sortable(messages.numbers[place], uid, values))
    return found


def in_order(messages: Sequence[Sortable], criteria: Sequence[SortCriterion]) -> list[Sortable]:
    """Sort by the criteria, the first one counting most; the messages come in the order of their numbers."""
    ordered = list(messages)
    for place in reversed(range(len(criteria))):
        ordered = _sorted(ordered, _picked(place), reverse=criteria[place].reverse)
    return ordered


def _picked(place: int) -> Callable[[Sortable], int | str]:
    return lambda message: message.values[place]


def _sorted(messages: list[Sortable], key: Callable[[Sortable], int | str], *, reverse: bool) -> list[Sortable]:
    # The values of one criterion are of one type: mypy can't know.
    pieces = [
        sorted(messages[start : start + SORT_CHUNK], key=key, reverse=reverse)
        for start in range(0, len(messages), SORT_CHUNK)
    ]
    return pieces[0] if len(pieces) == 1 else list(heapq.merge(*pieces, key=key, reverse=reverse))


def _value(key: SortKey, messages: Slice, place: int, row: SortRow | None) -> int | str:
    if key is SortKey.ARRIVAL:
        return messages.dates_us[place]
    if key is SortKey.SIZE:
        return messages.sizes[place]
    if row is None:
        raise RuntimeError("this key needs the row")
    if key is SortKey.DATE:
        return row.sent_us
    if key is SortKey.SUBJECT:
        return row.base_subject
    return _address(row.envelope, key)


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
