"""What can be done to deliveries, once for the command line and the console.

- Ids go one by one; filters go as one bulk request whose dry run is shown before anything is asked.
- bounce tells the sender, delete tells nobody, so delete of everything is confirmed by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mairust_cli.client.api import Client, Json, items_of
from mairust_cli.client.lookup import find_id, is_uuid
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Row, plain_cell

if TYPE_CHECKING:
    from mairust_cli.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One change to a delivery.

    Attributes:
        past: For results: `retried 3`.
        mild: One object needs no confirmation.
    """

    name: str
    past: str
    help: str
    mild: bool

    @property
    def examples(self) -> tuple[str, str]:
        return f"mairust queue {self.name} 7c4f2a91", f"mairust queue {self.name} --domain bigmail.example --dry-run"


VERBS = (
    Verb(name="retry", past="retried", help="Try deliveries now.", mild=True),
    Verb(name="hold", past="held", help="Stop trying until `queue release`.", mild=True),
    Verb(name="release", past="released", help="Go on with held deliveries.", mild=True),
    Verb(name="bounce", past="bounced", help="Give up and tell the sender by a DSN.", mild=False),
    Verb(name="delete", past="deleted", help="Give up and tell nobody.", mild=False),
)
BY_NAME = {kind.name: kind for kind in VERBS}


def reply_text(row: Row) -> str:
    """The remote's last words on one line: `421 4.7.28 rate limited`; else why it is held."""
    reply = row.get("last_reply")
    if not isinstance(reply, dict) or not (reply.get("code") or reply.get("text")):
        return safe(str(row.get("hold_reason") or ""))
    words = (reply.get("code"), reply.get("enhanced"), reply.get("text"))
    return " ".join(plain_cell(word) for word in words if word)


def act_on(client: Client, kind: Verb, delivery_id: str) -> None:
    """One change to one delivery."""
    if kind.name == "delete":
        client.delete(f"/queue/{delivery_id}")
    else:
        client.post(f"/queue/{delivery_id}/{kind.name}")


def select_and_act(
    run: Runtime,
    kind: Verb,
    *,
    ids: list[str],
    filters: Json,
    every: bool,
    dry_run: bool,
    confirm: Sequence[str],
) -> None:
    """Do one verb to ids, to what the filters match, or to everything.

    Raises:
        CliError: Nothing or too much selected (exit 2), not found, or partly done (exit 9).
    """
    if bool(ids) + bool(filters) + every != 1:
        why = "give ids, or filters, or --all"
        raise CliError("which deliveries?", code=Exit.USAGE, why=why, hint=f"mairust queue {kind.name} --help")
    if ids:
        _by_ids(run, kind, ids, dry_run)
    else:
        _by_filter(run, kind, filters, every, dry_run, confirm)


def _by_ids(run: Runtime, kind: Verb, references: list[str], dry_run: bool) -> None:
    waiting = [] if all(is_uuid(ref) for ref in references) else list(run.client.pages("/queue"))
    ids = [find_id(ref, waiting, kind="delivery", key="id") for ref in references]
    if dry_run:
        run.out.made({"count": len(ids), "ids": ids}, f"would be {kind.past}: {len(ids)}", name="count")
        return
    if not kind.mild or len(ids) > 1:
        shown = ", ".join(safe(ref) for ref in references[:3]) + (" ..." if len(references) > 3 else "")
        run.confirm(f"{kind.name.capitalize()} {len(ids)}: {shown}?")
    failed = 0
    for reference, ident in zip(references, ids, strict=True):
        try:
            act_on(run.client, kind, ident)
        except CliError as error:
            if len(ids) == 1 or error.code is Exit.UNREACHABLE:
                raise
            run.out.warn(f"{safe(reference)}: {safe(error.what)}; {safe(error.why)}")
            failed += 1
    _tell(run, kind, len(ids) - failed, failed)


def _by_filter(run: Runtime, kind: Verb, filters: Json, every: bool, dry_run: bool, confirm: Sequence[str]) -> None:
    body: Json = {"filter": filters, "action": kind.name}
    plan = run.client.post("/queue/bulk", {**body, "dry_run": True})
    count = _number(plan, "count")
    for sample in items_of(plan.get("samples"))[:3]:
        ident = plain_cell(sample.get("id"))[-8:]
        sender = plain_cell(sample.get("from")) or "<>"
        run.out.note(f"  {ident}  {sender} -> {plain_cell(sample.get('recipient'))}  {reply_text(sample)}")
    if dry_run:
        run.out.made(plan, f"would be {kind.past}: {count}", name="count")
        return
    if not count:
        run.out.done("nothing matches")
        return
    if every and kind.name in ("delete", "bounce"):
        run.confirm_names(["all"], confirm, loss=f"all {count} deliveries are {kind.past}")
    elif not (kind.mild and count == 1):
        run.confirm(f"{kind.name.capitalize()} {count} deliveries?")
    answer = run.client.post("/queue/bulk", {**body, "dry_run": False})
    _tell(run, kind, _number(answer, "done"), _number(answer, "failed"))


def _tell(run: Runtime, kind: Verb, done: int, failed: int) -> None:
    if failed:
        run.out.done(f"{kind.past} {done}, skipped {failed}")
        why = f"{done} {kind.past}, {failed} not"
        raise CliError("partly done", code=Exit.PARTLY, why=why, hint="mairust queue list")
    if run.out.for_people:
        run.out.done(f"{kind.past} {done}")
    else:
        run.out.record({"action": kind.name, "done": done, "failed": failed}, name="done")


def _number(answer: Json, key: str) -> int:
    value = answer.get(key)
    return value if isinstance(value, int) else 0
