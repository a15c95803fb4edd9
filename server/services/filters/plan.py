"""What becomes of one message for one account: its program run, the outcomes of all scripts made into one plan.

- Order: administrators' scripts before, the account's rules, its active script, administrators' scripts after. Each
  starts from the mail being kept; one that does not keep it ends the row.
- An error in any script undoes all of it: the mail is kept in the default mailbox, and the plan says why.
- Pure: what to do is decided here, doing it is the delivery's.

RFC 5228 §2.10.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from server.protocol.sieve.compile import Unanswered, run_script
from server.protocol.sieve.errors import SieveError
from server.protocol.sieve.outcome import (
    Action,
    Discard,
    FileInto,
    Keep,
    Notify,
    Redirect,
    Reject,
    Seen,
    Vacation,
)
from server.protocol.sieve.session import Facts, Include, Script
from server.protocol.sieve.view import Octets


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One script of a program.

    Attributes:
        title: How the trace names it: `script "main"`, `rules`, `administrator's script "x"`.
        name: By which it may be included; None for rules.
        script: None when it does not compile any more: `problem` then says why.
    """

    title: str
    name: Include | None
    script: Script | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line for the trace: a verdict in a word, a sentence, and whether something is wrong."""

    verdict: str
    detail: str
    wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A message to be stored; `into` None = the default mailbox. `by` names the script."""

    into: FileInto | None
    flags: tuple[str, ...] = ()
    header: bytes | None = None
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done; without copies the mail is not stored for this account.

    Attributes:
        rejected: The text of a reject, else None; then there is nothing else.
        failed: A script had an error; the mail is kept and nothing else happens.
    """

    copies: tuple[Copy, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    vacations: tuple[Vacation, ...] = ()
    notifications: tuple[Notify, ...] = ()
    rejected: str | None = None
    failed: bool = False
    seen: tuple[Seen, ...] = ()
    lines: tuple[Line, ...] = ()


KEPT = Copy(into=None)


@dataclass(slots=True)
class _Gathered:
    """Actions of the scripts so far, with the script of each."""

    actions: list[tuple[Action, str]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    keep: tuple[Keep, str] | None = None


def make_plan(steps: Sequence[Step], facts: Facts, message: Octets) -> Plan | Unanswered:
    """Run the scripts of a program on one message.

    Returns:
        The plan, or the question whether a unique id was seen: call again with its answer.
    """
    gathered = _Gathered()
    flags: tuple[str, ...] = ()
    for step in steps:
        if step.script is None:
            return failure(f"{step.title}: {step.problem}")
        try:
            outcome = run_script(step.script, facts, message, name=step.name, flags=flags)
        except SieveError as error:
            return failure(f"{step.title}, {error}")
        if isinstance(outcome, Unanswered):
            return outcome
        gathered.keep = None
        for action in outcome.actions:
            if isinstance(action, Keep):
                gathered.keep = (action, step.title)
            else:
                gathered.actions.append((action, step.title))
        gathered.seen += outcome.seen
        flags = outcome.flags
        if not outcome.keeps:
            break
    return _plan(gathered) if steps else Plan(copies=(KEPT,))


def failure(reason: str) -> Plan:
    """Keep the mail and say why."""
    return Plan(
        copies=(KEPT,),
        failed=True,
        lines=(Line(verdict="failed", detail=f"{reason}; the mail is kept", wrong=True),),
    )


def _plan(gathered: _Gathered) -> Plan:
    copies: dict[object, Copy] = {}
    lines: list[Line] = []
    for action, by in gathered.actions:
        if isinstance(action, FileInto):
            place = (action.mailbox, action.mailbox_id, action.special_use)
            copies.setdefault(place, Copy(into=action, flags=action.flags, header=action.header, by=by))
        elif isinstance(action, Reject):
            return Plan(rejected=action.reason, lines=(Line(verdict="rejected", detail=f"{by} rejects the mail"),))
        elif isinstance(action, Redirect):
            lines.append(Line(verdict="redirected", detail=f"{by} redirects to {action.address}"))
    if gathered.keep is not None:
        keep, by = gathered.keep
        copies[None] = Copy(into=None, flags=keep.flags, header=keep.header, by="" if keep.implicit else by)
    redirects = {action.address: action for action, _ in gathered.actions if isinstance(action, Redirect)}
    if not copies and not redirects:
        by = next((by for action, by in gathered.actions if isinstance(action, Discard)), "a script")
        lines.append(Line(verdict="discarded", detail=f"{by} discards the mail"))
    return Plan(
        copies=tuple(copies.values()),
        redirects=tuple(redirects.values()),
        vacations=tuple(action for action, _ in gathered.actions if isinstance(action, Vacation)),
        notifications=tuple(action for action, _ in gathered.actions if isinstance(action, Notify)),
        seen=tuple(gathered.seen),
        lines=tuple(lines),
    )


def with_answer(seen: Mapping[str, bool], key: str, *, answer: bool) -> dict[str, bool]:
    """The answers of a run with one more."""
    return {**seen, key: answer}
