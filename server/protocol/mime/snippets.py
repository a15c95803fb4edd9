"""Pieces of text that show where a search found something (RFC 8621 §5: HTML-escaped, matches in `<mark>`).

- Linear and bounded: `SNIPPET_SCAN` characters are looked at; a snippet holds about `SNIPPET_CHARS`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from server.domain.search import Phrase
from server.protocol.mime.terms import fold_terms, make_terms

SNIPPET_CHARS = 200
"""Characters of a snippet, marks and escapes not counted (RFC 8621 §5 allows 255 octets)."""
SNIPPET_LEAD = 40
"""Of them, characters before the first match."""
SNIPPET_SCAN = 256 * 1024

_WORD = re.compile(r"[^\W_]+")


def highlight(text: str, phrases: Sequence[Phrase]) -> str | None:
    """The whole text, escaped, with every match marked; None when there is none."""
    spans = list(_matches(text[:SNIPPET_SCAN], phrases))
    return _marked(text, 0, len(text), spans) if spans else None


def snippet(text: str, phrases: Sequence[Phrase]) -> str | None:
    """A piece of the text round its first match, on one line; None when there is no match."""
    text = " ".join(text[:SNIPPET_SCAN].split())
    first = next(_matches(text, phrases), None)
    if first is None:
        return None
    start = max(0, first[0] - SNIPPET_LEAD)
    if start:
        start = text.find(" ", start, first[0]) + 1 or start
    end = min(len(text), start + SNIPPET_CHARS)
    spans = [(begin, min(stop, end)) for begin, stop in _matches(text[start:end], phrases, start) if begin < end]
    lead, tail = "\u2026" if start else "", "\u2026" if end < len(text) else ""
    return f"{lead}{_marked(text, start, end, spans)}{tail}"


def _matches(text: str, phrases: Sequence[Phrase], offset: int = 0) -> Iterator[tuple[int, int]]:
    """Where words of the phrases stand, ascending; words count one by one, wherever they are."""
    whole = {term for phrase in phrases for term in phrase.terms}
    starts = tuple(phrase.terms[-1] for phrase in phrases if phrase.open_end)
    for match in _WORD.finditer(text):
        word = match[0]
        terms = make_terms(word)
        hits = [term for term in terms if term in whole or term.startswith(starts)]
        if not hits:
            continue
        start, end = match.span()
        folded = fold_terms(word)
        if len(terms) > 1 and len(folded) == len(word):
            # A run of a script without spaces: mark the piece that was asked for.
            places = [folded.find(hit) for hit in hits]
            start, end = (
                match.start() + min(places),
                match.start() + max(place + len(hit) for place, hit in zip(places, hits, strict=True)),
            )
        yield start + offset, end + offset


def _marked(text: str, start: int, end: int, spans: Sequence[tuple[int, int]]) -> str:
    pieces: list[str] = []
    at = start
    for begin, stop in spans:
        pieces += [html.escape(text[at:begin]), "<mark>", html.escape(text[begin:stop]), "</mark>"]
        at = stop
    return "".join(pieces) + html.escape(text[at:end])
