"""Names and id tails, as people type them, made into the API's ids.

- A whole UUID is taken as it is; a tail needs six characters and must fit one object only.
- Two matches are an error that names both, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mairust_cli.client.api import Json
from mairust_cli.exits import CliError, Exit

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_TAIL = re.compile(r"[0-9a-f][0-9a-f-]{5,35}", re.ASCII)
TAIL_MINIMUM = 6


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text.lower()) is not None


def is_tail(text: str) -> bool:
    """Whether the text may be the end of an id."""
    return _TAIL.fullmatch(text.lower()) is not None


def find_id(reference: str, items: Iterable[Json], *, kind: str, key: str = "name", field: str = "id") -> str:
    """The id of the one object that has this name, id or id tail.

    Args:
        items: Candidates, read only when the reference is not a whole UUID.
        key: The field that holds the name.
        field: The field that holds the id.

    Raises:
        CliError: None fits (exit 3), several do (exit 5), or the tail is too short (exit 2).
    """
    wanted = reference.lower()
    if is_uuid(wanted):
        return wanted
    by_tail = is_tail(wanted)
    found: dict[str, str] = {}
    for item in items:
        name, ident = str(item.get(key) or ""), str(item.get(field) or "")
        if name.lower() == wanted:
            return ident
        if by_tail and ident.endswith(wanted):
            found[ident] = name
    if len(found) == 1:
        return next(iter(found))
    if found:
        both = ", ".join(f"{ident} {name}".strip() for ident, name in list(found.items())[:2])
        raise CliError(
            f"'{reference}' fits more than one {kind}", code=Exit.CONFLICT, why=both, hint="use a longer tail"
        )
    if len(wanted) < TAIL_MINIMUM and re.fullmatch(r"[0-9a-f]+", wanted):
        why = f"an id's tail needs {TAIL_MINIMUM} characters or more"
        raise CliError(f"'{reference}' is too short", code=Exit.USAGE, why=why, hint="use a longer tail")
    raise CliError(f"no such {kind}", code=Exit.NOT_FOUND, why=f"'{reference}'")
