"""What the ManageSieve edge is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from server.domain.access import Gate, OpenGate
from server.domain.ids import AccountId
from server.stream.sasl import LoginService


class ScriptService(Protocol):
    """An account's scripts; at most one of them is active."""

    async def list(self, account_id: AccountId) -> Sequence[tuple[str, bool]]:
        """Names, and which is active."""
        ...

    async def get(self, account_id: AccountId, name: str) -> bytes:
        """Raises NotFound."""
        ...

    async def put(self, account_id: AccountId, name: str, octets: bytes) -> Sequence[str]:
        """Store a script that compiles, over one of the same name; returns warnings.

        Raises:
            InvalidInput: It doesn't compile; the text says where.
            OverQuota: Too large, or one too many.
        """
        ...

    async def check(self, octets: bytes) -> Sequence[str]:
        """As `put`, storing nothing."""
        ...

    async def activate(self, account_id: AccountId, name: str) -> None:
        """Make one script the active one; none for the empty name. Raises NotFound."""
        ...

    async def delete(self, account_id: AccountId, name: str) -> None:
        """Raises NotFound, and Conflict for the active script."""
        ...

    async def rename(self, account_id: AccountId, old: str, new: str) -> None:
        """Raises NotFound, Conflict."""
        ...

    async def have_space(self, account_id: AccountId, name: str, size: int) -> None:
        """Raises OverQuota when a script of this size could not be stored; codes `max_scripts`, `max_size`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ManageSieveServices:
    """Services, and what the engine can.

    Attributes:
        extensions: The words of Sieve's `require`.
        notify_methods: URI schemes of `notify`.
    """

    scripts: ScriptService
    logins: LoginService
    extensions: Sequence[str]
    notify_methods: Sequence[str]
    script_octets_max: int
    redirects_max: int
    gate: Gate = field(default_factory=OpenGate)
