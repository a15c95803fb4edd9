"""A running POP3 server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.stream import sasl
from tests.support.pop3_edge import Pop3Edge, open_pop3


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed login is answered at once."""
    monkeypatch.setattr(sasl, "FAILURE_DELAY_S", 0.0)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Pop3Edge]:
    async with open_pop3(tmp_path) as edge:
        yield edge
