"""What the edge tells its operators: metrics, logs, and settings taken from the configuration."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from dataclasses import replace

import pytest

from server.config.schema import Settings
from server.domain.reply import reply
from server.smtp import listener
from server.smtp.settings import smtp_settings
from server.telemetry.metrics import REGISTRY
from tests.support.smtp_edge import SETTINGS, running_edge

MESSAGE = b"From: a@b.example\r\n\r\nbody\r\n"


def _value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"mairust_{name}", labels) or 0.0


async def test_connections_messages_and_errors_are_counted() -> None:
    """api.md §9."""
    names = (
        ("smtp_connections_total", {"listener": "smtp"}),
        ("smtp_messages_total", {"listener": "smtp", "verdict": "accepted"}),
        ("smtp_messages_total", {"listener": "smtp", "verdict": "refused"}),
        ("smtp_messages_total", {"listener": "smtp", "verdict": "deferred"}),
        ("smtp_errors_total", {"listener": "smtp", "code": "550"}),
        ("smtp_duration_seconds_count", {"stage": "reception"}),
    )
    before = [_value(name, **labels) for name, labels in names]
    async with running_edge() as edge:
        client = await edge.connect()
        assert _value("smtp_open_connections", listener="smtp") == 1
        for answer in (reply(250, "2.0.0", "Ok"), reply(550, "5.7.1", "No"), reply(451, "4.3.0", "Later")):
            edge.reception.answer = answer
            await client.envelope()
            await client.ask(MESSAGE + b".")
    after = [_value(name, **labels) for name, labels in names]
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 1, 1, 1, 1, 3]
    assert _value("smtp_open_connections", listener="smtp") == 0


async def test_logins_that_never_reach_the_login_service_are_counted() -> None:
    labels = {"protocol": "submission", "result": "malformed"}
    before = _value("auth_attempts_total", **labels)
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        assert (await client.ask(b"AUTH PLAIN !!!")).startswith(b"501")
    assert _value("auth_attempts_total", **labels) - before == 1


class _Log:
    """Takes what the listener logs."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __getattr__(self, _: str) -> object:
        return lambda event, **fields: self.events.append((event, fields))


@pytest.mark.parametrize("reset", [False, True])
async def test_an_acknowledgement_that_could_not_be_written_is_logged(
    monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    """reliability.md §2 M4, F15."""
    log = _Log()
    monkeypatch.setattr(listener, "log", log)
    async with running_edge() as edge:
        go = asyncio.Event()
        edge.reception.before_answer = go.wait  # type: ignore[assignment]
        client = await edge.connect()
        await client.envelope()
        await client.send(MESSAGE + b".\r\n")
        await asyncio.sleep(0.05)
        if reset:
            client.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        client.close()
        await asyncio.sleep(0.05)
        go.set()
        while edge.server.open_connections:
            await asyncio.sleep(0.01)
    assert len(edge.reception.received) == 1
    assert [(event, fields["reply"]) for event, fields in log.events] == [
        ("smtp.ack_not_delivered", "250 2.0.0 Ok: stored")
    ]


async def test_an_acknowledgement_that_arrived_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    log = _Log()
    monkeypatch.setattr(listener, "log", log)
    async with running_edge() as edge:
        client = await edge.connect()
        await client.envelope()
        await client.ask(MESSAGE + b".")
        await client.ask(b"QUIT")
    assert log.events == []


def test_settings_come_from_the_configuration() -> None:
    settings = smtp_settings(Settings())
    assert settings.max_message_size == 52_428_800
    assert settings.max_recipients == 1000
    assert (settings.max_connections, settings.max_connections_per_ip, settings.connections_per_minute) == (
        2000,
        30,
        300,
    )
    assert (settings.command_timeout_s, settings.data_timeout_s) == (300.0, 180.0)
    assert not settings.normalise_newlines
    assert ipaddress.ip_network("127.0.0.0/8") in settings.exempt_networks
    assert settings.trusted_proxies == ()


async def test_other_settings_apply_to_the_next_connection() -> None:
    async with running_edge() as edge:
        first = await edge.connect()
        edge.server.reconfigure(replace(SETTINGS, max_message_size=1234))
        second = await edge.connect()
        assert b"SIZE 52428800" in await first.ask(b"EHLO c.example")
        assert b"SIZE 1234\r\n" in await second.ask(b"EHLO c.example")
