"""What a search found, on the wire (RFC 9051 §7.3.4 ESEARCH; RFC 4731, RFC 5182, RFC 7162 §3.1.5-6, RFC 9394).

- Results are numbers or UIDs in the order they are to be told: ascending from SEARCH, sorted from SORT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.protocol.imap.search import ResultOptions, SearchReturn
from server.protocol.imap.sequence import format_uid_set


def format_search(word: bytes, numbers: Sequence[int], modseq: int | None) -> bytes:
    """The untagged SEARCH or SORT response of RFC 3501; `modseq` when the client asked for modseqs."""
    tail = b" (MODSEQ %d)" % modseq if modseq is not None and numbers else b""
    return b"* " + word + b"".join([b" %d" % number for number in numbers]) + tail + b"\r\n"


def format_esearch(
    source: bytes, numbers: Sequence[int], options: ResultOptions, *, uid: bool, modseq: int | None
) -> bytes:
    """The ESEARCH response; what is asked of nothing found is left out (RFC 4731 §3.1).

    Args:
        source: The search-correlator's content, as in `TAG "a1"`.
        modseq: Of the messages told, None when the client did not ask.
    """
    names = options.names
    parts = [b"* ESEARCH (" + source + b")"]
    if uid:
        parts.append(b"UID")
    if numbers:
        if SearchReturn.MIN in names:
            parts.append(b"MIN %d" % numbers[0])
        if SearchReturn.MAX in names:
            parts.append(b"MAX %d" % numbers[-1])
        if SearchReturn.ALL in names:
            parts.append(b"ALL " + format_uid_set(numbers))
    if options.page is not None:
        page = options.page.of(numbers)
        parts.append(b"PARTIAL (%s %s)" % (options.page.format(), format_uid_set(page) if page else b"NIL"))
    if SearchReturn.COUNT in names:
        parts.append(b"COUNT %d" % len(numbers))
    if modseq is not None and numbers:
        parts.append(b"MODSEQ %d" % modseq)
    return b" ".join(parts) + b"\r\n"


def told(options: ResultOptions | None, found: Sequence[int]) -> list[int]:
    """Those of the results whose identity the response gives away: MIN and MAX alone tell two (RFC 7162 §3.1.6)."""
    if options is None or not found or options.names & {SearchReturn.ALL, SearchReturn.COUNT}:
        return list(found)
    chosen: list[int] = []
    if SearchReturn.MIN in options.names:
        chosen.append(found[0])
    if SearchReturn.MAX in options.names:
        chosen.append(found[-1])
    if options.page is not None:
        chosen += options.page.of(found)
    return chosen or list(found)


def highest(uids: Sequence[int], modseq_of: Callable[[int], int | None]) -> int:
    """The highest modseq of these messages, 0 without any."""
    return max((modseq for uid in uids if (modseq := modseq_of(uid)) is not None), default=0)
