"""server.daemon.lock: one daemon on one state folder (F17, T32)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.daemon.exits import ExitCode, StartFailure
from server.daemon.lock import StateLock, prepare_state_folder

RACER = """
import sys, time
from pathlib import Path
from server.daemon.lock import StateLock
from server.daemon.exits import StartFailure
sys.stdin.readline()
try:
    with StateLock(Path(sys.argv[1])):
        print("won", flush=True)
        sys.stdin.readline()
except StartFailure as failure:
    print(int(failure.code), failure.text, flush=True)
"""


def test_f17_a_second_daemon_is_refused_with_75_naming_the_first(state_dir: Path) -> None:
    with StateLock(state_dir):
        began = time.monotonic()
        with pytest.raises(StartFailure, match=f"in use by process {os.getpid()}") as caught:
            StateLock(state_dir)
        assert caught.value.code is ExitCode.LOCKED
        assert time.monotonic() - began < 1.0
    StateLock(state_dir).close()


def test_f17_of_many_that_start_at_once_one_wins(state_dir: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    lines: list[str] = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        assert racer.stdout is not None
        lines.append(racer.stdout.readline())
    for racer in racers:
        racer.communicate("\n", timeout=10)
    assert sorted(line.split()[0] for line in lines) == ["75", "75", "75", "won"]


def test_the_lock_of_a_killed_daemon_is_free(state_dir: Path) -> None:
    racer = subprocess.Popen(
        [sys.executable, "-c", RACER, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with racer:
        assert racer.stdin is not None
        assert racer.stdout is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
        assert racer.stdout.readline() == "won\n"
        racer.kill()
    StateLock(state_dir).close()


def test_a_missing_state_folder_is_made_with_mode_0700(tmp_path: Path) -> None:
    prepare_state_folder(tmp_path / "a" / "state")
    assert (tmp_path / "a" / "state").stat().st_mode & 0o777 == 0o700


def test_t32_a_folder_open_to_others_a_link_or_a_file_is_refused(tmp_path: Path, state_dir: Path) -> None:
    (tmp_path / "link").symlink_to(state_dir)
    (tmp_path / "file").write_text("")
    state_dir.chmod(0o750)
    for path, words in ((state_dir, "chmod 0700"), (tmp_path / "link", "symbolic link"), (tmp_path / "file", "exists")):
        with pytest.raises(StartFailure, match=words) as caught:
            prepare_state_folder(path)
        assert caught.value.code is ExitCode.PERMISSIONS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_t32_a_folder_of_another_user_is_refused(state_dir: Path) -> None:
    os.chown(state_dir, 65534, 65534)
    with pytest.raises(StartFailure, match="belongs to uid 65534"):
        prepare_state_folder(state_dir)


def test_t32_a_link_planted_at_the_lock_is_not_followed(tmp_path: Path, state_dir: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (state_dir / "lock").symlink_to(target)
    with pytest.raises(StartFailure):
        StateLock(state_dir)
    assert target.read_text() == "precious"
