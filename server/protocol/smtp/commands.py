"""SMTP command lines to values (RFC 5321 §4.1.1) with the parameters of the extensions we offer.

- SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET ENVID NOTIFY ORCPT (RFC 3461, RFC 6533), AUTH (RFC 4954).
- Whatever is outside the grammar raises `CommandSyntaxError` with the exact reply; nothing is guessed or repaired but
  one space after the colon of MAIL and RCPT, which common devices send.
- No control, DEL, surrogate or undeclared octet above 127 leaves this module in any value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.domain.address import Address
from server.domain.envelope import Notify, Recipient, Ret, ReversePath
from server.domain.reply import Reply, reply
from server.protocol.smtp.address import AddressSyntaxError, parse_address, parse_path
from server.protocol.smtp.limits import DOMAIN_MAX, ENVID_MAX, ORCPT_MAX, PARAMETERS_MAX, SIZE_DIGITS_MAX

_CONTROLS = bytes([*range(0x20), 0x7F])
_VERB_MAX = 16
_HELLO = re.compile(rb"\[[!-Z^-~]+\]|[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([!-<>-~\x80-\xff]+))?")
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_UNITEXT = re.compile(r"(?:[!-*,-<>-\[\]-~\u0080-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})*")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
_ADDR_TYPE = re.compile(rb"[A-Za-z0-9!#$%&'*\-/?^_`{|}~.]+")
_MECHANISM = re.compile(rb"[A-Z0-9\-_]{1,20}")
_Parameters = dict[bytes, bytes | None]
_NOTIFY_WORDS = {word.value.encode(): word for word in Notify}


class CommandSyntaxError(Exception):
    """A command outside the grammar; `reply` is what the peer is told."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.reply: Reply = reply(code, enhanced, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailCommand:
    """MAIL as given; `size_octets` is 0 where the client declared none."""

    reverse_path: ReversePath
    size_octets: int = 0
    body_8bit: bool = False
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthCommand:
    """AUTH as given; `initial` is still base64, None where the client waits for a challenge (RFC 4954 §4)."""

    mechanism: str
    initial: bytes | None


def split_command(line: bytes) -> tuple[bytes, bytes]:
    """Split a command line without its CRLF into the verb in upper case and its argument, trailing spaces dropped.

    Raises:
        CommandSyntaxError: 500 5.5.2 for controls or a line that begins with no verb (RFC 5321 §4.2.4).
    """
    verb, _, argument = line.partition(b" ")
    if not verb.isalpha() or len(verb) > _VERB_MAX or len(line.translate(None, _CONTROLS)) != len(line):
        raise CommandSyntaxError(500, "5.5.2", "Syntax error, command not recognised")
    return verb.upper(), argument.rstrip(b" ")


def parse_hello(argument: bytes) -> str:
    """The client's name in EHLO or HELO: a host name, underscores forgiven, or an address literal (RFC 5321 §4.1.1.1).

    Raises:
        CommandSyntaxError: 501 5.5.4.
    """
    if len(argument) > DOMAIN_MAX or _HELLO.fullmatch(argument) is None:
        raise CommandSyntaxError(501, "5.5.4", "A host name or address literal is needed")
    return argument.decode("ascii")


def parse_no_argument(argument: bytes) -> None:
    """Check that a command stands alone (RFC 5321 §4.1.1.4 DATA, §4.1.1.5 RSET, §4.1.1.10 QUIT; RFC 3207 §4)."""
    if argument:
        raise CommandSyntaxError(501, "5.5.4", "No argument is allowed")


def parse_mail(argument: bytes, *, auth_offered: bool) -> MailCommand:
    """Parse `FROM:` with its path and parameters (RFC 5321 §4.1.1.2).

    Args:
        argument: What follows "MAIL ".
        auth_offered: Whether AUTH= is a parameter here (RFC 4954 §5).

    Raises:
        CommandSyntaxError: 501 5.5.4, 553 5.6.7 or 555 5.5.4.
    """
    path, rest = _path(argument, b"FROM:")
    octets = argument[: len(argument) - len(rest)]
    if not rest:
        _need_ascii(octets)
        return MailCommand(reverse_path=path)
    given = _parameters(rest)
    smtputf8 = b"SMTPUTF8" in given
    if not smtputf8:
        _need_ascii(octets)
    command = MailCommand(
        reverse_path=path,
        size_octets=_size(given),
        body_8bit=_body(given),
        smtputf8=_flag(given, b"SMTPUTF8"),
        ret=_ret(given),
        envid=_envid(given),
    )
    if auth_offered and b"AUTH" in given:
        _check_auth_parameter(given.pop(b"AUTH"))
    _none_left(given)
    return command


