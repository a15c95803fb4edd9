"""Where did that mail go (api.md §5)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import Controller, get
from litestar.params import FromPath, FromQuery, QueryParameter

from server.api.dependencies import Caller, CursorMaker, Traces
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.mail import TraceOut, parse_time
from server.domain.changes import TraceFilter
from server.domain.errors import InvalidInput
from server.protocol.smtp.address import parse_address, parse_domain

From = Annotated[str | None, QueryParameter(name="from", description="The sender.")]
To = Annotated[str | None, QueryParameter(name="to", description="The recipient.")]


class TraceController(Controller):
    path = PREFIX + "/trace"
    tags = ("trace",)

    @get(operation_id="find_traces", opt=needs("trace:read"))
    async def find_traces(
        self,
        caller: Caller,
        traces: Traces,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        message_id_header: FromQuery[str | None] = None,
        address: FromQuery[str | None] = None,
        sender: From = None,
        recipient: To = None,
        subject: FromQuery[str | None] = None,
        ip: FromQuery[str | None] = None,
        since: FromQuery[str | None] = None,
        until: FromQuery[str | None] = None,
    ) -> Listing[TraceOut]:
        """Messages that match, newest first; addresses may be whole ones or domains, times are RFC 3339."""
        wanted = TraceFilter(
            message_id_header=_bracketed(message_id_header),
            address=_key(address, "/address"),
            sender=_key(sender, "/from"),
            recipient=_key(recipient, "/to"),
            subject=subject,
            ip=ip,
            since=time_of(since, "/since"),
            until=time_of(until, "/until"),
        )
        name = f"trace {wanted}"
        page = await traces.find(caller, wanted, cursors.request(caller, name, limit=limit, cursor=cursor))
        return cursors.listing(caller, name, page, TraceOut.of)

    @get("/{ref:str}", operation_id="get_trace", opt=needs("trace:read"))
    async def get_trace(self, caller: Caller, traces: Traces, ref: FromPath[str]) -> TraceOut:
        """One message's life by trace id, queue id, delivery id or event id."""
        return TraceOut.whole(await traces.get(caller, ref))


def _key(value: str | None, pointer: str) -> str | None:
    """The form addresses are recorded in; a domain alone becomes `@domain`."""
    if value is None:
        return None
    try:
        if value in ("", "<>"):
            return ""
        if "@" in value.lstrip("@"):
            return parse_address(value).key
        return "@" + parse_domain(value.lstrip("@"))
    except InvalidInput as error:
        raise InvalidInput(error.public, pointer=pointer) from error


def _bracketed(value: str | None) -> str | None:
    if value is None or (value.startswith("<") and value.endswith(">")):
        return value
    return f"<{value.strip('<>')}>"


def time_of(value: str | None, pointer: str) -> datetime | None:
    """The instant of a query parameter. Raises InvalidInput."""
    if value is None:
        return None
    instant = parse_time(value)
    if instant is None:
        raise InvalidInput("an RFC 3339 time with its offset", pointer=pointer)
    return instant
