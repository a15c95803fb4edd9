"""`vacation` (RFC 5230, RFC 6131) and `notify` by mail (RFC 5435, RFC 5436)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from server.protocol.sieve.arguments import Kind, Signature, TagKind
from server.protocol.sieve.commands import one_address
from server.protocol.sieve.context import MATCH_TAGS, CommandKind, Context, TestKind
from server.protocol.sieve.errors import SieveRuntimeError, SieveSyntaxError
from server.protocol.sieve.limits import NOTIFICATIONS_MAX, REASON_MAX
from server.protocol.sieve.outcome import Importance, Notify, Vacation
from server.protocol.sieve.session import Command, Session, Test
from server.protocol.sieve.strings import Text
from server.protocol.sieve.tests import Matching

DAY_S = 86_400
DAYS_DEFAULT = 7
DAYS_MAX = 365
_SUBJECT_MAX = 500
_FIELDS_KEPT = ("subject", "cc", "body")


@dataclass(frozen=True, slots=True, kw_only=True)
class VacationReply:
    """RFC 5230 §4."""

    reason: Text
    seconds: int
    subject: Text | None
    sender: Text | None
    addresses: tuple[Text, ...]
    handle: Text | None
    mime: bool
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        reason = session.text(self.reason)[:REASON_MAX]
        subject = None if self.subject is None else session.text(self.subject)[:_SUBJECT_MAX]
        sender = None if self.sender is None else session.text(self.sender)
        if sender is not None and one_address(sender) is None:
            raise SieveRuntimeError("vacation: :from is not an address", self.line)
        handle = None if self.handle is None else session.text(self.handle)
        if handle is None:
            # What differs in these is another answer (RFC 5230 §4.2).
            parts = "\0".join((reason, subject or "", sender or "", str(self.mime)))
            handle = hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()
        session.act(
            Vacation(
                reason=reason,
                seconds=self.seconds,
                handle=handle[:256],
                subject=subject,
                sender=sender,
                own_addresses=tuple(session.texts(self.addresses)),
                mime=self.mime,
            ),
            self.line,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyOwner:
    """RFC 5435 §3 with the mailto method of RFC 5436."""

    method: Text
    message: Text | None
    sender: Text | None
    importance: Text | None
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        target = parse_mailto(session.text(self.method))
        if target is None:
            raise SieveRuntimeError("notify: the method is not a mailto address", self.line)
        sender = None if self.sender is None else session.text(self.sender)
        if sender is not None and one_address(sender) is None:
            raise SieveRuntimeError("notify: :from is not an address", self.line)
        importance = "2" if self.importance is None else session.text(self.importance)
        if importance not in set(Importance):
            raise SieveRuntimeError("notify: :importance is 1, 2 or 3", self.line)
        recipients, fields, body = target
        session.act(
            Notify(
                recipients=recipients,
                message=None if self.message is None else session.text(self.message)[:REASON_MAX],
                sender=sender,
                importance=Importance(importance),
                fields=fields,
                body=body,
            ),
            self.line,
        )
        if sum(isinstance(action, Notify) for action in session.actions) > NOTIFICATIONS_MAX:
            raise SieveRuntimeError(f"more than {NOTIFICATIONS_MAX} notifications", self.line)


def parse_mailto(uri: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], str | None] | None:
    """Read a mailto URI (RFC 6068): recipients, header fields, body; None when it is none or names nobody.

    At most four recipients; fields other than Subject, Cc and Body are left out (RFC 5436 §2.7).
    """
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "mailto":
        return None
    path, _, query = rest.partition("?")
    wanted = [unquote(one) for one in path.split(",") if one]
    fields: list[tuple[str, str]] = []
    body = None
    for pair in query.split("&")[:20]:
        name, equals, value = pair.partition("=")
        name, value = unquote(name).lower(), unquote(value)
        if not equals:
            continue
        if name == "to":
            wanted += value.split(",")
        elif name == "body":
            body = value[:REASON_MAX]
        elif name in _FIELDS_KEPT:
            fields.append((name, " ".join(value.split())[:_SUBJECT_MAX]))
    found = [one_address(one) for one in wanted[:5]]
    if not found or len(found) > 4 or None in found:
        return None
    return tuple(one for one in found if one is not None), tuple(fields), body


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidNotifyMethod:
    """RFC 5435 §4."""

    methods: tuple[Text, ...]
    line: int

    def holds(self, session: Session) -> bool:
        session.step(self.line)
        return all(parse_mailto(method) is not None for method in session.texts(self.methods))


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyMethodCapability(Matching):
    """RFC 5435 §5: nobody knows who is online where mail is the method (RFC 5436 §2.2)."""

    method: Text
    capability: Text

    def values(self, session: Session) -> Sequence[str] | None:
        if parse_mailto(session.text(self.method)) is None:
            return None
        return ["maybe"] if session.text(self.capability).lower() == "online" else None


# --- building


def _vacation(context: Context) -> Command:
    arguments = context.arguments
    seconds = arguments.number("seconds")
    if seconds is None:
        days = arguments.number("days")
        seconds = DAY_S * (DAYS_DEFAULT if days is None else max(1, min(days, DAYS_MAX)))
    sender = arguments.text("from")
    if isinstance(sender, str) and one_address(sender) is None:
        raise SieveSyntaxError(f"vacation from {sender[:80]!r}: not an address", context.line)
    return VacationReply(
        reason=context.text(0),
        seconds=min(seconds, DAY_S * DAYS_MAX),
        subject=arguments.text("subject"),
        sender=sender,
        addresses=arguments.texts("addresses") or (),
        handle=arguments.text("handle"),
        mime="mime" in arguments,
        line=context.line,
    )


def _notify(context: Context) -> Command:
    arguments = context.arguments
    method = context.text(0)
    if isinstance(method, str) and parse_mailto(method) is None:
        raise SieveSyntaxError(f"notify by {method[:80]!r}: only mailto: with an address", context.line)
    importance = arguments.text("importance")
    if isinstance(importance, str) and importance not in set(Importance):
        raise SieveSyntaxError(":importance is 1, 2 or 3", context.line)
    return NotifyOwner(
        method=method,
        message=arguments.text("message"),
        sender=arguments.text("from"),
        importance=importance,
        line=context.line,
    )


def _capability(context: Context) -> Test:
    keys = context.texts(2)
    return NotifyMethodCapability(
        match=context.match(keys), keys=keys, line=context.line, method=context.text(0), capability=context.text(1)
    )


_VACATION_TAGS = {
    "days": TagKind(Kind.NUMBER, "period"),
    "seconds": TagKind(Kind.NUMBER, "period", "vacation-seconds"),
    "subject": TagKind(Kind.TEXT),
    "from": TagKind(Kind.TEXT),
    "addresses": TagKind(Kind.TEXTS),
    "mime": TagKind(),
    "handle": TagKind(Kind.TEXT),
}
_NOTIFY_TAGS = {
    "from": TagKind(Kind.TEXT),
    "importance": TagKind(Kind.TEXT),
    "options": TagKind(Kind.TEXTS),
    "message": TagKind(Kind.TEXT),
}

COMMANDS = {
    "vacation": CommandKind(Signature((Kind.TEXT,), _VACATION_TAGS), _vacation, "vacation"),
    "notify": CommandKind(Signature((Kind.TEXT,), _NOTIFY_TAGS), _notify, "enotify"),
}
TESTS = {
    "valid_notify_method": TestKind(
        Signature((Kind.TEXTS,)),
        lambda context: ValidNotifyMethod(methods=context.texts(0), line=context.line),
        "enotify",
    ),
    "notify_method_capability": TestKind(
        Signature((Kind.TEXT, Kind.TEXT, Kind.TEXTS), MATCH_TAGS), _capability, "enotify"
    ),
}
