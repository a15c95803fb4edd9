"""`mairust config`: the configuration file of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mairust_cli.arguments import DryRun
from mairust_cli.client.api import Json, segment
from mairust_cli.config_file import (
    ConfigMap,
    check_file,
    config_path,
    edited,
    get_key,
    load,
    options_for,
    read_text,
    replace_file,
    required_path,
    scalar,
    set_key,
    unset_key,
)
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import json_text, safe, safe_lines
from mairust_cli.output.table import plain_cell
from mairust_cli.output.yaml_text import yaml_text
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import noun, verb

app = noun("Read and change the configuration file.")

Config = Annotated[str | None, typer.Option("--config", metavar="PATH", help="Default /etc/mairust/config.yaml.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Such as server.hostname.")]


@verb(app, "show", "mairust config show", "mairust config show --effective -o json")
def show(
    ctx: typer.Context,
    config: Config = None,
    effective: Annotated[bool, typer.Option("--effective", help="What the daemon uses, with defaults.")] = False,
) -> None:
    """Print the file, or the settings the daemon runs with."""
    run = runtime(ctx)
    if effective:
        run.out.record(run.client.get("/settings"))
        return
    path = required_path(config, run.environment)
    text = read_text(path)
    if run.out.for_people:
        run.out.data(safe_lines(text.rstrip("\n")))
    else:
        run.out.record(load(text, path))


@verb(app, "get", "mairust config get server.hostname", "mairust config get smtp.max_message_size -o json")
def get(ctx: typer.Context, key: Key, config: Config = None) -> None:
    """Print one setting: the file's value, or else what the daemon uses."""
    run = runtime(ctx)
    path = config_path(config, run.environment)
    found, value = (False, None)
    if path is not None and path.is_file():
        found, value = get_key(load(read_text(path), path), key)
    if not found and config is None:
        found, value = _effective(run, key)
    if not found:
        where = str(path) if path else "no configuration file"
        raise CliError(
            f"'{key}' is not set", code=Exit.NOT_FOUND, why=f"{where}; its default holds", hint="mairust config show"
        )
    if run.out.format in ("json", "ndjson"):
        run.out.data(json_text(value))
    elif run.out.format == "yaml" or isinstance(value, dict):
        run.out.data(yaml_text(value).rstrip("\n"))
    elif not run.options.quiet:
        run.out.data(plain_cell(value))


@verb(
    app,
    "set",
    "mairust config set smtp.max_message_size 100MiB",
    "mairust config set server.hostname mail.example.com --dry-run",
)
def set_(
    ctx: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="As in the file: 25, true, [a, b], text.")],
    config: Config = None,
    dry_run: DryRun = False,
) -> None:
    """Set one key: comments stay, the result is checked, then the daemon reloads."""
    run = runtime(ctx)
    run.local_only()
    path = required_path(config, run.environment)
    _change(run, path, lambda document: set_key(document, key, scalar(value)), dry_run, f"{safe(key)} set")


@verb(
    app, "unset", "mairust config unset smtp.max_message_size", "mairust config unset outbound.capture_path --dry-run"
)
def unset(ctx: typer.Context, key: Key, config: Config = None, dry_run: DryRun = False) -> None:
    """Remove one key, so that its default holds."""
    run = runtime(ctx)
    run.local_only()
    path = required_path(config, run.environment)

    def edit(document: ConfigMap) -> None:
        if not unset_key(document, key):
            raise CliError(f"'{key}' is not set", code=Exit.NOT_FOUND, why=str(path), hint="mairust config show")

    _change(run, path, edit, dry_run, f"{safe(key)} unset")


@verb(app, "validate", "mairust config validate", "mairust config validate --config ./config.yaml")
def validate(ctx: typer.Context, config: Config = None) -> None:
    """Check the file; every fault is named by line (exit 7)."""
    run = runtime(ctx)
    path = required_path(config, run.environment)
    read_text(path)
    faults = check_file(path)
    if not faults:
        run.out.done(f"{safe(str(path))} is valid")
        return
    for fault in faults:
        run.out.data(safe(fault))
    why = f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}"
    raise CliError("the configuration is not valid", code=Exit.INVALID, why=why, hint="mairust config show")


def _effective(run: Runtime, key: str) -> tuple[bool, object]:
    try:
        answer = run.client.get(f"/settings/{segment(key)}")
    except CliError as error:
        if error.code in (Exit.NOT_FOUND, Exit.UNREACHABLE):
            return False, None
        raise
    return True, answer.get("value", answer)


def _change(run: Runtime, path: Path, edit: Callable[[ConfigMap], None], dry_run: bool, text: str) -> None:
    before = read_text(path)
    after = edited(before, path, edit)
    if after == before:
        run.out.done(f"{text}: nothing to change")
        return
    if dry_run:
        run.out.data(safe_lines("\n".join(_diff(before, after, path.name))))
        return
    replace_file(path, after)
    run.out.done(f"{text} in {safe(str(path))}")
    _reload(run, path)


def _diff(before: str, after: str, name: str) -> list[str]:
    from difflib import unified_diff

    return list(unified_diff(before.splitlines(), after.splitlines(), name, f"{name} (new)", n=1, lineterm=""))


def _reload(run: Runtime, path: Path) -> None:
    """Have a running daemon take the new file; a daemon that is down takes it at its start."""
    client = run.client_for(options_for(run.options, path))
    try:
        answer: Json = client.post("/settings/reload")
    except CliError as error:
        if error.code is Exit.UNREACHABLE:
            run.out.note("the daemon is not running; the file is read when it starts")
        else:
            run.out.warn(f"not reloaded: {safe(error.what)}; {safe(error.why)}")
        return
    finally:
        client.close()
    waiting = answer.get("restart_required")
    if isinstance(waiting, list) and waiting:
        run.out.note(f"needs a restart: {plain_cell(waiting)}")
        run.out.next("sudo systemctl restart mairustd")
