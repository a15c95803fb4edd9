"""The event log: pages, long polls, and server-sent events (api.md §8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from litestar import Controller, Request, Response, get
from litestar.datastructures import State
from litestar.params import FromQuery, HeaderParameter
from litestar.response import Stream

from server.api.dependencies import Caller, Traces
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.requests import CallerState
from server.api.schemas.mail import EventOut, EventsOut
from server.domain.errors import InvalidInput, MaiRustError
from server.domain.identity import Scope
from server.services.trace.query import EVENTS_MAX, TraceService

LIMIT_DEFAULT = 100
COMMENT_EVERY_S = 15
RECHECK_EVERY_S = 5
"""A credential that is revoked loses its streams within this time (security.md §4)."""
EVENT_STREAM = "text/event-stream"
Accept = Annotated[str | None, HeaderParameter(name="Accept")]
LastEventId = Annotated[str | None, HeaderParameter(name="Last-Event-ID")]


class EventController(Controller):
    path = PREFIX + "/events"
    tags = ("events",)

    @get(operation_id="list_events", opt=needs("events:read"))
    async def list_events(
        self,
        caller: Caller,
        traces: Traces,
        request: Request[object, object, State],
        after: FromQuery[int | None] = None,
        types: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT_DEFAULT,
        wait: FromQuery[float] = 0,
        accept: Accept = None,
        last_event_id: LastEventId = None,
    ) -> Response[EventsOut] | Stream:
        """Events above `after` in order; `wait` holds the answer until there is one. With `Accept: text/event-stream`
        the answer never ends: `id` is the number, `event` the type, and `Last-Event-ID` goes on."""
        state = CallerState.of(request.scope["state"])
        stopping = state.stopping
        words = [word for word in (types or "").split(",") if word]
        if accept is None or EVENT_STREAM not in accept:
            page = await traces.events(caller, after=after, types=words, limit=limit, wait_s=wait, stopping=stopping)
            return Response(EventsOut.of(page))
        start = _number(last_event_id) if last_event_id else after
        first = await traces.events(caller, after=start, types=words, limit=1)
        begin = first.items[0].seq - 1 if first.items else first.next_after
        return Stream(_stream(traces, caller, begin, words, state), media_type=EVENT_STREAM)


async def _stream(
    traces: TraceService, caller: Scope, after: int, types: list[str], state: CallerState
) -> AsyncIterator[bytes]:
    """Events as they come; ends when the server stops, the credential does, or they were deleted under the reader."""
    yield b": events\n\n"
    silent_s = 0
    while not state.stopping():
        try:
            await state.recheck()
            page = await traces.events(
                caller, after=after, types=types, limit=EVENTS_MAX, wait_s=RECHECK_EVERY_S, stopping=state.stopping
            )
        except MaiRustError as error:
            yield f": {error.code}\n\n".encode()
            return
        after = page.next_after
        silent_s = 0 if page.items else silent_s + RECHECK_EVERY_S
        if silent_s >= COMMENT_EVERY_S:
            silent_s = 0
            yield b": still here\n\n"
        for event in page.items:
            data = msgspec.json.encode(EventOut.of(event))
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), data)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise InvalidInput("Last-Event-ID is a number of ours")
    return int(text)
