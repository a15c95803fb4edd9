"""What an account does with its mail, set by its owner or by the postmaster: vacation, forward, rules, scripts.

- `me` is the caller's own account and asks for `mail:read` or `mail:write`; another account of the tenant is named by
  id or address and asks for `accounts:read` or `accounts:write`.
- Every change is audited in the transaction that makes it; the next delivery goes by it.

api.md section 3; filtering.md section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from server.config.schema import Settings
from server.domain.errors import InvalidInput, NotFound
from server.domain.filters import VacationRow
from server.domain.identity import Account, Forwarding, Scope, Status
from server.domain.ports import Clock, Worker
from server.domain.scopes import require
from server.services.filters.admin import AdminScripts
from server.services.filters.programs import Programs
from server.services.filters.rules import Rule, check_rules, decode_rules, encode_rules
from server.services.filters.scripts import ScriptService
from server.services.filters.trial import Trial, TrialInput, Trials
from server.services.filters.vacation import VACATION_HANDLE
from server.services.identity.accounts import resolve
from server.services.identity.directory import Directory
from server.services.identity.names import address_of, text_of
from server.services.identity.writer import DirectoryWriter, Input, found
from server.services.trace.record import Target, differences, record_change
from server.store.database import Database
from server.store.repositories import accounts, filters
from server.store.repositories.accounts import forward_text
from server.store.repositories.audit import Change
from server.store.transaction import Transaction, Unit

ME = "me"
SUBJECT_MAX = 500
TEXT_MAX = 16 * 1024
DAYS_MAX = 365
TARGETS_MAX = 10


class VacationInput(Input, frozen=True, kw_only=True, rename={"starts_at": "from", "ends_at": "until"}):
    """An automatic answer; `days` is how long one sender hears it once."""

    enabled: bool = True
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    subject: str = ""
    text: str
    html: str | None = None
    days: int = 7


class ForwardInput(Input, frozen=True, kw_only=True):
    """Where mail goes on to; without `keep_copy` nothing is stored here."""

    targets: list[str]
    keep_copy: bool = True


class RulesInput(Input, frozen=True, kw_only=True):
    """All rules of the account, in the order they run."""

    rules: list[Rule] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScript:
    """A script with its text; `warnings` only after it was put."""

    name: str
    active: bool
    content: str
    warnings: tuple[str, ...] = ()


class FilterService:
    """Use cases of the API; `admin` holds those of administrators' scripts."""

    def __init__(
        self, writer: DirectoryWriter, scripts: ScriptService, *, clock: Clock, trials: Trials, worker: Worker
    ) -> None:
        self._writer = writer
        self._scripts = scripts
        self._clock = clock
        self._trials = trials
        self._worker = worker
        self.admin = AdminScripts(writer, worker)

    async def account(self, scope: Scope, ref: str, *, write: bool) -> Account:
        """The account that is meant. Raises Forbidden, NotFound."""
        return await self._writer.read("filters.account", lambda tx: _account(tx, scope, ref, write=write))

    # --- vacation

    async def vacation(self, scope: Scope, ref: str) -> VacationRow | None:
        """None when nothing was ever set."""

        async def unit(tx: Transaction) -> VacationRow | None:
            return await filters.vacation(tx, (await _account(tx, scope, ref, write=False)).id)

        return await self._writer.read("vacation.get", unit)

    async def set_vacation(self, scope: Scope, ref: str, given: VacationInput) -> VacationRow:
        """Everybody may hear the new words, also who heard the old ones."""
        _check_vacation(given)

        async def unit(tx: Transaction) -> VacationRow:
            account = await _account(tx, scope, ref, write=True)
            old = await filters.vacation(tx, account.id)
            row = VacationRow(
                enabled=given.enabled,
                starts_at=given.starts_at,
                ends_at=given.ends_at,
                subject=given.subject,
                text=given.text,
                html=given.html,
                days=given.days,
                revision=1 if old is None else old.revision + 1,
                updated_at=self._clock.now(),
            )
            await filters.put_vacation(tx, account.id, row)
            await filters.forget_replies(tx, account.id, VACATION_HANDLE)
            await filters.refresh_version(tx, account.id, account.tenant_id)
            before = {} if old is None else {"enabled": old.enabled, "text": old.text}
            changes = differences(before, {"enabled": given.enabled, "text": given.text})
            await record_change(tx, scope, type="account.vacation_changed", target=_target(account), changes=changes)
            return row

        return await self._writer.write("vacation.set", unit, taken="")

    async def clear_vacation(self, scope: Scope, ref: str) -> None:
        async def unit(tx: Transaction) -> None:
            account = await _account(tx, scope, ref, write=True)
            if await filters.remove_vacation(tx, account.id):
                await filters.forget_replies(tx, account.id, VACATION_HANDLE)
                await filters.refresh_version(tx, account.id, account.tenant_id)
                await record_change(tx, scope, type="account.vacation_removed", target=_target(account))

        await self._writer.write("vacation.clear", unit, taken="")

    # --- forward

    async def forward(self, scope: Scope, ref: str) -> Forwarding | None:
        return (await self.account(scope, ref, write=False)).forward

    async def set_forward(self, scope: Scope, ref: str, given: ForwardInput | None) -> Forwarding | None:
        """Set a forward, or clear it. Raises InvalidInput, also for a forward to the account itself."""

        async def unit(tx: Transaction) -> Forwarding | None:
            account = await _account(tx, scope, ref, write=True)
            forward = None if given is None else _forwarding(account, given)
            if forward != account.forward:
                await accounts.change(tx, account.tenant_id, account.id, {"forward": forward_text(forward)})
                old = None if account.forward is None else account.forward.targets
                new = None if forward is None else forward.targets
                changes = differences({"forward": old}, {"forward": new})
                await record_change(tx, scope, type="account.forward_changed", target=_target(account), changes=changes)
            return forward

        return await self._writer.write("forward.set", unit, taken="")

    # --- rules

    async def rules(self, scope: Scope, ref: str) -> Sequence[Rule]:
        async def unit(tx: Transaction) -> Sequence[Rule]:
            row = await filters.rules(tx, (await _account(tx, scope, ref, write=False)).id)
            return [] if row is None else decode_rules(row.rules)

        return await self._writer.read("rules.get", unit)

    async def set_rules(self, scope: Scope, ref: str, given: RulesInput) -> Sequence[Rule]:
        """Replace all rules. Raises InvalidInput with the pointer of what is wrong."""
        await self._worker.run(lambda: check_rules(given.rules))

        async def unit(tx: Transaction) -> Sequence[Rule]:
            account = await _account(tx, scope, ref, write=True)
            old = await filters.rules(tx, account.id)
            await filters.put_rules(tx, account.id, encode_rules(given.rules), 1 if old is None else old.revision + 1)
            await filters.refresh_version(tx, account.id, account.tenant_id)
            names = tuple(rule.name for rule in given.rules)
            before = () if old is None else tuple(rule.name for rule in decode_rules(old.rules))
            changes = (Change(field="rules", old=", ".join(before)[:256], new=", ".join(names)[:256]),)
            await record_change(tx, scope, type="account.filters_changed", target=_target(account), changes=changes)
            return given.rules

        return await self._writer.write("rules.set", unit, taken="")

    # --- scripts

    async def scripts(self, scope: Scope, ref: str) -> Sequence[tuple[str, bool]]:
        account = await self.account(scope, ref, write=False)
        return await self._scripts.list(account.id)

    async def script(self, scope: Scope, ref: str, name: str) -> StoredScript:
        """Raises NotFound."""
        account = await self.account(scope, ref, write=False)
        octets = await self._scripts.get(account.id, name)
        active = any(one == name and on for one, on in await self._scripts.list(account.id))
        return StoredScript(name=name, active=active, content=octets.decode("utf-8", "replace"))

    async def put_script(self, scope: Scope, ref: str, name: str, content: str) -> StoredScript:
        """Raises ScriptInvalid, OverQuota."""
        account = await self.account(scope, ref, write=True)
        warnings = await self._scripts.put(
            account.id, name, content.encode(), also=_audit(scope, account, "account.script_stored", name)
        )
        stored = await self.script(scope, ref, name) if _may_read(scope, ref) else None
        active = stored is not None and stored.active
        return StoredScript(name=name, active=active, content=content, warnings=warnings)

    async def delete_script(self, scope: Scope, ref: str, name: str) -> None:
        """Raises NotFound, Conflict (it is active)."""
        account = await self.account(scope, ref, write=True)
        await self._scripts.delete(account.id, name, also=_audit(scope, account, "account.script_removed", name))

    async def activate_script(self, scope: Scope, ref: str, name: str) -> None:
        """Make a script the active one; an empty name means none. Raises NotFound."""
        account = await self.account(scope, ref, write=True)
        await self._scripts.activate(account.id, name, also=_audit(scope, account, "account.script_activated", name))

    async def check_script(self, scope: Scope, ref: str, content: str) -> tuple[str, ...]:
        """Warnings. Raises ScriptInvalid."""
        await self.account(scope, ref, write=False)
        return await self._scripts.check(content.encode("utf-8", "replace"))

    async def try_script(self, scope: Scope, ref: str, given: TrialInput) -> Trial:
        """What a script would do with a message; nothing is done. Raises ScriptInvalid, InvalidInput, NotFound."""
        account = await self.account(scope, ref, write=False)
        content = None if given.content is None else given.content.encode("utf-8", "replace")
        if content is not None:
            await self._scripts.check(content)
        return await self._trials.run(account, given, content)


