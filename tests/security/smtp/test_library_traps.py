"""The traps of aiosmtpd: the bare library still has them, ours doesn't; a new release shows here (security.md §2)."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version

import aiosmtpd.smtp
import pytest

from server.protocol.smtp.address import AddressSyntaxError, parse_path
from server.smtp.listener import ListenerProtocol


def test_the_pinned_release_is_the_one_that_was_read() -> None:
    assert version("aiosmtpd") == "1.4.6"


def test_y1_the_library_decodes_encoded_words_in_addresses() -> None:
    library = aiosmtpd.smtp.SMTP(object(), hostname="x", loop=asyncio.new_event_loop())
    try:
        assert library._getaddr("<=?utf-8?q?admin?=@c.d>")[0] == "admin@c.d"
        assert "\r\n" in str(library._getaddr("<=?utf-8?q?x=0D=0AEvil:_y?=@c.d>")[0])
    finally:
        library.loop.close()
    for path in (b"<=?utf-8?q?admin?=@c.d>", b"<=?utf-8?q?x=0D=0AEvil:_y?=@c.d>"):
        with pytest.raises(AddressSyntaxError):
            parse_path(path, smtputf8=True)


def test_y5_the_library_shares_its_limits_between_connections() -> None:
    assert "command_size_limits" in vars(aiosmtpd.smtp.SMTP)
    assert "command_size_limits" not in inspect.getsource(ListenerProtocol)


@pytest.mark.parametrize(
    "name",
    [
        "connection_made", "connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing",
        "__init__",
    ],
)  # fmt: skip
def test_every_entrance_of_the_event_loop_is_ours(name: str) -> None:
    """Nothing of the library's reader, loop or timers can run: asyncio calls these and no others."""
    assert hasattr(aiosmtpd.smtp.SMTP, name)
    assert name in vars(ListenerProtocol)


def test_asyncio_calls_no_further_method() -> None:
    called = {name for name in dir(asyncio.Protocol) if not name.startswith("_")}
    assert called <= set(vars(ListenerProtocol))
