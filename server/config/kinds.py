"""The types of configuration values: each reads one YAML scalar or list into its Python form.

- A reader gets plain data (`str`, `int`, `float`, `bool`, None, list) and returns the typed value, or raises ValueError
  with one sentence that never repeats a secret.
- Durations become float seconds, sizes int octets, networks `ipaddress` objects (config.md §1).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from server.config.secret import Secret

Reader = Callable[[object], object]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0

_DURATION_UNITS = {"s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZE_UNITS = {"KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
LIST_ITEMS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Key:
    """What the schema says of one key: how it is read, what it does, whether a reload applies it."""

    read: Reader
    doc: str
    type: str
    reload: bool = False

    @property
    def secret(self) -> bool:
        return self.type == "secret"


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


def integer(low: int, high: int) -> Reader:
    """Read a count from `low` to `high`, both included."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"must be a whole number, not {_shown(value)}")
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}, not {value}")
        return value

    return read


def text(low: int = 0, high: int = 255) -> Reader:
    """Read a string of `low` to `high` printable characters."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"must be a string, not {_shown(value)}")
        if not low <= len(value) <= high:
            raise ValueError(f"must have from {low} to {high} characters, not {len(value)}")
        if not value.isprintable():
            raise ValueError("must hold printable characters only")
        return value

    return read


def choice(*words: str) -> Reader:
    """Read one of `words`; a number that reads like one (`1.2`) is taken for it."""

    def read(value: object) -> str:
        word = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        if not isinstance(word, str) or word not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {_shown(value)}")
        return word

    return read


def duration(low: float = 1.0, high: float = 365 * DAY) -> Reader:
    """Read seconds: an int, or a number with s, m, h or d."""

    def read(value: object) -> float:
        seconds = _with_unit(value, _DURATION_UNITS, "a duration such as 30s, 5m, 2h or 7d")
        if not low <= seconds <= high:
            raise ValueError(f"must be from {low:g} to {high:g} seconds, not {seconds:g}")
        return float(seconds)

    return read


def size(low: int = 0, high: int = 1024 * TIB) -> Reader:
    """Read octets: an int, or a number with KiB, MiB, GiB or TiB."""

    def read(value: object) -> int:
        octets = int(_with_unit(value, _SIZE_UNITS, "a size such as 64KiB, 50MiB or 10GiB"))
        if not low <= octets <= high:
            raise ValueError(f"must be from {low} to {high} octets, not {octets}")
        return octets

    return read


def path(value: object) -> Path:
    """Read an absolute path, or one relative to the working directory made absolute."""
    if not isinstance(value, str) or not value or "\x00" in value:
        raise ValueError(f"must be a path, not {_shown(value)}")
    return Path(value).absolute()


def address(value: object) -> str:
    """Read an IP address into its shortest form."""
    if not isinstance(value, str):
        raise ValueError(f"must be an IP address, not {_shown(value)}")
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"must be an IP address, not {_shown(value)}") from None


def resolver_address(value: object) -> str:
    """Read `ip`, `ip:port` or `[ip6]:port` into that form; without a port it is 53."""
    if not isinstance(value, str):
        raise ValueError(f"must be an IP address, not {_shown(value)}")
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", value)
    if match is None:
        return address(value)
    host, port = address(match[1] or match[2]), integer(1, 65535)(int(match[3]))
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def network(value: object) -> Network:
    """Read a CIDR network or a single address."""
    if not isinstance(value, str):
        raise ValueError(f"must be a network such as 10.0.0.0/8, not {_shown(value)}")
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"must be a network such as 10.0.0.0/8: {error}") from None


def host_name(value: object) -> str:
    """Read a host name into lower case without a final dot (RFC 1123 §2.1)."""
    if not isinstance(value, str):
        raise ValueError(f"must be a host name, not {_shown(value)}")
    name = value.lower().rstrip(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(f"must be a host name, not {_shown(value)}")
    return name


def host_or_address(value: object) -> str:
    """Read a host name or an IP address."""
    try:
        return address(value)
    except ValueError:
        return host_name(value)


def secret(value: object) -> Secret:
    """Read a literal secret; the other forms were followed before."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a secret: cred:NAME, file:/path, env:NAME or the text itself")
    return Secret(value)


def list_of(item: Reader, *, low: int = 0, high: int = LIST_ITEMS_MAX) -> Reader:
    """Read a list into a tuple; the error names the item's place."""

    def read(value: object) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise ValueError(f"must be a list, not {_shown(value)}")
        if not low <= len(value) <= high:
            raise ValueError(f"must have from {low} to {high} items, not {len(value)}")
        items: list[object] = []
        for number, raw in enumerate(value, start=1):
            try:
                items.append(item(raw))
            except ValueError as error:
                raise ValueError(f"item {number} {error}") from None
        return tuple(items)

    return read


def map_of(names: frozenset[str], item: Reader) -> Reader:
    """Read a map from the given names to values."""

    def read(value: object) -> dict[str, object]:
        if not isinstance(value, Mapping):
            raise ValueError(f"must be a map, not {_shown(value)}")
        result: dict[str, object] = {}
        for name, raw in value.items():
            if name not in names:
                raise ValueError(f"has no entry {_shown(name)}; it may have {', '.join(sorted(names))}")
            try:
                result[str(name)] = item(raw)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        return result

    return read


def nullable(item: Reader) -> Reader:
    """Read null, or what `item` reads."""
    return lambda value: None if value is None else item(value)


def _with_unit(value: object, units: Mapping[str, float], wanted: str) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,15})([A-Za-z]*)", value)
        if match and (not match[2] or match[2] in units):
            return int(match[1]) * (units[match[2]] if match[2] else 1)
    raise ValueError(f"must be {wanted}, not {_shown(value)}")


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a map"
    return repr(value if not isinstance(value, str) or len(value) <= 60 else value[:60] + "...")
