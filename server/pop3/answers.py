"""One-line responses (RFC 1939 §3) and their codes (RFC 2449 §8, RFC 3206)."""

from __future__ import annotations

from server.domain.errors import Conflict, MaiRustError, NotFound


def ok(text: str = "") -> bytes:
    return f"+OK {text}\r\n".encode("ascii") if text else b"+OK\r\n"


def err(text: str, code: str = "") -> bytes:
    """`code` is what stands in brackets: IN-USE, AUTH, SYS/TEMP, SYS/PERM."""
    return (f"-ERR [{code}] {text}\r\n" if code else f"-ERR {text}\r\n").encode("ascii", "replace")


INTERNAL_ERROR = err("Internal error, try again later", "SYS/TEMP")


def answer_error(error: MaiRustError) -> bytes:
    """A service's error: SYS/TEMP where trying again may help, SYS/PERM where only a person can."""
    text = error.public[:1].upper() + error.public[1:]
    if isinstance(error, Conflict) and error.code == "in_use":
        return err(text, "IN-USE")
    if isinstance(error, NotFound) and error.code == "not_found":
        return err(text)
    return err(text, "SYS/TEMP" if error.temporary else "SYS/PERM")
