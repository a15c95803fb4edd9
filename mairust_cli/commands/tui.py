"""`mairust tui`: start the full-screen console."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated

import typer

from mairust_cli.exits import CliError, Exit
from mairust_cli.runtime import runtime
from mairust_cli.shell import single, verb

app = single()
CONSOLE_TIMEOUT_S = 5.0


@verb(app, "tui", "mairust tui", "mairust tui --read-only")
def tui(
    ctx: typer.Context,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show, and change nothing.")] = False,
    fps: Annotated[int | None, typer.Option("--fps", min=1, max=60, help="Most paints a second.")] = None,
    no_mouse: Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse to the terminal.")] = False,
) -> None:
    """Open the full-screen console: overview and queue, live."""
    run = runtime(ctx)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CliError(
            "the console needs a terminal", code=Exit.USAGE, why="stdin or stdout is none", hint="mairust status"
        )
    run.client.get("/system/status")
    # textual reads these when it is imported.
    if os.environ.get("SSH_CONNECTION"):
        os.environ.setdefault("TEXTUAL_FPS", "15")
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    if fps is not None:
        os.environ["TEXTUAL_FPS"] = str(fps)
    from mairust_cli.tui.app import Console

    options = replace(run.options, debug=False, timeout_s=CONSOLE_TIMEOUT_S)
    console = Console(lambda: run.client_for(options), read_only=read_only, ascii_only=run.out.ascii)
    raise typer.Exit(console.run(mouse=not no_mouse) or 0)
