"""A gate that a test holds: whom it refuses, who is in, and the end of their connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from server.domain.envelope import ConnectionInfo
from server.domain.identity import Principal


@dataclass(slots=True)
class Guest:
    """One who logged in; `close` is what the edge gave."""

    principal: Principal
    info: ConnectionInfo
    close: Callable[[], None]
    command: str = ""


@dataclass(slots=True)
class FakeGate:
    """Implements `domain.access.Gate`."""

    banned: set[str] = field(default_factory=set)
    guests: dict[str, Guest] = field(default_factory=dict)

    def refuses(self, ip: str) -> bool:
        return ip in self.banned

    def entered(self, principal: Principal, info: ConnectionInfo, close: Callable[[], None]) -> Guest:
        guest = self.guests[info.connection_id] = Guest(principal, info, close)
        return guest

    def left(self, connection_id: str) -> None:
        self.guests.pop(connection_id, None)

    @property
    def guest(self) -> Guest:
        """The only one that is in."""
        (found,) = self.guests.values()
        return found
