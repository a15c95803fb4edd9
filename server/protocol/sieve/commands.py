"""Control commands and the actions that place a message: RFC 5228 §3, §4; reject, copy, mailbox, special-use.

- An action is recorded, not done; the message's flags and edited header are taken at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.protocol.mime.addresses import parse_mailboxes
from server.protocol.sieve.arguments import Kind, Signature, TagKind
from server.protocol.sieve.context import CommandKind, Context
from server.protocol.sieve.errors import SieveRuntimeError, SieveSyntaxError
from server.protocol.sieve.flags import flag_list
from server.protocol.sieve.limits import REASON_MAX, REDIRECTS_MAX
from server.protocol.sieve.outcome import Discard, FileInto, Keep, Redirect, Reject
from server.protocol.sieve.session import Command, Session, Stop, Test
from server.protocol.sieve.strings import Text
from server.protocol.smtp.address import AddressSyntaxError, parse_address

MAILBOX_NAME_MAX = 1_024
SPECIAL_USES = ("\\Archive", "\\Drafts", "\\Inbox", "\\Junk", "\\Sent", "\\Trash")


@dataclass(frozen=True, slots=True, kw_only=True)
class If:
    """RFC 5228 §3.1: the first branch whose test holds; `otherwise` when none does."""

    branches: tuple[tuple[Test, tuple[Command, ...]], ...]
    otherwise: tuple[Command, ...]
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        for test, block in self.branches:
            if test.holds(session):
                session.run(block)
                return
        session.run(self.otherwise)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopScript:
    """RFC 5228 §3.3."""

    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        raise Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepMessage:
    """RFC 5228 §4.3; the script's `:flags`, else the internal variable."""

    flags: tuple[Text, ...] | None
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        flags = session.flags if self.flags is None else flag_list(session.texts(self.flags))
        session.act(Keep(flags=flags, header=session.view.header()), self.line)
        session.keeps = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardMessage:
    """RFC 5228 §4.4: cancels the implicit keep and nothing else."""

    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        session.act(Discard(), self.line)
        session.keeps = any(isinstance(action, Keep) for action in session.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMessage:
    """RFC 5228 §4.1."""

    mailbox: Text
    mailbox_id: Text | None
    special_use: Text | None
    create: bool
    copy: bool
    flags: tuple[Text, ...] | None
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        name = session.text(self.mailbox)
        if not name or len(name) > MAILBOX_NAME_MAX:
            raise SieveRuntimeError("fileinto names no mailbox", self.line)
        use = None if self.special_use is None else _special_use(session.text(self.special_use))
        if self.special_use is not None and use is None:
            raise SieveRuntimeError("fileinto names no special use that is known", self.line)
        session.act(
            FileInto(
                mailbox=name,
                mailbox_id=None if self.mailbox_id is None else session.text(self.mailbox_id),
                special_use=use,
                create=self.create,
                copy=self.copy,
                flags=session.flags if self.flags is None else flag_list(session.texts(self.flags)),
                header=session.view.header(),
            ),
            self.line,
        )
        if not self.copy:
            session.keeps = any(isinstance(action, Keep) for action in session.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectMessage:
    """RFC 5228 §4.2."""

    address: Text
    copy: bool
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        address = one_address(session.text(self.address))
        if address is None:
            raise SieveRuntimeError("redirect names no address", self.line)
        session.act(Redirect(address=address, copy=self.copy, header=session.view.header()), self.line)
        targets = {action.address for action in session.actions if isinstance(action, Redirect)}
        if len(targets) > REDIRECTS_MAX:
            raise SieveRuntimeError(f"more than {REDIRECTS_MAX} redirects", self.line)
        if not self.copy:
            session.keeps = any(isinstance(action, Keep) for action in session.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectMessage:
    """RFC 5429 §2."""

    reason: Text
    extended: bool
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        session.act(Reject(reason=session.text(self.reason)[:REASON_MAX], extended=self.extended), self.line)
        session.keeps = False


def one_address(text: str) -> str | None:
    """The one mail address in a string, as `local@domain`; None when there is none or more than one."""
    found = parse_mailboxes(text.encode(), at_most=2)
    if len(found) != 1:
        return None
    try:
        return str(parse_address(found[0].addr_spec))
    except AddressSyntaxError:
        return None


def _special_use(text: str) -> str | None:
    return next((use for use in SPECIAL_USES if use.lower() == text.lower()), None)


# --- building


def _keep(context: Context) -> Command:
    return KeepMessage(flags=context.arguments.texts("flags"), line=context.line)


def _fileinto(context: Context) -> Command:
    arguments = context.arguments
    special_use = arguments.text("specialuse")
    if isinstance(special_use, str) and _special_use(special_use) is None:
        raise SieveSyntaxError(f"the special use {special_use[:40]!r} is not known", context.line)
    return FileMessage(
        mailbox=context.text(0),
        mailbox_id=arguments.text("mailboxid"),
        special_use=special_use,
        create="create" in arguments,
        copy="copy" in arguments,
        flags=arguments.texts("flags"),
        line=context.line,
    )


def _redirect(context: Context) -> Command:
    address = context.text(0)
    if isinstance(address, str) and one_address(address) is None:
        raise SieveSyntaxError(f"redirect to {address[:80]!r}: not an address", context.line)
    return RedirectMessage(address=address, copy="copy" in context.arguments, line=context.line)


def _reject(context: Context) -> Command:
    return RejectMessage(reason=context.text(0), extended=context.name == "ereject", line=context.line)


_COPY = {"copy": TagKind(extension="copy")}
_FLAGS = {"flags": TagKind(Kind.TEXTS, extension="imap4flags")}
_FILEINTO_TAGS = {
    **_COPY,
    **_FLAGS,
    "create": TagKind(extension="mailbox"),
    "mailboxid": TagKind(Kind.TEXT, "place", "mailboxid"),
    "specialuse": TagKind(Kind.TEXT, "place", "special-use"),
}

COMMANDS = {
    "stop": CommandKind(Signature(), lambda context: StopScript(line=context.line)),
    "keep": CommandKind(Signature((), _FLAGS), _keep),
    "discard": CommandKind(Signature(), lambda context: DiscardMessage(line=context.line)),
    "fileinto": CommandKind(Signature((Kind.TEXT,), _FILEINTO_TAGS), _fileinto, "fileinto"),
    "redirect": CommandKind(Signature((Kind.TEXT,), _COPY), _redirect),
    "reject": CommandKind(Signature((Kind.TEXT,)), _reject, "reject"),
    "ereject": CommandKind(Signature((Kind.TEXT,)), _reject, "ereject"),
}
