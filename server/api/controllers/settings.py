"""The configuration in force (api.md §7); the file itself is written by the command line, never here."""

from __future__ import annotations

import msgspec
from litestar import Controller, get, post
from litestar.params import FromPath, JSONBody

from server.api.dependencies import Caller, CurrentSettings, Reload, Validate
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.common import Output
from server.config.describe import KeyDescription, Shown, describe
from server.config.secret import STARS
from server.domain.errors import NotFound
from server.domain.scopes import require

JsonValue = str | int | float | bool | list[str | int | float] | dict[str, str | bool] | None


class SettingOut(Output, frozen=True, kw_only=True):
    """One key; a secret's value is `{"set": true}`."""

    key: str
    value: JsonValue
    default: JsonValue
    type: str
    effect: str
    reloadable: bool


class SettingsIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text of a configuration file."""

    yaml: str


class FaultOut(Output, frozen=True, kw_only=True):
    """`line` 0 = not in the text."""

    line: int
    key: str
    text: str


class ValidationOut(Output, frozen=True, kw_only=True):
    valid: bool
    faults: list[FaultOut]


class ReloadOut(Output, frozen=True, kw_only=True):
    """Keys that took effect, and keys that wait for a restart."""

    applied: list[str]
    restart_required: list[str]


class SettingsController(Controller):
    path = PREFIX + "/settings"
    tags = ("settings",)

    @get(operation_id="get_settings", opt=needs("system:read"))
    async def get_settings(self, caller: Caller, settings: CurrentSettings) -> dict[str, dict[str, JsonValue]]:
        """Every value in force, by section."""
        require(caller, "system:read")
        shown: dict[str, dict[str, JsonValue]] = {}
        for key in describe(settings()):
            section, _, name = key.key.partition(".")
            shown.setdefault(section, {})[name] = _value(key, key.value)
        return shown

    @get("/schema", operation_id="get_settings_schema", opt=needs("system:read"))
    async def get_schema(self, caller: Caller, settings: CurrentSettings) -> list[SettingOut]:
        """Every key with value, default, effect, and whether a reload applies it."""
        require(caller, "system:read")
        return [_out(key) for key in describe(settings())]

    @get("/{key:str}", operation_id="get_setting", opt=needs("system:read"))
    async def get_setting(self, caller: Caller, settings: CurrentSettings, key: FromPath[str]) -> SettingOut:
        """One key."""
        require(caller, "system:read")
        for described in describe(settings()):
            if described.key == key:
                return _out(described)
        raise NotFound("there is no such key")

    @post("/validate", operation_id="validate_settings", opt=needs("system:read"), status_code=200)
    async def validate_settings(self, caller: Caller, validate: Validate, data: JSONBody[SettingsIn]) -> ValidationOut:
        """Check the text of a configuration file; nothing is changed."""
        require(caller, "system:read")
        faults = [FaultOut(line=one.line, key=one.key, text=one.text) for one in await validate(data.yaml)]
        return ValidationOut(valid=not faults, faults=faults)

    @post("/reload", operation_id="reload_settings", opt=needs("system:write"), status_code=200)
    async def reload_settings(self, caller: Caller, reload: Reload) -> ReloadOut:
        """Read the file again and apply what may change while running: all of it or nothing."""
        require(caller, "system:write")
        result = await reload()
        return ReloadOut(applied=list(result.applied), restart_required=list(result.restart_required))


def _out(key: KeyDescription) -> SettingOut:
    return SettingOut(
        key=key.key,
        value=_value(key, key.value),
        default=_value(key, key.default),
        type=key.type,
        effect=key.effect,
        reloadable=key.reloadable,
    )


def _value(key: KeyDescription, shown: Shown) -> JsonValue:
    if shown == STARS or (key.type == "secret" and shown is not None):
        return {"set": True}
    if isinstance(shown, dict):
        return {name: str(value) for name, value in shown.items()}
    if isinstance(shown, list):
        return [item if isinstance(item, str | int | float) else str(item) for item in shown]
    return shown
