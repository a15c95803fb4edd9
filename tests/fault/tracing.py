"""strace on a running daemon: what it calls, in which order, and what breaks when a call fails or kills.

- Attached to a daemon that is ready, so `when=K` counts from there, per thread and syscall.
- `calls` joins the two halves of a call that another thread interrupted; `began` and `ended` are line numbers of the
  trace, so that "A ended before B began" is a comparison of integers.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

ATTACH_S = 10.0
SHOWN_OCTETS = 48
_LINE = re.compile(r"(\d+)\s+(.*)")
_WHOLE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+|\?)", re.DOTALL)
_BEGIN = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>$", re.DOTALL)
_END = re.compile(r"<\.\.\. (\w+) resumed>(.*)\)\s+= (-?\d+|\?)", re.DOTALL)


@cache
def available() -> bool:
    """Whether strace is there and may attach to a process that it did not start."""
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(["sleep", "5"]) as process:
        try:
            with Trace(process.pid, Path(os.devnull), syscalls=["none"]):
                return True
        except AssertionError:
            return False
        finally:
            process.kill()


@dataclass(slots=True)
class Call:
    """One system call; `ended` is None when the trace ends inside it, `result` -1 on failure."""

    pid: int
    name: str
    arguments: str
    began: int
    ended: int | None = None
    result: int = -1

    @property
    def ok(self) -> bool:
        return self.ended is not None and self.result >= 0

    @property
    def paths(self) -> list[str]:
        """File paths among the arguments: of descriptors, and quoted ones."""
        return re.findall(r"<(/[^>]*)>", self.arguments) + re.findall(r'"(/[^"]*)"', self.arguments)


class Trace:
    """strace attached to a process while the context lasts.

    Args:
        syscalls: What is shown.
        inject: strace's inject expressions, `fsync:error=EIO:when=2`.
    """

    def __init__(self, pid: int, output: Path, *, syscalls: Sequence[str], inject: Sequence[str] = ()) -> None:
        self._output = output
        wanted = ["-e", f"trace={','.join(syscalls)}"]
        for expression in inject:
            wanted += ["-e", f"inject={expression}"]
        self._process = subprocess.Popen(
            ["strace", "-f", "-yy", "-s", str(SHOWN_OCTETS), "-o", str(output), *wanted, "-p", str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Trace:
        stream = self._process.stderr
        assert stream is not None
        for line in stream:
            if b"attached" in line:
                return self
        self.stop()
        raise AssertionError(f"strace could not attach: exit code {self._process.returncode}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Detach; the process goes on."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        with contextlib.ExitStack() as cleanup:
            if self._process.stderr is not None:
                cleanup.callback(self._process.stderr.close)
            self._process.wait(ATTACH_S)

    def calls(self) -> list[Call]:
        """Everything seen, in the order in which it began; after `stop`."""
        return list(parse(self._output.read_text("utf-8", "replace").splitlines()))


def parse(lines: Sequence[str]) -> Iterator[Call]:
    """Calls of strace's `-f -o` output."""
    result: list[Call] = []
    open_calls: dict[int, Call] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if match is None:
            continue
        pid, text = int(match[1]), match[2]
        if begun := _BEGIN.match(text):
            open_calls[pid] = Call(pid, begun[1], begun[2], number)
            result.append(open_calls[pid])
        elif ended := _END.match(text):
            call = open_calls.pop(pid, None)
            if call is not None:
                call.arguments += ended[2]
                call.ended, call.result = number, _number(ended[3])
        elif whole := _WHOLE.match(text):
            result.append(Call(pid, whole[1], whole[2], number, number, _number(whole[3])))
    return iter(result)


def _number(text: str) -> int:
    return -1 if text == "?" else int(text)
