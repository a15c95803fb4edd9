"""`mairust demo`: the whole appliance on the loopback; nothing leaves the machine."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from mairust_cli.client.api import Client, Json
from mairust_cli.demo.daemon import ended, running
from mairust_cli.demo.folder import DemoFolder
from mairust_cli.demo.ports import DEFAULT_BASE, choose_ports
from mairust_cli.demo.roundtrip import RoundTrip, round_trip
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import single, verb
from mairust_cli.timeline import timeline_lines

app = single()
DOMAIN = "example.test"
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
PASSWORD = "demo-password"  # noqa: S105  printed, and only on the loopback


@verb(app, "demo", "mairust demo", "mairust demo --once", "mairust demo --dir ./demo --base-port 30000")
def demo(
    ctx: typer.Context,
    directory: Annotated[str | None, typer.Option("--dir", metavar="DIR", help="Keep everything here.")] = None,
    base_port: Annotated[int, typer.Option("--base-port", metavar="N", help="Ports are N+25, ...; 0 = free ones.")] = (
        DEFAULT_BASE
    ),
    once: Annotated[bool, typer.Option("--once", help="Send one message through it, compare, and stop.")] = False,
) -> None:
    """Run a whole mail server on 127.0.0.1 with two accounts, to try it out."""
    run = runtime(ctx)
    run.local_only()
    ports = choose_ports(base_port)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    with ExitStack() as stack:
        folder = DemoFolder(_folder(directory, stack))
        folder.prepare(ports)
        options = replace(run.options, socket=str(folder.socket), url="", tenant="")
        client = run.client_for(options)
        stack.callback(client.close)
        try:
            child = stack.enter_context(running(folder, client, run.environment))
            _accounts(client)
            if once:
                _once(run, client, folder, ports)
                return
            _table(run, folder, ports, temporary=directory is None)
            _stay(child, folder)
        except KeyboardInterrupt:
            if once:
                raise
            run.out.note("stopping")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _folder(directory: str | None, stack: ExitStack) -> Path:
    if directory is not None:
        return Path(directory).absolute()
    path = Path(tempfile.mkdtemp(prefix="mairust-demo-"))
    stack.callback(shutil.rmtree, path, ignore_errors=True)
    return path


def _accounts(client: Client) -> None:
    """Make the domain and both accounts; what an earlier run made is kept."""
    wanted: tuple[tuple[str, Json], ...] = (
        ("/domains", {"name": DOMAIN}),
        ("/accounts", {"address": ALICE, "display_name": "Alice", "password": PASSWORD}),
        ("/accounts", {"address": BOB, "display_name": "Bob", "password": PASSWORD}),
    )
    for path, body in wanted:
        try:
            client.post(path, body)
        except CliError as error:
            if error.code is not Exit.CONFLICT:
                raise


def _table(run: Runtime, folder: DemoFolder, ports: dict[str, int], *, temporary: bool) -> None:
    if not run.out.for_people:
        run.out.record(
            {"dir": str(folder.path), "socket": str(folder.socket), "accounts": [ALICE, BOB], **ports}, name="dir"
        )
        run.out.flush()
        return
    path = safe(str(folder.path))
    end = f"deletes {path}" if temporary else f"keeps {path}"
    lines = (
        f"MaiRust demo, all on 127.0.0.1, nothing leaves this machine. Ctrl-C stops it and {end}",
        f"accounts  {ALICE}  {BOB}     password  {PASSWORD}",
        f"IMAP      {ports['imaps_port']} TLS, {ports['imap_port']} STARTTLS      "
        f"SMTP  {ports['submissions_port']} TLS, {ports['submission_port']} STARTTLS, {ports['smtp_port']} reception",
        f"POP3      {ports['pop3s_port']} TLS, {ports['pop3_port']} STLS      Sieve  {ports['sieve_port']} STARTTLS",
        f"API       http://127.0.0.1:{ports['api_port']}/docs      captured mail  {safe(str(folder.outbound))}",
        f"trust     {safe(str(folder.certificate))}",
        f"console   mairust --socket {safe(str(folder.socket))} tui",
    )
    run.out.data("\n".join(lines))
    run.out.flush()


def _stay(child: subprocess.Popen[bytes], folder: DemoFolder) -> None:
    child.wait()
    raise ended(child, folder)


def _once(run: Runtime, client: Client, folder: DemoFolder, ports: dict[str, int]) -> None:
    result = round_trip(sender=ALICE, recipient=BOB, password=PASSWORD, ports=ports, certificate=folder.certificate)
    told = _trace(client, result)
    words = "not read back in 30 s"
    if result.received is not None:
        octets = "same bytes" if result.same else "OTHER BYTES"
        words = f"delivered in {result.delivered_s:.1f} s    read back by IMAP: {octets}"
    if run.out.for_people:
        run.out.data(f"submitted {ALICE} -> {BOB}, port {ports['submissions_port']}    {words}")
        run.out.data("\n".join(timeline_lines(told)))
    else:
        run.out.record({"same": result.same, "delivered_s": round(result.delivered_s, 3), "trace": told}, name="same")
    if result.received is None:
        why = f"{BOB}, 30 s; the trace above tells where it is"
        raise CliError("the message did not arrive", code=Exit.TIMED_OUT, why=why, hint="mairust demo --dir DIR --once")
    if not result.same:
        why = f"{len(result.sent)} octets sent, {len(result.received)} read back do not end in them"
        raise CliError("the message was changed", code=Exit.FAILED, why=why, hint="mairust demo --dir DIR --once")


def _trace(client: Client, result: RoundTrip) -> Json:
    found = next(iter(client.pages("/trace", {"message_id_header": result.message_id})), None)
    if found is None:
        return {"summary": "no trace was found", "timeline": []}
    told = client.get(f"/trace/{found.get('trace_id')}")
    return {**found, **told}
