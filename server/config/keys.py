"""The schema's keys by their dotted names, for whoever walks them: loading, comparing, describing."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Union, get_args, get_origin, get_type_hints

import msgspec

from server.config.kinds import Key
from server.config.schema import Section, Settings

ENVIRONMENT_PREFIX = "MAIRUST_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One name of a section: a leaf with its `key`, or a `section`, which may be null when `optional`."""

    name: str
    key: Key | None = None
    section: type[Section] | None = None
    optional: bool = False
    required: bool = False
    default: object = None


@functools.cache
def fields_of(section: type[Section]) -> dict[str, Field]:
    """The fields of one section in the order of the schema."""
    hints = get_type_hints(section, include_extras=True)
    return {
        info.name: _field(info.name, hints[info.name], info.default, info.default_factory)
        for info in msgspec.structs.fields(section)
    }


def leaves(section: type[Section] = Settings, prefix: str = "") -> Iterator[tuple[str, Field]]:
    """All leaves with their dotted names, those of optional sections too."""
    for name, field in fields_of(section).items():
        if field.section is not None:
            yield from leaves(field.section, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def variable_of(dotted: str) -> str:
    """The environment variable of a secret key: MAIRUST_DATABASE_URL."""
    return ENVIRONMENT_PREFIX + dotted.upper().replace(".", "_")


def _field(name: str, hint: object, default: object, factory: object) -> Field:
    if get_origin(hint) is Annotated:
        key = next(extra for extra in get_args(hint)[1:] if isinstance(extra, Key))
        required = default is msgspec.NODEFAULT and factory is msgspec.NODEFAULT
        value = factory() if callable(factory) else None if default is msgspec.NODEFAULT else default
        return Field(name=name, key=key, required=required, default=value)
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    section = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section))
    return Field(name=name, section=section, optional=types.NoneType in kinds, default=default)
