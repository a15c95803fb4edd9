"""What an account does with its mail; `me` is the caller's own account (api.md §3)."""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from litestar.params import FromPath, JSONBody

from server.api.dependencies import Caller, Filters
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.filters import (
    AdminScriptOut,
    AdminScriptsOut,
    ForwardOut,
    RulesOut,
    ScriptCheckOut,
    ScriptOut,
    ScriptsOut,
    TrialOut,
    VacationOut,
)
from server.services.filters.admin import AdminScriptInput
from server.services.filters.settings import ForwardInput, RulesInput, VacationInput
from server.services.filters.trial import TrialInput
from server.services.identity.writer import Input

READ = needs("mail:read|accounts:read")
WRITE = needs("mail:write|accounts:write")
"""`me` asks for the scope of mail, others for the one of accounts: the service decides."""


class ScriptIn(Input, frozen=True, kw_only=True):
    content: str


class FilterController(Controller):
    path = PREFIX + "/accounts/{ref:str}"
    tags = ("filters",)

    @get("/vacation", operation_id="get_vacation", opt=READ)
    async def get_vacation(self, caller: Caller, filters: Filters, ref: FromPath[str]) -> VacationOut:
        """The account's automatic answer; disabled when none was ever set."""
        return VacationOut.of(await filters.vacation(caller, ref))

    @put("/vacation", operation_id="set_vacation", opt=WRITE)
    async def set_vacation(
        self, caller: Caller, filters: Filters, ref: FromPath[str], data: JSONBody[VacationInput]
    ) -> VacationOut:
        """Set the automatic answer: once to each sender in `days`, never to lists or automatic mail."""
        return VacationOut.of(await filters.set_vacation(caller, ref, data))

    @delete("/vacation", operation_id="clear_vacation", opt=WRITE)
    async def clear_vacation(self, caller: Caller, filters: Filters, ref: FromPath[str]) -> None:
        """Remove the automatic answer."""
        await filters.clear_vacation(caller, ref)

    @get("/forward", operation_id="get_forward", opt=READ)
    async def get_forward(self, caller: Caller, filters: Filters, ref: FromPath[str]) -> ForwardOut:
        """Where the account's mail goes on to."""
        return ForwardOut.of(await filters.forward(caller, ref))

    @put("/forward", operation_id="set_forward", opt=WRITE)
    async def set_forward(
        self, caller: Caller, filters: Filters, ref: FromPath[str], data: JSONBody[ForwardInput]
    ) -> ForwardOut:
        """Send the account's mail on; junk is not forwarded."""
        return ForwardOut.of(await filters.set_forward(caller, ref, data))

    @delete("/forward", operation_id="clear_forward", opt=WRITE)
    async def clear_forward(self, caller: Caller, filters: Filters, ref: FromPath[str]) -> None:
        """Forward no more."""
        await filters.set_forward(caller, ref, None)

    @get("/filters", operation_id="get_filters", opt=READ)
    async def get_filters(self, caller: Caller, filters: Filters, ref: FromPath[str]) -> RulesOut:
        """The account's filter rules, in the order they run."""
        return RulesOut.of(await filters.rules(caller, ref))

    @put("/filters", operation_id="set_filters", opt=WRITE)
    async def set_filters(
        self, caller: Caller, filters: Filters, ref: FromPath[str], data: JSONBody[RulesInput]
    ) -> RulesOut:
        """Replace all filter rules."""
        return RulesOut.of(await filters.set_rules(caller, ref, data))

    @delete("/filters", operation_id="clear_filters", opt=WRITE)
    async def clear_filters(self, caller: Caller, filters: Filters, ref: FromPath[str]) -> None:
        """Remove all filter rules."""
        await filters.set_rules(caller, ref, RulesInput())


