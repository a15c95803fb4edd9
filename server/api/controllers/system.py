"""The server itself (api.md §7)."""

from __future__ import annotations

import platform
import time

from litestar import Controller, get

from server.api.dependencies import Caller, ServerStatus
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.system import StatusOut, VersionOut
from server.domain.scopes import require


class SystemController(Controller):
    path = PREFIX + "/system"
    tags = ("system",)

    @get("/status", operation_id="get_system_status", opt=needs("system:read"))
    async def get_status(self, caller: Caller, server_status: ServerStatus) -> StatusOut:
        """One screen of health."""
        require(caller, "system:read")
        found = await server_status.status()
        oldest_us = found.totals.waiting.oldest_us
        oldest_s = 0 if oldest_us is None else max(0, int(time.time() - oldest_us / 1_000_000))
        return StatusOut.of(found, oldest_s)

    @get("/version", operation_id="get_version", opt=needs("system:read"))
    async def get_version(self, caller: Caller, server_status: ServerStatus) -> VersionOut:
        """Versions of the server and its interpreter."""
        require(caller, "system:read")
        return VersionOut(version=server_status.version, python=platform.python_version())
