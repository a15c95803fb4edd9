"""The query language of search (filtering.md section 10).

    query  = all *( "OR" all )
    all    = 1*part
    part   = ( "-" / "NOT" ) part / "(" query ")" / term
    term   = [ field ":" ] ( word [ "*" ] / DQUOTE *char DQUOTE [ "*" ] )

- Terms side by side are joined by AND, which binds tighter than OR. `OR` and `NOT` are operators in capitals only.
- Every error names its place: what a user wrote is never passed over in silence.
- Bounded: `QUERY_MAX` characters, `TERMS_MAX` terms, `DEPTH_MAX` levels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from server.domain.flags import ANSWERED, DRAFT, FLAGGED, SEEN
from server.domain.search import (
    ANY_FIELD,
    AgeTerm,
    AllOf,
    AnyOf,
    AttachmentTerm,
    DayTerm,
    FlagTerm,
    NameKind,
    NameTerm,
    NoneOf,
    SearchField,
    SearchQuery,
    SizeTerm,
    TextTerm,
)
from server.protocol.mime.terms import make_phrase

QUERY_MAX = 500
TERMS_MAX = 32
DEPTH_MAX = 8

_TOKEN = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<minus>-(?=[^\s)]))|(?P<or>OR(?=[\s()]|\Z))|(?P<not>NOT(?=[\s(]|\Z))"
    r"|(?:(?P<field>[A-Za-z]+):)?(?:\"(?P<quoted>[^\"]*)(?P<end>\"?)(?P<quoted_star>\*?)|(?P<word>[^\s()\"]+))"
    r"|(?P<other>\S))"
)
_TEXT_FIELDS = {
    "from": (SearchField.FROM,),
    "to": (SearchField.TO,),
    "cc": (SearchField.CC,),
    "bcc": (SearchField.BCC,),
    "subject": (SearchField.SUBJECT,),
    "body": (SearchField.BODY,),
    "filename": (SearchField.FILENAME,),
    "list": (SearchField.LIST,),
}
_FLAGS = {
    "unread": FlagTerm(SEEN, present=False),
    "read": FlagTerm(SEEN, present=True),
    "flagged": FlagTerm(FLAGGED, present=True),
    "answered": FlagTerm(ANSWERED, present=True),
    "draft": FlagTerm(DRAFT, present=True),
}
_DAYS = {"h": 1 / 24, "d": 1, "w": 7, "m": 30, "y": 365}
_AGE = re.compile(r"([1-9][0-9]{0,3})([hdwmy])")
_SIZE = re.compile(r"([0-9]{1,12})([KMG]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


class SearchQuerySyntaxError(Exception):
    """Outside the language.

    Attributes:
        reason: For the user.
        position: The character it begins at, from 0.
    """

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


@dataclass(frozen=True, slots=True)
class _Token:
    """`kind` is the name of the token's group."""

    kind: str
    at: int
    field: str = ""
    text: str = ""
    star: bool = False


def parse_search_query(text: str) -> SearchQuery:
    """Parse a query. Raises SearchQuerySyntaxError."""
    if len(text) > QUERY_MAX:
        raise SearchQuerySyntaxError(f"a query has at most {QUERY_MAX} characters", QUERY_MAX)
    tokens = _tokens(text)
    if not tokens:
        raise SearchQuerySyntaxError("the query is empty", 0)
    parser = _Parser(tokens, len(text))
    query = parser.any_of(0)
    left = parser.peek()
    if left is not None:
        raise SearchQuerySyntaxError("there is no parenthesis to close", left.at)
    return query


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        groups = match.groupdict()
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        if groups["other"] is not None:
            raise SearchQuerySyntaxError("a word is missing here", start)
        kind = next((name for name in ("open", "close", "minus", "or", "not") if groups[name] is not None), "term")
        if kind != "term":
            tokens.append(_Token(kind, start))
        elif groups["quoted"] is not None:
            if not groups["end"]:
                raise SearchQuerySyntaxError("the quotation mark is not closed", start)
            star = bool(groups["quoted_star"])
            tokens.append(_Token("term", start, (groups["field"] or "").lower(), groups["quoted"], star))
        else:
            word = groups["word"]
            star = word.endswith("*")
            tokens.append(_Token("term", start, (groups["field"] or "").lower(), word.rstrip("*"), star))
    return tokens


