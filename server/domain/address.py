"""Mail addresses as values, parsed once by `protocol.smtp.address` (RFC 5321 §4.1.2, RFC 6531).

- `local` keeps its case and is unquoted; `domain` is lower case, A-label form, or an address literal in brackets.
- Comparison for routing uses `key`, which folds the local part's case as every mailbox host of ours does.
"""

from __future__ import annotations

from dataclasses import dataclass

ATEXT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~")


@dataclass(frozen=True, slots=True)
class Address:
    """An RFC 5321 Mailbox: `local` unquoted, `domain` lower case in A-label form."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{format_local(self.local)}@{self.domain}"

    @property
    def key(self) -> str:
        """The form addresses are looked up by: local part case-folded."""
        return f"{self.local.casefold()}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only an SMTPUTF8 peer can carry the address (RFC 6531 §3.3)."""
        return not self.local.isascii()


def format_local(local: str) -> str:
    """Write a local part as Dot-string where it can be, else as Quoted-string (RFC 5321 §4.1.2)."""
    atoms = local.split(".")
    if all(atom and all(c in ATEXT or c > "\x7f" for c in atom) for atom in atoms):
        return local
    return '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
