"""The edge's own replies, and what an error of ours looks like to a peer (RFC 5321 §4.2.3, RFC 3463)."""

from __future__ import annotations

from server.domain.errors import DiskReserve, MaiRustError, RateLimited
from server.domain.reply import Reply, reply
from server.protocol.smtp.data import DataFault

OK = reply(250, "2.0.0", "Ok")
SENDER_OK = reply(250, "2.1.0", "Ok")
RECIPIENT_OK = reply(250, "2.1.5", "Ok")
START_DATA = reply(354, "", "End data with <CR><LF>.<CR><LF>")
BYE = reply(221, "2.0.0", "Bye")
CANNOT_VERIFY = reply(252, "2.5.0", "Cannot verify the user, but will try to deliver")
HELP = reply(214, "2.0.0", "See RFC 5321")
READY_FOR_TLS = reply(220, "2.0.0", "Ready to start TLS")
LOGGED_IN = reply(235, "2.7.0", "Authentication succeeded")

UNKNOWN_COMMAND = reply(500, "5.5.1", "Command not recognised")
NOT_IMPLEMENTED = reply(502, "5.5.1", "Command not implemented")
LINE_TOO_LONG = reply(500, "5.5.2", "Line too long")
BAD_SEQUENCE = reply(503, "5.5.1", "Bad sequence of commands")
HELLO_FIRST = reply(503, "5.5.1", "Send EHLO first")
EARLY_INPUT = reply(503, "5.5.1", "Input before the reply, closing")
TALKED_FIRST = reply(554, "5.5.1", "Input before the greeting, closing")
TLS_ACTIVE = reply(503, "5.5.1", "TLS is already active")
TLS_UNAVAILABLE = reply(454, "4.7.0", "TLS is not available now")
TLS_NEEDED = reply(530, "5.7.0", "Must issue STARTTLS first")
LOGIN_NEEDED = reply(530, "5.7.0", "Authentication required")
LOGIN_NEEDS_TLS = reply(538, "5.7.11", "Encryption required for authentication")
LOGGED_IN_ALREADY = reply(503, "5.5.1", "Already authenticated")
NO_MECHANISM = reply(504, "5.5.4", "Mechanism not offered")
LOGIN_FAILED = reply(535, "5.7.8", "Authentication credentials invalid")
LOGIN_LIMITED = reply(454, "4.7.0", "Too many attempts, try again later")
LOGIN_UNAVAILABLE = reply(454, "4.7.0", "Temporary authentication failure")
LOGIN_CANCELLED = reply(501, "5.7.0", "Authentication cancelled")
LOGIN_MALFORMED = reply(501, "5.5.2", "Cannot decode the response")
SENDER_REFUSED = reply(550, "5.7.1", "This sender address is not yours")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients")
NO_VALID_RECIPIENTS = reply(554, "5.5.1", "No valid recipients")
OUR_FAULT = reply(451, "4.3.0", "Temporary server error")
NO_SPACE = reply(452, "4.3.1", "Insufficient system storage")

TIMED_OUT = reply(421, "4.4.2", "Timeout, closing")
TOO_SLOW = reply(421, "4.4.2", "Data arrives too slowly, closing")
TOO_MANY_ERRORS = reply(421, "4.7.0", "Too many errors, closing")
TOO_MANY_COMMANDS = reply(421, "4.7.0", "Too many commands without mail, closing")
TOO_MANY_CONNECTIONS = reply(421, "4.7.0", "Too many connections, try again later")
NETWORK_REFUSED = reply(421, "4.7.0", "Your network is refused for now, try again later")
LOGIN_ENDED = reply(421, "4.7.0", "Your login has ended, log in again")
SHUTTING_DOWN = reply(421, "4.3.2", "Service is shutting down")
UNAVAILABLE = reply(421, "4.3.0", "Temporary server error, closing")

CONSTANT = {b"NOOP": OK, b"VRFY": CANNOT_VERIFY, b"EXPN": NOT_IMPLEMENTED, b"HELP": HELP}
"""Commands that answer the same whatever follows them (RFC 5321 §4.1.1.6 to §4.1.1.9)."""


def too_large(size_max: int) -> Reply:
    """At MAIL or after the final dot (RFC 1870 §6.1, §6.3; RFC 3463 §3.4)."""
    return reply(552, "5.3.4", f"Message size exceeds the limit of {size_max} octets")


def data_refusal(fault: DataFault, *, size_max: int) -> Reply:
    """What a sender is told after the final dot of a message that was read and thrown away."""
    match fault:
        case DataFault.BARE_NEWLINE:
            return reply(550, "5.5.2", "Bare CR or LF in the message")
        case DataFault.NUL:
            return reply(550, "5.5.2", "NUL in the message")
        case DataFault.TOO_BIG:
            return too_large(size_max)
        case DataFault.LINE_TOO_LONG:
            return reply(554, "5.6.0", "A line of the message is too long")
        case DataFault.HEAD_TOO_BIG:
            return reply(554, "5.6.0", "The header section is too big")


def error_reply(error: MaiRustError) -> Reply:
    """An error of a service while mail is at stake is temporary, whatever it is (reliability.md P4)."""
    if isinstance(error, DiskReserve):
        return NO_SPACE
    if isinstance(error, RateLimited):
        return reply(450, "4.7.0", "Too many requests, try again later")
    return OUR_FAULT