def make_filter_service(
    *, database: Database, directory: Directory, worker: Worker, clock: Clock, settings: Callable[[], Settings]
) -> FilterService:
    """The service with what it is made of."""
    trials = Trials(
        database=database,
        programs=Programs(database=database, worker=worker),
        worker=worker,
        clock=clock,
        settings=settings,
    )
    writer = DirectoryWriter(database, directory)
    scripts = ScriptService(database=database, directory=directory, worker=worker)
    return FilterService(writer, scripts, clock=clock, trials=trials, worker=worker)


async def _account(tx: Transaction, scope: Scope, ref: str, *, write: bool) -> Account:
    if ref != ME:
        require(scope, "accounts:write" if write else "accounts:read")
        account = await resolve(tx, scope, ref)
    else:
        require(scope, "mail:write" if write else "mail:read")
        if scope.account_id is None:
            raise NotFound("the credential has no account of its own")
        account = found(await accounts.get(tx, scope.tenant_id, scope.account_id), "account")
    if account.status is Status.DELETED:
        raise NotFound("no such account")
    return account


def _may_read(scope: Scope, ref: str) -> bool:
    return ("mail:read" if ref == ME else "accounts:read") in scope.scopes


def _audit(scope: Scope, account: Account, type_: str, name: str) -> Unit[None]:
    async def unit(tx: Transaction) -> None:
        changes = (Change(field="script", old=None, new=name[:256] or None),)
        await record_change(tx, scope, type=type_, target=_target(account), changes=changes)

    return unit


