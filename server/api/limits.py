"""How many requests a caller may make: a bucket per credential, and per address without one (api.md §1).

- Buckets refill evenly; the tables are bounded, the caller seen longest ago is forgotten first.
- A credential has at most `CONCURRENT_MAX` requests at once, long ones such as event streams among them.
- The admin socket is not limited: whoever may open it is the owner.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from server.config.schema import Api
from server.domain.errors import RateLimited
from server.domain.ports import Clock

CALLERS_MAX = 20_000
CONCURRENT_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What the `RateLimit-*` fields say."""

    limit: int
    remaining: int
    reset_s: int


class RateLimits:
    """Counts requests by caller."""

    def __init__(self, clock: Clock, settings: Callable[[], Api]) -> None:
        self._clock = clock
        self._settings = settings
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._open: Counter[str] = Counter()

    def credential(self, key_id: str) -> Allowance:
        """Take one request of a credential. Raises RateLimited."""
        return self._take(f"key {key_id}", self._settings().rate_per_minute)

    def address(self, ip: str) -> Allowance:
        """Take one request of an address (IPv6: its /64). Raises RateLimited."""
        return self._take(f"ip {_network(ip)}", self._settings().anonymous_rate_per_minute)

    @contextmanager
    def place(self, key_id: str | None) -> Iterator[None]:
        """Count a request while it runs; None = without a key, not counted. Raises RateLimited."""
        if key_id is None:
            yield
            return
        if self._open[key_id] >= CONCURRENT_MAX:
            raise RateLimited(f"at most {CONCURRENT_MAX} requests at once", retry_after_s=1)
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]

    def _take(self, name: str, per_minute: int) -> Allowance:
        now = self._clock.monotonic()
        level, seen = self._buckets.get(name, (float(per_minute), now))
        level = min(float(per_minute), level + (now - seen) * per_minute / 60)
        if level < 1:
            self._buckets[name] = (level, now)
            raise RateLimited("too many requests", retry_after_s=max(1, int((1 - level) * 60 / per_minute + 0.999)))
        self._buckets[name] = (level - 1, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > CALLERS_MAX:
            self._buckets.popitem(last=False)
        remaining = int(level - 1)
        return Allowance(limit=per_minute, remaining=remaining, reset_s=int((per_minute - remaining) * 60 / per_minute))


def _network(ip: str) -> str:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{int(address) >> 64:x}"
    return ip
