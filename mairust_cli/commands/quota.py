"""`mairust quota`: how full accounts and domains are."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.client.api import Json, items_of
from mairust_cli.output.table import Column, Row
from mairust_cli.runtime import runtime
from mairust_cli.shell import noun, verb

app = noun("How full accounts and domains are.")


def percent(row: Row) -> int | None:
    """Percent of the quota in use, None without one."""
    used, quota = row.get("used_bytes"), row.get("quota_bytes")
    if not isinstance(used, int) or not isinstance(quota, int) or quota <= 0:
        return None
    return used * 100 // quota


def _percent(row: Row) -> str:
    full = percent(row)
    return "" if full is None else f"{full}%"


def _used(row: Row) -> int:
    used = row.get("used_bytes")
    return used if isinstance(used, int) else 0


COLUMNS = (
    Column(name="name", read=lambda row: row.get("name") or row.get("address"), cut=48),
    Column(name="used", read=lambda row: row.get("used_bytes"), kind="size"),
    Column(name="quota", read=lambda row: row.get("quota_bytes") or None, kind="size"),
    Column(name="full", read=_percent),
)


@verb(app, "report", "mairust quota report", "mairust quota report --above 80 -o json")
def report(
    ctx: typer.Context,
    domains: Annotated[bool, typer.Option("--domains", help="By domain instead of by account.")] = False,
    domain: Annotated[str | None, typer.Option("--domain", metavar="NAME", help="Only accounts of this one.")] = None,
    above: Annotated[int | None, typer.Option("--above", metavar="PERCENT", help="Only what is as full.")] = None,
) -> None:
    """What accounts store, the largest first."""
    run = runtime(ctx)
    rows: list[Json]
    if domains:
        rows = items_of(run.client.get("/usage").get("by_domain"))
    else:
        rows = list(run.client.pages("/accounts", {"domain_id": domain}))
    kept = [row for row in rows if above is None or (percent(row) or 0) >= above]
    run.out.rows(
        sorted(kept, key=_used, reverse=True), COLUMNS, name="name" if domains else "address", empty="nothing as full"
    )
