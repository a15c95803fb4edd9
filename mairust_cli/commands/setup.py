"""`mairust setup`: the first configuration of this machine, as often as needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from mairust_cli.arguments import DryRun
from mairust_cli.runtime import runtime
from mairust_cli.setup_steps import Setup, read_answers, stored_answers
from mairust_cli.shell import single, verb

app = single()


@verb(app, "setup", "sudo mairust setup", "mairust setup --config ./config.yaml --answers ./answers.yaml --dry-run")
def setup(
    ctx: typer.Context,
    answers: Annotated[
        str | None, typer.Option("--answers", metavar="F", help="YAML: hostname, domain, account, password_file.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="PATH", help="Default /etc/mairust/config.yaml.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Set host name, configuration and keys; then the first domain and account, once the daemon runs."""
    run = runtime(ctx)
    run.local_only()
    if answers is not None:
        run.options = replace(run.options, prompts=False)
    steps = Setup(run, config=config, dry_run=dry_run)
    steps.answers.update(stored_answers(steps.kept))
    steps.answers.update(read_answers(answers) if answers else {})
    steps.run_all()
