"""What the POP3 edge is given."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.domain.access import Gate, OpenGate
from server.services.mailstore.maildrop import Maildrops
from server.stream.sasl import LoginService


@dataclass(frozen=True, slots=True, kw_only=True)
class Pop3Services:
    maildrops: Maildrops
    logins: LoginService
    gate: Gate = field(default_factory=OpenGate)
