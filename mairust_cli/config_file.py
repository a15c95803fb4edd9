"""The configuration file, edited with its comments kept and never left half written.

- A new text is checked by `mairustd check-config` before it replaces the old one; the old one goes to `history/`.
- Replacing is atomic (write, fsync, rename) and keeps mode and owner.
- ruamel.yaml is loaded only here, so commands that list and show stay quick.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from mairust_cli.exits import CliError, Exit
from mairust_cli.hoist import Options

SYSTEM_PATH = Path("/etc/mairust/config.yaml")
VERSIONS_KEPT = 20
CHECK_S = 30
FILE_OCTETS = 1024 * 1024
_EMPTY = "# MaiRust configuration; all keys with their defaults: mairust config show --effective\n"

ConfigMap = dict[str, object]


def config_path(given: str | None, environment: Mapping[str, str]) -> Path | None:
    """The file of the flag, of `MAIRUST_CONFIG`, `/etc/mairust/config.yaml`, or `./config.yaml`; None without any."""
    named = given or environment.get("MAIRUST_CONFIG")
    if named:
        return Path(named)
    return next((path for path in (SYSTEM_PATH, Path("config.yaml")) if path.is_file()), None)


def required_path(given: str | None, environment: Mapping[str, str]) -> Path:
    """Like `config_path`.

    Raises:
        CliError: There is none (exit 7).
    """
    path = config_path(given, environment)
    if path is None or not path.is_file():
        why = str(path) if path else f"neither {SYSTEM_PATH} nor ./config.yaml"
        raise CliError("there is no configuration file", code=Exit.INVALID, why=why, hint="sudo mairust setup")
    return path


def read_text(path: Path) -> str:
    """The file's text.

    Raises:
        CliError: Unreadable, too large, or not UTF-8.
    """
    try:
        octets = path.read_bytes()
        if len(octets) > FILE_OCTETS:
            raise CliError("the configuration file is too large", code=Exit.INVALID, why=f"{path}: over 1 MiB")
        return octets.decode()
    except PermissionError:
        raise CliError(
            "the configuration file can not be read", code=Exit.NOT_ALLOWED, why=str(path), hint="the same with sudo"
        ) from None
    except OSError as error:
        raise CliError(
            "the configuration file can not be read", code=Exit.INVALID, why=f"{path}: {error.strerror}"
        ) from None
    except ValueError:
        raise CliError("the configuration file is not UTF-8", code=Exit.INVALID, why=str(path)) from None


def load(text: str, path: Path) -> ConfigMap:
    """The text as plain values.

    Raises:
        CliError: Not YAML, or not a map (exit 7).
    """
    return _parsed(text, path, typ="safe")


def edited(text: str, path: Path, edit: Callable[[ConfigMap], None]) -> str:
    """The text after `edit` changed its map in place, comments and order kept."""
    from ruamel.yaml import YAML

    document = _parsed(text or _EMPTY + "{}\n", path, typ="rt")
    edit(document)
    writer = YAML(typ="rt")
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.width = 4096
    out = io.StringIO()
    writer.dump(document, out)
    return out.getvalue()


def scalar(text: str) -> object:
    """A value typed on the command line, read as YAML: `25`, `true`, `[a, b]`, or a string.

    Raises:
        CliError: It has a control or formatting character, which YAML would not give back as it is.
    """
    if not text.isprintable():
        raise CliError(
            "the value has a control character", code=Exit.INVALID, why=text, hint="mairust config set --help"
        )
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError):
        return text
    return value if isinstance(value, (str, int, float, bool, list, dict)) or value is None else text


def set_key(document: ConfigMap, key: str, value: object) -> None:
    """Set a dotted key, making the sections above it.

    Raises:
        CliError: A part of the key holds a plain value.
    """
    *sections, last = _parts(key)
    here = document
    for section in sections:
        inner = here.setdefault(section, {})
        if inner is None:
            inner = here[section] = {}
        if not isinstance(inner, dict):
            raise CliError(f"'{section}' is no section", code=Exit.INVALID, why=key, hint="mairust config show")
        here = inner
    here[last] = value


def unset_key(document: ConfigMap, key: str) -> bool:
    """Remove a dotted key, and sections that are empty then; whether it was there."""
    *sections, last = _parts(key)
    trail = [document]
    for section in sections:
        inner = trail[-1].get(section)
        if not isinstance(inner, dict):
            return False
        trail.append(inner)
    if last not in trail[-1]:
        return False
    del trail[-1][last]
    for depth in range(len(sections), 0, -1):
        if trail[depth]:
            break
        del trail[depth - 1][sections[depth - 1]]
    return True


def get_key(document: ConfigMap, key: str) -> tuple[bool, object]:
    """Whether a dotted key is in the file, and its value."""
    here: object = document
    for part in _parts(key):
        if not isinstance(here, dict) or part not in here:
            return False, None
        here = here[part]
    return True, here


def options_for(options: Options, path: Path) -> Options:
    """The options that reach the daemon of this file: one in another place names its own socket; a flag comes first."""
    if options.socket or options.url or path == SYSTEM_PATH or not path.is_file():
        return options
    found, value = get_key(load(read_text(path), path), "server.admin_socket")
    return replace(options, socket=str(value)) if found and isinstance(value, str) else options


def mairustd(environment: Mapping[str, str]) -> str | None:
    """The daemon's executable: beside this interpreter, else on the path."""
    beside = Path(sys.executable).parent / "mairustd"
    if beside.is_file():
        return str(beside)
    return shutil.which("mairustd", path=environment.get("PATH", "/usr/sbin:/usr/bin") + ":/usr/sbin")


