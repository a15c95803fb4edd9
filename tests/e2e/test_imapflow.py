"""imapflow, the library of many web mail programs: everything it does, with IMAP4rev2 or QRESYNC where it uses them.

- Its packages are pinned with their hashes in `imapflow/package-lock.json` and installed into the test's own folder;
  where npm cannot have them, the test is skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import mailbox_of, trust_file
from tests.support.world_programs import environment, needs

pytestmark = [needs("node", "npm"), pytest.mark.timeout(240)]

Person = Callable[[], str]
HERE = Path(__file__).parent / "imapflow"
INSTALL_S = 90.0
RUN_S = 60.0
OLD = {"disableIMAP4rev2": True, "disableBinary": True}


@pytest.fixture(scope="module")
def imapflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `require("imapflow")` works."""
    folder = tmp_path_factory.mktemp("imapflow")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    # With the caller's environment, which may say where packages come from.
    argv = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        pytest.skip("npm has not installed imapflow in time")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install imapflow: {done.stderr[-500:]}")
    return folder


@pytest.mark.parametrize(
    ("options", "enabled"),
    [({}, ["CONDSTORE", "IMAP4REV2", "QRESYNC", "UTF8=ACCEPT"]), (OLD, ["CONDSTORE", "QRESYNC", "UTF8=ACCEPT"])],
    ids=["rev2", "rev1"],
)
def test_imapflow_lists_appends_fetches_flags_moves_searches_and_idles(
    office: DaemonProcess, person: Person, imapflow: Path, options: dict[str, bool], enabled: list[str]
) -> None:
    owner = person()
    seen = _run(office, owner, imapflow, options)
    assert seen["enabled"] == enabled
    assert seen["folders"] == {
        "INBOX": "\\Inbox",
        "Archive": "\\Archive",
        "Drafts": "\\Drafts",
        "Junk": "\\Junk",
        "Sent": "\\Sent",
        "Trash": "\\Trash",
    }
    assert seen["exists"] == seen["lastUid"] == 4
    assert seen["first"] == {
        "subject": "one",
        "type": "text/plain",
        "flags": ["$Work"],
        "date": "2026-11-22T10:00:00.000Z",
        "whole": True,
        "size": True,
        "objects": True,
    }
    assert seen["downloaded"]
    assert seen["quota"]
    assert (seen["flagged"], seen["bodies"], seen["orred"]) == ([2], [3], [1, 4])
    assert (seen["moved"], seen["left"]) == ([3], [2, 4])
    assert (seen["vanished"], seen["changed"], seen["since"]) == ([1, 3], [2], [2])
    assert seen["arrived"] == 3
    assert seen["told"] == ["$Work", "\\Answered"]
    assert seen["gone"] == 2
    with mailbox_of(office, owner) as client:
        client.select("Archive", readonly=True)
        assert client.search(None, "SUBJECT", "three")[1] == [b"1"]


def _run(office: DaemonProcess, owner: str, folder: Path, options: dict[str, bool]) -> dict[str, Any]:
    done = subprocess.run(
        ["node", HERE / "client.mjs"],
        cwd=folder,
        env=environment(folder)
        | {
            "IMAP_PORT": str(office.ports.imaps),
            "IMAP_USER": owner,
            "IMAP_PASSWORD": PASSWORD,
            "IMAP_CA": str(trust_file(office)),
            "IMAP_OPTIONS": json.dumps(options),
        },
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
