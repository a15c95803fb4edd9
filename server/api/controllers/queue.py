"""The outbound queue (api.md §5)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from server.api.dependencies import Caller, CursorMaker, Queue
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.mail import (
    AttemptOut,
    AttemptsOut,
    BulkOut,
    DeliveryOut,
    PauseOut,
    PausesOut,
    QueueStatsOut,
)
from server.domain.errors import InvalidInput
from server.domain.ids import DeliveryId
from server.domain.queue import DeliveryStatus
from server.services.queue.admin import DeliveryFilter, QueueAction

TOTAL_MAX = 10_000
Sender = Annotated[str | None, QueryParameter(name="from", description="Reverse-path; empty = the null one.")]


class FilterIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"sender": "from"}):
    """Which deliveries; what is left out narrows nothing. `reason` is a pattern, `older_than` seconds."""

    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    status: DeliveryStatus | None = None
    reason: str | None = None
    older_than: float | None = None
    tries: int | None = None

    def filter(self) -> DeliveryFilter:
        return DeliveryFilter(
            sender=self.sender,
            recipient=self.recipient,
            domain=self.domain,
            status=self.status,
            reason=self.reason,
            older_than_s=self.older_than,
            tries=self.tries,
        )


class BulkIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    action: QueueAction
    filter: FilterIn = FilterIn()
    dry_run: bool = False
    reason: str = ""


class ActionIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; kept in the audit log."""

    reason: str = ""


class PauseIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either one `domain`, or `all`."""

    domain: str | None = None
    all: bool = False


class QueueController(Controller):
    path = PREFIX + "/queue"
    tags = ("queue",)

    @get(operation_id="list_deliveries", opt=needs("queue:read"))
    async def list_deliveries(
        self,
        caller: Caller,
        queue: Queue,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        status: FromQuery[DeliveryStatus | None] = None,
        domain: FromQuery[str | None] = None,
        sender: Sender = None,
        recipient: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
        older_than: FromQuery[float | None] = None,
        tries: FromQuery[int | None] = None,
        history: FromQuery[bool] = False,
        count: FromQuery[bool] = False,
    ) -> Listing[DeliveryOut]:
        """List deliveries, newest first; finished ones with `history`; `older_than` in seconds."""
        wanted = DeliveryFilter(
            sender=sender,
            recipient=recipient,
            domain=domain,
            status=status,
            reason=reason,
            older_than_s=older_than,
            tries=tries,
            history=history,
        )
        name = f"queue {status} {domain} {sender} {recipient} {reason} {older_than} {tries} {history}"
        page = await queue.list(caller, wanted, cursors.request(caller, name, limit=limit, cursor=cursor))
        listing = cursors.listing(caller, name, page, DeliveryOut.of)
        if not count:
            return listing
        stats = await queue.count(caller, wanted, limit=TOTAL_MAX)
        return Listing(items=listing.items, next_cursor=listing.next_cursor, total=stats)

    @get("/stats", operation_id="get_queue_stats", opt=needs("queue:read"))
    async def get_stats(self, caller: Caller, queue: Queue) -> QueueStatsOut:
        """The queue in figures."""
        return QueueStatsOut.of(await queue.stats(caller))

    @get("/{delivery_id:str}", operation_id="get_delivery", opt=needs("queue:read"))
    async def get_delivery(self, caller: Caller, queue: Queue, delivery_id: FromPath[str]) -> DeliveryOut:
        """Show a delivery."""
        return DeliveryOut.of(await queue.get(caller, DeliveryId(delivery_id)))

    @get("/{delivery_id:str}/attempts", operation_id="list_attempts", opt=needs("queue:read"))
    async def list_attempts(self, caller: Caller, queue: Queue, delivery_id: FromPath[str]) -> AttemptsOut:
        """Every attempt of a delivery with the remote's exact reply, oldest first."""
        found = await queue.attempts(caller, DeliveryId(delivery_id))
        return AttemptsOut(items=[AttemptOut.of(attempt) for attempt in found])

    @post("/{delivery_id:str}/{action:str}", operation_id="act_on_delivery", opt=needs("queue:write"), status_code=200)
    async def act_on_delivery(
        self,
        caller: Caller,
        queue: Queue,
        delivery_id: FromPath[str],
        action: FromPath[QueueAction],
        data: JSONBody[ActionIn | None] = None,
    ) -> DeliveryOut:
        """retry, hold, release or bounce (tell the sender)."""
        if action is QueueAction.DELETE:
            raise InvalidInput("use DELETE", pointer="/action")
        reason = data.reason if data else ""
        return DeliveryOut.of(await queue.act(caller, DeliveryId(delivery_id), action, reason=reason))

    @delete("/{delivery_id:str}", operation_id="delete_delivery", opt=needs("queue:write"))
    async def delete_delivery(self, caller: Caller, queue: Queue, delivery_id: FromPath[str]) -> None:
        """Give a delivery up and tell nobody."""
        await queue.act(caller, DeliveryId(delivery_id), QueueAction.DELETE)

    @post("/bulk", operation_id="act_on_deliveries", opt=needs("queue:write"), status_code=200)
    async def act_on_deliveries(self, caller: Caller, queue: Queue, data: JSONBody[BulkIn]) -> BulkOut:
        """Change every waiting delivery that matches; with `dry_run` only tell how many."""
        result = await queue.act_on_all(
            caller, data.filter.filter(), data.action, dry_run=data.dry_run, reason=data.reason
        )
        return BulkOut.of(result)

    @get("/pauses", operation_id="list_pauses", opt=needs("queue:read"))
    async def list_pauses(self, caller: Caller, queue: Queue) -> PausesOut:
        """Destinations to which nothing is attempted."""
        return PausesOut(items=[PauseOut.of(pause) for pause in await queue.pauses(caller)])

    @post("/pauses", operation_id="create_pause", opt=needs("queue:write"))
    async def create_pause(self, caller: Caller, queue: Queue, data: JSONBody[PauseIn]) -> PauseOut:
        """Attempt nothing to a domain, or to any."""
        if (data.domain is None) == (not data.all):
            raise InvalidInput("give a domain, or all", pointer="/domain")
        return PauseOut.of(await queue.pause(caller, data.domain))

    @delete("/pauses/{pause_id:str}", operation_id="delete_pause", opt=needs("queue:write"))
    async def delete_pause(self, caller: Caller, queue: Queue, pause_id: FromPath[str]) -> None:
        """End a pause."""
        await queue.resume(caller, pause_id)
