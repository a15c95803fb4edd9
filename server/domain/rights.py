"""Rights on a mailbox (RFC 4314 §2.1).

- One letter a right. The obsolete letters `c` and `d` stand for sets of others: they are taken and shown, never kept.
- The owner has all rights, always; nobody can take them away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.domain.mailbox import Mailbox

LOOKUP = "l"
READ = "r"
SEEN = "s"
WRITE = "w"
INSERT = "i"
POST = "p"
CREATE = "k"
DELETE_MAILBOX = "x"
DELETE_MESSAGES = "t"
EXPUNGE = "e"
ADMINISTER = "a"
ALL_RIGHTS = "lrswipkxtea"
"""In the order in which they are shown."""
CHANGING = frozenset("swite")
"""A mailbox where none of these is there is open read-only (RFC 4314 §4, "SELECT")."""
ANYONE = "anyone"
"""The identifier of all accounts of the owner's tenant."""

_OBSOLETE = {"c": "k", "d": "xte"}
"""RFC 4314 §2.1.1: which rights the letters of RFC 2086 stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One line of an access control list. `name` is the grantee's address, or `anyone`."""

    identifier: str
    name: str
    rights: str
    mailbox: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedMailbox:
    """A mailbox of another account and what the asker may do with it."""

    owner: str
    mailbox: Mailbox
    rights: str


def parse_rights(text: str) -> str:
    """Rights in their order, obsolete letters resolved. Raises ValueError for any other letter."""
    wanted: set[str] = set()
    for letter in text:
        if letter not in ALL_RIGHTS and letter not in _OBSOLETE:
            raise ValueError(letter)
        wanted.update(_OBSOLETE.get(letter, letter))
    return ordered(wanted)


def ordered(rights: Iterable[str]) -> str:
    """Rights as they are kept and shown."""
    have = set(rights)
    return "".join(letter for letter in ALL_RIGHTS if letter in have)


def shown(rights: str) -> str:
    """Rights with the obsolete letters old clients look for (RFC 4314 §2.1.1)."""
    extra = [letter for letter, members in _OBSOLETE.items() if any(member in rights for member in members)]
    return rights + "".join(extra)