def check_file(path: Path) -> list[str]:
    """The faults `mairustd check-config` finds, one a line; empty when the file is valid.

    Raises:
        CliError: The daemon's executable is missing or hangs.
    """
    program = mairustd(os.environ)
    if program is None:
        why = "mairustd is neither beside mairust nor on the path"
        raise CliError("the configuration can not be checked", code=Exit.FAILED, why=why, hint="install mairust")
    try:
        done = subprocess.run(
            [program, "check-config", "--config", str(path)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CHECK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CliError("the configuration can not be checked", code=Exit.FAILED, why=str(error)) from None
    if done.returncode == 0:
        return []
    told = [line.removeprefix("mairustd: ") for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return told or [f"mairustd check-config ended with {done.returncode}"]


def replace_file(path: Path, text: str, *, check: bool = True) -> None:
    """Check a new text and put it in the place of the old one, which is kept in `history/`.

    Raises:
        CliError: Faults (exit 7, all named), or no right to write (exit 4).
    """
    try:
        mode, owner = _mode_and_owner(path)
        handle, name = tempfile.mkstemp(prefix=".config-", suffix=".yaml", dir=path.parent)
    except PermissionError:
        raise CliError(
            "the file can not be written", code=Exit.NOT_ALLOWED, why=str(path), hint="the same with sudo"
        ) from None
    except OSError as error:
        raise CliError("the file can not be written", code=Exit.FAILED, why=f"{path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        if os.geteuid() == 0:
            os.chown(name, *owner)
        faults = check_file(Path(name)) if check else []
        if faults:
            why = "; ".join(fault.replace(name, path.name).replace(Path(name).name, path.name) for fault in faults)
            raise CliError("the configuration is not valid, nothing was changed", code=Exit.INVALID, why=why)
        _keep_version(path)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


def _mode_and_owner(path: Path) -> tuple[int, tuple[int, int]]:
    """A new file belongs to the group of its folder, which the daemon is in."""
    if not path.exists():
        return 0o640, (os.geteuid(), path.parent.stat().st_gid)
    status = path.stat()
    return status.st_mode & 0o777, (status.st_uid, status.st_gid)


def _keep_version(path: Path) -> None:
    if not path.exists():
        return
    history = path.parent / "history"
    history.mkdir(mode=0o700, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = history / f"{path.name}.{stamp}.{time.time_ns() % 1_000_000_000:09d}"
    shutil.copy2(path, kept)
    for old in sorted(history.glob(f"{path.name}.*"))[:-VERSIONS_KEPT]:
        old.unlink(missing_ok=True)


def _parsed(text: str, path: Path, *, typ: str) -> ConfigMap:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    reader = YAML(typ=typ, pure=True)
    reader.allow_duplicate_keys = False
    try:
        document = reader.load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path.name}:{mark.line + 1}: " if mark is not None else f"{path.name}: "
        problem = str(getattr(error, "problem", None) or type(error).__name__)
        raise CliError("the configuration is no YAML", code=Exit.INVALID, why=where + problem) from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise CliError("the configuration is no map of keys", code=Exit.INVALID, why=str(path))
    return document


def _parts(key: str) -> list[str]:
    parts = key.split(".")
    if not all(part.replace("_", "").isalnum() and part.isascii() for part in parts):
        raise CliError(f"'{key}' is no key", code=Exit.USAGE, why="such as server.hostname", hint="mairust config show")
    return parts
