"""What a reload may change: old and new settings merged key by key (config.md §1, "Reload").

- Changed keys that a reload applies are taken; changed keys that need a restart keep their old value and are named.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from server.config.keys import Field, fields_of
from server.config.schema import Section, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """The settings to run with from now on, and the dotted names of what changed."""

    settings: Settings
    applied: tuple[str, ...]
    restart_required: tuple[str, ...]


def merge(old: Settings, new: Settings) -> Merge:
    """Take what a reload applies from `new`, the rest from `old`."""
    applied: list[str] = []
    restart: list[str] = []
    sections: dict[str, object] = {}
    for name, field in fields_of(Settings).items():
        before, after = getattr(old, name), getattr(new, name)
        if field.section is None or before == after:
            continue
        values: dict[str, object] = {}
        for inner, leaf in fields_of(field.section).items():
            if getattr(before, inner) == getattr(after, inner):
                continue
            reloadable = _reloadable(leaf)
            (applied if reloadable else restart).append(f"{name}.{inner}")
            if reloadable:
                values[inner] = getattr(after, inner)
        sections[name] = msgspec.structs.replace(before, **values)
    settings = msgspec.structs.replace(old, **sections)
    return Merge(settings=settings, applied=tuple(applied), restart_required=tuple(restart))


def _reloadable(field: Field) -> bool:
    if field.key is not None:
        return field.key.reload
    return field.section is not None and _all_reloadable(field.section)


def _all_reloadable(section: type[Section]) -> bool:
    return all(_reloadable(field) for field in fields_of(section).values())
