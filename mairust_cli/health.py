"""The health of a server as lines of text, for `status` and the console's overview."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from mairust_cli.client.api import Json, items_of
from mairust_cli.output import times
from mairust_cli.output.table import plain_cell


def part(status: Json, key: str) -> Json:
    """A nested object of the status, or an empty one."""
    value = status.get(key)
    return value if isinstance(value, dict) else {}


def number(value: object) -> str:
    """A count with separators, `-` when the daemon does not say."""
    return f"{value:,}" if isinstance(value, int) else "-"


def state_words(status: Json) -> str:
    """`healthy`, or `unhealthy, 2 warnings`."""
    warnings = len(items_of(status.get("warnings")))
    health = plain_cell(status.get("health")) or "healthy"
    return health if not warnings else f"{health}, {warnings} warning{'s' if warnings > 1 else ''}"


def counts_words(status: Json) -> str:
    """`3 domains, 41 accounts`."""
    counts = part(status, "counts")
    return ", ".join(
        f"{number(counts.get(key))} {key[:-1] if counts.get(key) == 1 else key}" for key in ("domains", "accounts")
    )


def today_words(status: Json) -> str:
    """`in 1,204  out 611  refused 3,870`."""
    today = part(status, "today")
    return "  ".join(f"{name} {number(today.get(name))}" for name in ("in", "out", "refused"))


def queue_words(status: Json) -> str:
    """`12, oldest 2 h, 3 held`."""
    queue = part(status, "queue")
    oldest, held = queue.get("oldest_s"), queue.get("held")
    words = [number(queue.get("length"))]
    if isinstance(oldest, (int, float)) and oldest > 0:
        words.append(f"oldest {times.span_words(oldest)}")
    if isinstance(held, int) and held > 0:
        words.append(f"{held:,} held")
    return ", ".join(words)


def disk_words(status: Json) -> str:
    """`38 % of 80 GiB`."""
    disk = part(status, "disk")
    used, total = disk.get("used_percent"), disk.get("total_bytes")
    if not isinstance(used, (int, float)):
        return "-"
    return f"{used:.0f} %" + (f" of {times.size_words(total)}" if isinstance(total, int) else "")


def certificate_words(status: Json, now: datetime) -> str:
    """`71 d`, `expired`, or `-`."""
    until = times.parse_time(str(part(status, "tls").get("not_after") or ""))
    if until is None:
        return "-"
    return times.span_words((until - now).total_seconds()) if until > now else "expired"


def status_lines(status: Json, now: datetime, *, sign: Callable[[str], str]) -> list[str]:
    """The screen of `mairust status`; `sign` gives the mark of a severity."""
    uptime = status.get("uptime_s")
    up = f", up {times.span_words(uptime)}" if isinstance(uptime, (int, float)) else ""
    version, database = plain_cell(status.get("version")), plain_cell(status.get("database"))
    name = {"sqlite": "SQLite", "postgres": "PostgreSQL"}.get(database, database)
    ports = " ".join(plain_cell(listener.get("port")) for listener in items_of(status.get("listeners")))
    lines = [
        f"{plain_cell(status.get('hostname'))}  {state_words(status)}          "
        f"mairustd {version}{up}, {name}, {counts_words(status)}",
        f"today   {today_words(status)}        queue {queue_words(status)}",
        f"ports {sign('ok' if ports else 'error')} {ports or 'none'}    disk {disk_words(status)}    "
        f"certificate {certificate_words(status, now)}",
    ]
    for warning in items_of(status.get("warnings")):
        command = plain_cell(warning.get("try"))
        text = f"{sign('warning')} {plain_cell(warning.get('id'))}  {plain_cell(warning.get('text'))}"
        lines.append(f"{text}    try: {command}" if command else text)
    return lines
