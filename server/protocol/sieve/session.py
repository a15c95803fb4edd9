"""One run of a script: facts it is given, state it changes, budget it spends.

- Scripts reach nothing but this object; what they decide is only recorded here.
- The budget covers included scripts: nesting multiplies nothing (RFC 6609 §3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from server.protocol.sieve.errors import SieveRuntimeError
from server.protocol.sieve.limits import (
    ACTIONS_MAX,
    EXPANDED_MAX,
    STEP_WORK,
    STEPS_MAX,
    VALUE_MAX,
    VARIABLES_MAX,
    WORK_MAX,
)
from server.protocol.sieve.outcome import Action, Discard, FileInto, Keep, Redirect, Reject, Seen, Vacation
from server.protocol.sieve.strings import Reference, Template, Text
from server.protocol.sieve.view import MessageView, Octets

GLOBAL = "global."


class Command(Protocol):
    """A compiled command."""

    def run(self, session: Session) -> None: ...


class Test(Protocol):
    """A compiled test."""

    def holds(self, session: Session) -> bool: ...


@dataclass(frozen=True, slots=True)
class Include:
    """A script that another one includes (RFC 6609 §3.2): `personal` is the owner's own, else the administrator's."""

    name: str
    personal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A compiled script; it never changes and may run in several threads at once.

    Attributes:
        extensions: What it requires.
        includes: What it may include, in the order of its text.
        needs_mailboxes: Whether it asks which mailboxes there are.
    """

    commands: tuple[Command, ...]
    extensions: frozenset[str]
    includes: tuple[Include, ...] = ()
    needs_mailboxes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxFact:
    """A mailbox of the owner; `special_use` as `\\Junk`, or None."""

    name: str
    id: str
    special_use: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a run may know beside the message.

    Attributes:
        envelope_from: The reverse-path, empty for the null one.
        envelope_to: The recipient address this delivery is for.
        separator: Between user and detail of a local part (RFC 5233); empty = no subaddresses.
        offset: The local zone, east of UTC.
        environment: Items of RFC 5183 by lower-case name.
        mailboxes: Empty unless the script `needs_mailboxes`.
        scripts: Every script that is or may be included.
        seen: Answers to the duplicate tests asked so far.
    """

    now: datetime
    envelope_from: str
    envelope_to: str
    separator: str = "+"
    offset: timedelta = timedelta()
    environment: Mapping[str, str] = field(default_factory=dict)
    mailboxes: tuple[MailboxFact, ...] = ()
    scripts: Mapping[Include, Script] = field(default_factory=dict)
    seen: Mapping[str, bool] = field(default_factory=dict)


class Stop(Exception):
    """Ends the run."""


class Return(Exception):
    """Ends the script that is included."""


class Unknown(Exception):
    """The run can't go on before somebody says whether `key` was seen."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class Session:
    """State of one run."""

    def __init__(self, facts: Facts, message: Octets, *, flags: tuple[str, ...] = ()) -> None:
        self.facts = facts
        self.view = MessageView(message, self.spend)
        self.variables: dict[str, str] = {}
        self.globals: dict[str, str] = {}
        self.imported: set[str] = set()
        self.matched: list[str] = []
        self.flags: tuple[str, ...] = flags
        self.actions: list[Action] = []
        self.seen: list[Seen] = []
        self.keeps = True
        self.included: set[Include] = set()
        self.including: list[Include] = []
        self.work = 0
        self.line = 0
        self._steps = 0

    def spend(self, work: int) -> None:
        """Pay for work.

        Raises:
            SieveRuntimeError: The budget is used up.
        """
        self.work += work
        if self.work > WORK_MAX:
            raise SieveRuntimeError("the script takes too long and was stopped", self.line)

    def step(self, line: int) -> None:
        """Pay for one command or test."""
        self.line = line
        self._steps += 1
        if self._steps > STEPS_MAX:
            raise SieveRuntimeError(f"more than {STEPS_MAX} steps; the script was stopped", line)
        self.spend(STEP_WORK)

    def run(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            command.run(self)

    # --- strings and variables (RFC 5229)

    def text(self, text: Text) -> str:
        """A string with its variables put in."""
        if isinstance(text, str):
            return text
        return self._expanded(text)

    def texts(self, texts: tuple[Text, ...]) -> list[str]:
        return [text if isinstance(text, str) else self._expanded(text) for text in texts]

    def _expanded(self, template: Template) -> str:
        value = "".join(part if isinstance(part, str) else self.value(part) for part in template.parts)
        if len(value) > EXPANDED_MAX:
            raise SieveRuntimeError("a string is too long after its variables were put in", self.line)
        self.spend(len(value))
        return value

    def value(self, reference: Reference) -> str:
        """A variable's value, empty when it was never set."""
        if reference.number is not None:
            return self.matched[reference.number] if reference.number < len(self.matched) else ""
        return self.variable(reference.name)

    def variable(self, name: str) -> str:
        scope, name = self._scope(name)
        return scope.get(name, "")

    def set_variable(self, name: str, value: str, line: int) -> None:
        """Set a variable; what is longer than a value may be is cut."""
        scope, name = self._scope(name)
        if name not in scope and len(self.variables) + len(self.globals) >= VARIABLES_MAX:
            raise SieveRuntimeError(f"more than {VARIABLES_MAX} variables", line)
        scope[name] = value[:VALUE_MAX]

    def _scope(self, name: str) -> tuple[dict[str, str], str]:
        if name.startswith(GLOBAL):
            return self.globals, name.removeprefix(GLOBAL)
        return (self.globals if name in self.imported else self.variables), name

    def set_matched(self, found: list[str]) -> None:
        """Take over match variables; at most ten are kept (RFC 5229 §3.2)."""
        if found:
            self.matched = [value[:VALUE_MAX] for value in found[:10]]

    # --- actions

    def act(self, action: Action, line: int) -> None:
        """Record an action; one that is there already counts once (RFC 5228 §2.10.3).

        Raises:
            SieveRuntimeError: Too many, or some that exclude each other (RFC 5429 §2, RFC 5230 §4.7).
        """
        if action in self.actions:
            return
        if isinstance(action, Reject) and any(not isinstance(a, Keep) or not a.implicit for a in self.actions):
            raise SieveRuntimeError("reject can't be combined with other actions", line)
        rejected = any(isinstance(a, Reject) for a in self.actions)
        if rejected and isinstance(action, Keep | FileInto | Redirect | Vacation | Discard | Reject):
            raise SieveRuntimeError("reject can't be combined with other actions", line)
        if isinstance(action, Vacation) and any(isinstance(a, Vacation) for a in self.actions):
            raise SieveRuntimeError("vacation can be used once only", line)
        if len(self.actions) >= ACTIONS_MAX:
            raise SieveRuntimeError(f"more than {ACTIONS_MAX} actions", line)
        self.actions.append(action)
