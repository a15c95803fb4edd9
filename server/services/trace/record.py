"""How services write what happened: an event and an audit record beside the change, in its transaction.

- Every change by API, command line or console writes one audit record and one event (product.md R9).
- Neither ever holds a secret: a changed secret is the word `changed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.domain.changes import EventValue, Severity, TraceEvent
from server.domain.identity import ActorKind, Scope
from server.domain.ids import AccountId, TenantId
from server.store.repositories import audit
from server.store.repositories.audit import AuditEntry, Change
from server.store.transaction import Transaction

SHOWN_MAX = 256
"""Characters of an old or new value kept in an audit record."""
REDACTED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a change is about; `kind` is tenant, domain, account, alias, key..."""

    kind: str
    id: str
    name: str
    tenant_id: TenantId | None
    account_id: AccountId | None = None


async def record_change(
    tx: Transaction,
    scope: Scope,
    *,
    type: str,
    target: Target,
    changes: tuple[Change, ...] = (),
    reason: str = "",
    severity: Severity = Severity.INFO,
) -> None:
    """Write the audit record and the event of an administrative change.

    Args:
        type: A word of `api.md` sections 8 and 9 such as `account.created`; event and record share it.
    """
    await audit.append(
        tx,
        AuditEntry(
            tenant_id=target.tenant_id,
            type=type,
            actor_kind=scope.actor_kind.value,
            actor_id=scope.actor_id,
            actor_name=scope.actor_name,
            ip=scope.remote_ip,
            request_id=scope.request_id,
            target_kind=target.kind,
            target_id=target.id,
            target_name=target.name,
            changes=changes,
            reason=reason,
        ),
    )
    verdict = type.rpartition(".")[2]
    data: dict[str, EventValue] = {
        "actor_kind": scope.actor_kind.value,
        "actor_id": scope.actor_id,
        "target_kind": target.kind,
        "target_id": target.id,
        "name": target.name,
    }
    if changes:
        data["fields"] = [change.field for change in changes]
    tx.record(
        TraceEvent(
            type=type,
            component="identity",
            verdict=verdict,
            detail=f"{target.kind} {target.name} {verdict} by {actor_words(scope)}",
            severity=severity,
            tenant_id=target.tenant_id,
            account_id=target.account_id,
            remote_ip=scope.remote_ip or None,
            data=data,
        )
    )


def actor_words(scope: Scope) -> str:
    """Who acts, as a person reads it."""
    if scope.actor_kind is ActorKind.SYSTEM:
        return "the server"
    return f"{scope.actor_kind.value} {scope.actor_name or scope.actor_id}"


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[Change, ...]:
    """The fields of `new` that differ from `old`, shown shortened."""
    return tuple(
        Change(field=field, old=shown(old.get(field)), new=shown(value))
        for field, value in new.items()
        if old.get(field) != value
    )


def shown(value: object) -> str | None:
    """A value as an audit record shows it."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return ", ".join(str(item) for item in value)[:SHOWN_MAX]
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)[:SHOWN_MAX]
