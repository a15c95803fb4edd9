"""Names as the API takes them: addresses, domains and plain texts, brought to the form they are kept in.

- The grammar is the SMTP edge's own: one parser says what an address is (security.md §1).
- A fault names the field by JSON pointer.
"""

from __future__ import annotations

import re

from server.domain.address import Address
from server.domain.errors import InvalidInput
from server.protocol.smtp.address import parse_address, parse_domain

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def address_of(value: str, *, pointer: str) -> Address:
    """Parse an address of a domain; an address literal is none that can be owned."""
    try:
        address = parse_address(value)
    except InvalidInput as error:
        raise InvalidInput(error.public, pointer=pointer) from error
    if address.domain.startswith("["):
        raise InvalidInput("the address must have a domain name", pointer=pointer)
    return address


def domain_of(value: str, *, pointer: str) -> str:
    """Parse a mail domain: a name of at least two labels, A-label form."""
    try:
        name = parse_domain(value.removesuffix("."))
    except InvalidInput as error:
        raise InvalidInput(error.public, pointer=pointer) from error
    if "." not in name or name.rpartition(".")[2].isdigit():
        raise InvalidInput("a mail domain has at least two labels", pointer=pointer)
    return name


def tenant_name_of(value: str, *, pointer: str) -> str:
    if _TENANT.fullmatch(value) is None:
        raise InvalidInput(
            "a tenant's name is 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit", pointer=pointer
        )
    return value


def text_of(value: str, *, pointer: str, high: int) -> str:
    """Take a text without control characters, at most `high` characters."""
    if len(value) > high:
        raise InvalidInput(f"at most {high} characters", pointer=pointer)
    if any(
        c < " " or c == "\x7f" or "\x80" <= c <= "\x9f" or c in "\u2028\u2029" or "\ud800" <= c <= "\udfff"
        for c in value
    ):
        raise InvalidInput("control characters are not allowed", pointer=pointer)
    return value
