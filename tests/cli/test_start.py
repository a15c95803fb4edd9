"""The start-up budget: what a list command may import, and how long it may take."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.fake_api import FakeApi, uuid

_HEAVY = {"rich", "textual", "asyncio", "pydantic", "ruamel", "httpx", "server", "cryptography", "uvloop", "msgspec"}
_ROOT = Path(__file__).resolve().parents[2]
_CODE = "import os, sys; from mairust_cli.app import run; code = run(sys.argv[1:], os.environ); {after}; sys.exit(code)"


def _mairust(api: FakeApi, *arguments: str, after: str = "pass") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _CODE.format(after=after), *arguments],
        cwd=_ROOT,
        env={"MAIRUST_SOCKET": str(api.socket), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        "domain list",
        "domain show example.com",
        "account list",
        "alias list",
        "queue list",
        "status",
        "trace bob1@bigmail.example",
    ],
)
def test_lists_and_shows_load_nothing_heavy(command: str, api: FakeApi) -> None:
    done = _mairust(
        api, *command.split(), after="print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    assert done.returncode == 0, done.stderr
    assert not set(done.stderr.split()) & _HEAVY


def test_only_the_noun_that_is_called_is_imported(api: FakeApi) -> None:
    after = "print(*[m for m in sys.modules if m.startswith('mairust_cli.commands.')], file=sys.stderr)"
    done = _mairust(api, "domain", "list", after=after)
    assert all(name.startswith("mairust_cli.commands.domain") for name in done.stderr.split())


def test_the_command_never_imports_the_daemon() -> None:
    code = (
        "import sys, typer; from mairust_cli.app import root; from mairust_cli.commands.completion import walk;"
        "r = root(); walk(r, typer.Context(r), ()); print('server' in sys.modules, 'textual' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, timeout=15, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_domain_list_stays_within_its_budget(api: FakeApi) -> None:
    """150 ms at the median with 20 domains at rest; 400 ms of processor time here, because other tests share it."""
    api.state.domains = [{"id": uuid(n), "name": f"d{n}.example", "status": "active"} for n in range(20)]
    spent = []
    for _ in range(10):
        before = _children_s()
        assert _mairust(api, "domain", "list").returncode == 0
        spent.append(_children_s() - before)
    assert statistics.median(spent) < 0.4


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
