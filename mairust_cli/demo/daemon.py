"""The daemon as the demo's child.

- It starts in a session of its own, so Ctrl-C reaches the demo, which then stops it in order.
- Its environment is empty but for the path, the locale and the zone; its log goes to a file in the folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mairust_cli.client.api import Client
from mairust_cli.commands.wait import ready
from mairust_cli.config_file import mairustd
from mairust_cli.demo.folder import DemoFolder
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe

START_S = 30.0
STOP_S = 20.0
LAST_WORDS = 300
_LOG_TAIL_OCTETS = 16_384
_KEPT = ("PATH", "TZ")


@contextmanager
def running(folder: DemoFolder, client: Client, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A ready daemon on the folder's configuration; stopped in order at the end, whatever happens.

    Raises:
        CliError: It ended, or was not ready in thirty seconds.
    """
    program = mairustd(environment)
    if program is None:
        why = "mairustd is neither beside mairust nor on the path"
        raise CliError("the daemon is not installed", code=Exit.FAILED, why=why, hint="install mairust")
    clean = {"LANG": "C.UTF-8", **{key: environment[key] for key in _KEPT if key in environment}}
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        child = subprocess.Popen(
            [program, "run", "--config", str(folder.config)],
            env=clean,
            cwd=folder.path,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    try:
        _await_ready(child, folder, client)
        yield child
    finally:
        _stop(child)


def ended(child: subprocess.Popen[bytes], folder: DemoFolder) -> CliError:
    """What to say when the daemon ended by itself."""
    why = f"it ended with {child.returncode}: {_last_words(folder)}"
    return CliError(
        "the daemon did not stay up", code=Exit.FAILED, why=why, hint=f"mairustd run --config {folder.config}"
    )


def _await_ready(child: subprocess.Popen[bytes], folder: DemoFolder, client: Client) -> None:
    deadline = time.monotonic() + START_S
    while not ready(client):
        if child.poll() is not None:
            raise ended(child, folder)
        if time.monotonic() > deadline:
            why = f"not ready in {START_S:g} s: {_last_words(folder)}"
            raise CliError("the daemon did not start", code=Exit.TIMED_OUT, why=why, hint=f"less {folder.log}")
        time.sleep(0.05)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM drains; a daemon that does not end in twenty seconds is killed."""
    if child.poll() is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _last_words(folder: DemoFolder) -> str:
    try:
        tail = folder.log.read_bytes()[-_LOG_TAIL_OCTETS:]
    except OSError:
        return "no log"
    lines = [line for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    return safe(_words(lines[-1]))[:LAST_WORDS] if lines else "nothing in its log"


def _words(line: str) -> str:
    """A line of the log without its structure: the event and its error."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict):
        return line
    return ": ".join(str(record[key]) for key in ("event", "error") if record.get(key))
