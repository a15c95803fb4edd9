"""Text to search terms: the one maker of words for the index, for messages that are scanned, and for queries.

- A term is a run of letters and digits, folded: compatibility forms, case and accents undone (`Ångström` = `angstrom`).
- Scripts written without spaces (Chinese, Japanese, Thai, Khmer, ...), and Korean, are cut into pairs of neighbouring
  characters, and a run ends with its last character alone: so any piece of a run is found, one character long or more.
- A phrase is found where its terms stand one after the other; its last one may be the beginning of a term where the
  query says so. Index and scan answer alike because both see nothing but these terms.
- Bounded and linear: `TEXT_MAX` characters, `TERMS_MAX` terms, `TERM_OCTETS_MAX` octets a field.

UAX #15 (normalisation), RFC 9051 §6.4.4 (matching of text is the server's to define beyond ASCII case).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from server.domain.search import Phrase

VERSION = 1
"""Raised when the same text makes other terms than before: what is indexed under an older one is indexed anew."""
TEXT_MAX = 256 * 1024
"""Characters of one field that are read (filtering.md 10)."""
TERMS_MAX = 50_000
"""Terms of one field."""
TERM_OCTETS_MAX = 512 * 1024
"""Octets of all terms of one field in UTF-8: pairs hold every character twice."""
TERM_CHARS = 64
"""Characters of one term; what a longer word has behind them is not looked at."""

_PAIRED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0edf\u1000-\u109f\u1780-\u17dd\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai to Burmese
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff"  # Hangul
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_INDIC = "\u0900-\u0963\u0966-\u0dff"
"""Scripts of India, whose vowel signs and viramas are marks inside words."""
_RUN = re.compile(f"([{_PAIRED}]+)|(?:[{_INDIC}]|[^\\W_{_PAIRED}])+")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_IGNORED = re.compile(
    "[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
    "\u00ad\u034f\u061c\u0640\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]+"
)
"""Accents, vowel points, and what is not seen: soft hyphens, joiners, marks of direction."""


def make_terms(text: str) -> list[str]:
    """The terms of a text, in their order, within the limits."""
    text = text[:TEXT_MAX]
    if text.isascii():
        terms = _ASCII_WORD.findall(text.lower())
        terms = terms[:TERMS_MAX] if len(terms) > TERMS_MAX else terms
        if len(text) > TERM_CHARS:
            terms = [term if len(term) <= TERM_CHARS else term[:TERM_CHARS] for term in terms]
        return terms
    return _bounded(_cut(fold_terms(text), ends=True))


def term_line(text: str) -> str:
    """The terms of a text with a space between them."""
    return " ".join(make_terms(text))


def make_phrase(text: str, *, open_end: bool) -> Phrase:
    """What is asked for, as terms.

    Args:
        open_end: Whether the last word may be the beginning of a longer one. One character of a script without
            spaces always may: it is a piece of a run.
    """
    folded = fold_terms(text[:TEXT_MAX])
    terms = _bounded(_cut(folded, ends=False))
    runs = list(_RUN.finditer(folded))
    in_run = bool(runs) and runs[-1][1] is not None
    return Phrase(tuple(terms), open_end or in_run)


def fold_terms(text: str) -> str:
    """Fold a text as its terms are: compatibility forms, case, accents and invisible characters undone."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", text)
    text = _IGNORED.sub("", text).casefold()
    return unicodedata.normalize("NFC", text)


def _cut(text: str, *, ends: bool) -> Iterator[str]:
    """Cut folded text into terms; without `ends` the text may stop inside a run, which then has no end of its own."""
    pending, single = "", False
    for match in _RUN.finditer(text):
        if pending:
            yield pending
            pending = ""
        run = match[1]
        if run is None:
            yield match[0][:TERM_CHARS]
            continue
        for at in range(len(run) - 1):
            yield run[at : at + 2]
        pending = run[-1]
        single = len(run) == 1
    if pending and (ends or single):
        yield pending


def _bounded(terms: Iterable[str]) -> list[str]:
    kept: list[str] = []
    octets = 0
    for term in terms:
        octets += len(term) * 4 if not term.isascii() else len(term)
        if len(kept) >= TERMS_MAX or octets > TERM_OCTETS_MAX:
            break
        kept.append(term)
    return kept
