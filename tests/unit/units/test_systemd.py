"""The unit files: accepted by systemd, hardened as far as promised, named as the daemon expects (packaging.md §5)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from server.config.schema import Server

UNITS = Path(__file__).parents[3] / "systemd"
SYSTEM_UNITS = Path("/lib/systemd/system")
PORT_KEYS = {
    **{name: f"{name}_port" for name in ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")},
    "managesieve": "sieve_port",
}
SOCKET_NAMES = (*PORT_KEYS, "rest", "api")
EXPOSURE_MAX = 16
"""Tenths of a point of `systemd-analyze security`."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not SYSTEM_UNITS.is_dir(), reason="systemd is not installed"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with our units, systemd's targets, and the programs they name."""
    ours, theirs = tmp_path / "etc/systemd/system", tmp_path / "usr/lib/systemd/system"
    ours.mkdir(parents=True)
    theirs.mkdir(parents=True)
    for unit in UNITS.iterdir():
        if unit.suffix in {".service", ".socket", ".target"}:
            shutil.copy(unit, ours)
    for pattern in ("*.target", "*.slice"):
        for unit in SYSTEM_UNITS.glob(pattern):
            shutil.copy(unit, theirs, follow_symlinks=True)
    for program in ("usr/sbin/mairustd", "bin/kill"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


def analyze(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments[:1], f"--root={root}", *arguments[1:]],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


def values(unit: str, key: str) -> Sequence[str]:
    lines = (UNITS / unit).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


@needs_systemd
def test_systemd_accepts_every_unit_without_a_word(root: Path) -> None:
    names = [path.name for path in sorted((root / "etc/systemd/system").iterdir())]
    done = analyze(root, "verify", "--man=no", *names)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_service_is_exposed_at_most_as_far_as_promised(root: Path) -> None:
    done = analyze(root, "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", "mairustd.service")
    assert done.returncode == 0, done.stdout


def test_each_listener_has_a_socket_unit_with_its_name() -> None:
    units = {path.name.removeprefix("mairust-").removesuffix(".socket"): path for path in UNITS.glob("*.socket")}
    assert set(units) == set(SOCKET_NAMES)
    for name, path in units.items():
        assert values(path.name, "FileDescriptorName") == [name]
        assert values(path.name, "Service") == ["mairustd.service"]
        assert values(path.name, "Backlog") == ["1024"]


@pytest.mark.parametrize("name", PORT_KEYS)
def test_socket_units_listen_on_the_ports_of_the_defaults(name: str) -> None:
    assert values(f"mairust-{name}.socket", "ListenStream") == [str(getattr(Server(), PORT_KEYS[name]))]


def test_the_api_sockets_are_those_of_the_defaults() -> None:
    port = Server().api_port
    assert values("mairust-rest.socket", "ListenStream") == [f"127.0.0.1:{port}", f"[::1]:{port}"]
    assert values("mairust-api.socket", "ListenStream") == [str(Server().admin_socket)]
    assert values("mairust-api.socket", "SocketGroup") == [Server().admin_group]
    assert values("mairust-api.socket", "SocketMode") == ["0660"]


def test_configuration_and_locked_state_are_not_restarted() -> None:
    assert values("mairustd.service", "RestartPreventExitStatus") == ["75 77 78"]
    assert values("mairustd.service", "RuntimeDirectory") == []
