"""`mairust wait`: block until something is true."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mairust_cli.client.api import Client, segment
from mairust_cli.commands.job import job_id_of
from mairust_cli.exits import CliError, Exit
from mairust_cli.jobs import FINAL
from mairust_cli.runtime import runtime
from mairust_cli.shell import single, verb

app = single()
EVERY_S = 0.2


@verb(app, "wait", "mairust wait --for ready", "mairust wait --for queue-empty --timeout 300")
def wait(
    ctx: typer.Context,
    what: Annotated[str, typer.Option("--for", metavar="ready|queue-empty|job=ID", help="What to wait for.")] = "ready",
) -> None:
    """Wait until the daemon is ready, the queue empty, or a job over; exit 8 after --timeout seconds (30)."""
    run = runtime(ctx)
    tests = {"ready": ready, "queue-empty": _queue_empty}
    if what.startswith("job="):
        job_id = job_id_of(run.client, what.removeprefix("job="))
        tests[what] = lambda client: client.get(f"/jobs/{segment(job_id)}").get("status") in FINAL
    if what not in tests:
        raise CliError(
            f"--for: '{what}'",
            code=Exit.USAGE,
            why=f"one of {', '.join(tests)}, job=ID",
            hint="mairust wait --for ready",
        )
    deadline = time.monotonic() + run.options.timeout_s
    while not tests[what](run.client):
        if time.monotonic() >= deadline:
            why = f"{run.client.endpoint.name}, {run.options.timeout_s:g} s"
            raise CliError(f"still not {what}", code=Exit.TIMED_OUT, why=why, hint="mairust status")
        time.sleep(EVERY_S)


def ready(client: Client) -> bool:
    """Whether the daemon answers its readiness check with 200; a missing daemon is not ready yet."""
    try:
        return client.send("GET", "/health/ready").status == 200
    except CliError as error:
        if error.code is Exit.NOT_ALLOWED:
            raise
        return False


def _queue_empty(client: Client) -> bool:
    return next(iter(client.pages("/queue", page=1)), None) is None
