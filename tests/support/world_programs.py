"""Other people's programs as tests run them: with a clean environment, a time limit, and their words when they fail.

- A missing program skips the test by name; `.ci/run` installs all of them.
- `run_on_terminal` is for programs that want one: a pseudo-terminal whose output is read away so that nothing blocks.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

PROGRAM_S = 15.0
"""How long one program may run."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip unless all these programs are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def environment(home: Path) -> dict[str, str]:
    """Nothing of the caller's environment but the path to programs."""
    path = f"{os.environ.get('PATH', '')}:/usr/bin:/bin:/usr/sbin"
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TERM": "vt100"}


def run(
    argv: Sequence[str | Path], home: Path, *, stdin: bytes = b"", timeout_s: float = PROGRAM_S, code: int | None = 0
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; its exit code must be `code` unless that is None."""
    done = subprocess.run(
        [str(word) for word in argv], input=stdin, capture_output=True, timeout=timeout_s, env=environment(home)
    )
    if code is not None and done.returncode != code:
        said = (done.stdout[-6000:] + b"\n" + done.stderr[-6000:]).decode("utf-8", "replace")
        raise AssertionError(f"{argv[0]} ended with {done.returncode}, not {code}:\n{said}")
    return done


def run_on_terminal(argv: Sequence[str | Path], home: Path, *, timeout_s: float = PROGRAM_S) -> bytes:
    """Run a program on a pseudo-terminal to its end, which must be 0; returns what it drew."""
    ours, theirs = pty.openpty()
    drawn: list[bytes] = []

    def read_away() -> None:
        while True:
            try:
                octets = os.read(ours, 65_536)
            except OSError:
                return
            if not octets:
                return
            drawn.append(octets)

    try:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(home),
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    reader = threading.Thread(target=read_away)
    reader.start()
    try:
        code = child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        code = -9
    reader.join()
    os.close(ours)
    if code != 0:
        raise AssertionError(f"{argv[0]} ended with {code}:\n{b''.join(drawn)[-6000:].decode('utf-8', 'replace')}")
    return b"".join(drawn)
