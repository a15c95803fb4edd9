"""A scripted API and a console on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mairust_cli.client.api import Client
from mairust_cli.client.endpoint import Endpoint
from mairust_cli.tui.app import Console
from tests.cli.fake_api import FakeApi


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    fake = FakeApi(tmp_path / "api.sock")
    yield fake
    fake.close()


@pytest.fixture
def console(api: FakeApi) -> Callable[..., Console]:
    def make(**options: bool) -> Console:
        endpoint = Endpoint(socket=str(api.socket))
        return Console(lambda: Client(endpoint, timeout_s=2.0), interval_s=0.2, **options)  # type: ignore[arg-type]

    return make
