"""The quick tier: a few thousand operations and one crash; `python -m tests.differential` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.differential.__main__ import ROLES, SETTINGS
from tests.differential.trial import Run
from tests.support.daemon_process import DaemonProcess


@pytest.mark.timeout(120)
async def test_sessions_pop3_and_api_agree_with_the_model(tmp_path: Path) -> None:
    """RFC 9051 §2.3, §7.5; RFC 7162: flags, UIDs, modseqs, numbers and expunges, over a kill -9."""
    with DaemonProcess(tmp_path, roles=ROLES, settings=SETTINGS) as daemon:
        outcome = await Run(daemon, sessions=5, seed=7).go(1500, kills=1)
    assert outcome.faults == []
    assert outcome.kills == 1
