"""Trying filters on a message: what would be done, in words; nothing is stored, sent or remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from server.config.schema import Settings
from server.domain.errors import InvalidInput
from server.domain.identity import Account
from server.domain.ports import Clock, Worker
from server.protocol.sieve.compile import Unanswered, compile_script
from server.protocol.sieve.outcome import FileInto
from server.protocol.sieve.session import Facts, Include, MailboxFact
from server.protocol.sieve.view import Octets
from server.protocol.smtp.address import AddressSyntaxError, parse_address
from server.services.filters.plan import Copy, Plan, Step, make_plan, with_answer
from server.services.filters.programs import Programs
from server.services.identity.writer import Input
from server.store.database import Database
from server.store.repositories import mailboxes

MESSAGE_MAX = 1024 * 1024
"""Octets of a message to try."""
QUESTIONS_MAX = 20


class TrialInput(Input, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A whole message as text; `content` is a script to try in place of all that runs for the account."""

    message: str
    content: str | None = None
    sender: str = ""
    to: str = ""
    seen_before: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What would happen, one sentence an action, in order; `failed` when a script had an error."""

    actions: tuple[str, ...]
    failed: bool


class Trials:
    """Runs trials."""

    def __init__(
        self,
        *,
        database: Database,
        programs: Programs,
        worker: Worker,
        clock: Clock,
        settings: Callable[[], Settings],
    ) -> None:
        self._database = database
        self._programs = programs
        self._worker = worker
        self._clock = clock
        self._settings = settings

    async def run(self, account: Account, given: TrialInput, content: bytes | None) -> Trial:
        """Try a script that compiles, or what runs for the account. Raises InvalidInput."""
        octets = given.message.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "replace")
        if len(octets) > MESSAGE_MAX:
            raise InvalidInput(f"at most {MESSAGE_MAX} octets", pointer="/message")
        for pointer, address in (("/from", given.sender), ("/to", given.to)):
            _check_address(address, pointer)
        # Version 0 never runs: it may be loaded all the same, for its included scripts.
        program = await self._programs.load(account.id, account.filter_version)
        steps = program.steps
        if content is not None:
            script = await self._worker.run(lambda: compile_script(content))
            steps = (Step(title="the script", name=Include(""), script=script),)
        facts = Facts(
            now=self._clock.now(),
            envelope_from=given.sender,
            envelope_to=given.to or account.address,
            separator=self._settings().smtp.subaddress_separator,
            environment={"name": "MaiRust", "location": "MDA", "phase": "during"},
            mailboxes=await self._mailboxes(account),
            scripts=program.scripts,
        )
        for _ in range(QUESTIONS_MAX):
            plan = await self._worker.run(partial(make_plan, steps, facts, Octets(prefix=b"", octets=octets)))
            if isinstance(plan, Plan):
                return Trial(actions=_words(plan), failed=plan.failed)
            facts = _answered(facts, plan, answer=given.seen_before)
        raise InvalidInput(f"the script asks more than {QUESTIONS_MAX} duplicate tests", pointer="/content")

    async def _mailboxes(self, account: Account) -> tuple[MailboxFact, ...]:
        found = await self._database.read("trial.mailboxes", lambda tx: mailboxes.list_all(tx, account.id))
        return tuple(
            MailboxFact(
                name=one.name, id=one.id, special_use=None if one.role is None else f"\\{one.role.value.capitalize()}"
            )
            for one in found
        )


def _answered(facts: Facts, question: Unanswered, *, answer: bool) -> Facts:
    return Facts(
        now=facts.now,
        envelope_from=facts.envelope_from,
        envelope_to=facts.envelope_to,
        separator=facts.separator,
        environment=facts.environment,
        mailboxes=facts.mailboxes,
        scripts=facts.scripts,
        seen=with_answer(facts.seen, question.key, answer=answer),
    )


def _check_address(text: str, pointer: str) -> None:
    if not text:
        return
    try:
        parse_address(text)
    except AddressSyntaxError as error:
        raise InvalidInput(error.public, pointer=pointer) from error


def _words(plan: Plan) -> tuple[str, ...]:
    if plan.rejected is not None:
        return (f"reject: {' '.join(plan.rejected.split())[:300]}",)
    words = [_copy(copy) for copy in plan.copies]
    words += [f"redirect to {one.address}" for one in plan.redirects]
    words += [f"answer the sender once in {one.seconds} s: {one.subject or 'Auto: ...'}" for one in plan.vacations]
    words += [f"notify {', '.join(one.recipients)}" for one in plan.notifications]
    words += [line.detail for line in plan.lines if line.verdict in ("failed", "discarded")]
    return tuple(words)


def _copy(copy: Copy) -> str:
    edited = ", header edited" if copy.header is not None else ""
    flags = f", flags {' '.join(copy.flags)}" if copy.flags else ""
    if copy.into is None:
        return f"keep in INBOX{flags}{edited}"
    return f"store in {_place(copy.into)}{flags}{edited}"


def _place(into: FileInto) -> str:
    where = into.mailbox if into.special_use is None else f"{into.special_use} or {into.mailbox}"
    return f"{where}, made if missing" if into.create else where
