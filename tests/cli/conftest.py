"""A scripted API and a way to run commands against it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mairust_cli.app import run
from tests.cli.fake_api import FakeApi


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Mairust = Callable[..., Result]


class _Stream(io.TextIOWrapper):
    def __init__(self, *, tty: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def text(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    fake = FakeApi(tmp_path / "api.sock")
    yield fake
    fake.close()


@pytest.fixture
def mairust(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Mairust:
    return runner({"MAIRUST_SOCKET": str(api.socket), "PATH": "/usr/bin:/bin"}, monkeypatch)


def runner(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Mairust:
    """A function that runs one command line in this process; `tty` makes a terminal of all three streams."""

    def invoke(*arguments: str, stdin: str = "", tty: bool = False) -> Result:
        out, err = _Stream(tty=tty), _Stream(tty=tty)
        given = _Stream(tty=tty)
        given.write(stdin)
        given.seek(0)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(sys, "stdin", given)
            code = run(arguments, environment)
        return Result(code, out.text(), err.text())

    return invoke
