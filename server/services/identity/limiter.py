"""Who may try to log in: one limiter over all protocols (security.md §4, T07).

- Failures count per IPv4 address or IPv6 /64, and per wider network with three and nine times the allowance, so that
  turning through a provider's addresses does not help.
- The same wrong password for the same login counts once an hour: a phone with an old password bans nobody.
- A ban starts at `login.ban_duration` and doubles up to a day. Trusted networks are never counted or banned.
- Nothing locks an account: after 3 failures logins from networks that never succeeded wait 1 to 8 s.
- Every table is bounded; the oldest entry goes first.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from server.config.schema import Login
from server.domain.ports import Clock
from server.telemetry import metrics

V = TypeVar("V")

NETWORKS_MAX = 50_000
LOGINS_MAX = 50_000
MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86_400.0
BAN_MAX_S = DAY_S
FREE_FAILURES = 3
DELAY_MAX_S = 8.0
KNOWN_NETWORK_S = 30 * DAY_S
_TIERS_V4 = ((32, 1), (26, 3), (21, 9))
_TIERS_V6 = ((64, 1), (48, 3), (32, 9))


@dataclass(slots=True)
class _Count:
    """Failures of one network in the running minute and day, and its bans."""

    minute_until: float = 0.0
    in_minute: int = 0
    day_until: float = 0.0
    in_day: int = 0
    banned_until: float = 0.0
    bans: int = 0


@dataclass(slots=True)
class _Login:
    """Failures in a row of one login name, and the networks it has succeeded from."""

    failures: int = 0
    known: dict[str, float] = field(default_factory=dict)


class _Bounded(Generic[V]):
    """A dictionary that forgets what was used longest ago."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[str, V] = OrderedDict()

    def get(self, key: str) -> V | None:
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: str, value: V) -> None:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._limit:
            self._items.popitem(last=False)

    def values(self) -> list[V]:
        return list(self._items.values())


class LoginLimiter:
    """Counts failed logins of all protocols in this process."""

    def __init__(self, clock: Clock, settings: Callable[[], Login]) -> None:
        self._clock = clock
        self._settings = settings
        self._key = os.urandom(32)
        self._networks: _Bounded[_Count] = _Bounded(NETWORKS_MAX)
        self._logins: _Bounded[_Login] = _Bounded(LOGINS_MAX)
        self._repeats: _Bounded[float] = _Bounded(LOGINS_MAX)

    def banned_for_s(self, ip: str) -> int:
        """Whole seconds until the address may try again; 0 = now."""
        now = self._clock.monotonic()
        until = 0.0
        if not self._trusted(ip):
            for name, _factor in _networks_of(ip):
                count = self._networks.get(name)
                if count is not None:
                    until = max(until, count.banned_until)
        return max(0, int(until - now + 0.999))

    def delay_s(self, login: str, ip: str) -> float:
        """How long this attempt has to wait before it is looked at."""
        found = self._logins.get(login)
        if found is None or found.failures < FREE_FAILURES or self._trusted(ip):
            return 0.0
        seen = found.known.get(_networks_of(ip)[0][0])
        if seen is not None and self._clock.monotonic() - seen < KNOWN_NETWORK_S:
            return 0.0
        return min(DELAY_MAX_S, float(2 ** min(found.failures - FREE_FAILURES, 10)))

    def failed(self, login: str, ip: str, password: bytes | None) -> bool:
        """Count a failure; False when it is the repeat of one already counted.

        Args:
            password: None where it is not known (SCRAM): such failures always count.
        """
        now = self._clock.monotonic()
        if password is not None:
            digest = hmac.digest(self._key, login.encode("utf-8", "replace") + b"\x00" + password, "sha256").hex()
            mark = f"{_networks_of(ip)[0][0]} {digest}"
            counted = self._repeats.get(mark)
            if counted is not None and now - counted < HOUR_S:
                return False
            self._repeats.put(mark, now)
        entry = self._logins.get(login) or _Login()
        entry.failures += 1
        self._logins.put(login, entry)
        if not self._trusted(ip):
            for name, factor in _networks_of(ip):
                self._count(name, factor, now)
        return True

    def succeeded(self, login: str, ip: str) -> None:
        """Forget the login's failures and remember the network as one of its own."""
        entry = self._logins.get(login) or _Login()
        entry.failures = 0
        entry.known[_networks_of(ip)[0][0]] = self._clock.monotonic()
        while len(entry.known) > 20:
            entry.known.pop(min(entry.known, key=lambda name: entry.known[name]))
        self._logins.put(login, entry)

    def _count(self, name: str, factor: int, now: float) -> None:
        settings = self._settings()
        count = self._networks.get(name) or _Count()
        if now >= count.minute_until:
            count.minute_until, count.in_minute = now + MINUTE_S, 0
        if now >= count.day_until:
            count.day_until, count.in_day, count.bans = now + DAY_S, 0, 0
        count.in_minute += 1
        count.in_day += 1
        if now >= count.banned_until and (
            count.in_minute >= settings.failures_per_minute * factor
            or count.in_day >= settings.failures_per_day * factor
        ):
            count.banned_until = now + min(BAN_MAX_S, settings.ban_duration * 2**count.bans)
            count.bans = min(count.bans + 1, 20)
            metrics.BANS_ACTIVE.set(1 + sum(1 for other in self._networks.values() if other.banned_until > now))
        self._networks.put(name, count)

    def _trusted(self, ip: str) -> bool:
        try:
            address = _address(ip)
        except ValueError:
            return False
        return any(address in network for network in self._settings().trusted_networks)


def _address(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(ip)
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _networks_of(ip: str) -> list[tuple[str, int]]:
    """The networks an address counts for, narrowest first, with their factors; an unknown form counts alone."""
    try:
        address = _address(ip)
    except ValueError:
        return [(f"? {ip[:64]}", 1)]
    tiers = _TIERS_V4 if address.version == 4 else _TIERS_V6
    bits = int(address)
    width = address.max_prefixlen
    return [(f"{address.version} {bits >> (width - length):x}/{length}", factor) for length, factor in tiers]
