"""A running ManageSieve server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.stream import sasl
from tests.support.managesieve_edge import SieveEdge, open_managesieve


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed login is answered at once."""
    monkeypatch.setattr(sasl, "FAILURE_DELAY_S", 0.0)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[SieveEdge]:
    async with open_managesieve(tmp_path) as edge:
        yield edge
