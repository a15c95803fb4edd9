"""The SMTP client without I/O: octets in, events out (RFC 5321, RFC 2920, RFC 3207, RFC 3461, RFC 4954)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.envelope import Notify
from server.domain.reply import Reply
from server.protocol.smtp.client import (
    AuthAnswer,
    Capabilities,
    Done,
    Event,
    Greeted,
    MailTransaction,
    Phase,
    Ready,
    Send,
    SendBody,
    SmtpClient,
    TlsAnswer,
    TransactionRecipient,
    encode_xtext,
    parse_capabilities,
)
from server.protocol.smtp.client_body import PIECE_OCTETS, BodyEncoder, encode_body
from server.protocol.smtp.client_replies import (
    BUFFERED_MAX,
    REPLY_LINE_MAX,
    REPLY_LINES_MAX,
    RemoteSyntaxError,
    ReplyReader,
)


def greeted(*extensions: str) -> SmtpClient:
    """A client after EHLO."""
    client = SmtpClient()
    client.receive_data(b"220 hello\r\n")
    assert isinstance(client.next_event(), Greeted)
    assert client.hello("me.test") == b"EHLO me.test\r\n"
    lines = ["mx", *extensions]
    client.receive_data(
        "".join(f"250{' ' if n == len(lines) - 1 else '-'}{x}\r\n" for n, x in enumerate(lines)).encode()
    )
    assert isinstance(client.next_event(), Ready)
    return client


def mail(*addresses: str) -> MailTransaction:
    recipients = tuple(TransactionRecipient(address=address) for address in addresses)
    return MailTransaction(sender="a@x.test", recipients=recipients, size_octets=10)


def feed(client: SmtpClient, data: bytes) -> list[Event]:
    client.receive_data(data)
    events: list[Event] = []
    while (event := client.next_event()) is not None:
        events.append(event)
    return events


def texts(done: Event) -> list[str]:
    assert isinstance(done, Done)
    return [result.reply.text for result in done.results]


def test_commands_of_a_transaction_go_out_together_with_pipelining() -> None:
    """RFC 2920 §3.1."""
    client = greeted("PIPELINING", "SIZE 1000")
    group = client.begin(mail("b@y.test", "c@y.test"))
    assert group == (b"MAIL FROM:<a@x.test> SIZE=10\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\nDATA\r\n")
    assert client.phase is Phase.MAIL
    assert feed(client, b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n") == [SendBody()]
    client.body_sent()
    assert client.phase is Phase.FINAL_DOT
    (done,) = feed(client, b"250 2.0.0 taken\r\n")
    assert texts(done) == ["250 2.0.0 taken", "550 5.1.1 no"]
    assert client.usable


def test_commands_go_one_by_one_without_pipelining() -> None:
    client = greeted()
    assert client.begin(mail("b@y.test")) == b"MAIL FROM:<a@x.test>\r\n"
    assert feed(client, b"250 ok\r\n") == [Send(b"RCPT TO:<b@y.test>\r\n")]
    assert feed(client, b"250 ok\r\n") == [Send(b"DATA\r\n")]
    assert feed(client, b"354 go\r\n") == [SendBody()]


def test_a_refused_sender_refuses_all_and_leaves_the_connection_usable() -> None:
    for extensions in ([], ["PIPELINING"]):
        client = greeted(*extensions)
        client.begin(mail("b@y.test", "c@y.test"))
        rest = b"503 no\r\n503 no\r\n503 no\r\n" if extensions else b""
        (done,) = feed(client, b"550 5.7.1 not you\r\n" + rest)
        assert texts(done) == ["550 5.7.1 not you"] * 2
        assert client.usable


def test_refused_recipients_only_are_followed_by_a_reset() -> None:
    client = greeted()
    client.begin(mail("b@y.test"))
    feed(client, b"250 ok\r\n")
    (done,) = feed(client, b"450 4.2.0 later\r\n")
    assert texts(done) == ["450 4.2.0 later"]
    assert client.begin(mail("b@y.test")) == b"RSET\r\n"
    assert feed(client, b"250 ok\r\n") == [Send(b"MAIL FROM:<a@x.test>\r\n")]


def test_data_granted_without_recipients_is_ended_empty() -> None:
    """RFC 2920 §3.1: the client sends a single dot."""
    client = greeted("PIPELINING")
    client.begin(mail("b@y.test"))
    assert feed(client, b"250 ok\r\n550 no\r\n354 go\r\n") == [Send(b".\r\n")]
    (done,) = feed(client, b"554 no valid recipients\r\n")
    assert texts(done) == ["550 no"]


@pytest.mark.parametrize("stage", range(5))
def test_a_421_anywhere_ends_the_connection(stage: int) -> None:
    """RFC 5321 §3.8."""
    client = greeted("PIPELINING")
    client.begin(mail("b@y.test"))
    events = feed(client, b"".join([b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"][:stage]))
    if stage >= 3:
        client.body_sent()
    events += feed(client, b"421 4.3.2 closing\r\n")
    done = events[-1]
    assert texts(done) == ["421 4.3.2 closing"]
    assert isinstance(done, Done)
    assert not done.usable
    assert not client.usable


@pytest.mark.parametrize("line", [b"250 ok\r\n354 no\r\n", b"250 ok\r\n250 ok\r\n250 no\r\n", b"354 ok\r\n"])
def test_a_code_that_makes_no_sense_is_an_error(line: bytes) -> None:
    client = greeted("PIPELINING")
    client.begin(mail("b@y.test"))
    with pytest.raises(RemoteSyntaxError):
        feed(client, line)


def test_unasked_words_make_the_connection_unusable() -> None:
    client = greeted()
    assert client.usable
    client.receive_data(b"421 4.4.2 idle\r\n")
    assert not client.usable


def test_ehlo_falls_back_to_helo() -> None:
    client = SmtpClient()
    client.receive_data(b"220 old\r\n")
    client.next_event()
    client.hello("me.test")
    assert feed(client, b"502 what\r\n") == [Send(b"HELO me.test\r\n")]
    (ready,) = feed(client, b"250 hi\r\n")
    assert isinstance(ready, Ready)
    assert client.capabilities == Capabilities()


def test_octets_behind_the_answer_to_starttls_are_refused() -> None:
    """RFC 3207 §6, T04."""
    client = greeted("STARTTLS")
    client.start_tls()
    client.receive_data(b"220 go\r\n2")
    with pytest.raises(RemoteSyntaxError):
        client.next_event()


def test_starttls_forgets_what_was_offered_in_clear() -> None:
    """RFC 3207 §4.2."""
    client = greeted("STARTTLS", "SIZE 5", "AUTH PLAIN")
    client.start_tls()
    assert feed(client, b"220 go\r\n") == [TlsAnswer(Reply(code=220, lines=("go",)))]
    assert client.capabilities == Capabilities()


def test_auth_plain_and_login() -> None:
    """RFC 4616 §2, RFC 4954 §4."""
    client = greeted("AUTH PLAIN LOGIN")
    assert client.login("u", "p") == b"AUTH PLAIN " + base64.b64encode(b"\0u\0p") + b"\r\n"
    (answer,) = feed(client, b"235 2.7.0 welcome\r\n")
    assert isinstance(answer, AuthAnswer)
    client = greeted("AUTH=LOGIN")
    assert client.login("u", "p") == b"AUTH LOGIN\r\n"
    assert feed(client, b"334 VXNlcm5hbWU6\r\n") == [Send(base64.b64encode(b"u") + b"\r\n")]
    assert feed(client, b"334 UGFzc3dvcmQ6\r\n") == [Send(base64.b64encode(b"p") + b"\r\n")]
    assert feed(client, b"334 more?\r\n") == [Send(b"*\r\n")]
    assert greeted("AUTH CRAM-MD5").login("u", "p") is None


@pytest.mark.parametrize("address", ["b\r\nDATA\r\n@y.test", "b\n@y.test", "b\x00@y.test"])
def test_an_address_can_add_no_command(address: str) -> None:
    client = greeted("PIPELINING")
    assert client.begin(mail(address)) == b""
    done = client.next_event()
    assert texts(done) == ["553 5.1.3 the recipient's address can't be sent"] if done else False


def test_internationalised_recipients_fail_alone() -> None:
    """RFC 6531 §3.2."""
    client = greeted("PIPELINING")
    group = client.begin(mail("\u00e4@y.test", "b@y.test"))
    assert b"RCPT TO:<b@y.test>\r\n" in group
    assert group.count(b"RCPT") == 1
    feed(client, b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.body_sent()
    (done,) = feed(client, b"250 ok\r\n")
    assert [text[:9] for text in texts(done)] == ["550 5.6.7", "250 ok"]
    assert b" SMTPUTF8\r\n" in greeted("SMTPUTF8").begin(mail("\u00e4@y.test"))


@pytest.mark.parametrize(
    ("orcpt", "written"),
    [
        ("rfc822;a+b=c@y.test", b"ORCPT=rfc822;a+2Bb+3Dc@y.test"),
        ("utf-8;\u00e4\\@y.test", b"ORCPT=utf-8;\\x{E4}\\x{5C}@y.test"),
        ("rfc822;\u00e4@y.test", None),
        ("no type", None),
        ("rfc 822;a@y.test", None),
    ],
)
def test_orcpt_is_written_in_its_own_encoding(orcpt: str, written: bytes | None) -> None:
    """RFC 3461 §4.2, RFC 6533 §3."""
    client = greeted("DSN", "PIPELINING")
    recipient = TransactionRecipient(address="b@y.test", notify=frozenset({Notify.NEVER}), orcpt=orcpt)
    line = client.begin(MailTransaction(sender="", recipients=(recipient,), size_octets=1)).split(b"\r\n")[1]
    assert line == b"RCPT TO:<b@y.test> NOTIFY=NEVER" + (b" " + written if written else b"")


def test_xtext_escapes_what_it_must() -> None:
    assert encode_xtext("a+b=c d\r") == "a+2Bb+3Dc+20d+0D"


@pytest.mark.parametrize(
    ("line", "size_max"), [("SIZE 100", 100), ("SIZE", 0), ("SIZE x", 0), ("SIZE " + "9" * 30, 0), ("SIZE -1", 0)]
)
def test_sizes_are_read_with_care(line: str, size_max: int) -> None:
    """RFC 1870 §4."""
    assert parse_capabilities(("mx", line)).size_max == size_max


def test_a_message_over_the_announced_size_is_not_offered() -> None:
    client = greeted("SIZE 9")
    assert client.begin(mail("b@y.test")) == b""
    done = client.next_event()
    assert done is not None
    assert texts(done)[0].startswith("552 5.3.4")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_replies_are_read_in_pieces_of_any_size(size: int) -> None:
    data = b"250-2.1.0 first\r\n250-2.1.0 second\r\n250 2.1.0\r\n450 4.2.0 x\n"
    reader = ReplyReader()
    replies = []
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
        while (found := reader.next_reply()) is not None:
            replies.append(found)
    assert replies == [
        Reply(code=250, enhanced="2.1.0", lines=("first", "second", "")),
        Reply(code=450, enhanced="4.2.0", lines=("x",)),
    ]


def test_an_enhanced_code_of_another_class_stays_text() -> None:
    """RFC 2034 §4: the classes agree."""
    reader = ReplyReader()
    reader.feed(b"250 5.1.1 odd\r\n")
    assert reader.next_reply() == Reply(code=250, lines=("5.1.1 odd",))


def test_controls_never_leave_a_reply() -> None:
    reader = ReplyReader()
    reader.feed(b"550 a\x00b\x1b[2J\xc2\x85\xff\r\n")
    found = reader.next_reply()
    assert found is not None
    assert found.lines == ("a?b?[2J?\ufffd",)


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_length_of_a_reply_line_is_limited(extra: int) -> None:
    reader = ReplyReader()
    reader.feed(b"250 " + b"x" * (REPLY_LINE_MAX - 6 + extra) + b"\r\n")
    if extra <= 0:
        assert reader.next_reply() is not None
    else:
        with pytest.raises(RemoteSyntaxError):
            reader.next_reply()


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_lines_of_a_reply_are_limited(extra: int) -> None:
    reader = ReplyReader()
    reader.feed(b"250-x\r\n" * (REPLY_LINES_MAX - 1 + extra) + b"250 x\r\n")
    if extra <= 0:
        assert reader.next_reply() is not None
    else:
        with pytest.raises(RemoteSyntaxError):
            reader.next_reply()


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_octets_that_wait_are_limited(extra: int) -> None:
    reader = ReplyReader()
    if extra <= 0:
        reader.feed(b"x" * (BUFFERED_MAX + extra))
    else:
        with pytest.raises(RemoteSyntaxError):
            reader.feed(b"x" * (BUFFERED_MAX + extra))


@pytest.mark.parametrize("line", [b"hello\r\n", b"25 x\r\n", b"150 x\r\n", b"650 x\r\n", b"250x\r\n", b"\r\n"])
def test_lines_that_are_no_replies_are_errors(line: bytes) -> None:
    reader = ReplyReader()
    reader.feed(line)
    with pytest.raises(RemoteSyntaxError):
        reader.next_reply()


@pytest.mark.parametrize(
    ("octets", "wire"),
    [
        (b"", b".\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r", b"a\r\n.\r\n"),
        (b"a\r\r\n", b"a\r\n\r\n.\r\n"),
        (b"\r\n..", b"\r\n...\r\n.\r\n"),
    ],
)
def test_bodies_are_stuffed_and_ended_once(octets: bytes, wire: bytes) -> None:
    """RFC 5321 §4.5.2."""
    assert b"".join(encode_body([octets])) == wire


@given(st.lists(st.text(alphabet=".\r\nx", max_size=8).map(str.encode), max_size=8))
def test_pieces_make_no_difference_and_nothing_ends_a_message_early(parts: list[bytes]) -> None:
    """T02: unstuffing gives the lines back; no bare CR or LF; one end."""
    whole = b"".join(encode_body([b"".join(parts)]))
    assert b"".join(encode_body(parts)) == whole
    assert whole.count(b"\r") == whole.count(b"\n") == whole.count(b"\r\n")
    assert ("\r\n" + whole.decode()).find("\r\n.\r\n") == len(whole) - 3
    encoder = BodyEncoder()
    assert b"".join([*(encoder.encode(part) for part in parts), encoder.finish()]) == whole


def test_large_bodies_come_in_pieces() -> None:
    pieces = list(encode_body([b"Received: x\r\n", b"x" * (3 * PIECE_OCTETS)]))
    assert len(pieces) == 3
    assert pieces[-1].endswith(b"\r\n.\r\n")