class _Parser:
    """Recursive descent; depth is bounded by DEPTH_MAX."""

    def __init__(self, tokens: list[_Token], end: int) -> None:
        self._tokens = tokens
        self._end = end
        self._next = 0
        self._terms = 0

    def peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def any_of(self, depth: int) -> SearchQuery:
        parts = [self._all_of(depth)]
        while (token := self.peek()) is not None and token.kind == "or":
            self._next += 1
            parts.append(self._all_of(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self, depth: int) -> SearchQuery:
        parts: list[SearchQuery] = []
        while (token := self.peek()) is not None and token.kind not in ("or", "close"):
            parts.append(self._part(depth))
        if not parts:
            at = self._end if token is None else token.at
            raise SearchQuerySyntaxError("a word is missing here", at)
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _part(self, depth: int) -> SearchQuery:
        token = self.peek()
        if token is None:
            raise SearchQuerySyntaxError("a word is missing here", self._end)
        if depth > DEPTH_MAX:
            raise SearchQuerySyntaxError(f"a query nests at most {DEPTH_MAX} levels", token.at)
        self._next += 1
        match token.kind:
            case "minus" | "not":
                return NoneOf(self._part(depth + 1))
            case "open":
                inner = self.any_of(depth + 1)
                if self.peek() is None:
                    raise SearchQuerySyntaxError("the parenthesis is not closed", token.at)
                self._next += 1
                return inner
            case "term":
                return self._term(token)
            case _:
                raise SearchQuerySyntaxError("a word is missing here", token.at)

    def _term(self, token: _Token) -> SearchQuery:
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise SearchQuerySyntaxError(f"a query has at most {TERMS_MAX} terms", token.at)
        if token.field in _TEXT_FIELDS:
            return _text(token, _TEXT_FIELDS[token.field])
        maker = _MAKERS.get(token.field)
        if maker is not None:
            if not token.text:
                raise SearchQuerySyntaxError("a value is missing here", token.at)
            return maker(token)
        if token.field:
            # What looks like a field and is none is a word: `re:union`, `http://...`.
            whole = _Token("term", token.at, "", f"{token.field}:{token.text}", token.star)
            return _text(whole, ANY_FIELD)
        if token.text.endswith(":") and token.text[:-1].lower() in {*_TEXT_FIELDS, *_MAKERS}:
            raise SearchQuerySyntaxError("a value is missing here", token.at)
        return _text(token, ANY_FIELD)


def _text(token: _Token, fields: tuple[SearchField, ...]) -> TextTerm:
    phrase = make_phrase(token.text, open_end=token.star)
    if not phrase.terms:
        raise SearchQuerySyntaxError("a word to search for has a letter or a digit", token.at)
    return TextTerm(phrase, fields)


def _is(token: _Token) -> SearchQuery:
    found = _FLAGS.get(token.text.lower())
    if found is None:
        raise SearchQuerySyntaxError(f"is: knows {', '.join(_FLAGS)}", token.at)
    return found


def _has(token: _Token) -> SearchQuery:
    if token.text.lower() not in ("attachment", "attachments"):
        raise SearchQuerySyntaxError("has: knows attachment", token.at)
    return AttachmentTerm()


def _named(token: _Token) -> SearchQuery:
    return NameTerm(NameKind(token.field), token.text)


def _day(token: _Token) -> SearchQuery:
    try:
        day = date.fromisoformat(token.text) if len(token.text) == len("YYYY-MM-DD") else None
        if day is None:
            raise ValueError
        after = day + timedelta(days=1)
    except (ValueError, OverflowError):
        raise SearchQuerySyntaxError(f"{token.field}: wants a day as YYYY-MM-DD", token.at) from None
    if token.field == "on":
        return DayTerm(day, after)
    return DayTerm(day, None) if token.field == "after" else DayTerm(None, day)


def _age(token: _Token) -> SearchQuery:
    found = _AGE.fullmatch(token.text.lower())
    if found is None:
        raise SearchQuerySyntaxError(f"{token.field}: wants 1 to 9999 and one of h, d, w, m, y", token.at)
    return AgeTerm(timedelta(days=int(found[1]) * _DAYS[found[2]]), newer=token.field == "newer")


def _size(token: _Token) -> SearchQuery:
    found = _SIZE.fullmatch(token.text)
    if found is None:
        raise SearchQuerySyntaxError(f"{token.field}: wants octets, or a number with K, M or G", token.at)
    return SizeTerm(int(found[1]) * _UNITS[found[2].upper()], larger=token.field == "larger")


_MAKERS: dict[str, Callable[[_Token], SearchQuery]] = {
    "is": _is,
    "has": _has,
    **{kind.value: _named for kind in NameKind},
    **{name: _day for name in ("after", "before", "on")},
    **{name: _age for name in ("newer", "older")},
    **{name: _size for name in ("larger", "smaller")},
}
