"""The settings as a person or a program may see them: every key with value, default and effect, secrets as stars.

For `GET /settings`, `mairust config show` and the manual page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.config.keys import fields_of
from server.config.kinds import Key
from server.config.schema import Section, Settings
from server.config.secret import STARS, Secret

Shown = str | int | float | bool | None | list["Shown"] | dict[str, "Shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDescription:
    """One key of the file; `value` and `default` are JSON values, a secret's is stars or None."""

    key: str
    type: str
    value: Shown
    default: Shown
    effect: str
    reloadable: bool


def describe(settings: Settings) -> list[KeyDescription]:
    """All keys in the schema's order; those of an unset optional section with value None."""
    return _described(Settings, settings, "")


def _described(schema: type[Section], section: Section | None, prefix: str) -> list[KeyDescription]:
    result: list[KeyDescription] = []
    for name, field in fields_of(schema).items():
        value = getattr(section, name) if section is not None else None
        if field.section is not None:
            result += _described(field.section, value, f"{prefix}{name}.")
        elif field.key is not None:
            result.append(_one(prefix + name, field.key, value, field.default))
    return result


def _one(dotted: str, key: Key, value: object, default: object) -> KeyDescription:
    return KeyDescription(
        key=dotted, type=key.type, value=_shown(value), default=_shown(default), effect=key.doc, reloadable=key.reload
    )


def _shown(value: object) -> Shown:
    if isinstance(value, Secret):
        return STARS
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_shown(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _shown(item) for name, item in value.items()}
    return str(value)
