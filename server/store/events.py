"""The event log's writer: numbers a batch's events and inserts them as the last act before its commit.

- Numbers come from one counter row that stays locked until the commit, so a reader that saw N never later sees a new
  event below N, on any number of hosts (product.md 57).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import msgspec
from sqlalchemy import bindparam, update

from server.domain.changes import TraceEvent
from server.domain.ids import new_id
from server.store.schema import counters, events
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Driver

_TAKE = prepared(
    update(counters)
    .where(counters.c.name == "events")
    .values(value=counters.c.value + bindparam("b_count"))
    .returning(counters.c.value),
    beside_inserts=True,
)
_INSERT = prepared_insert(events)
_encode = msgspec.json.encode


async def write_events(driver: Driver, batch: Sequence[TraceEvent], now_us: int) -> None:
    """Insert the events in order under the next numbers."""
    rows = await driver.fetch(_TAKE, {"b_count": len(batch)})
    last = rows[0][0]
    assert isinstance(last, int)  # noqa: S101 - the counter column is an integer in both drivers
    first = last - len(batch) + 1
    for number, event in enumerate(batch, first):
        await driver.insert(_INSERT, _row(event, number, now_us))


def _row(event: TraceEvent, seq: int, now_us: int) -> dict[str, object]:
    return {
        "seq": seq,
        "id": new_id(),
        "type": event.type,
        "time": now_us,
        "severity": event.severity.value,
        "component": event.component,
        "verdict": event.verdict,
        "detail": clean(event.detail),
        "reply": clean(event.reply),
        "tenant_id": event.tenant_id,
        "account_id": event.account_id,
        "trace_id": event.trace_id,
        "queue_id": event.queue_id,
        "message_id_header": clean(event.message_id_header),
        "subject": clean(event.subject),
        "sender": clean(event.sender),
        "recipient": clean(event.recipient),
        "remote_ip": event.remote_ip,
        "data": _encode(event.data).decode().replace("\\u0000", "") if event.data else "{}",
    }


@overload
def clean(text: str) -> str: ...
@overload
def clean(text: None) -> None: ...
def clean(text: str | None) -> str | None:
    """Make text from a peer safe for every column: no NUL (PostgreSQL refuses it), no lone surrogate, at most 4 KiB."""
    if text is None:
        return None
    if text.isascii() and "\x00" not in text:
        return text[:4096]
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:4096]
