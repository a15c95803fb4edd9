"""What the console knows of the server, fetched in a thread of its own.

- The thread talks to the API and posts messages; it never touches a widget.
- A lost daemon is looked for again after 1, 2, 4 and then every 6 seconds; the old data stays meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mairust_cli.client.api import Client, Json, items_of
from mairust_cli.exits import CliError, Exit
from mairust_cli.output import times
from mairust_cli.output.table import plain_cell

PAGE_ROWS = 200
INTERVAL_S = 2.0
RETRY_S = (1.0, 2.0, 4.0, 6.0)
_FILTERS = {"from": "from", "to": "recipient", "domain": "domain", "status": "status", "reason": "reason"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at the server.

    Attributes:
        queue: The first page of deliveries; None when the queue was not asked for.
        more: Whether the queue has more than that page.
    """

    status: Json
    queue: list[Json] | None
    more: bool
    taken_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """No answer, or a refusal in the daemon's words; the next try comes in `again_s` seconds."""

    refusal: str
    again_s: float


class Feed:
    """Fetches again and again until it is stopped.

    Args:
        connect: Makes a client for this thread alone.
        tell: Takes each result; must be safe to call from another thread.
    """

    def __init__(
        self, connect: Callable[[], Client], tell: Callable[[Snapshot | Lost], None], *, interval_s: float = INTERVAL_S
    ) -> None:
        self._connect = connect
        self._tell = tell
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._stopped = False
        self.with_queue = False
        self.filter: Json = {}

    def run(self) -> None:
        """The thread's body."""
        failures = 0
        client = self._connect()
        while not self._stopped:
            self._wake.clear()
            pause_s = self._interval_s
            try:
                self._tell(self._look(client))
                failures = 0
            except CliError as error:
                client.close()
                pause_s = RETRY_S[min(failures, len(RETRY_S) - 1)]
                failures += 1
                if not self._stopped:
                    words = "" if error.code is Exit.UNREACHABLE else plain_cell(error.what)
                    self._tell(Lost(refusal=words, again_s=pause_s))
            self._wake.wait(pause_s)
        client.close()

    def look_now(self) -> None:
        """Fetch at once rather than at the next turn."""
        self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def _look(self, client: Client) -> Snapshot:
        status = client.get("/system/status")
        queue, more = None, False
        if self.with_queue:
            query = {key: value for key, value in self.filter.items() if isinstance(value, str)}
            page = client.get("/queue", {**query, "limit": PAGE_ROWS})
            queue, more = items_of(page), page.get("next_cursor") is not None
        return Snapshot(status=status, queue=queue, more=more, taken_at=times.now())


def read_filter(text: str) -> Json:
    """A typed filter as query fields: `big.example`, `bob@big.example`, or `from:`, `to:`, `status:`, `reason:` words.

    Raises:
        ValueError: A word with an unknown name.
    """
    found: Json = {}
    for word in text.split():
        name, mark, value = word.partition(":")
        if not mark:
            found["recipient" if "@" in word else "domain"] = word
        elif name in _FILTERS and value:
            found[_FILTERS[name]] = value
        else:
            raise ValueError(f"filters are {', '.join(_FILTERS)}, not '{name}'")
    return found
