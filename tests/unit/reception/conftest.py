"""The doors on a fresh store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.doors import Doors, open_doors

ZONE = {
    "outside.example": {"TXT": ["v=spf1 ip4:192.0.2.7 -all"]},
    "_dmarc.strict.example": {"TXT": ["v=DMARC1; p=reject"]},
    "_dmarc.wary.example": {"TXT": ["v=DMARC1; p=quarantine"]},
    "down.example": {"*": "SERVFAIL"},
    "_dmarc.down.example": {"*": "SERVFAIL"},
}


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    async with open_doors(tmp_path, ZONE) as made:
        yield made
