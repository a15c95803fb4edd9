"""The mail services: SMTP, IMAP, POP3 and ManageSieve on their sockets, the queue, and the watch on the certificate.

- Sockets are taken when the daemon is built: a busy or forbidden port stops the start, and connections wait in the
  backlog until the service runs, so none is refused.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from server.adapters.tls import TlsContexts
from server.daemon.appliance import Appliance
from server.daemon.service import Host, Service
from server.imap.server import ImapServer
from server.imap.server import Listener as ImapListener
from server.imap.services import ImapServices
from server.managesieve.server import ManageSieveServer
from server.managesieve.services import ManageSieveServices
from server.pop3.server import Listener as Pop3Listener
from server.pop3.server import Pop3Server
from server.pop3.services import Pop3Services
from server.protocol.sieve.compile import EXTENSIONS, NOTIFY_METHODS
from server.protocol.sieve.limits import REDIRECTS_MAX, SCRIPT_OCTETS_MAX
from server.services.filters.scripts import ScriptService
from server.services.mailstore.maildrop import Maildrops
from server.services.queue.runner import QueueRunner
from server.smtp.contracts import EdgeServices
from server.smtp.contracts import Listener as SmtpListener
from server.smtp.server import SmtpServer
from server.smtp.settings import smtp_settings
from server.stream.listening import StreamServer

TLS_CHECK_S = 60.0


def smtp_services(appliance: Appliance, host: Host) -> list[Service]:
    server, roles = appliance.live().server, appliance.live().server.roles
    sockets: dict[SmtpListener, list[socket.socket]] = {}
    if "smtp" in roles:
        sockets[SmtpListener.SMTP] = host.sockets.tcp("smtp", server.bind, server.smtp_port)
    if "submission" in roles:
        sockets[SmtpListener.SUBMISSION] = host.sockets.tcp("submission", server.bind, server.submission_port)
        sockets[SmtpListener.SUBMISSIONS] = host.sockets.tcp("submissions", server.bind, server.submissions_port)
    if not any(sockets.values()):
        return []
    adapters, mail = appliance.adapters, appliance.mail
    appliance.smtp = SmtpServer(
        services=EdgeServices(
            reception=mail.reception,
            submissions=mail.submission,
            logins=appliance.identity.logins,
            writer=adapters.blobs.writer,
            tls=_context(adapters.tls),
            clock=adapters.clock,
            gate=appliance.identity.connections,
        ),
        settings=smtp_settings(appliance.live()),
        sockets=sockets,
    )
    return [_listener("smtp", appliance.smtp)]


def imap_services(appliance: Appliance, host: Host) -> list[Service]:
    settings = appliance.live()
    server = settings.server
    if "imap" not in server.roles or not settings.imap.enabled:
        return []
    sockets = {
        ImapListener.IMAP: host.sockets.tcp("imap", server.bind, server.imap_port),
        ImapListener.IMAPS: host.sockets.tcp("imaps", server.bind, server.imaps_port),
    }
    if not any(sockets.values()):
        return []
    adapters = appliance.adapters
    services = ImapServices(
        mailstore=appliance.mail.mailstore,
        logins=appliance.identity.logins,
        clock=adapters.clock,
        gate=appliance.identity.connections,
    )
    appliance.imap = ImapServer(services=services, settings=settings, tls=_context(adapters.tls), sockets=sockets)
    return [_listener("imap", appliance.imap)]


def pop3_services(appliance: Appliance, host: Host) -> list[Service]:
    settings = appliance.live()
    server = settings.server
    if "pop3" not in server.roles or not settings.pop3.enabled:
        return []
    sockets = {
        Pop3Listener.POP3: host.sockets.tcp("pop3", server.bind, server.pop3_port),
        Pop3Listener.POP3S: host.sockets.tcp("pop3s", server.bind, server.pop3s_port),
    }
    if not any(sockets.values()):
        return []
    adapters = appliance.adapters
    shared = settings.database.type == "postgres"
    maildrops = Maildrops(
        mailstore=appliance.mail.mailstore,
        database=adapters.database,
        clock=adapters.clock,
        owner=server.hostname,
        shared=shared,
    )
    services = Pop3Services(maildrops=maildrops, logins=appliance.identity.logins, gate=appliance.identity.connections)
    appliance.pop3 = Pop3Server(services=services, settings=settings, tls=_context(adapters.tls), sockets=sockets)
    leases = [Service(name="maildrops", run=maildrops.run)] if shared else []
    return [_listener("pop3", appliance.pop3), *leases]


def managesieve_services(appliance: Appliance, host: Host) -> list[Service]:
    server = appliance.live().server
    if "sieve" not in server.roles:
        return []
    sockets = host.sockets.tcp("managesieve", server.bind, server.sieve_port)
    if not sockets:
        return []
    services = ManageSieveServices(
        scripts=ScriptService(
            database=appliance.adapters.database,
            directory=appliance.identity.directory,
            worker=appliance.adapters.workers.sign,
        ),
        logins=appliance.identity.logins,
        extensions=EXTENSIONS,
        notify_methods=NOTIFY_METHODS,
        script_octets_max=SCRIPT_OCTETS_MAX,
        redirects_max=REDIRECTS_MAX,
        gate=appliance.identity.connections,
    )
    edge = ManageSieveServer(services=services, tls=_context(appliance.adapters.tls), sockets=sockets)
    return [_listener("managesieve", edge)]


def _listener(name: str, server: SmtpServer | ImapServer | StreamServer) -> Service:
    """A listener: its sockets listen before it starts, so connections wait in their backlog, none is refused."""
    return Service(name=name, critical=True, run=server.serve, drain=server.drain)


def queue_service(runner: QueueRunner) -> Service:
    ended = asyncio.Event()

    async def run() -> None:
        ended.clear()
        try:
            await runner.run()
        finally:
            ended.set()

    async def drain(_grace_s: float) -> None:
        runner.stop()
        await ended.wait()

    return Service(name="queue", run=run, drain=drain)


async def watch_certificate(appliance: Appliance) -> None:
    while True:
        appliance.adapters.tls.refresh()
        await appliance.adapters.clock.sleep(TLS_CHECK_S)


def _context(tls: TlsContexts) -> Callable[[], ssl.SSLContext | None]:
    return tls.server_context
