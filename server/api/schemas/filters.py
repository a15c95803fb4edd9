"""Answers about what an account does with its mail."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from server.api.schemas.common import Output, time_or_none, time_text
from server.domain.filters import ScriptRow, VacationRow
from server.domain.identity import Forwarding
from server.services.filters.rules import Rule
from server.services.filters.settings import StoredScript
from server.services.filters.trial import Trial


class VacationOut(Output, frozen=True, kw_only=True, rename={"starts_at": "from", "ends_at": "until"}):
    enabled: bool
    starts_at: str | None
    ends_at: str | None
    subject: str
    text: str
    html: str | None
    days: int
    revision: int

    @classmethod
    def of(cls, row: VacationRow | None) -> VacationOut:
        if row is None:
            return cls(enabled=False, starts_at=None, ends_at=None, subject="", text="", html=None, days=7, revision=0)
        return cls(
            enabled=row.enabled,
            starts_at=time_or_none(row.starts_at),
            ends_at=time_or_none(row.ends_at),
            subject=row.subject,
            text=row.text,
            html=row.html,
            days=row.days,
            revision=row.revision,
        )


class ForwardOut(Output, frozen=True, kw_only=True):
    """No targets = nothing is forwarded."""

    targets: list[str]
    keep_copy: bool

    @classmethod
    def of(cls, forward: Forwarding | None) -> ForwardOut:
        if forward is None:
            return cls(targets=[], keep_copy=True)
        return cls(targets=list(forward.targets), keep_copy=forward.keep_copy)


class RulesOut(Output, frozen=True, kw_only=True):
    rules: list[Rule]

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> RulesOut:
        return cls(rules=list(rules))


class ScriptNameOut(Output, frozen=True, kw_only=True):
    name: str
    active: bool


class ScriptsOut(Output, frozen=True, kw_only=True):
    items: list[ScriptNameOut]

    @classmethod
    def of(cls, scripts: Sequence[tuple[str, bool]]) -> ScriptsOut:
        return cls(items=[ScriptNameOut(name=name, active=active) for name, active in scripts])


class ScriptOut(Output, frozen=True, kw_only=True):
    """`warnings` are of the call that stored it."""

    name: str
    active: bool
    content: str
    warnings: list[str] = msgspec.field(default_factory=list)

    @classmethod
    def of(cls, script: StoredScript) -> ScriptOut:
        return cls(name=script.name, active=script.active, content=script.content, warnings=list(script.warnings))


class AdminScriptOut(Output, frozen=True, kw_only=True):
    name: str
    place: str
    size_bytes: int
    updated_at: str
    content: str

    @classmethod
    def of(cls, row: ScriptRow) -> AdminScriptOut:
        return cls(
            name=row.name,
            place=row.place.value,
            size_bytes=len(row.octets),
            updated_at=time_text(row.updated_at),
            content=row.octets.decode("utf-8", "replace"),
        )


class AdminScriptsOut(Output, frozen=True, kw_only=True):
    items: list[AdminScriptOut]

    @classmethod
    def of(cls, rows: Sequence[ScriptRow]) -> AdminScriptsOut:
        return cls(items=[AdminScriptOut.of(row) for row in rows])


class ScriptCheckOut(Output, frozen=True, kw_only=True):
    warnings: list[str]


class TrialOut(Output, frozen=True, kw_only=True):
    """What would be done, a sentence an action."""

    actions: list[str]
    failed: bool

    @classmethod
    def of(cls, trial: Trial) -> TrialOut:
        return cls(actions=list(trial.actions), failed=trial.failed)
