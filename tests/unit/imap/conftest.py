"""The running edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.imap_edge import ImapEdge, open_imap


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[ImapEdge]:
    """A server with two empty accounts; its store must be consistent at the end."""
    async with open_imap(tmp_path) as edge:
        yield edge
