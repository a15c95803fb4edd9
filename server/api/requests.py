"""What the gateway leaves with a request for the handlers, and strict decoding of bodies.

- A body is decoded once, strictly, against the route's type: no coercion, no unknown field; faults name their place.
- How deep JSON may nest is bounded by the type: the decoder stops at the first value that is not of it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.connection import Request
from litestar.datastructures import State
from litestar.types import Empty

from server.api.problems import BadRequest
from server.domain.errors import InvalidInput, Unauthenticated
from server.domain.identity import Scope

STATE_KEY = "mairust"
_PLACE = re.compile(r"^(.*?)(?: - at `\$(.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`", re.DOTALL)


@dataclass(slots=True)
class CallerState:
    """Who asks, as the gateway found it.

    Attributes:
        scope: None without a credential.
        stopping: Tells long answers to end.
        recheck: Looks at the credential again; raises when it is no longer valid.
    """

    scope: Scope | None
    request_id: str
    remote_ip: str
    stopping: Callable[[], bool]
    recheck: Callable[[], Awaitable[Scope | None]]

    @classmethod
    def of(cls, connection_state: Mapping[str, Any]) -> CallerState:
        """What the gateway left in a connection's state."""
        state = connection_state[STATE_KEY]
        if not isinstance(state, cls):
            raise TypeError("the request did not come through the gateway")
        return state


class ApiRequest(Request[object, object, State]):
    """A request whose JSON body is decoded as the route's own type."""

    async def json(self) -> Any:  # the framework hands it on as the handler's `data`
        """Decode the body. Raises BadRequest (not JSON), InvalidInput (not the type)."""
        field = self.route_handler.parsed_data_field
        kind = field.annotation if field is not None else Empty
        return decode(await self.body(), kind)


def caller(request: ApiRequest) -> Scope:
    """The scope of the request's credential. Raises Unauthenticated."""
    scope = CallerState.of(request.scope["state"]).scope
    if scope is None:
        raise Unauthenticated("the request needs a valid credential")
    return scope


def decode(body: bytes, kind: Any) -> Any:
    """Decode a JSON body strictly. Raises BadRequest, InvalidInput."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("the body is not valid JSON") from error


def invalid(error: msgspec.ValidationError) -> InvalidInput:
    """The decoder's words with the place as a JSON pointer."""
    match = _PLACE.match(str(error))
    words, place = (match[1], match[2] or "") if match else (str(error), "")
    pointer = re.sub(r"\[(\d+|\.\.\.)\]", r"/\1", place).replace(".", "/").replace("///", "/")
    unknown = _UNKNOWN.match(words)
    if unknown:
        return InvalidInput(
            f"unknown field {unknown[1][:64]!r}", pointer=f"{pointer}/{_token(unknown[1])}", code="unknown_field"
        )
    missing = _MISSING.match(words)
    if missing:
        return InvalidInput("the field is needed", pointer=f"{pointer}/{_token(missing[1])}")
    return InvalidInput(words.replace("`", "")[:256], pointer=pointer)


def _token(name: str) -> str:
    return name[:64].replace("~", "~0").replace("/", "~1")
