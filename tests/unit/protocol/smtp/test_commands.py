"""Command lines and their parameters (RFC 5321 §4.1.1, RFC 1870, RFC 3461, RFC 4954, RFC 6152, RFC 6531, RFC 6533)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.address import Address
from server.domain.envelope import Notify, Recipient, Ret
from server.protocol.smtp.commands import (
    AuthCommand,
    CommandSyntaxError,
    MailCommand,
    decode_xtext,
    parse_auth,
    parse_hello,
    parse_mail,
    parse_no_argument,
    parse_rcpt,
    split_command,
)

A = Address("a", "b.c")


def mail(argument: bytes, *, auth_offered: bool = False) -> MailCommand:
    return parse_mail(argument, auth_offered=auth_offered)


def rcpt(argument: bytes, *, smtputf8: bool = False) -> Recipient:
    return parse_rcpt(argument, smtputf8=smtputf8, postmaster_domain="mx.example")


def refusal(error: pytest.ExceptionInfo[CommandSyntaxError]) -> str:
    return f"{error.value.reply.code} {error.value.reply.enhanced}"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"QUIT", (b"QUIT", b"")),
        (b"quit  ", (b"QUIT", b"")),
        (b"Mail FROM:<a@b> ", (b"MAIL", b"FROM:<a@b>")),
        (b"NOOP  x", (b"NOOP", b" x")),
        ("NOOP ä".encode(), (b"NOOP", "ä".encode())),
    ],
)
def test_a_line_is_split_into_verb_and_argument(line: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split_command(line) == parts


@pytest.mark.parametrize("line", [b"", b" NOOP", b"1", b"NOOP\t", b"MAIL:x", b"A" * 17, "É".encode(), b"Host: x"])
def test_a_line_without_verb_is_500(line: bytes) -> None:
    with pytest.raises(CommandSyntaxError) as error:
        split_command(line)
    assert refusal(error) == "500 5.5.2"


def test_each_octet_in_an_argument() -> None:
    """Controls and DEL never pass; octets above 127 are left to SMTPUTF8."""

    def accepted(value: int) -> bool:
        try:
            split_command(b"NOOP x" + bytes([value]) + b"x")
        except CommandSyntaxError:
            return False
        return True

    assert {value for value in range(256) if not accepted(value)} == {*range(32), 127}


@pytest.mark.parametrize("argument", [b"c.example", b"[127.0.0.1]", b"[IPv6:::1]", b"DESKTOP_1", b"_x", b"a" * 255])
def test_hello_names(argument: bytes) -> None:
    assert parse_hello(argument) == argument.decode()


@pytest.mark.parametrize(
    "argument", [b"", b"a b", b"<x>", b"a" * 256, "ä".encode(), b"[", b"[a b]", b"-x", b"x;y", b"a\r"]
)
def test_no_hello_names(argument: bytes) -> None:
    with pytest.raises(CommandSyntaxError) as error:
        parse_hello(argument)
    assert refusal(error) == "501 5.5.4"


def test_commands_without_argument() -> None:
    parse_no_argument(b"")
    with pytest.raises(CommandSyntaxError):
        parse_no_argument(b"x")


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        (b"FROM:<a@b.c>", MailCommand(reverse_path=A)),
        (b"from: <a@b.c>", MailCommand(reverse_path=A)),
        (b"FROM:<>", MailCommand(reverse_path=None)),
        (b"FROM:<a@b.c> SIZE=1000", MailCommand(reverse_path=A, size_octets=1000)),
        (b"FROM:<a@b.c> SIZE=" + b"9" * 20, MailCommand(reverse_path=A, size_octets=10**20 - 1)),
        (b"FROM:<a@b.c> size=0 body=8bitmime", MailCommand(reverse_path=A, body_8bit=True)),
        (b"FROM:<a@b.c> BODY=7BIT", MailCommand(reverse_path=A)),
        (b"FROM:<> RET=FULL ENVID=a+2Bb", MailCommand(reverse_path=None, ret=Ret.FULL, envid="a+b")),
        (b"FROM:<a@b.c> RET=hdrs", MailCommand(reverse_path=A, ret=Ret.HDRS)),
        (b"FROM:<a@b.c> ENVID=" + b"x" * 100, MailCommand(reverse_path=A, envid="x" * 100)),
        (b"FROM:<a@b.c> SMTPUTF8", MailCommand(reverse_path=A, smtputf8=True)),
        ("FROM:<ä@b.c> SMTPUTF8".encode(), MailCommand(reverse_path=Address("ä", "b.c"), smtputf8=True)),
    ],
)
def test_mail(argument: bytes, command: MailCommand) -> None:
    assert mail(argument) == command


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        (b"", "501 5.5.4"),
        (b"<a@b.c>", "501 5.5.4"),
        (b"TO:<a@b.c>", "501 5.5.4"),
        (b"FROM <a@b.c>", "501 5.5.4"),
        (b"FROM:  <a@b.c>", "501 5.5.4"),
        (b"FROM:", "501 5.5.4"),
        (b"FROM:a@b.c", "501 5.5.4"),
        (b"FROM:<@x:a@b.c>", "501 5.5.4"),
        (b"FROM:<=?utf-8?q?x?=@b.c>", "501 5.5.4"),
        (b"FROM:<a@b.c>SIZE=1", "501 5.5.4"),
        (b"FROM:<a@b.c> ", "501 5.5.4"),
        (b"FROM:<a@b.c>  SIZE=1", "501 5.5.4"),
        (b"FROM:<a@b.c> SIZE", "501 5.5.4"),
        (b"FROM:<a@b.c> SIZE=", "501 5.5.4"),
        (b"FROM:<a@b.c> SIZE=-1", "501 5.5.4"),
        (b"FROM:<a@b.c> SIZE=1 SIZE=1", "501 5.5.4"),
        (b"FROM:<a@b.c> SIZE=" + b"9" * 21, "501 5.5.4"),
        ("FROM:<a@b.c> SIZE=١".encode(), "501 5.5.4"),
        (b"FROM:<a@b.c> BODY=BINARYMIME", "501 5.5.4"),
        (b"FROM:<a@b.c> BODY", "501 5.5.4"),
        (b"FROM:<a@b.c> RET=X", "501 5.5.4"),
        (b"FROM:<a@b.c> RET", "501 5.5.4"),
        (b"FROM:<a@b.c> ENVID=", "501 5.5.4"),
        (b"FROM:<a@b.c> ENVID", "501 5.5.4"),
        (b"FROM:<a@b.c> ENVID=" + b"x" * 101, "501 5.5.4"),
        (b"FROM:<a@b.c> ENVID=a+0D+0Ab", "501 5.5.4"),
        (b"FROM:<a@b.c> ENVID=a+2", "501 5.5.4"),
        (b"FROM:<a@b.c> ENVID=a+7F", "501 5.5.4"),
        (b"FROM:<a@b.c> ENVID=a+C3", "501 5.5.4"),
        (b"FROM:<a@b.c> SMTPUTF8=1", "501 5.5.4"),
        (b"FROM:<a@b.c> FOO", "555 5.5.4"),
        (b"FROM:<a@b.c> XOORG=x", "555 5.5.4"),
        (b"FROM:<a@b.c> NOTIFY=NEVER", "555 5.5.4"),
        (b"FROM:<a@b.c> AUTH=<>", "555 5.5.4"),
        (b"FROM:<a@b.c>" + b"".join(b" X%d=1" % n for n in range(17)), "501 5.5.4"),
        ("FROM:<ä@b.c>".encode(), "553 5.6.7"),
        ("FROM:<a@ä.c> SIZE=1".encode(), "553 5.6.7"),
        (b"FROM:<\xff@b.c> SMTPUTF8", "501 5.5.4"),
    ],
)
def test_mail_refused(argument: bytes, answer: str) -> None:
    with pytest.raises(CommandSyntaxError) as error:
        mail(argument)
    assert refusal(error) == answer


@pytest.mark.parametrize("value", [b"<>", b"a@b.c", b"e+3Dmc2@example.com"])
def test_auth_parameter_is_checked_and_dropped(value: bytes) -> None:
    """RFC 4954 §5."""
    assert mail(b"FROM:<a@b.c> AUTH=" + value, auth_offered=True) == MailCommand(reverse_path=A)


@pytest.mark.parametrize("value", [b"", b"a", b"a+0D+0A@b.c", b"a+2@b"])
def test_auth_parameter_refused(value: bytes) -> None:
    with pytest.raises(CommandSyntaxError) as error:
        mail(b"FROM:<a@b.c> AUTH=" + value, auth_offered=True)
    assert refusal(error) == "501 5.5.4"


@pytest.mark.parametrize(
    ("argument", "recipient"),
    [
        (b"TO:<a@b.c>", Recipient(address=A)),
        (b"to: <a@b.c>", Recipient(address=A)),
        (b"TO:<PostMaster>", Recipient(address=Address("postmaster", "mx.example"))),
        (b"TO:<a@b.c> NOTIFY=NEVER", Recipient(address=A, notify=frozenset({Notify.NEVER}))),
        (
            b"TO:<a@b.c> NOTIFY=delay,FAILURE",
            Recipient(address=A, notify=frozenset({Notify.DELAY, Notify.FAILURE})),
        ),
        (b"TO:<a@b.c> ORCPT=RFC822;x+40y+2Bz", Recipient(address=A, orcpt="rfc822;x@y+z")),
        (b"TO:<a@b.c> ORCPT=utf-8;\\x{E4}@y", Recipient(address=A, orcpt="utf-8;ä@y")),
        (b"TO:<a@b.c> ORCPT=rfc822;" + b"x" * 493, Recipient(address=A, orcpt="rfc822;" + "x" * 493)),
    ],
)
def test_rcpt(argument: bytes, recipient: Recipient) -> None:
    assert rcpt(argument) == recipient


def test_rcpt_with_smtputf8() -> None:
    found = rcpt("TO:<ä@b.c> ORCPT=utf-8;ü@y".encode(), smtputf8=True)
    assert found == Recipient(address=Address("ä", "b.c"), orcpt="utf-8;ü@y")


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        (b"TO:<>", "501 5.5.4"),
        (b"TO:a@b.c", "501 5.5.4"),
        (b"TO:<@loc:u@ext>", "501 5.5.4"),
        (b"TO:<u@loc.>", "501 5.5.4"),
        (b"TO:<postmasters>", "501 5.5.4"),
        (b"TO:<postmaster>x", "501 5.5.4"),
        (b"TO:<a@b.c>x", "501 5.5.4"),
        (b"FROM:<a@b.c>", "501 5.5.4"),
        (b"TO:<a@b.c> NOTIFY", "501 5.5.4"),
        (b"TO:<a@b.c> NOTIFY=", "501 5.5.4"),
        (b"TO:<a@b.c> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        (b"TO:<a@b.c> NOTIFY=DELAY,DELAY", "501 5.5.4"),
        (b"TO:<a@b.c> NOTIFY=ALWAYS", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=x", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=rfc822;", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=;x", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=rfc822;x+0D+0AEvil", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=utf-8;\\x{0D}", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=utf-8;\\x{D800}", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=utf-8;\\x{110000}", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=utf-8;a\\b", "501 5.5.4"),
        (b"TO:<a@b.c> ORCPT=rfc822;" + b"x" * 494, "501 5.5.4"),
        ("TO:<a@b.c> ORCPT=utf-8;ü".encode(), "501 5.5.4"),
        (b"TO:<a@b.c> SIZE=1", "555 5.5.4"),
        ("TO:<ä@b.c>".encode(), "553 5.6.7"),
    ],
)
def test_rcpt_refused(argument: bytes, answer: str) -> None:
    with pytest.raises(CommandSyntaxError) as error:
        rcpt(argument)
    assert refusal(error) == answer


def test_auth() -> None:
    """RFC 4954 §4."""
    assert parse_auth(b"plain") == AuthCommand(mechanism="PLAIN", initial=None)
    assert parse_auth(b"SCRAM-SHA-256 =") == AuthCommand(mechanism="SCRAM-SHA-256", initial=b"=")


@pytest.mark.parametrize("argument", [b"", b" ", b"PLAIN a b", b"PL+AIN", b"A" * 21, b"PLAIN  x"])
def test_auth_refused(argument: bytes) -> None:
    with pytest.raises(CommandSyntaxError) as error:
        parse_auth(argument)
    assert refusal(error) == "501 5.5.4"


def test_each_octet_in_xtext() -> None:
    """RFC 3461 §4: printable ASCII but "+" and "=" stand for themselves."""

    def accepted(value: int) -> bool:
        try:
            return decode_xtext(bytes([value])) == chr(value)
        except ValueError:
            return False

    assert {value for value in range(256) if accepted(value)} == set(range(33, 127)) - {ord("+"), ord("=")}


@given(st.binary(max_size=200), st.booleans())
def test_any_octets_give_a_command_or_a_syntax_error(octets: bytes, smtputf8: bool) -> None:
    for text in (octets, b"FROM:<a@b.c> " + octets, b"TO:<a@b.c> " + octets, b"FROM:" + octets, b"TO:" + octets):
        for parse in (
            split_command,
            parse_hello,
            parse_auth,
            mail,
            lambda octets: mail(octets, auth_offered=True),
            lambda octets: rcpt(octets, smtputf8=smtputf8),
        ):
            try:
                parse(text)
            except CommandSyntaxError as error:
                assert error.reply.code in (500, 501, 552, 553, 555)  # noqa: PT017
