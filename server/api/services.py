"""What the API is built on; the composition root fills it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.config.schema import Settings
from server.domain.ports import Clock
from server.services.identity.accounts import AccountService
from server.services.identity.aliases import AliasService
from server.services.identity.callers import CallerService
from server.services.identity.domain_aliases import DomainAliasService
from server.services.identity.domains import DomainService
from server.services.identity.idempotency import IdempotencyService
from server.services.identity.tenants import TenantService
from server.services.identity.tokens import TokenService
from server.services.upkeep.status import StatusService

SettingsSource = Callable[[], Settings]
"""Gives the settings in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """Services, by resource.

    Attributes:
        cursor_key: 32 octets that stay the same over restarts; signs cursors.
        admin_gid: The group that may use the admin socket, None when it does not exist.
    """

    clock: Clock
    settings: SettingsSource
    callers: CallerService
    idempotency: IdempotencyService
    tenants: TenantService
    domains: DomainService
    domain_aliases: DomainAliasService
    accounts: AccountService
    aliases: AliasService
    tokens: TokenService
    status: StatusService
    cursor_key: bytes
    admin_gid: int | None
