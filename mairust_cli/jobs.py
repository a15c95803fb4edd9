"""What the commands about jobs share: starting one, following it, telling how it ended."""

from __future__ import annotations

import time
from dataclasses import replace

from mairust_cli.client.api import Client, Json, items_of, segment
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.progress import Progress
from mairust_cli.output.table import plain_cell
from mairust_cli.runtime import Runtime

FINAL = ("succeeded", "failed", "cancelled")
EVERY_S = 0.5
ERRORS_SHOWN = 10
UPLOAD_S = 300.0
AGAIN_S = 120.0
"""How long a daemon that restarts, or another job in the way, is waited for."""


def patient(run: Runtime) -> Client:
    """A client for requests that may take minutes."""
    return run.client_for(replace(run.options, timeout_s=max(run.options.timeout_s, UPLOAD_S)))


def follow(run: Runtime, job_id: str) -> Json:
    """Show a job's progress until it ends or is paused; Ctrl-C leaves it running (exit 130)."""
    progress = Progress(run.out, "import")
    lost = 0.0
    try:
        while True:
            try:
                job = run.client.get(f"/jobs/{segment(job_id)}")
            except CliError as error:
                lost = lost or time.monotonic()
                if error.code is not Exit.UNREACHABLE or time.monotonic() - lost > AGAIN_S:
                    raise
                time.sleep(EVERY_S)
                continue
            lost = 0.0
            done, total = number(job, "done"), number(job, "total")
            progress.total = total
            if job.get("status") in (*FINAL, "paused"):
                progress.close(done)
                return job
            progress.update(done, note=safe(str(job.get("place") or "")))
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        run.out.note(f"job {job_id[-8:]} goes on; mairust job show {job_id[-8:]}")
        raise


def tell(run: Runtime, job: Json, *, dry: bool = False) -> None:
    """Print how a job ended; of a dry run, what it would have done.

    Raises:
        CliError: It failed (exit 1), or some messages could not be taken (exit 9).
    """
    counts = ", ".join(
        f"{word} {number(job, word):,}" for word in ("added", "skipped", "failed", "changed") if number(job, word)
    )
    errors = items_of(job.get("errors"))
    for error in errors[:ERRORS_SHOWN]:
        run.out.warn(f"{safe(plain_cell(error.get('place')))}: {safe(plain_cell(error.get('detail')))}")
    if len(errors) > ERRORS_SHOWN:
        run.out.note(f"... mairust job show {plain_cell(job.get('id'))[-8:]} -o json names {len(errors)} of them")
    run.out.made(job, f"{counts or 'nothing to do'}{'   (dry run: nothing was changed)' if dry else ''}", name="id")
    if job.get("status") == "failed":
        why = plain_cell(errors[-1].get("detail")) if errors else "see the daemon's log"
        raise CliError("the job failed", code=Exit.FAILED, why=why, hint="the same command again goes on")
    if number(job, "failed"):
        why = f"{number(job, 'failed'):,} could not be taken"
        raise CliError("partly done", code=Exit.PARTLY, why=why, hint="the lines above name each cause")


def number(row: Json, name: str) -> int:
    value = row.get(name)
    return value if isinstance(value, int) else 0