def _check_vacation(given: VacationInput) -> None:
    text_of(given.subject, pointer="/subject", high=SUBJECT_MAX)
    for pointer, text in (("/text", given.text), ("/html", given.html)):
        if text is not None and (len(text) > TEXT_MAX or "\0" in text):
            raise InvalidInput(f"at most {TEXT_MAX} characters, no NUL", pointer=pointer)
    if given.enabled and not given.text.strip():
        raise InvalidInput("an answer needs words", pointer="/text")
    if not 1 <= given.days <= DAYS_MAX:
        raise InvalidInput(f"1 to {DAYS_MAX} days", pointer="/days")
    for pointer, instant in (("/from", given.starts_at), ("/until", given.ends_at)):
        if instant is not None and instant.tzinfo is None:
            raise InvalidInput("a time needs its offset, such as Z", pointer=pointer)
    if given.starts_at is not None and given.ends_at is not None and given.ends_at <= given.starts_at:
        raise InvalidInput("the end is not after the beginning", pointer="/until")


def _forwarding(account: Account, given: ForwardInput) -> Forwarding:
    if not 1 <= len(given.targets) <= TARGETS_MAX:
        raise InvalidInput(f"1 to {TARGETS_MAX} targets", pointer="/targets")
    kept: dict[str, str] = {}
    for place, value in enumerate(given.targets):
        address = address_of(value, pointer=f"/targets/{place}")
        if address.key in account.addresses:
            raise InvalidInput("the account would forward to itself", pointer=f"/targets/{place}")
        kept.setdefault(address.key, str(address))
    return Forwarding(targets=tuple(kept.values()), keep_copy=given.keep_copy)


def _target(account: Account) -> Target:
    return Target(
        kind="account", id=account.id, name=account.address, tenant_id=account.tenant_id, account_id=account.id
    )
