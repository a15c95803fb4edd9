"""Domains with their DNS records and DKIM keys (api.md §3)."""

from __future__ import annotations

from enum import StrEnum

from litestar import Controller, MediaType, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.controllers.doctor import CheckOut, DomainCheckOut
from server.api.controllers.tenants import IfMatch
from server.api.dependencies import Caller, CursorMaker, Domains
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.common import revision_of, tagged
from server.api.schemas.directory import DkimKeyOut, DnsRecordOut, DomainOut
from server.domain.identity import Status
from server.services.identity.dns_records import zone_text
from server.services.identity.domains import DomainChange, NewDomain
from server.services.upkeep.doctor import record_check


class DnsFormat(StrEnum):
    JSON = "json"
    ZONE = "zone"


class DomainController(Controller):
    path = PREFIX + "/domains"
    tags = ("domains",)

    @get(operation_id="list_domains", opt=needs("domains:read"))
    async def list_domains(
        self,
        caller: Caller,
        domains: Domains,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        status: FromQuery[Status | None] = None,
    ) -> Listing[DomainOut]:
        """List domains, newest first."""
        name = f"domains {status}"
        page = await domains.page(caller, cursors.request(caller, name, limit=limit, cursor=cursor), status=status)
        return cursors.listing(caller, name, page, DomainOut.of)

    @post(operation_id="create_domain", opt=needs("domains:write"))
    async def create_domain(self, caller: Caller, domains: Domains, data: JSONBody[NewDomain]) -> Response[DomainOut]:
        """Add a domain, make its DKIM keys, and tell which DNS records to publish."""
        view = await domains.create(caller, data)
        records = domains.records(view)
        location = {"Location": f"{PREFIX}/domains/{view.domain.id}"}
        return tagged(DomainOut.of(view, records), view.domain.revision, status=201, headers=location)

    @get("/{ref:str}", operation_id="get_domain", opt=needs("domains:read"))
    async def get_domain(self, caller: Caller, domains: Domains, ref: FromPath[str]) -> Response[DomainOut]:
        """Show a domain by id or name."""
        view = await domains.get(caller, ref)
        return tagged(DomainOut.of(view), view.domain.revision)

    @patch("/{ref:str}", operation_id="change_domain", opt=needs("domains:write"))
    async def change_domain(
        self,
        caller: Caller,
        domains: Domains,
        ref: FromPath[str],
        data: JSONBody[DomainChange],
        if_match: IfMatch = None,
    ) -> Response[DomainOut]:
        """Change a domain's settings."""
        view = await domains.change(caller, ref, data, revision=revision_of(if_match))
        return tagged(DomainOut.of(view), view.domain.revision)

    @delete("/{ref:str}", operation_id="delete_domain", opt=needs("domains:write"))
    async def delete_domain(
        self, caller: Caller, domains: Domains, ref: FromPath[str], if_match: IfMatch = None
    ) -> None:
        """Move a domain without accounts and aliases to the trash."""
        await domains.delete(caller, ref, revision=revision_of(if_match))

    @post("/{ref:str}/restore", operation_id="restore_domain", opt=needs("domains:write"), status_code=200)
    async def restore_domain(self, caller: Caller, domains: Domains, ref: FromPath[str]) -> Response[DomainOut]:
        """Bring a domain back from the trash."""
        view = await domains.restore(caller, ref)
        return tagged(DomainOut.of(view), view.domain.revision)

    @get("/{ref:str}/dns", operation_id="get_domain_dns", opt=needs("domains:read"))
    async def get_domain_dns(
        self, caller: Caller, domains: Domains, ref: FromPath[str], format: FromQuery[DnsFormat] = DnsFormat.JSON
    ) -> Response[list[DnsRecordOut]] | Response[str]:
        """The records to publish, each compared with what DNS says now; `format=zone` gives zone file lines."""
        records = await domains.dns(caller, ref, live=format is DnsFormat.JSON)
        if format is DnsFormat.ZONE:
            return Response(zone_text(records), media_type=MediaType.TEXT)
        return Response([DnsRecordOut.of(record) for record in records])

    @post("/{ref:str}/check", operation_id="check_domain", opt=needs("domains:write"), status_code=200)
    async def check_domain(self, caller: Caller, domains: Domains, ref: FromPath[str]) -> DomainCheckOut:
        """Look at the domain's records; a pending domain whose mail comes here becomes active."""
        view, records = await domains.check(caller, ref)
        return DomainCheckOut(
            checks=[CheckOut.of(record_check(record)) for record in records],
            verified=view.domain.status is Status.ACTIVE,
        )

    @get("/{ref:str}/dkim", operation_id="list_dkim_keys", opt=needs("domains:read"))
    async def list_dkim_keys(self, caller: Caller, domains: Domains, ref: FromPath[str]) -> list[DkimKeyOut]:
        """The domain's signing keys with their public records."""
        view = await domains.get(caller, ref)
        return [DkimKeyOut.of(key) for key in view.keys]
