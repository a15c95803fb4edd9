"""Where did that mail go: find messages in the event log and tell their lives; read and follow the log itself.

- A tenant's credential sees its own events; a system credential sees all.
- Whoever reads on from a number never misses an event and never sees one below it later (product.md 57).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from server.domain.changes import Event, TraceFilter
from server.domain.errors import InvalidInput, MaiRustError, NotFound
from server.domain.identity import Scope
from server.domain.ids import TenantId
from server.domain.paging import Page, PageRequest
from server.domain.ports import Clock
from server.domain.scopes import require
from server.services.trace.explain import Explanation, explain, reported_to
from server.store.database import Database
from server.store.repositories import trace
from server.store.transaction import Transaction

EVENTS_MAX = 1000
WAIT_MAX_S = 60
POLL_S = 0.5
"""How often a waiting reader looks again; one indexed read."""
TYPES_MAX = 50
LIST_EVENTS_MAX = 5_000
_TYPE = re.compile(r"[a-z][a-z_]*(\.[a-z_]+)?(\.?\*)?|\*")


class EventsExpired(MaiRustError):
    """Events that the reader asks for were deleted; `oldest` is the first there is."""

    code = "events_expired"

    def __init__(self, oldest: int) -> None:
        super().__init__(f"events before {oldest} were deleted")
        self.oldest = oldest


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Events in order; read on from `next_after`."""

    items: tuple[Event, ...]
    next_after: int
    oldest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One message's life."""

    trace_id: str
    events: tuple[Event, ...]
    explanation: Explanation

    @property
    def sender(self) -> str | None:
        return next((event.sender for event in self.events if event.sender is not None), None)

    @property
    def recipients(self) -> tuple[str, ...]:
        informed = reported_to(self.events)
        named = [event.recipient for event in self.events if event.recipient]
        listed = [r for event in self.events for r in _strings(event.data.get("recipients"))]
        return tuple(one for one in dict.fromkeys([*listed, *named]) if one not in informed)

    @property
    def subject(self) -> str | None:
        return next((event.subject for event in self.events if event.subject), None)

    @property
    def message_id_header(self) -> str | None:
        return next((event.message_id_header for event in self.events if event.message_id_header), None)

    @property
    def time(self) -> datetime:
        return self.events[0].time


class TraceService:
    """Reads the event log."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def find(self, scope: Scope, wanted: TraceFilter, request: PageRequest) -> Page[Trace]:
        """Messages that match, newest first."""
        require(scope, "trace:read")
        tenant_id = _tenant(scope)
        before = int(request.after) if request.after is not None else None

        async def unit(tx: Transaction) -> Page[Trace]:
            found = await trace.find(tx, tenant_id, wanted, before=before, limit=request.limit + 1)
            kept = found[: request.limit]
            lives = await _lives(tx, tenant_id, kept)
            return Page(items=tuple(lives), next_after=str(kept[-1][1]) if len(found) > request.limit else None)

        return await self._database.read("trace.find", unit)

    async def get(self, scope: Scope, ref: str) -> Trace:
        """One life, by trace id, queue id, delivery id, or the id of a single event. Raises NotFound."""
        require(scope, "trace:read")
        tenant_id = _tenant(scope)

        async def unit(tx: Transaction) -> tuple[str, Sequence[Event]]:
            for trace_id in (ref, await trace.trace_of(tx, ref)):
                if trace_id is not None:
                    events = await trace.of_traces(tx, tenant_id, [trace_id], limit=trace.TRACE_EVENTS_MAX)
                    if events:
                        return trace_id, events
            single = await trace.by_id(tx, tenant_id, ref)
            return ref, [] if single is None else [single]

        trace_id, events = await self._database.read("trace.get", unit)
        if not events:
            raise NotFound("nothing is known of this id")
        return Trace(trace_id=trace_id, events=tuple(events), explanation=explain(events))

    async def events(
        self,
        scope: Scope,
        *,
        after: int | None,
        types: Sequence[str],
        limit: int,
        wait_s: float = 0,
        stopping: Callable[[], bool] = lambda: False,
    ) -> EventPage:
        """Events above `after`; None starts at the end of the log.

        Args:
            types: Words of api.md section 8, with a final `*` for a group; empty = all.
            wait_s: How long to wait for the first one, at most `WAIT_MAX_S`.
            stopping: Ends the wait early once it is true.

        Raises:
            EventsExpired: `after` lies before what is kept.
        """
        require(scope, "events:read")
        _check_types(types)
        if not 1 <= limit <= EVENTS_MAX:
            raise InvalidInput(f"1 to {EVENTS_MAX}", pointer="/limit")
        if not 0 <= wait_s <= WAIT_MAX_S:
            raise InvalidInput(f"0 to {WAIT_MAX_S} seconds", pointer="/wait")
        until = self._clock.monotonic() + wait_s
        while True:
            page = await self._page(scope, after, types, limit)
            left_s = until - self._clock.monotonic()
            if page.items or left_s <= 0 or stopping():
                return page
            after = page.next_after
            await asyncio.sleep(min(POLL_S, left_s))

    async def _page(self, scope: Scope, after: int | None, types: Sequence[str], limit: int) -> EventPage:
        tenant_id = _tenant(scope)

        async def unit(tx: Transaction) -> EventPage:
            oldest, newest = await trace.bounds(tx)
            start = newest if after is None else after
            if start < oldest - 1:
                raise EventsExpired(oldest)
            items = await trace.after(tx, tenant_id, seq=start, types=types, limit=limit)
            # A page that is not full has seen everything up to the newest of this snapshot.
            end = items[-1].seq if len(items) == limit else max(newest, start)
            return EventPage(items=tuple(items), next_after=end, oldest=oldest)

        return await self._database.read("events.page", unit)


async def _lives(tx: Transaction, tenant_id: TenantId | None, found: Sequence[tuple[str, int]]) -> list[Trace]:
    ids = [trace_id for trace_id, _ in found]
    by_trace: dict[str, list[Event]] = {}
    for event in await trace.of_traces(tx, tenant_id, ids, limit=LIST_EVENTS_MAX):
        by_trace.setdefault(event.trace_id or event.id, []).append(event)
    missing = [seq for trace_id, seq in found if trace_id not in by_trace]
    for event in await trace.by_seqs(tx, tenant_id, missing):
        by_trace.setdefault(event.trace_id or event.id, []).append(event)
    return [
        Trace(trace_id=trace_id, events=tuple(by_trace[trace_id]), explanation=explain(by_trace[trace_id]))
        for trace_id in ids
        if trace_id in by_trace
    ]


def _tenant(scope: Scope) -> TenantId | None:
    return None if scope.system else scope.tenant_id


def _check_types(types: Sequence[str]) -> None:
    if len(types) > TYPES_MAX or not all(_TYPE.fullmatch(word) for word in types):
        raise InvalidInput("types are words such as delivery.sent or delivery.*", pointer="/types")


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
