"""A gate of mail edges that remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from server.domain.envelope import ConnectionInfo
from server.domain.identity import Principal


@dataclass
class Entry:
    """One logged-in connection."""

    principal: Principal
    info: ConnectionInfo
    close: Callable[[], None]
    command: str = ""


@dataclass
class FakeGate:
    """Refuses addresses in `banned`; `here` is by connection id."""

    banned: set[str] = field(default_factory=set)
    here: dict[str, Entry] = field(default_factory=dict)

    def refuses(self, ip: str) -> bool:
        return ip in self.banned

    def entered(self, principal: Principal, info: ConnectionInfo, close: Callable[[], None]) -> Entry:
        entry = self.here[info.connection_id] = Entry(principal, info, close)
        return entry

    def left(self, connection_id: str) -> None:
        self.here.pop(connection_id, None)

    @property
    def only(self) -> Entry:
        """The one connection that is here."""
        (entry,) = self.here.values()
        return entry
