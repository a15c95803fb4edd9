"""The composition root: the only place that constructs services (architecture.md §3).

- `build` makes everything from settings, in order: parts, mail listeners, queue and jobs, HTTP last.
- The HTTP stack is imported only when its service starts, so that a restart takes mail early.
"""

from __future__ import annotations

from functools import partial

from server.adapters.ballast import Ballast
from server.config.schema import Settings
from server.daemon import stores
from server.daemon.appliance import Appliance
from server.daemon.http import http_service
from server.daemon.jobs import job_service, make_jobs
from server.daemon.listeners import (
    imap_services,
    managesieve_services,
    pop3_services,
    queue_service,
    smtp_services,
    watch_certificate,
)
from server.daemon.parts import Live, make_adapters, make_identity, make_mail
from server.daemon.service import Host, Service
from server.telemetry.log import get_logger

log = get_logger("daemon")


async def build(settings: Settings, host: Host) -> Appliance:
    """Construct everything, open the store, take the sockets."""
    live = Live(settings)
    adapters = await make_adapters(settings, host)
    try:
        identity = make_identity(live, adapters)
        await identity.tenants.ensure_default()
        await identity.bans.load()
        mail = make_mail(live, adapters, identity, host)
        appliance = Appliance(live, adapters, identity, mail, make_jobs(live, adapters))
        appliance.services = _services(appliance, host)
    except BaseException:
        await adapters.database.close()
        adapters.workers.close()
        raise
    return appliance


def migrate(settings: Settings) -> str:
    """What `mairustd migrate` does."""
    return stores.migrate(settings)


def openapi() -> str:
    """The API's description, as it is committed and served."""
    from server.api.document import openapi_text

    return openapi_text()


def _services(appliance: Appliance, host: Host) -> list[Service]:
    """Every service of this host's roles, in the order of their start: mail first, HTTP last."""
    settings, roles = appliance.live(), appliance.live().server.roles
    services = [*smtp_services(appliance, host), *imap_services(appliance, host)]
    services += [*pop3_services(appliance, host), *managesieve_services(appliance, host)]
    if "queue" in roles:
        services.append(queue_service(appliance.mail.runner))
    if "jobs" in roles:
        services.append(Service(name="retention", run=appliance.mail.retention.run))
        services.append(Service(name="quota warnings", run=appliance.mail.quota_warnings.run))
        services.append(Service(name="search index", run=appliance.mail.indexer.run))
        services.append(job_service(appliance.jobs))
    if settings.database.type == "sqlite":
        path = stores.sqlite_path(settings).with_name("ballast")
        ballast = Ballast(path, worker=appliance.adapters.workers.blob, clock=appliance.adapters.clock)
        services.append(Service(name="ballast", run=ballast.run))
    services.append(Service(name="access", run=appliance.identity.watch.run))
    services.append(Service(name="tls", run=partial(watch_certificate, appliance)))
    if "http" in roles:
        services.append(http_service(appliance, host))
    log.info("daemon.built", roles=list(roles), database=settings.database.type)
    return services
