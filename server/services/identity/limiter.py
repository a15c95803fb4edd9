"""How often logins fail: one count over all protocols (security.md §4, T07). What follows is decided in `bans.py`.

- Failures count per IPv4 address or IPv6 /64, per wider network with three and nine times the allowance, and per
  address and login: turning through a provider's addresses does not help.
- The same wrong password for the same login counts once as long as it keeps coming: a phone with an old password bans
  nobody. SCRAM does not show the password: there, only the first few failures of a login count for the networks.
- Nothing locks an account: after 3 failures logins from places that never succeeded wait 1 to 8 s.
- Trusted networks are never counted. Every table is bounded; the oldest entry goes first.
"""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from server.config.schema import Login
from server.domain.ports import Clock
from server.services.identity.networks import is_within, place_of, tiers_of

V = TypeVar("V")

NETWORKS_MAX = 50_000
LOGINS_MAX = 50_000
MINUTE_S = 60.0
DAY_S = 86_400.0
REPEAT_S = DAY_S
"""How long a wrong password is remembered after it was last tried."""
UNSEEN_MAX = 5
"""Failures of one login by SCRAM that count for the networks around an address, each day."""
FREE_FAILURES = 3
DELAY_MAX_S = 8.0


@dataclass(slots=True)
class _Count:
    """Failures in the running minute and day."""

    minute_until: float = 0.0
    in_minute: int = 0
    day_until: float = 0.0
    in_day: int = 0

    def add(self, now: float) -> None:
        if now >= self.minute_until:
            self.minute_until, self.in_minute = now + MINUTE_S, 0
        if now >= self.day_until:
            self.day_until, self.in_day = now + DAY_S, 0
        self.in_minute += 1
        self.in_day += 1

    def excess(self, settings: Login, factor: int) -> float:
        """How many times the allowance is used up."""
        return max(
            self.in_minute / (settings.failures_per_minute * factor), self.in_day / (settings.failures_per_day * factor)
        )


@dataclass(slots=True)
class _Hold:
    """A login that does not exist, refused as one that does would be."""

    until: float = 0.0
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Over:
    """A network that has used up its allowance, `excess` times."""

    network: str
    excess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a failed login led to.

    Attributes:
        counted: False when it is the repeat of one that was counted.
        over: Networks over their allowance, narrowest first.
        pair_over: Whether this login alone has used up what its address may fail.
    """

    counted: bool
    over: tuple[Over, ...] = ()
    pair_over: bool = False


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


class LoginLimiter:
    """Counts failed logins of all protocols in this process."""

    def __init__(self, clock: Clock, settings: Callable[[], Login]) -> None:
        self._clock = clock
        self._settings = settings
        self._key = os.urandom(32)
        self._networks: _Bounded[_Count] = _Bounded(NETWORKS_MAX)
        self._pairs: _Bounded[_Count] = _Bounded(LOGINS_MAX)
        self._failures: _Bounded[int] = _Bounded(LOGINS_MAX)
        self._repeats: _Bounded[float] = _Bounded(LOGINS_MAX)
        self._held: _Bounded[_Hold] = _Bounded(LOGINS_MAX)

    def delay_s(self, login: str, ip: str, *, known: bool) -> float:
        """How long this attempt has to wait before it is looked at; `known`: the account has been there before."""
        failures = self._failures.get(login) or 0
        if failures < FREE_FAILURES or known or self._trusted(ip):
            return 0.0
        return min(DELAY_MAX_S, float(2 ** min(failures - FREE_FAILURES, 10)))

    def failed(self, login: str, ip: str, secret: bytes | None) -> Failure:
        """Count a failure.

        Args:
            secret: The wrong password; None where it is not known (SCRAM).
        """
        now = self._clock.monotonic()
        place = place_of(ip)
        if secret is not None and self._is_repeat(login, place, secret, now):
            return Failure(counted=False)
        self._failures.put(login, (self._failures.get(login) or 0) + 1)
        if self._trusted(ip):
            return Failure(counted=True)
        settings = self._settings()
        name = f"{place} {login}"
        pair = self._pairs.get(name) or _Count()
        pair.add(now)
        self._pairs.put(name, pair)
        over: list[Over] = []
        if secret is not None or pair.in_day <= UNSEEN_MAX:
            for tier in tiers_of(ip):
                count = self._networks.get(tier.network) or _Count()
                count.add(now)
                self._networks.put(tier.network, count)
                excess = count.excess(settings, tier.factor)
                if excess >= 1:
                    over.append(Over(tier.network, excess))
        return Failure(counted=True, over=tuple(over), pair_over=pair.excess(settings, 1) >= 1)

    def succeeded(self, login: str) -> None:
        """Forget the login's failures in a row."""
        if self._failures.get(login):
            self._failures.put(login, 0)

    def hold(self, login: str, ip: str) -> None:
        """Refuse a login that does not exist, for as long as a ban of one that does would last."""
        name = f"{place_of(ip)} {login}"
        now = self._clock.monotonic()
        held = self._held.get(name) or _Hold()
        if now < held.until:
            return
        held.until = now + min(DAY_S, self._settings().ban_duration * 2**held.strikes)
        held.strikes = min(held.strikes + 1, 20)
        self._held.put(name, held)

    def held_s(self, login: str, ip: str) -> int:
        """Whole seconds for which `hold` refuses."""
        held = self._held.get(f"{place_of(ip)} {login}")
        return 0 if held is None else max(0, int(held.until - self._clock.monotonic() + 0.999))

    def _is_repeat(self, login: str, place: str, secret: bytes, now: float) -> bool:
        digest = hmac.digest(self._key, login.encode("utf-8", "replace") + b"\x00" + secret, "sha256").hex()
        mark = f"{place} {digest}"
        last = self._repeats.get(mark)
        self._repeats.put(mark, now)
        return last is not None and now - last < REPEAT_S

    def _trusted(self, ip: str) -> bool:
        return is_within(ip, self._settings().trusted_networks)
