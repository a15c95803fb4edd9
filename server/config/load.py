"""From a YAML file and the environment to `Settings`, or to every fault there is (config.md §1).

- All faults are found in one pass, each with its key and line; nothing is loaded when there is one.
- What depends on the host is filled in: the hostname, and the paths below `server.state_dir`.
- No message holds a secret.
"""

from __future__ import annotations

import difflib
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import msgspec

from server.config.document import DocumentError, Entry, compose
from server.config.keys import ENVIRONMENT_PREFIX, Field, fields_of, leaves, variable_of
from server.config.references import References, is_reference
from server.config.rules import broken_rules, has_password, is_fqdn
from server.config.schema import Section, Settings
from server.config.secret import Secret

FILE_OCTETS_MAX = 1024 * 1024
SYSTEM_FILE = Path("/etc/mairust/config.yaml")
LOCAL_FILE = Path("config.yaml")
CONFIG_VARIABLE = "MAIRUST_CONFIG"
OTHER_VARIABLES = frozenset(
    {CONFIG_VARIABLE, "MAIRUST_MASTER_KEY_FILE", "MAIRUST_SOCKET", "MAIRUST_URL", "MAIRUST_TOKEN_FILE"}
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong; `line` 0 = not in the file."""

    line: int
    key: str
    text: str


class ConfigError(Exception):
    """The configuration can't be used; `lines()` says why, one fault a line."""

    def __init__(self, name: str, faults: list[Fault]) -> None:
        super().__init__(f"{name}: {len(faults)} faults")
        self.name = name
        self.faults = sorted(faults, key=lambda fault: fault.line)

    def lines(self) -> list[str]:
        return [
            ": ".join(part for part in (f"{self.name}:{f.line}" if f.line else self.name, f.key, f.text) if part)
            for f in self.faults
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a load gave.

    Attributes:
        path: The file, None when there was none (setup mode).
        used_variables: Environment variables that held a secret; remove them from the process.
        literal_secrets: Keys whose secret stands in the file itself.
    """

    settings: Settings
    path: Path | None
    used_variables: frozenset[str]
    literal_secrets: tuple[str, ...]


def find(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to load: the named one, $MAIRUST_CONFIG, /etc/mairust, the working directory; None = no file.

    Raises:
        ConfigError: A named file doesn't exist.
    """
    named = explicit or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        if not named.exists():
            raise ConfigError(str(named), [Fault(0, "", "no such file")])
        return named
    return next((path for path in (SYSTEM_FILE, LOCAL_FILE) if path.exists()), None)


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Load a file, or the defaults when there is none. Raises ConfigError."""
    if path is None:
        return parse("", name="defaults", environ=environ, setup_mode=True)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_OCTETS_MAX + 1)
            readable_by_all = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
    except OSError as error:
        raise ConfigError(str(path), [Fault(0, "", error.strerror or "unreadable")]) from error
    if len(data) > FILE_OCTETS_MAX:
        raise ConfigError(str(path), [Fault(0, "", "larger than 1MiB")])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(path), [Fault(line, "", "not UTF-8 text")]) from error
    loaded = parse(text, name=str(path), environ=environ)
    if loaded.literal_secrets and readable_by_all:
        key = loaded.literal_secrets[0]
        raise ConfigError(str(path), [Fault(0, key, "a secret in a file that others can read: chmod 0640 the file")])
    return replace(loaded, path=path)


def parse(
    text: str,
    *,
    name: str = "config.yaml",
    environ: Mapping[str, str] | None = None,
    setup_mode: bool = False,
    system_hostname: str | None = None,
) -> Loaded:
    """Decode the text of a configuration file.

    Args:
        text: YAML; empty = all defaults.
        name: How faults name the file.
        environ: Where secrets may come from; None = nowhere.
        setup_mode: Whether there is no file: the host name may be a bare one.
        system_hostname: Used when the file names none; None = ask the system.

    Raises:
        ConfigError: With every fault.
    """
    reader = _Reader(References(environ or {}))
    try:
        root = compose(text)
    except DocumentError as error:
        raise ConfigError(name, [Fault(error.line, "", error.text)]) from error
    settings = reader.section(Settings, root, "")
    reader.check_variables(environ or {})
    assert isinstance(settings, Settings)  # noqa: S101  narrows for the type checker
    settings = _filled(settings, reader.lines, system_hostname)
    for keys, finding in broken_rules(settings, setup_mode=setup_mode):
        if not any(key in reader.faulty for key in keys):
            line = next((reader.lines[key] for key in keys if key in reader.lines), 0)
            reader.faults.append(Fault(line, keys[0], finding))
    if reader.faults:
        raise ConfigError(name, reader.faults)
    return Loaded(
        settings=settings,
        path=None,
        used_variables=frozenset(reader.references.used),
        literal_secrets=tuple(reader.literal_secrets),
    )


class _Reader:
    """Walks the document along the schema and gathers what it finds."""

    def __init__(self, references: References) -> None:
        self.references = references
        self.lines: dict[str, int] = {}
        self.faults: list[Fault] = []
        self.faulty: set[str] = set()
        self.literal_secrets: list[str] = []

    def section(self, schema: type[Section], entry: Entry | None, dotted: str) -> Section | None:
        """Read one map; a missing or empty one is all defaults. None when a required key is missing."""
        fields = fields_of(schema)
        given: dict[str, Entry] = {}
        if entry is not None and entry.is_map:
            given = self._known(fields, entry, dotted)
        elif entry is not None and not entry.is_null:
            self._fault(entry.line, dotted, "must be a map of keys")
        values: dict[str, object] = {}
        for name, field in fields.items():
            inner = f"{dotted}.{name}" if dotted else name
            if field.section is None:
                self._leaf(field, given.get(name), inner, entry.line if entry else 0, values)
            elif not field.optional:
                values[name] = self.section(field.section, given.get(name), inner)
            elif name in given and not given[name].is_null:
                values[name] = self.section(field.section, given[name], inner)
        missing = any(field.required and name not in values for name, field in fields.items())
        return None if missing else schema(**values)

    def check_variables(self, environ: Mapping[str, str]) -> None:
        """Fault every MAIRUST_* variable that means nothing, or whose section isn't there."""
        secrets = {variable_of(dotted): dotted for dotted, field in leaves() if field.key and field.key.secret}
        known = OTHER_VARIABLES | secrets.keys() | {name + "_FILE" for name in secrets}
        for name in sorted(environ):
            if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
                self.faults.append(Fault(0, name, "unknown environment variable" + _suggestion(name, known)))
            elif (
                name not in OTHER_VARIABLES and name.startswith(ENVIRONMENT_PREFIX) and name not in self.references.used
            ):
                section = secrets[name.removesuffix("_FILE")].rpartition(".")[0]
                if not self.faults:
                    self.faults.append(Fault(0, name, f"is set, but {section} is not configured"))

    def _known(self, fields: Mapping[str, Field], entry: Entry, dotted: str) -> dict[str, Entry]:
        given: dict[str, Entry] = {}
        try:
            for name, item in entry.items():
                inner = f"{dotted}.{name}" if dotted else name
                if name not in fields:
                    self._fault(item.line, inner, "unknown key" + _suggestion(name, fields))
                    continue
                given[name] = item
                self.lines[inner] = item.line
        except DocumentError as error:
            self._fault(error.line, dotted, error.text)
        return given

    def _leaf(
        self, field: Field, entry: Entry | None, dotted: str, section_line: int, values: dict[str, object]
    ) -> None:
        assert field.key is not None  # noqa: S101  narrows for the type checker
        line = entry.line if entry else section_line
        try:
            if field.key.secret and (text := self.references.from_environment(variable_of(dotted))) is not None:
                values[field.name] = field.key.read(text)
                self.lines[dotted] = line
            elif entry is not None:
                values[field.name] = self._read(field, entry, dotted)
            elif field.required:
                self._fault(line, dotted, "is required")
        except DocumentError as error:
            self._fault(error.line, dotted, error.text)
        except ValueError as error:
            self._fault(line, dotted, str(error))

    def _read(self, field: Field, entry: Entry, dotted: str) -> object:
        assert field.key is not None  # noqa: S101  narrows for the type checker
        plain = entry.plain()
        if not field.key.secret:
            return field.key.read(plain)
        value = field.key.read(self.references.follow(plain))
        if isinstance(value, Secret) and not is_reference(plain):
            if dotted != "database.url" or has_password(value.reveal()):
                self.literal_secrets.append(dotted)
        return value

    def _fault(self, line: int, dotted: str, text: str) -> None:
        self.faults.append(Fault(line, dotted, text))
        self.faulty.add(dotted)


def _filled(settings: Settings, given: Mapping[str, int], system_hostname: str | None) -> Settings:
    """Set what wasn't given and hangs on the host or on `server.state_dir`."""
    server, database, storage = settings.server, settings.database, settings.storage
    if "server.hostname" not in given:
        server = msgspec.structs.replace(server, hostname=system_hostname or _system_hostname())
    if "database.url" not in given and database.type == "sqlite":
        file = quote(str(server.state_dir / "db" / "mairust.db"))
        database = msgspec.structs.replace(database, url=Secret(f"sqlite:///{file}"))
    if "storage.path" not in given:
        storage = msgspec.structs.replace(storage, path=server.state_dir / "mail")
    return msgspec.structs.replace(settings, server=server, database=database, storage=storage)


def _system_hostname() -> str:
    name = socket.gethostname()
    return (name if is_fqdn(name) else socket.getfqdn(name)).lower().rstrip(".")


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
