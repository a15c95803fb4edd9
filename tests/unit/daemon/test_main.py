"""`mairustd`'s commands: exit codes and one-line errors (config.md §3)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.__main__ import main
from server.adapters.secrets import MasterKeyMissing
from server.daemon.exits import ExitCode, StartFailure
from server.daemon.run import start_failure
from server.domain.errors import MaiRustError, Unavailable

GOOD = "server: {hostname: mail.example.test}\n"


@pytest.fixture(autouse=True)
def _own_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_check_config_says_good(config: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("check-config", config(GOOD)) == 0
    assert capsys.readouterr().out.endswith("config.yaml: good\n")


def test_check_config_names_each_fault_by_line_and_exits_78(
    config: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("check-config", "--config", config(GOOD + "smtp:\n  max_hopps: 3\n  max_hops: 3\n")) == 78
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("config.yaml:3: smtp.max_hopps: unknown key (did you mean max_hops?)")
    assert lines[1].endswith("config.yaml:4: smtp.max_hops: must be from 25 to 100, not 3")


def test_run_with_a_faulty_file_does_not_start(config: Callable[[str], str]) -> None:
    assert code_of("run", "--config", config("smtp: 3")) == 78


def test_a_missing_file_is_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "--config", str(tmp_path / "none.yaml")) == 78
    assert "no such file" in capsys.readouterr().err


def test_a_state_folder_open_to_others_is_77(
    config: Callable[[str], str], state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state_dir.chmod(0o755)
    text = f"server: {{hostname: m.example.test, state_dir: {state_dir}}}\nlog: {{level: error}}\n"
    assert code_of("run", "--config", config(text)) == 77
    assert "chmod 0700" in capsys.readouterr().err


def test_a_wrong_command_line_is_64(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("serve") == 64
    assert code_of("run", "--no-such-flag") == 64
    assert "Traceback" not in capsys.readouterr().err


def test_a_secret_variable_leaves_the_environment(
    config: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIRUST_DATABASE_URL", "postgres://u:hunter2@h/d")
    assert code_of("check-config", config(GOOD + "database: {type: postgres}\n")) == 0
    assert "MAIRUST_DATABASE_URL" not in os.environ


def test_the_program_imports_nothing_heavy_before_it_knows_its_command() -> None:
    heavy = ("uvloop", "litestar", "ruamel", "structlog")
    code = f"import sys, server.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StartFailure(ExitCode.LOCKED, "x"), 75),
        (MasterKeyMissing("master key: can't read /x"), 78),
        (Unavailable("the database does not answer"), 69),
        (MaiRustError("x"), 69),
        (ConnectionRefusedError(111, "refused"), 69),
        (PermissionError(13, "Permission denied", "/x"), 77),
        (OSError(28, "No space left on device", "/x"), 74),
        (ZeroDivisionError(), 70),
    ],
)
def test_every_failure_of_a_start_has_its_exit_code(error: Exception, code: int) -> None:
    failure = start_failure(error)
    assert failure.code == code
    assert "\n" not in failure.text


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """`mairustd openapi | head -1` says nothing on standard error."""
    with subprocess.Popen(
        [sys.executable, "-m", "server", "openapi"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"{\n"
        child.stdout.close()
        assert child.stderr.read() == b""
