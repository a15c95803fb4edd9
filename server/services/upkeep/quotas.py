"""Warns owners whose mail fills their quota: at 80 and at 95 percent, once each time it is crossed.

- The warning is a mail in INBOX and the event `account.quota_warning`, in the transaction that notes it was given.
- Looked for each minute, never while mail is stored: the way of a delivery knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from server.config.schema import Settings
from server.domain.address import Address
from server.domain.changes import Severity, TraceEvent
from server.domain.errors import MaiRustError
from server.domain.identity import Scope
from server.domain.ids import new_id
from server.domain.message import SpecialUse
from server.domain.ports import BlobStore, Clock
from server.domain.scopes import require
from server.domain.usage import TenantUsage
from server.protocol.mime.compose import Draft, compose
from server.protocol.mime.folding import NamedAddress
from server.protocol.mime.render import render
from server.protocol.smtp.address import parse_address
from server.services.mailstore.append import append_in
from server.store.database import Database
from server.store.repositories import quotas
from server.store.repositories.quotas import Fullness
from server.store.times import from_us, to_us
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("job")

ROUND_S = 60.0
AT_ONCE = 100
_MIB = 1024 * 1024


class UsageService:
    """Tells what a tenant uses."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def usage(self, scope: Scope) -> TenantUsage:
        """Counts and octets of the caller's tenant."""
        require(scope, "accounts:read")
        midnight = self._clock.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return await self._database.read(
            "usage", partial(quotas.usage, tenant_id=scope.tenant_id, day_us=to_us(midnight))
        )


class QuotaWarnings:
    """Runs the round."""

    def __init__(self, *, database: Database, blobs: BlobStore, clock: Clock, settings: Callable[[], Settings]) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._clock.sleep(ROUND_S)
            try:
                await self.round()
            except MaiRustError as error:
                log.warning("quota.round_failed", reason=error.public)

    async def round(self) -> int:
        """Tell owners of what was crossed since; how many were told."""
        found = await self._database.read("quota.crossed", lambda tx: quotas.crossed(tx, AT_ONCE))
        return sum([await self._note(one) for one in found])

    async def _note(self, full: Fullness) -> bool:
        if full.level < full.warned:
            note = partial(quotas.set_warned, account_id=full.account_id, was=full.warned, level=full.level)
            await self._database.write("quota.relieved", note)
            return False
        octets = compose(_draft(full, self._settings().server.hostname, self._clock.now()))
        blob = await self._blobs.place(await self._blobs.content(octets))
        rendered = render(octets)

        async def unit(tx: Transaction) -> bool:
            if not await quotas.set_warned(tx, full.account_id, was=full.warned, level=full.level):
                return False
            await append_in(
                tx,
                account_id=full.account_id,
                mailbox=SpecialUse.INBOX,
                blob=blob,
                blob_is_new=True,
                prefix=b"",
                rendered=rendered,
                flags=0,
                keywords=(),
                internal_date=from_us(tx.now_us),
                received_at=from_us(tx.now_us),
                trace_id=None,
                check_quota=False,
            )
            tx.record(_event(full))
            return True

        return await self._database.write("quota.warn", unit)


def _event(full: Fullness) -> TraceEvent:
    return TraceEvent(
        type="account.quota_warning",
        component="job",
        verdict="warned",
        detail=f"{full.address} uses {_percent(full)} % of its quota",
        severity=Severity.WARNING,
        tenant_id=full.tenant_id,
        account_id=full.account_id,
        recipient=full.address,
        data={"level": full.level, "used_bytes": full.used_octets, "quota_bytes": full.quota_octets},
    )


def _percent(full: Fullness) -> int:
    return full.used_octets * 100 // full.quota_octets


def _draft(full: Fullness, hostname: str, now: datetime) -> Draft:
    left = max(full.quota_octets - full.used_octets, 0)
    return Draft(
        author=NamedAddress(address=Address("postmaster", hostname), name="Mail server"),
        date=now,
        message_id=f"<{new_id()}@{hostname}>",
        to=[NamedAddress(address=parse_address(full.address), name="")],
        subject=f"Your mailbox is {_percent(full)} % full",
        text=(
            f"The mailbox {full.address} uses {full.used_octets // _MIB} MiB of {full.quota_octets // _MIB} MiB; "
            f"{left // _MIB} MiB are left.\n\n"
            "When it is full, mail to you is put off and then goes back to its senders. Delete what you no longer\n"
            "need, and empty Trash, or ask your postmaster for more room.\n"
        ),
        headers=[("Auto-Submitted", "auto-generated")],
    )
