"""What runs for an account: its scripts and the administrators', compiled once and kept for their version.

- An account whose `filter_version` is 0 has no program: nothing is asked, nothing is loaded.
- A program belongs to one version; the version comes with the account, which the directory knows anyway. So a change
  is seen by every process as soon as it sees the account's change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from server.domain.filters import Place, ScriptRow, VacationRow
from server.domain.ids import AccountId
from server.domain.ports import Worker
from server.protocol.sieve.compile import compile_script
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.limits import INCLUDES_MAX
from server.protocol.sieve.session import Include, Script
from server.services.filters.plan import Step
from server.services.filters.rules import decode_rules, rules_script
from server.store.database import Database
from server.store.repositories import accounts, filters
from server.store.transaction import Transaction

KEPT_MAX = 1_000
"""Programs kept in memory; one without large scripts takes some ten kilobytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Everything that runs for one account.

    Attributes:
        steps: In the order they run.
        scripts: Whatever they may include.
        addresses: The account's own, the primary one first.
        display_name: For replies in its name.
    """

    steps: tuple[Step, ...]
    scripts: Mapping[Include, Script]
    vacation: VacationRow | None
    addresses: tuple[str, ...]
    display_name: str

    @property
    def needs_mailboxes(self) -> bool:
        scripts = [step.script for step in self.steps if step.script is not None]
        return any(script.needs_mailboxes for script in (*scripts, *self.scripts.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the store holds of a program."""

    own: tuple[ScriptRow, ...]
    admin: tuple[ScriptRow, ...]
    rules: str | None
    vacation: VacationRow | None
    addresses: tuple[str, ...]
    display_name: str


class Programs:
    """Compiled programs by account."""

    def __init__(self, *, database: Database, worker: Worker) -> None:
        self._database = database
        self._worker = worker
        self._kept: OrderedDict[AccountId, tuple[int, Program]] = OrderedDict()

    async def load(self, account_id: AccountId, version: int) -> Program:
        """The program of an account at a version. Raises Unavailable when the store can't be read."""
        found = self._kept.get(account_id)
        if found is not None and found[0] == version:
            self._kept.move_to_end(account_id)
            return found[1]
        stored = await self._database.read("filters.program", lambda tx: _read(tx, account_id))
        program = await self._worker.run(lambda: _compiled(stored))
        if version == 0:
            # Nothing runs, so nothing says when it changes: only trials ask.
            return program
        self._kept[account_id] = (version, program)
        self._kept.move_to_end(account_id)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return program


async def _read(tx: Transaction, account_id: AccountId) -> _Stored:
    account = await accounts.get_any(tx, account_id)
    tenant_id = await filters.tenant_of(tx, account_id)
    rules = await filters.rules(tx, account_id)
    return _Stored(
        own=await filters.scripts(tx, account_id),
        admin=() if tenant_id is None else await filters.admin_scripts(tx, tenant_id),
        rules=None if rules is None else rules.rules,
        vacation=await filters.vacation(tx, account_id),
        addresses=() if account is None else account.addresses,
        display_name="" if account is None else account.display_name,
    )


def _compiled(stored: _Stored) -> Program:
    steps = [_admin_step(row) for row in stored.admin if row.place is Place.BEFORE]
    if stored.rules is not None and stored.rules != "[]":
        source = rules_script(decode_rules(stored.rules))
        steps.append(_step("the account's filter rules", None, source))
    steps += [_step(f'script "{row.name}"', Include(row.name), row.octets) for row in stored.own if row.active]
    steps += [_admin_step(row) for row in stored.admin if row.place is Place.AFTER]
    return Program(
        steps=tuple(steps),
        scripts=_library(steps, stored),
        vacation=stored.vacation if stored.vacation is not None and stored.vacation.enabled else None,
        addresses=stored.addresses,
        display_name=stored.display_name,
    )


def _admin_step(row: ScriptRow) -> Step:
    return _step(f'the administrator\'s script "{row.name}"', Include(row.name, personal=False), row.octets)


def _step(title: str, name: Include | None, octets: bytes) -> Step:
    try:
        return Step(title=title, name=name, script=compile_script(octets))
    except SieveSyntaxError as error:
        # It compiled when it was stored, so an older release took what this one does not.
        return Step(title=title, name=name, script=None, problem=str(error))


def _library(steps: list[Step], stored: _Stored) -> dict[Include, Script]:
    """Every script that can be reached by include; one that does not compile is as if it were not there."""
    octets: dict[Include, bytes] = {Include(row.name): row.octets for row in stored.own}
    octets |= {Include(row.name, personal=False): row.octets for row in stored.admin}
    found: dict[Include, Script] = {}
    pending = [name for step in steps if step.script is not None for name in step.script.includes]
    seen: set[Include] = set()
    while pending and len(seen) <= INCLUDES_MAX * len(steps):
        name = pending.pop(0)
        if name in seen or name not in octets:
            continue
        seen.add(name)
        step = _step(name.name, name, octets[name])
        if step.script is not None:
            found[name] = step.script
            pending += step.script.includes
    return found
