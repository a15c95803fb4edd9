"""What a client has missed: VANISHED (EARLIER) and changed flags (RFC 7162 §3.2.5, §3.2.6).

- Expunged messages are told from their rows; where those may be purged, every UID is told that does not exist, which
  is never wrong, only longer (RFC 7162 §3.2.5.1).
- A message that is gone from the store but not yet for this session is left out: VANISHED will tell it in its time.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.ids import ModSeq
from server.imap.selected import SelectedMailbox
from server.imap.session import Session
from server.protocol.imap.select import Qresync
from server.protocol.imap.sequence import contains, format_ranges, gaps, runs

RANGES_A_LINE = 2000
"""Ranges in one VANISHED line."""


async def resynchronise(session: Session, selected: SelectedMailbox, known: Qresync) -> None:
    """Answer SELECT's QRESYNC parameter; the uidvalidity was found to be the same."""
    last = selected.view.mailbox.uidnext - 1
    ranges = [(1, last)] if known.known is None else known.known.resolve(last)
    since = ModSeq(known.modseq)
    await send_vanished(session, selected, ranges, since, known)
    view = selected.view
    # Right after SELECT the session numbers as the view does; a page of waiting may change the view, not the session.
    changed = [uid for uid, modseq in zip(view.uids, view.modseqs, strict=True) if modseq > since]
    for uid in changed:
        number = selected.number(uid)
        if number is None or not contains(ranges, uid):
            continue
        line = selected.change_line(number, uid, uid_wanted=True)
        if line is not None:
            session.send(line)
            await session.pace()


async def send_vanished(
    session: Session,
    selected: SelectedMailbox,
    ranges: Sequence[tuple[int, int]],
    since: ModSeq,
    known: Qresync | None = None,
) -> None:
    """VANISHED (EARLIER) with those UIDs in the ranges that were expunged after `since`.

    Args:
        known: The client's match data may spare it the UIDs below, where expunged rows are purged.
    """
    last = selected.view.mailbox.uidnext - 1
    ranges = [(first, min(end, last)) for first, end in ranges if first <= last]
    gone = await session.mailstore.vanished(selected.view, since)
    if gone is None:
        lost = gaps(_above(ranges, _matched_below(selected, known)), selected.uids)
    else:
        lost = runs([uid for uid in gone if contains(ranges, uid) and selected.number(uid) is None])
    for start in range(0, len(lost), RANGES_A_LINE):
        session.send(b"* VANISHED (EARLIER) " + format_ranges(lost[start : start + RANGES_A_LINE]) + b"\r\n")
        await session.pace()


def _matched_below(selected: SelectedMailbox, known: Qresync | None) -> int:
    """The highest UID of the match data up to which nothing is missing (RFC 7162 §3.2.5.2)."""
    matched = 0
    if known is None:
        return matched
    for number, uid in known.pairs():
        if number > len(selected.uids) or selected.uids[number - 1] != uid:
            break
        matched = uid
    return matched


def _above(ranges: Sequence[tuple[int, int]], uid: int) -> list[tuple[int, int]]:
    return [(max(first, uid + 1), last) for first, last in ranges if last > uid]
