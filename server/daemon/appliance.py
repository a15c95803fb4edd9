"""The running whole: takes new settings, tells how it is, closes in order."""

from __future__ import annotations

from collections.abc import Sequence

from server.config.schema import Settings
from server.daemon.jobs import JobParts
from server.daemon.parts import Adapters, Identity, Live, Mail
from server.daemon.service import Probe, Service
from server.imap.server import ImapServer
from server.pop3.server import Pop3Server
from server.smtp.server import SmtpServer
from server.smtp.settings import smtp_settings


class Appliance:
    """All services, running or ready to."""

    def __init__(self, live: Live, adapters: Adapters, identity: Identity, mail: Mail, jobs: JobParts) -> None:
        self.live = live
        self.adapters = adapters
        self.identity = identity
        self.mail = mail
        self.jobs = jobs
        self.smtp: SmtpServer | None = None
        self.imap: ImapServer | None = None
        self.pop3: Pop3Server | None = None
        self.services: Sequence[Service] = ()
        self.probes: Sequence[Probe] = (Probe(name="committer", check=self._committer_lives),)

    async def reload(self, settings: Settings) -> None:
        """Use these settings for new work."""
        adapters = self.adapters
        adapters.tls.reload(settings.tls)
        adapters.resolver.configure(
            settings.dns.resolvers, timeout_s=settings.dns.timeout, believe_ad=settings.dns.dnssec != "off"
        )
        adapters.blobs.inline_max = settings.storage.inline_max
        adapters.blobs.reserve = settings.storage.reserve
        self.live.settings = settings
        if self.smtp is not None:
            self.smtp.reconfigure(smtp_settings(settings))
        if self.imap is not None:
            self.imap.reconfigure(settings)
        if self.pop3 is not None:
            self.pop3.reconfigure(settings)

    async def close(self) -> None:
        """Commit what waits, then close the store and the threads."""
        await self.mail.refusals.flush()
        await self.adapters.database.close()
        self.adapters.workers.close()

    async def _committer_lives(self) -> str | None:
        database = self.adapters.database
        if not database.alive:
            return "the committer has ended"
        if database.commit_age_s() > 60:
            return "a commit takes more than a minute"
        return None
