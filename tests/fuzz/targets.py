"""What is fuzzed in process: each target takes octets and may raise what its callers expect, nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from server.protocol import managesieve
from server.protocol.imap.cursor import ImapSyntaxError
from server.protocol.imap.parse import parse_append, parse_command, tag_of
from server.protocol.imap.search import BadCharset
from server.protocol.mbox import split_mbox
from server.protocol.mime.document import make_document
from server.protocol.mime.render import render
from server.protocol.mime.section import Section, SectionText, UnknownTransferEncoding, extract, extract_binary
from server.protocol.mime.structure import parse_structure
from server.protocol.mime.terms import make_terms
from server.protocol.pop3 import commands as pop3
from server.protocol.search_query import SearchQuerySyntaxError, parse_search_query
from server.protocol.sieve.compile import compile_script, run_script
from server.protocol.sieve.errors import SieveError
from server.protocol.sieve.session import Facts
from server.protocol.sieve.view import Octets

DATA = Path(__file__).resolve().parent.parent / "data"
_FACTS = Facts(now=datetime(2026, 11, 22, tzinfo=UTC), envelope_from="a@there.test", envelope_to="b+list@here.test")
_MAIL = b"From: a@there.test\r\nTo: b@here.test\r\nSubject: [list] hello\r\nX-Spam-Score: 4\r\n\r\nThe body.\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """`words` are put into inputs more often than chance would."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]


def _mime(data: bytes) -> None:
    """Everything that is made of a mail at delivery and when it is indexed or read."""
    structure = parse_structure(data)
    render(data, structure)
    document = make_document(data, structure)
    for name in document.__slots__:
        value = getattr(document, name)
        if isinstance(value, str):
            make_terms(value)
    for path in ((), (1,), (2, 1)):
        for text in (None, SectionText.HEADER, SectionText.TEXT, SectionText.MIME):
            extract(data, structure.root, Section(path=path, text=text))
        try:
            extract_binary(data, structure.root, path)
        except UnknownTransferEncoding:
            continue


def _sieve(data: bytes) -> None:
    """Compile, and run on a plain mail."""
    try:
        run_script(compile_script(data), _FACTS, Octets(prefix=b"", octets=_MAIL))
    except SieveError:
        return


def _imap(data: bytes) -> None:
    tag_of(data)
    for utf8 in (False, True):
        try:
            parse_command(data, utf8=utf8)
        except (ImapSyntaxError, BadCharset):
            pass
        try:
            parse_append(data, utf8=utf8)
        except ImapSyntaxError:
            pass


def _managesieve(data: bytes) -> None:
    managesieve.announced(data)
    for segments in ([data], re.split(rb"\{\d+\+?\}\r\n", data)):
        try:
            managesieve.parse_command(segments)
        except managesieve.ManageSieveSyntaxError:
            pass


def _pop3(data: bytes) -> None:
    try:
        pop3.parse_command(data)
    except pop3.Pop3SyntaxError:
        return


def _mbox(data: bytes) -> None:
    for final in (True, False):
        for message in split_mbox(data, final=final):
            assert len(message.octets) <= len(data) * 2 + 2


def _query(data: bytes) -> None:
    try:
        parse_search_query(data.decode("utf-8", "replace"))
    except SearchQuerySyntaxError:
        return


def _split(text: str) -> tuple[bytes, ...]:
    return tuple(text.encode().split())


