"""Fixtures for every test: the production event loop, and a state folder of its own."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Tests run on the loop that the daemon runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """An empty folder with the mode of a state folder."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder
