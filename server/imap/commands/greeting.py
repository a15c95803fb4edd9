"""Commands of any state, and STARTTLS (RFC 9051 §6.1, §6.2.1; RFC 2971, RFC 4978, RFC 5161)."""

from __future__ import annotations

from server.imap.capabilities import capabilities
from server.imap.connection import ConnectionClosed
from server.imap.session import Result, Session, State, bad, no, ok
from server.protocol.imap.commands import Enable
from server.protocol.imap.compress import Compress
from server.protocol.imap.format import format_status_line


def do_capability(session: Session) -> Result:
    session.send(b"* CAPABILITY " + capabilities(session) + b"\r\n")
    return ok("CAPABILITY completed")


def do_logout(session: Session) -> Result:
    session.send(b"* BYE Logging out\r\n")
    session.state = State.LOGOUT
    return ok("LOGOUT completed")


def do_id(session: Session) -> Result:
    """The name only: a version would tell an attacker more than it helps anybody (RFC 2971 §4)."""
    session.send(b'* ID ("name" "MaiRust")\r\n')
    return ok("ID completed")


def do_enable(session: Session, command: Enable) -> Result:
    """Switch on what is known of the list and say which (RFC 5161 §3.1); the rest is no error."""
    enabled = []
    for name in command.names:
        if name in (b"CONDSTORE", b"QRESYNC"):
            session.enable_condstore()
        if session.modes.enable(name):
            enabled.append(name)
    session.send(b"* ENABLED" + b"".join(b" " + name for name in enabled) + b"\r\n")
    return ok("ENABLE completed")


async def do_compress(session: Session, command: Compress, tag: bytes) -> Result | None:
    """Compress from behind the tagged OK; None when it has been sent (RFC 4978 §3)."""
    if command.algorithm != "DEFLATE" or not session.settings.imap.compress:
        return no("Compression is not available", b"CANNOT")
    if session.connection.is_compressed:
        return no("Compression is active already", b"COMPRESSIONACTIVE")
    await session.sync(expunge=True)
    session.send(format_status_line(tag, b"OK", "Deflate from now on"))
    await session.flush()
    session.connection.start_compression()
    return None


async def do_starttls(session: Session, tag: bytes) -> Result | None:
    """Upgrade; None when the answer has been sent (RFC 9051 §6.2.1).

    Raises:
        ConnectionClosed: Octets came behind the command: none of them may be used (CVE-2011-0411).
    """
    if session.is_secure:
        return bad("TLS is active already")
    if session.tls_context() is None:
        return bad("TLS is not available")
    if not session.connection.stop_reading_for_tls():
        raise ConnectionClosed
    session.send(format_status_line(tag, b"OK", "Begin TLS negotiation now"))
    await session.flush()
    await session.start_tls()
    return None
