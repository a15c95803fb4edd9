"""What a tenant uses (api.md §3)."""

from __future__ import annotations

from litestar import Controller, get

from server.api.dependencies import Caller, Usage
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.usage import UsageOut


class UsageController(Controller):
    path = PREFIX + "/usage"
    tags = ("tenants",)

    @get(operation_id="get_usage", opt=needs("accounts:read"))
    async def get_usage(self, caller: Caller, usage: Usage) -> UsageOut:
        """Accounts, messages and storage of the tenant, in all and by domain."""
        return UsageOut.of(await usage.usage(caller))
