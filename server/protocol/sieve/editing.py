"""`addheader` and `deleteheader` (RFC 5293).

- Received and Auto-Submitted are never deleted: loops are seen by them (RFC 5293 §6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.headers import Field
from server.protocol.sieve.arguments import Kind, Signature, TagKind
from server.protocol.sieve.context import MATCH_TAGS, CommandKind, Context, pick
from server.protocol.sieve.errors import SieveRuntimeError, SieveSyntaxError
from server.protocol.sieve.limits import VALUE_MAX
from server.protocol.sieve.matching import Match
from server.protocol.sieve.session import Command, Session
from server.protocol.sieve.strings import Text

_NAME = re.compile(r"[!-9;-~]{1,76}")
_LINE_END = re.compile(r"[\r\n]+[ \t]*")
_FIT_WORK = 500
_PROTECTED = frozenset(("received", "auto-submitted"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AddHeader:
    """RFC 5293 §4."""

    name: Text
    value: Text
    last: bool
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        name = session.text(self.name)
        if not _NAME.fullmatch(name):
            raise SieveRuntimeError("addheader: not a field name", self.line)
        value = _LINE_END.sub(" ", session.text(self.value)[:VALUE_MAX]).strip()
        session.spend(len(value))
        session.view.add(
            name, "".join(c for c in value if c == "\t" or c.isprintable()), last=self.last, line=self.line
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteHeader:
    """RFC 5293 §5; without patterns all fields of the name."""

    name: Text
    match: Match
    patterns: tuple[Text, ...] | None
    index: int | None
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        name = session.text(self.name)
        key = name.lower()
        if key in _PROTECTED:
            return
        wanted = key.encode("utf-8")
        fields = [field for field in session.view.own_fields if field.name == wanted]
        if self.index is not None:
            place = pick(len(fields), self.index)
            fields = [] if place is None else [fields[place]]
        if self.patterns is not None:
            patterns = session.texts(self.patterns)
            fields = [field for field in fields if self._fits(field, patterns, session)]
        if fields:
            session.view.delete(name, fields)

    def _fits(self, field: Field, patterns: list[str], session: Session) -> bool:
        session.spend(_FIT_WORK + len(field.value))
        return self.match.find([decode_text(field.value).strip()], patterns, session.spend) is not None


def _add(context: Context) -> Command:
    name = context.text(0)
    if isinstance(name, str) and not _NAME.fullmatch(name):
        raise SieveSyntaxError(f"{name[:40]!r} is no field name", context.line)
    return AddHeader(name=name, value=context.text(1), last="last" in context.arguments, line=context.line)


def _delete(context: Context) -> Command:
    # The name comes first; the patterns may be left out, so they are the argument that may miss.
    has_patterns = context.arguments.texts(0) is not None
    name = context.text(0) if has_patterns else context.text(1)
    patterns = context.arguments.texts(1) if has_patterns else None
    if isinstance(name, str) and not _NAME.fullmatch(name):
        raise SieveSyntaxError(f"{name[:40]!r} is no field name", context.line)
    return DeleteHeader(
        name=name,
        match=context.match(patterns or ()),
        patterns=patterns,
        index=context.index(),
        line=context.line,
    )


_PLACE_TAGS = {"index": TagKind(Kind.NUMBER), "last": TagKind()}

COMMANDS = {
    "addheader": CommandKind(Signature((Kind.TEXT, Kind.TEXT), {"last": TagKind()}), _add, "editheader"),
    "deleteheader": CommandKind(
        Signature((Kind.TEXTS, Kind.TEXTS), {**MATCH_TAGS, **_PLACE_TAGS}, optional=1),
        _delete,
        "editheader",
    ),
}
