"""Replies as octets (RFC 5321 §4.2, RFC 2034)."""

from __future__ import annotations

from server.domain.reply import Reply, reply
from server.protocol.smtp.replies import format_reply


def test_one_line() -> None:
    assert format_reply(reply(250, "2.0.0", "Ok")) == b"250 2.0.0 Ok\r\n"


def test_without_enhanced_code() -> None:
    assert format_reply(Reply(code=354, lines=("Go on",))) == b"354 Go on\r\n"


def test_each_line_carries_the_enhanced_code() -> None:
    assert format_reply(reply(550, "5.7.1", "No", "Really")) == b"550-5.7.1 No\r\n550 5.7.1 Really\r\n"


def test_a_text_with_line_ends_stays_one_line() -> None:
    assert format_reply(reply(550, "5.7.1", "a\r\n250 b\x00\u2028é")) == b"550 5.7.1 a??250 b???\r\n"


def test_a_long_line_is_cut_at_512_octets() -> None:
    """RFC 5321 §4.5.3.1.5."""
    assert len(format_reply(reply(550, "5.7.1", "x" * 502))) == 512 + 2 - 2
    assert len(format_reply(reply(550, "5.7.1", "x" * 1000))) == 512