_MAILS = tuple(path.read_bytes() for path in sorted((DATA / "mime").glob("*.eml")))
_SCRIPTS = (
    b'require ["fileinto", "variables", "copy", "imap4flags"];\r\nif header :contains "subject" ["a", "b*"] '
    b'{ set :lower "x" "${1}${x}"; fileinto :copy :flags ["\\\\Seen"] "A/${x}"; stop; }\r\nkeep;\r\n',
    b'require ["vacation", "relational", "comparator-i;ascii-numeric", "body", "date", "regex", "duplicate"];\n'
    b'if allof (size :over 1K, not body :text :contains "x", currentdate :value "ge" "date" "2026-01-01", '
    b'header :regex "subject" "(a|b)*c{1,9}", not duplicate :seconds 60) { vacation :days 3 text:\nhello\n.\n; }\n',
    b'require ["envelope", "subaddress", "editheader", "include", "reject"];\nif envelope :detail :is "to" "list" '
    b'{ addheader "X-A" "b"; deleteheader :index 1 "x-spam-score"; reject "no"; } /* c */ elsif true { discard; }\n',
)
TARGETS = {
    target.name: target
    for target in (
        Target("mime", _mime, _MAILS, (
            *_split("Content-Type: multipart/mixed; boundary= message/rfc822 =?iso-2022-jp?B? ?= base64 text/html <b> "
                    "&amp; quoted-printable =0D =?utf-8?q? -- charset=unknown-8bit name*0*= filename*=utf-8'' <!--"),
            b"\r\n", b"\r\n\r\n", b"\n--", b"\x1b$B", b"\x00", b"\xff\xfe", b"(" * 50,
        )),
        Target("sieve", _sieve, _SCRIPTS, _split(
            'require if elsif else anyof allof not { } ( ) [ ] " ; , :matches :regex :contains * ? text: ${x} ${1} '
            'set :lower :upperfirst :length while include fileinto redirect /* */ # 1G 99999999999 \\ header'
        )),
        Target("imap", _imap, (
            b"a1 UID FETCH 1:* (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (a b)]<0.10>) (CHANGEDSINCE 12 VANISHED)",
            b'a2 SEARCH RETURN (MIN COUNT PARTIAL 1:500) CHARSET UTF-8 OR NOT SUBJECT "x" (SINCE 1-Jan-2026 LARGER 9)',
            b'a3 LIST (SUBSCRIBED RECURSIVEMATCH) "" ("%" "a*") RETURN (CHILDREN STATUS (MESSAGES UIDNEXT))',
            b"a4 STORE $ (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\\Seen $Forwarded x)",
            b'a5 APPEND "Entw&APw-rfe" (\\Draft) " 1-Jan-2026 00:00:00 +0100" {12}',
            b"a6 SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211 (1,3 4,6)))",
            b"a7 UID THREAD REFERENCES UTF-8 ALL", b"a8 SORT (REVERSE DATE SUBJECT) UTF-8 UNSEEN",
        ), _split("( ) [ ] { } \" \\ * % $ 1:* 4294967295 0 NIL OR NOT <0.1> {9} {9+} ~{9} &- &AAA- BODY[ UID ,")),
        Target("managesieve", _managesieve, (
            b'PUTSCRIPT "a" {12+}\r\n#comment\r\nke', b'HAVESPACE "x" 999', b'AUTHENTICATE "PLAIN" "AGEAYg=="',
            b'RENAMESCRIPT "a" {3+}\r\nb c', b"CHECKSCRIPT {3+}\r\nabc",
        ), _split('" \\ {1} {1+} {99999999999+} \r\n 4294967296 NOOP')),
        Target("pop3", _pop3, (b"TOP 1 10", b"AUTH PLAIN AGEAYg==", b"USER a@b", b"UIDL", b"DELE 4294967296"), _split(
            "AUTH TOP = * -1 99999999999999999999 \x00"
        )),
        Target("mbox", _mbox, (
            b"From a@b Thu Jan  1 00:00:00 2026\nSubject: x\nStatus: RO\n\n>From here\nbody\n\n"
            b"From c@d Fri Jan  2 00:00:00 2026\nContent-Length: 9\n\nFrom here\n",
        ), (b"\nFrom ", b">From ", b"Content-Length: ", b"X-Status: ADF", b"\r\n", b"\n\n")),
        Target("query", _query, (
            'from:anna (subject:"two words" OR larger:10K) -is:unread 日本語 in:inbox after:2026-01-01 pre*'.encode(),
        ), _split('( ) " OR NOT - : * from: is: before: 日 older:9999y')),
    )
}  # fmt: skip