class SieveController(Controller):
    path = PREFIX + "/accounts/{ref:str}/sieve"
    tags = ("filters",)

    @get(operation_id="list_sieve_scripts", opt=READ)
    async def list_scripts(self, caller: Caller, filters: Filters, ref: FromPath[str]) -> ScriptsOut:
        """The account's Sieve scripts by name; the active one runs at delivery."""
        return ScriptsOut.of(await filters.scripts(caller, ref))

    @get("/{name:str}", operation_id="get_sieve_script", opt=READ)
    async def get_script(self, caller: Caller, filters: Filters, ref: FromPath[str], name: FromPath[str]) -> ScriptOut:
        """One script with its text."""
        return ScriptOut.of(await filters.script(caller, ref, name))

    @put("/{name:str}", operation_id="put_sieve_script", opt=WRITE)
    async def put_script(
        self, caller: Caller, filters: Filters, ref: FromPath[str], name: FromPath[str], data: JSONBody[ScriptIn]
    ) -> ScriptOut:
        """Store a script, in place of one of that name; one that does not compile is refused with its line."""
        return ScriptOut.of(await filters.put_script(caller, ref, name, data.content))

    @delete("/{name:str}", operation_id="delete_sieve_script", opt=WRITE)
    async def delete_script(self, caller: Caller, filters: Filters, ref: FromPath[str], name: FromPath[str]) -> None:
        """Remove a script; the active one can't be removed."""
        await filters.delete_script(caller, ref, name)

    @post("/{name:str}/activate", operation_id="activate_sieve_script", opt=WRITE, status_code=204)
    async def activate_script(self, caller: Caller, filters: Filters, ref: FromPath[str], name: FromPath[str]) -> None:
        """Make a script the one that runs."""
        await filters.activate_script(caller, ref, name)


class SieveToolController(Controller):
    path = PREFIX + "/accounts/{ref:str}"
    tags = ("filters",)

    @post("/sieve-deactivate", operation_id="deactivate_sieve_scripts", opt=WRITE, status_code=204)
    async def deactivate(self, caller: Caller, filters: Filters, ref: FromPath[str]) -> None:
        """Let no script run."""
        await filters.activate_script(caller, ref, "")

    @post("/sieve-check", operation_id="check_sieve_script", opt=READ, status_code=200)
    async def check(
        self, caller: Caller, filters: Filters, ref: FromPath[str], data: JSONBody[ScriptIn]
    ) -> ScriptCheckOut:
        """Check a script without storing it."""
        return ScriptCheckOut(warnings=list(await filters.check_script(caller, ref, data.content)))

    @post("/sieve-test", operation_id="test_sieve_script", opt=READ, status_code=200)
    async def try_out(
        self, caller: Caller, filters: Filters, ref: FromPath[str], data: JSONBody[TrialInput]
    ) -> TrialOut:
        """What a script, or all that runs for the account, would do with a message; nothing is done."""
        return TrialOut.of(await filters.try_script(caller, ref, data))


class AdminSieveController(Controller):
    path = PREFIX + "/sieve-scripts"
    tags = ("filters",)

    @get(operation_id="list_admin_sieve_scripts", opt=needs("filtering:read"))
    async def list_scripts(self, caller: Caller, filters: Filters) -> AdminScriptsOut:
        """Administrators' scripts, which run before or after those of every account."""
        return AdminScriptsOut.of(await filters.admin.page(caller))

    @get("/{name:str}", operation_id="get_admin_sieve_script", opt=needs("filtering:read"))
    async def get_script(self, caller: Caller, filters: Filters, name: FromPath[str]) -> AdminScriptOut:
        """One of them with its text."""
        return AdminScriptOut.of(await filters.admin.get(caller, name))

    @put("/{name:str}", operation_id="put_admin_sieve_script", opt=needs("filtering:write"))
    async def put_script(
        self, caller: Caller, filters: Filters, name: FromPath[str], data: JSONBody[AdminScriptInput]
    ) -> AdminScriptOut:
        """Store one, in place of one of that name; it runs for every mail from the next on."""
        return AdminScriptOut.of(await filters.admin.put(caller, name, data))

    @delete("/{name:str}", operation_id="delete_admin_sieve_script", opt=needs("filtering:write"))
    async def delete_script(self, caller: Caller, filters: Filters, name: FromPath[str]) -> None:
        """Remove one."""
        await filters.admin.delete(caller, name)
