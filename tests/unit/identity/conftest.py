"""Identity services on a fresh store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.identity import Identity, open_identity


@pytest_asyncio.fixture
async def identity(state_dir: Path) -> AsyncIterator[Identity]:
    async with open_identity(state_dir) as opened:
        yield opened
