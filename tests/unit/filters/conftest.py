"""A store with anna@example.org and ben@example.org for tests of filters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.identity import Identity, open_identity


@pytest.fixture
async def identity(tmp_path: Path) -> AsyncIterator[Identity]:
    async with open_identity(tmp_path) as made:
        await made.account("anna@example.org")
        await made.account("ben@example.org")
        yield made
