"""What handlers ask for by name; the application gives it (app.py)."""

from __future__ import annotations

from litestar.di import NamedDependency

from server.api.pagination import Cursors
from server.api.services import ReloadSettings, SettingsSource, ValidateSettings
from server.domain.identity import Scope
from server.services.filters.settings import FilterService
from server.services.identity.accounts import AccountService
from server.services.identity.aliases import AliasService
from server.services.identity.app_passwords import AppPasswordService
from server.services.identity.bans import Bans
from server.services.identity.connections import Connections
from server.services.identity.domain_aliases import DomainAliasService
from server.services.identity.domains import DomainService
from server.services.identity.send_grants import SendGrantService
from server.services.identity.tenants import TenantService
from server.services.identity.tokens import TokenService
from server.services.mailstore.acting import MailActor
from server.services.mailstore.finding import SearchService
from server.services.mailstore.reading import MailReader
from server.services.mailstore.sharing import GrantService
from server.services.mailstore.tags import TagService
from server.services.mailstore.undelete import Undelete
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

Caller = NamedDependency[Scope]
CursorMaker = NamedDependency[Cursors]
CurrentSettings = NamedDependency[SettingsSource]
Tenants = NamedDependency[TenantService]
Domains = NamedDependency[DomainService]
DomainAliases = NamedDependency[DomainAliasService]
Accounts = NamedDependency[AccountService]
Aliases = NamedDependency[AliasService]
Tokens = NamedDependency[TokenService]
AppPasswords = NamedDependency[AppPasswordService]
Grants = NamedDependency[GrantService]
SendGrants = NamedDependency[SendGrantService]
BanList = NamedDependency[Bans]
LiveConnections = NamedDependency[Connections]
ServerStatus = NamedDependency[StatusService]
Usage = NamedDependency[UsageService]
Purging = NamedDependency[Purge]
MailReading = NamedDependency[MailReader]
MailActions = NamedDependency[MailActor]
DeletedMail = NamedDependency[Undelete]
TagDefinitions = NamedDependency[TagService]
Filters = NamedDependency[FilterService]
Searching = NamedDependency[SearchService]
SearchIndex = NamedDependency[IndexService]
Queue = NamedDependency[QueueAdmin]
Traces = NamedDependency[TraceService]
Sending = NamedDependency[SendService]
Submissions = NamedDependency[SubmissionQueries]
Jobs = NamedDependency[JobService]
Exports = NamedDependency[ExportService]
Uploads = NamedDependency[UploadService]
Physician = NamedDependency[Doctor]
Validate = NamedDependency[ValidateSettings]
Reload = NamedDependency[ReloadSettings]
