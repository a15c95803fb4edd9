"""The API on a fresh store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.api import Api, open_api


@pytest_asyncio.fixture
async def api(state_dir: Path) -> AsyncIterator[Api]:
    async with open_api(state_dir) as opened:
        yield opened
