"""The doctor (api.md §7)."""

from __future__ import annotations

import msgspec
from litestar import Controller, get, post
from litestar.params import JSONBody

from server.api.dependencies import Caller, Physician
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.common import Output, time_text
from server.domain.errors import NotFound
from server.domain.scopes import require
from server.services.upkeep.doctor import Check


class DoctorIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`only`: ids of checks, or local, dns, tls, domain=NAME; empty = all."""

    only: list[str] = msgspec.field(default_factory=list)


class CheckOut(Output, frozen=True, kw_only=True):
    """One finding: `severity` is ok, warning or error; `fix_by` says who can mend it."""

    id: str
    severity: str
    subject: str
    found: str
    wanted: str
    fix_by: str
    fix: str

    @classmethod
    def of(cls, check: Check) -> CheckOut:
        return cls(
            id=check.id,
            severity=check.severity.value,
            subject=check.subject,
            found=check.found,
            wanted=check.wanted,
            fix_by=check.fix_by,
            fix=check.fix,
        )


class DoctorOut(Output, frozen=True, kw_only=True):
    checks: list[CheckOut]
    at: str | None = None


class DomainCheckOut(Output, frozen=True, kw_only=True):
    """`verified`: mail for the domain is taken."""

    checks: list[CheckOut]
    verified: bool


class DoctorController(Controller):
    path = PREFIX + "/doctor"
    tags = ("system",)

    @post(operation_id="run_doctor", opt=needs("system:read"), status_code=200)
    async def run_doctor(self, caller: Caller, doctor: Physician, data: JSONBody[DoctorIn | None] = None) -> DoctorOut:
        """Run the checks now."""
        checks = await doctor.examine(caller, data.only if data else [])
        return DoctorOut(checks=[CheckOut.of(check) for check in checks])

    @get("/latest", operation_id="get_latest_doctor", opt=needs("system:read"))
    async def get_latest(self, caller: Caller, doctor: Physician) -> DoctorOut:
        """The last whole run since the start."""
        require(caller, "system:read")
        if doctor.latest is None:
            raise NotFound("the doctor has not run since the start")
        at, checks = doctor.latest
        return DoctorOut(checks=[CheckOut.of(check) for check in checks], at=time_text(at))
