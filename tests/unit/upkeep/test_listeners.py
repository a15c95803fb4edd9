"""Which ports a server has by its settings, and whether they answer where they listen."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.config.load import load
from server.config.schema import Settings
from server.daemon.http import served
from server.services.upkeep.doctor import Severity, answers
from server.services.upkeep.status import Listener


def _settings(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(path, {}).settings


def test_only_services_of_the_hosts_roles_are_served(tmp_path: Path) -> None:
    settings = _settings(tmp_path, "server:\n  hostname: mail.example.com\n  roles: [smtp, http]\n")
    assert [(one.name, one.port) for one in served(settings)] == [("smtp", 25), ("api", 8080)]


def test_imap_that_is_off_is_not_served(tmp_path: Path) -> None:
    settings = _settings(tmp_path, "server:\n  hostname: mail.example.com\nimap:\n  enabled: false\n")
    assert [one.name for one in served(settings)] == ["smtp", "submission", "submissions", "managesieve", "api"]


def test_pop3_is_served_when_it_is_on(tmp_path: Path) -> None:
    text = "server:\n  hostname: mail.example.com\n  roles: [pop3]\n"
    assert served(_settings(tmp_path, text)) == []
    names = [(one.name, one.port) for one in served(_settings(tmp_path, text + "pop3:\n  enabled: true\n"))]
    assert names == [("pop3", 110), ("pop3s", 995)]


def test_listeners_know_where_they_listen(tmp_path: Path) -> None:
    """The unspecified address is reached at loopback."""
    settings = _settings(tmp_path, "server:\n  hostname: mail.example.com\n  bind: ['192.0.2.7', '::']\n")
    hosts = {one.name: one.hosts for one in served(settings)}
    assert hosts["smtp"] == ("192.0.2.7", "::1")
    assert hosts["api"] == ("127.0.0.1", "::1")


async def test_a_listener_on_one_address_answers_there() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.9", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await answers(Listener(name="smtp", port=port, hosts=("127.0.0.9",)))
    assert found.severity is not Severity.ERROR
    assert (await answers(Listener(name="smtp", port=port, hosts=("127.0.0.9",)))).severity is Severity.ERROR
