"""Second stage of the parser: the octets of one complete command become a value (RFC 9051 §9).

- Nothing after it looks at the wire form again.
- APPEND is parsed up to its message (`parse_append`): the message itself never enters the parser.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from server.protocol.imap.acl import AclVerb, parse_on_acl, parse_set_acl
from server.protocol.imap.append import Append, parse_append_arguments
from server.protocol.imap.commands import (
    Authenticate,
    Command,
    Copy,
    Enable,
    Fetch,
    Id,
    Login,
    Lsub,
    MailboxVerb,
    OnMailbox,
    Rename,
    Status,
    Store,
    StoreMode,
    Tagged,
    UidExpunge,
    Word,
)
from server.protocol.imap.compress import parse_compress
from server.protocol.imap.create import parse_create
from server.protocol.imap.cursor import TAG, Cursor, ImapSyntaxError
from server.protocol.imap.fetch import parse_fetch_items, parse_fetch_modifiers
from server.protocol.imap.flags import parse_flag_list, parse_flags
from server.protocol.imap.listing import parse_list, parse_lsub, parse_status_items
from server.protocol.imap.metadata import parse_get_metadata, parse_set_metadata
from server.protocol.imap.multisearch import parse_multisearch
from server.protocol.imap.names import parse_mailbox
from server.protocol.imap.notify import parse_notify
from server.protocol.imap.quota import parse_get_quota, parse_get_quota_root
from server.protocol.imap.search import parse_search
from server.protocol.imap.select import parse_select
from server.protocol.imap.sequence import SequenceSet, parse_sequence_set
from server.protocol.imap.sort import parse_sort, parse_thread

ID_FIELDS_MAX = 30
ENABLE_MAX = 30
APPENDS = frozenset({"APPEND", "REPLACE", "UID REPLACE"})
"""Commands that end in messages: they are parsed up to each of them."""


class CommandSyntaxError(ImapSyntaxError):
    """A syntax error whose tag is known, so that it can be answered to its command."""

    def __init__(self, text: str, tag: bytes, name: str = "") -> None:
        super().__init__(text)
        self.tag = tag
        self.name = name


def parse_command(text: bytes, *, utf8: bool = False) -> Tagged:
    """Parse a complete command.

    Args:
        text: All octets of the command, literals in place, without the final CRLF.
        utf8: Whether the client has switched UTF-8 on: names are not modified UTF-7 then.

    Raises:
        CommandSyntaxError: Outside the grammar, with the tag to answer to ("*" when it has none).
        BadCharset: From SEARCH.
    """
    cursor = Cursor(text, utf8=utf8)
    tag, name = _head(cursor)
    try:
        parse = _PARSERS.get(name)
        if parse is None:
            raise ImapSyntaxError("unknown command")
        command = parse(cursor)
        cursor.end()
    except ImapSyntaxError as error:
        raise CommandSyntaxError(error.text, tag, name if name in _PARSERS else "") from error
    return Tagged(tag, name, command)


def parse_append(text: bytes, *, utf8: bool = False) -> tuple[bytes, Append] | None:
    """Parse an APPEND or REPLACE up to the announcement of its message, `{n}CRLF` included.

    Returns:
        Tag and values; None when the literal at the end is not the message: another command, or still the mailbox.

    Raises:
        CommandSyntaxError: It is an APPEND, but outside the grammar.

    RFC 9051 §6.3.12, RFC 8508 §3
    """
    cursor = Cursor(text, utf8=utf8)
    try:
        tag, name = _head(cursor)
    except CommandSyntaxError:
        return None
    if name not in APPENDS:
        return None
    try:
        command = parse_append_arguments(cursor, name)
    except ImapSyntaxError as error:
        raise CommandSyntaxError(error.text, tag, name) from error
    return None if command is None else (tag, command)


def tag_of(text: bytes) -> bytes:
    """The tag of a command that will not be parsed, "*" when it has none."""
    found = TAG.match(text)
    return found.group() if found is not None and len(found.group()) < len(text) else b"*"


def _head(cursor: Cursor) -> tuple[bytes, str]:
    """tag SP command-name, and "UID" SP the name behind it"""
    try:
        tag = cursor.matched(TAG, "a tag")
        cursor.space()
    except ImapSyntaxError as error:
        raise CommandSyntaxError(error.text, b"*") from error
    try:
        name = cursor.keyword().decode("ascii")
        if name == "UID":
            cursor.space()
            name = "UID " + cursor.keyword().decode("ascii")
    except ImapSyntaxError as error:
        raise CommandSyntaxError(error.text, tag) from error
    return tag, name


def _on_mailbox(verb: MailboxVerb) -> Callable[[Cursor], Command]:
    def parse(cursor: Cursor) -> Command:
        cursor.space()
        return OnMailbox(verb, parse_mailbox(cursor))

    return parse


def _select(*, read_only: bool) -> Callable[[Cursor], Command]:
    def parse(cursor: Cursor) -> Command:
        cursor.space()
        mailbox = parse_mailbox(cursor)
        return parse_select(cursor, mailbox, read_only=read_only)

    return parse


def _word(word: Word) -> Callable[[Cursor], Command]:
    return lambda _cursor: word


def _login(cursor: Cursor) -> Command:
    """login = "LOGIN" SP userid SP password"""
    cursor.space()
    login = cursor.astring()
    cursor.space()
    return Login(login, cursor.astring())


def _authenticate(cursor: Cursor) -> Command:
    """authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp]"""
    cursor.space()
    mechanism = cursor.keyword().decode("ascii")
    initial = None
    if cursor.take_if(b" "):
        initial = cursor.data[cursor.pos :]
        cursor.pos = len(cursor.data)
    return Authenticate(mechanism, initial)


def _rename(cursor: Cursor) -> Command:
    cursor.space()
    mailbox = parse_mailbox(cursor)
    cursor.space()
    return Rename(mailbox, parse_mailbox(cursor))


def _status(cursor: Cursor) -> Command:
    """status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")" """
    cursor.space()
    mailbox = parse_mailbox(cursor)
    cursor.space()
    return Status(mailbox, parse_status_items(cursor))


def _fetch(*, uid: bool) -> Callable[[Cursor], Command]:
    def parse(cursor: Cursor) -> Command:
        numbers = _numbers(cursor)
        cursor.space()
        items = parse_fetch_items(cursor)
        return Fetch(numbers, items, uid, parse_fetch_modifiers(cursor, uid=uid))

    return parse


def _store(*, uid: bool) -> Callable[[Cursor], Command]:
    def parse(cursor: Cursor) -> Command:
        """[store-modifiers SP] (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))"""
        numbers = _numbers(cursor)
        cursor.space()
        unchanged_since = None
        if cursor.take_if(b"("):
            unchanged_since = _unchanged_since(cursor)
        mode = (
            StoreMode.ADD if cursor.take_if(b"+") else StoreMode.REMOVE if cursor.take_if(b"-") else StoreMode.REPLACE
        )
        word = cursor.keyword()
        if word not in (b"FLAGS", b"FLAGS.SILENT"):
            raise ImapSyntaxError("expected FLAGS")
        cursor.space()
        flags = parse_flag_list(cursor) if cursor.peek() == b"(" else parse_flags(cursor)
        return Store(numbers, mode, flags, word == b"FLAGS.SILENT", uid, unchanged_since)

    return parse


def _unchanged_since(cursor: Cursor) -> int:
    """ "UNCHANGEDSINCE" SP mod-sequence-valzer ")" SP (RFC 7162 §7)"""
    if cursor.keyword() != b"UNCHANGEDSINCE":
        raise ImapSyntaxError("unknown store modifier")
    cursor.space()
    value = cursor.number64()
    cursor.expect(b")")
    cursor.space()
    return value


def _copy(*, move: bool, uid: bool) -> Callable[[Cursor], Command]:
    def parse(cursor: Cursor) -> Command:
        numbers = _numbers(cursor)
        cursor.space()
        return Copy(numbers, parse_mailbox(cursor), move, uid)

    return parse


def _uid_expunge(cursor: Cursor) -> Command:
    return UidExpunge(_numbers(cursor))


def _numbers(cursor: Cursor) -> SequenceSet:
    cursor.space()
    return parse_sequence_set(cursor)


def _id(cursor: Cursor) -> Command:
    """id = "ID" SP ("(" [string SP nstring *(SP string SP nstring)] ")" / nil)"""
    cursor.space()
    if not cursor.take_if(b"("):
        if cursor.nstring() is not None:
            raise ImapSyntaxError("expected a list or NIL")
        return Id()
    for _ in range(ID_FIELDS_MAX):
        if cursor.take_if(b")"):
            return Id()
        cursor.string()
        cursor.space()
        cursor.nstring()
        cursor.take_if(b" ")
    cursor.expect(b")")
    return Id()


def _enable(cursor: Cursor) -> Command:
    """enable = "ENABLE" 1*(SP capability)"""
    names: list[bytes] = []
    while not cursor.at_end and len(names) < ENABLE_MAX:
        cursor.space()
        names.append(cursor.keyword())
    if not names:
        raise ImapSyntaxError("expected a capability")
    return Enable(tuple(names))


_PARSERS: dict[str, Callable[[Cursor], Command]] = {
    **{word.value: _word(word) for word in Word},
    **{verb.value: _on_mailbox(verb) for verb in MailboxVerb},
    "SELECT": _select(read_only=False),
    "EXAMINE": _select(read_only=True),
    **{verb.value: partial(parse_on_acl, verb=verb) for verb in AclVerb},
    "SETACL": parse_set_acl,
    "COMPRESS": parse_compress,
    "CREATE": parse_create,
    "GETMETADATA": parse_get_metadata,
    "SETMETADATA": parse_set_metadata,
    "GETQUOTA": parse_get_quota,
    "GETQUOTAROOT": parse_get_quota_root,
    "ESEARCH": parse_multisearch,
    "NOTIFY": parse_notify,
    "LOGIN": _login,
    "AUTHENTICATE": _authenticate,
    "RENAME": _rename,
    "LIST": parse_list,
    "LSUB": lambda cursor: Lsub(parse_lsub(cursor)),
    "STATUS": _status,
    "ID": _id,
    "ENABLE": _enable,
    "UID EXPUNGE": _uid_expunge,
}
for _prefix, _by_uid in (("", False), ("UID ", True)):
    _PARSERS[_prefix + "FETCH"] = _fetch(uid=_by_uid)
    _PARSERS[_prefix + "STORE"] = _store(uid=_by_uid)
    _PARSERS[_prefix + "COPY"] = _copy(move=False, uid=_by_uid)
    _PARSERS[_prefix + "MOVE"] = _copy(move=True, uid=_by_uid)
    _PARSERS[_prefix + "SORT"] = lambda cursor, uid=_by_uid: parse_sort(cursor, uid=uid)  # type: ignore[misc]
    _PARSERS[_prefix + "THREAD"] = lambda cursor, uid=_by_uid: parse_thread(cursor, uid=uid)  # type: ignore[misc]
    _PARSERS[_prefix + "SEARCH"] = lambda cursor, uid=_by_uid: parse_search(cursor, uid=uid)  # type: ignore[misc]
