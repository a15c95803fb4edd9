"""server.daemon.reload: all or nothing (config.md §1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.config.load import ConfigError, load
from server.config.schema import Settings
from server.daemon.reload import Reloader, ReloadFailed

HOST = "server: {hostname: mail.example.test}\n"


@dataclass
class Parts:
    """The running daemon, as the reloader sees it."""

    path: Path
    refuses: int = 0
    given: list[Settings] = field(default_factory=list)

    async def apply(self, settings: Settings) -> None:
        self.given.append(settings)
        if settings.smtp.max_hops == self.refuses:
            raise OSError("no room")

    def write(self, text: str) -> None:
        self.path.write_text(HOST + text)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    made = Parts(tmp_path / "config.yaml")
    made.write("smtp: {max_hops: 30}\n")
    return made


@pytest.fixture
async def reloader(parts: Parts) -> AsyncIterator[Reloader]:
    made = Reloader(settings=load(parts.path, {}).settings, path=parts.path, environ={}, apply=parts.apply)
    yield made
    made.close()


async def test_reloadable_keys_are_applied_and_the_rest_reported(parts: Parts, reloader: Reloader) -> None:
    parts.write("smtp: {max_hops: 40}\napi: {swagger: false}\n")
    result = await reloader.reload()
    assert (result.applied, result.restart_required) == (("smtp.max_hops",), ("api.swagger",))
    assert parts.given == [reloader.settings]
    assert reloader.settings.smtp.max_hops == 40
    assert reloader.settings.api.swagger


async def test_a_faulty_file_leaves_everything_as_it_was(parts: Parts, reloader: Reloader) -> None:
    before = reloader.settings
    parts.write("smtp: {max_hops: 40}\nsmtpd: {}\n")
    with pytest.raises(ConfigError):
        await reloader.reload()
    assert reloader.settings is before
    assert parts.given == []


async def test_a_part_that_refuses_gets_its_old_settings_back(parts: Parts, reloader: Reloader) -> None:
    before, parts.refuses = reloader.settings, 41
    parts.write("smtp: {max_hops: 41}\n")
    with pytest.raises(ReloadFailed, match="no room"):
        await reloader.reload()
    assert parts.given[-1] is before
    assert reloader.settings is before


async def test_an_unchanged_file_disturbs_nobody(parts: Parts, reloader: Reloader) -> None:
    result = await reloader.reload()
    assert result.applied == ()
    assert parts.given == []
