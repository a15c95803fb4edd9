"""The signer (product item 13)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from server.protocol.emailauth.dkim import verify
from server.protocol.emailauth.dkim_key import KeyKind, load_private_key, make_key
from server.protocol.emailauth.result import Result
from server.services.submission.sign import LIFETIME_S, Signer, SigningKey
from tests.support.fake_dns import FakeResolver

T = TypeVar("T")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MESSAGE = b"From: ann@example.com\r\nTo: bob@example.net\r\nSubject: hi\r\n\r\nHello\r\n"


class _Clock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return 0.5


class _Worker:
    def __init__(self) -> None:
        self.threads: list[str] = []

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        def noted() -> T:
            self.threads.append(threading.current_thread().name)
            return work()

        return asyncio.to_thread(noted)


async def test_rsa_and_ed25519_together_off_the_loop() -> None:
    made = {"r": make_key(KeyKind.RSA_2048), "e": make_key(KeyKind.ED25519)}
    keys = [
        SigningKey(domain="example.com", selector=name, algorithm=algorithm, private_key=load_private_key(key.private))
        for (name, key), algorithm in zip(made.items(), ("rsa-sha256", "ed25519-sha256"), strict=True)
    ]
    worker = _Worker()
    prefix = await Signer(worker=worker, clock=_Clock()).sign(octets=MESSAGE, keys=keys)
    assert len(worker.threads) == 1
    assert worker.threads[0] != threading.main_thread().name
    assert prefix.count(b"DKIM-Signature: ") == 2
    assert prefix.endswith(b"\r\n")
    assert max(len(line) for line in prefix.splitlines()) <= 78
    assert f"x={int(NOW.timestamp()) + LIFETIME_S}".encode() in prefix
    resolver = FakeResolver({f"{name}._domainkey.example.com": {"TXT": [key.record]} for name, key in made.items()})
    results = await verify(prefix + MESSAGE, resolver=resolver, now=NOW)
    assert [result.result for result in results] == [Result.PASS, Result.PASS]


async def test_without_keys_there_is_no_field() -> None:
    worker = _Worker()
    assert await Signer(worker=worker, clock=_Clock()).sign(octets=MESSAGE, keys=[]) == b""
    assert worker.threads == []