def parse_rcpt(argument: bytes, *, smtputf8: bool, postmaster_domain: str) -> Recipient:
    """Parse `TO:` with its path and parameters (RFC 5321 §4.1.1.3).

    Args:
        argument: What follows "RCPT ".
        smtputf8: Whether MAIL asked for SMTPUTF8.
        postmaster_domain: Where `<Postmaster>` without a domain goes (RFC 5321 §4.5.1).

    Raises:
        CommandSyntaxError: 501 5.5.4, 553 5.6.7 or 555 5.5.4.
    """
    if argument[:15].upper() == b"TO:<POSTMASTER>":
        address: Address | None = Address("postmaster", postmaster_domain)
        rest = argument[15:]
    else:
        address, rest = _path(argument, b"TO:")
        if not smtputf8:
            _need_ascii(argument[: len(argument) - len(rest)])
    if address is None:
        raise CommandSyntaxError(501, "5.5.4", "The null path is no recipient")
    if not rest:
        return Recipient(address=address)
    given = _parameters(rest)
    recipient = Recipient(
        address=address,
        notify=_notify(given),
        orcpt=_orcpt(given, smtputf8=smtputf8),
    )
    _none_left(given)
    return recipient


def parse_auth(argument: bytes) -> AuthCommand:
    """Parse `mechanism [initial-response]` (RFC 4954 §4).

    Raises:
        CommandSyntaxError: 501 5.5.4.
    """
    mechanism, space, initial = argument.partition(b" ")
    mechanism = mechanism.upper()
    if _MECHANISM.fullmatch(mechanism) is None or (space and not initial) or b" " in initial:
        raise CommandSyntaxError(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
    return AuthCommand(mechanism=mechanism.decode("ascii"), initial=initial if space else None)


def decode_xtext(octets: bytes) -> str:
    """Undo xtext (RFC 3461 §4); the result is printable ASCII.

    Raises:
        ValueError: Not xtext, or it hides something else.
    """
    if _XTEXT.fullmatch(octets) is None:
        raise ValueError("not xtext")
    text = _HEXCHAR.sub(lambda m: bytes([int(m.group(1), 16)]), octets).decode("ascii")
    if not text.isprintable():
        raise ValueError("controls in xtext")
    return text


def _path(argument: bytes, keyword: bytes) -> tuple[Address | None, bytes]:
    at = len(keyword)
    if argument[:at].upper() != keyword:
        raise CommandSyntaxError(501, "5.5.4", f"Syntax: {keyword.decode()}<address>")
    if argument[at : at + 2] == b" <":
        at += 1
    try:
        address, rest = parse_path(argument[at:], smtputf8=True)
    except AddressSyntaxError as error:
        raise CommandSyntaxError(501, "5.5.4", error.public.capitalize()) from None
    return address, rest


def _parameters(rest: bytes) -> _Parameters:
    """esmtp-param *(SP esmtp-param), each keyword once (RFC 5321 §4.1.2)."""
    given: _Parameters = {}
    nothing, *words = rest.split(b" ", PARAMETERS_MAX + 1)
    if nothing or len(words) > PARAMETERS_MAX:
        raise CommandSyntaxError(501, "5.5.4", "Syntax error after the address")
    for word in words:
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise CommandSyntaxError(501, "5.5.4", "Syntax error in parameters")
        keyword = match.group(1).upper()
        if keyword in given:
            raise CommandSyntaxError(501, "5.5.4", f"{keyword.decode()[:20]} is given twice")
        given[keyword] = match.group(2)
    return given


def _none_left(given: _Parameters) -> None:
    if given:
        keyword = next(iter(given)).decode()[:40]
        raise CommandSyntaxError(555, "5.5.4", f"Parameter {keyword} is not recognised")


def _need_ascii(octets: bytes) -> None:
    if not octets.isascii():
        raise CommandSyntaxError(553, "5.6.7", "An internationalised address needs SMTPUTF8")


def _flag(given: _Parameters, keyword: bytes) -> bool:
    if keyword not in given:
        return False
    if given.pop(keyword) is not None:
        raise CommandSyntaxError(501, "5.5.4", f"{keyword.decode()} takes no value")
    return True


def _size(given: _Parameters) -> int:
    """size-value = 1*20DIGIT (RFC 1870 §6)."""
    if b"SIZE" not in given:
        return 0
    value = given.pop(b"SIZE")
    if value is None or not value.isdigit() or len(value) > SIZE_DIGITS_MAX:
        raise CommandSyntaxError(501, "5.5.4", "SIZE needs a number")
    return int(value)


def _body(given: _Parameters) -> bool:
    """body-value = "7BIT" / "8BITMIME" (RFC 6152 §2)."""
    if b"BODY" not in given:
        return False
    word = (given.pop(b"BODY") or b"").upper()
    if word not in (b"7BIT", b"8BITMIME"):
        raise CommandSyntaxError(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    return word == b"8BITMIME"


def _ret(given: _Parameters) -> Ret | None:
    """RET=FULL / RET=HDRS (RFC 3461 §4.3)."""
    if b"RET" not in given:
        return None
    word = (given.pop(b"RET") or b"").upper()
    if word not in (b"FULL", b"HDRS"):
        raise CommandSyntaxError(501, "5.5.4", "RET is FULL or HDRS")
    return Ret(word.decode())


def _envid(given: _Parameters) -> str | None:
    """ENVID=xtext (RFC 3461 §4.4)."""
    if b"ENVID" not in given:
        return None
    value = given.pop(b"ENVID") or b""
    try:
        if not 0 < len(value) <= ENVID_MAX:
            raise ValueError("no ENVID")
        return decode_xtext(value)
    except ValueError:
        raise CommandSyntaxError(501, "5.5.4", "Syntax error in ENVID") from None


def _check_auth_parameter(value: bytes | None) -> None:
    """AUTH=<> or AUTH=xtext mailbox; what it claims is not used (RFC 4954 §5)."""
    try:
        text = decode_xtext(value or b"")
        if text != "<>":
            parse_address(text)
    except (ValueError, AddressSyntaxError):
        raise CommandSyntaxError(501, "5.5.4", "Syntax error in AUTH") from None


def _notify(given: _Parameters) -> frozenset[Notify]:
    """NOTIFY=NEVER, or a list of SUCCESS, FAILURE and DELAY, each once (RFC 3461 §4.1)."""
    if b"NOTIFY" not in given:
        return frozenset()
    words = (given.pop(b"NOTIFY") or b"").upper().split(b",", len(Notify))
    found = frozenset(_NOTIFY_WORDS[word] for word in words if word in _NOTIFY_WORDS)
    if len(found) != len(words) or (Notify.NEVER in found and len(found) > 1):
        raise CommandSyntaxError(501, "5.5.4", "NOTIFY is NEVER or a list of SUCCESS, FAILURE, DELAY")
    return found


def _orcpt(given: _Parameters, *, smtputf8: bool) -> str | None:
    """ORCPT=addr-type;xtext (RFC 3461 §4.2), or utf-8 with its own encoding (RFC 6533 §3)."""
    if b"ORCPT" not in given:
        return None
    value = given.pop(b"ORCPT") or b""
    kind, _, address = value.partition(b";")
    try:
        if len(value) > ORCPT_MAX or not address or _ADDR_TYPE.fullmatch(kind) is None:
            raise ValueError("no ORCPT")
        text = _unitext(address, smtputf8=smtputf8) if kind.lower() == b"utf-8" else decode_xtext(address)
    except ValueError:
        raise CommandSyntaxError(501, "5.5.4", "Syntax error in ORCPT") from None
    return f"{kind.decode('ascii').lower()};{text}"


def _unitext(octets: bytes, *, smtputf8: bool) -> str:
    """utf-8-addr-xtext, or utf-8-addr-unitext where SMTPUTF8 was asked for (RFC 6533 §3)."""
    if not smtputf8 and not octets.isascii():
        raise ValueError("UTF-8 without SMTPUTF8")
    encoded = octets.decode("utf-8")
    if _UNITEXT.fullmatch(encoded) is None:
        raise ValueError("not unitext")
    text = _EMBEDDED.sub(lambda m: chr(int(m.group(1), 16)), encoded)
    if not text.isprintable():
        raise ValueError("controls in unitext")
    return text
