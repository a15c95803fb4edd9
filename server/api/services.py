"""What the API is built on; the composition root fills it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.config.schema import Settings
from server.domain.ports import Clock
from server.services.filters.settings import FilterService
from server.services.identity.accounts import AccountService
from server.services.identity.aliases import AliasService
from server.services.identity.app_passwords import AppPasswordService
from server.services.identity.bans import Bans
from server.services.identity.callers import CallerService
from server.services.identity.connections import Connections
from server.services.identity.domain_aliases import DomainAliasService
from server.services.identity.domains import DomainService
from server.services.identity.idempotency import IdempotencyService
from server.services.identity.send_grants import SendGrantService
from server.services.identity.tenants import TenantService
from server.services.identity.tokens import TokenService
from server.services.mailstore.finding import SearchService
from server.services.mailstore.services import MailServices
from server.services.mailstore.sharing import GrantService
from server.services.queue.admin import QueueAdmin
from server.services.queue.submissions import SubmissionQueries
from server.services.submission.send import SendService
from server.services.trace.query import TraceService
from server.services.upkeep.doctor import Doctor
from server.services.upkeep.exporting import ExportService
from server.services.upkeep.index_admin import IndexService
from server.services.upkeep.jobs import JobService
from server.services.upkeep.purge import Purge
from server.services.upkeep.quotas import UsageService
from server.services.upkeep.status import StatusService
from server.services.upkeep.uploads import UploadService

SettingsSource = Callable[[], Settings]
"""Gives the settings in force."""


class SettingsFault(Protocol):
    """One fault of a configuration text; `line` 0 = not in it."""

    @property
    def line(self) -> int: ...

    @property
    def key(self) -> str: ...

    @property
    def text(self) -> str: ...


class Reloaded(Protocol):
    """What a reload did: dotted keys that took effect, and those that wait for a restart."""

    @property
    def applied(self) -> Sequence[str]: ...

    @property
    def restart_required(self) -> Sequence[str]: ...


ValidateSettings = Callable[[str], Awaitable[Sequence[SettingsFault]]]
"""Checks the text of a configuration file, off the event loop; empty = valid."""
ReloadSettings = Callable[[], Awaitable[Reloaded]]
"""Reads the file again and applies it. Raises InvalidInput when it is faulty."""


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
    app_passwords: AppPasswordService
    grants: GrantService
    send_grants: SendGrantService
    bans: Bans
    connections: Connections
    status: StatusService
    usage: UsageService
    purge: Purge
    mail: MailServices
    searching: SearchService
    search_index: IndexService
    filters: FilterService
    queue: QueueAdmin
    submissions: SubmissionQueries
    sender: SendService
    traces: TraceService
    doctor: Doctor
    jobs: JobService
    uploads: UploadService
    exports: ExportService
    validate_settings: ValidateSettings
    reload_settings: ReloadSettings
    cursor_key: bytes
    admin_gid: int | None
