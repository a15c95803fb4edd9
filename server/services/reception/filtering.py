"""Runs the recipients' own filters before a delivery is written: scripts, rules, vacation, forwards of accounts.

- Accounts that have none cost nothing: their version and forward come with the route.
- Scripts run in a worker, each within its budget; a script with an error keeps the mail, and the trace says why.
- What must be sent is composed, signed and placed here, so that the delivery's transaction queues it or nothing.
- Junk is neither answered nor forwarded (product.md 16); an address that sent the mail on before does not do it again
  (RFC 9228 §4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from server.config.schema import Settings
from server.domain.address import Address
from server.domain.envelope import Envelope, Recipient, ReversePath
from server.domain.errors import InvalidInput, MaiRustError
from server.domain.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from server.domain.ids import AccountId, TenantId, TraceId
from server.domain.inbound import Submission
from server.domain.message import Rendered
from server.domain.ports import BlobStore, Worker
from server.domain.queue import Origin
from server.domain.reply import Reply, reply
from server.protocol.mime.headers import HeaderFields, header_end, split_header
from server.protocol.mime.render import render
from server.protocol.sieve import view
from server.protocol.sieve.compile import Unanswered
from server.protocol.sieve.outcome import Importance, Notify, Redirect, Vacation
from server.protocol.sieve.session import Facts, MailboxFact
from server.protocol.smtp.address import parse_address
from server.services.filters.notices import notification
from server.services.filters.plan import KEPT, Copy, Line, Plan, failure, make_plan, with_answer
from server.services.filters.programs import Program, Programs
from server.services.filters.rejection import reject_notice
from server.services.filters.rules import ATTACHMENTS_ITEM, JUNK_ITEM
from server.services.filters.vacation import VACATION_HANDLE, Occasion, answer, refusal
from server.services.reception.delivery import Answer, Octets, PlannedCopy, Redirection, TargetPlan
from server.services.reception.prefix import delivered_to, return_path
from server.services.reception.routing import LocalTarget
from server.store.database import Database
from server.store.repositories import filters, mailboxes
from server.store.transaction import Unit
from server.telemetry.log import get_logger

log = get_logger("filter")

QUESTIONS_MAX = 20
"""Unique ids one run may ask about."""
_REPLY_MAX = 300
_FLAGS = {"\\Seen": SEEN, "\\Answered": ANSWERED, "\\Flagged": FLAGGED, "\\Deleted": DELETED, "\\Draft": DRAFT}


class Queueable(Protocol):
    """A message that is complete; `insert` queues it within a unit of work."""

    @property
    def insert(self) -> Unit[None]: ...


class Outgoing(Protocol):
    """The door for mail of our own."""

    async def prepare(self, submission: Submission, *, detail: str) -> Queueable:
        """Sign and place a message. Raises MaiRustError when that can't be done now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A message on its way to local accounts.

    Attributes:
        trace_fields: What we write before it.
        junk: It goes to Junk.
        doubtful: DMARC failed.
        sender_is_genuine: The reverse-path may get a notice (product.md R4).
    """

    envelope: Envelope
    octets: bytes
    trace_fields: bytes
    rendered: Rendered
    tenant_id: TenantId
    trace_id: TraceId
    received_at: datetime
    remote_ip: str = ""
    junk: bool = False
    doubtful: bool = False
    sender_is_genuine: bool = False

    @property
    def reverse_path(self) -> ReversePath:
        return self.envelope.reverse_path


class DeliveryFilter:
    """Makes plans for the accounts that have filters.

    Args:
        is_local: Whether a domain is ours.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        programs: Programs,
        outgoing: Outgoing,
        is_local: Callable[[str], Awaitable[bool]],
        worker: Worker,
        settings: Callable[[], Settings],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._programs = programs
        self._outgoing = outgoing
        self._is_local = is_local
        self._worker = worker
        self._settings = settings

    async def plans(self, mail: Mail, targets: Iterable[LocalTarget]) -> dict[AccountId, TargetPlan]:
        """Plans of the accounts that have filters, by account; the others are delivered to as ever.

        Raises:
            MaiRustError: Nothing can be decided now: the sender is to try again.
        """
        found: dict[AccountId, TargetPlan] = {}
        for target in targets:
            if target.filter_version or target.forward is not None:
                found[target.account_id] = await self._target(mail, target)
        return found

    async def notices(
        self, mail: Mail, targets: Iterable[LocalTarget], plans: dict[AccountId, TargetPlan]
    ) -> dict[AccountId, TargetPlan]:
        """The plans with every reject settled after acceptance: a notice to a genuine sender, else the mail is kept."""
        settled = dict(plans)
        for target in targets:
            plan = settled.get(target.account_id)
            if plan is not None and plan.rejected is not None:
                settled[target.account_id] = await self._rejected(mail, target, plan, plan.rejected)
        return settled

    async def _target(self, mail: Mail, target: LocalTarget) -> TargetPlan:
        if target.filter_version:
            program = await self._programs.load(target.account_id, target.filter_version)
            plan = await self._run(mail, target, program)
        else:
            program, plan = None, Plan(copies=(KEPT,))
        plan = self._forwarded(mail, target, plan)
        plan = _without_loops(mail, target, plan)
        if plan.rejected is not None:
            return TargetPlan(rejected=plan.rejected, lines=plan.lines)
        maker = _Edits(self._blobs, self._worker, mail.octets)
        copies = tuple([await self._copy(maker, copy) for copy in plan.copies])
        redirections = tuple([await self._redirection(maker, one) for one in plan.redirects])
        answers, lines = await self._answers(mail, target, program, plan)
        return TargetPlan(
            copies=copies,
            redirections=redirections,
            answers=tuple(answers),
            seen=plan.seen,
            lines=(*plan.lines, *lines),
        )

    # --- scripts

    async def _run(self, mail: Mail, target: LocalTarget, program: Program) -> Plan:
        prefix = return_path(mail.reverse_path) + delivered_to(target.address) + mail.trace_fields
        message = view.Octets(prefix=prefix, octets=mail.octets)
        facts = await self._facts(mail, target, program)
        for _ in range(QUESTIONS_MAX):
            try:
                found = await self._worker.run(partial(make_plan, program.steps, facts, message))
            except MaiRustError:
                raise
            except Exception as error:
                # A fault of ours must not send the mail round for days.
                log.exception("filter.crashed", error, account_id=target.account_id)
                return failure("the account's filters can't be run")
            if not isinstance(found, Unanswered):
                return found
            seen = await self._database.read(
                "filters.seen", partial(filters.was_seen, account_id=target.account_id, key=found.key)
            )
            facts = replace(facts, seen=with_answer(facts.seen, found.key, answer=seen))
        return failure(f"more than {QUESTIONS_MAX} duplicate tests")

    async def _facts(self, mail: Mail, target: LocalTarget, program: Program) -> Facts:
        settings = self._settings()
        environment = {
            "name": "MaiRust",
            "location": "MDA",
            "phase": "during",
            "host": settings.server.hostname,
            "domain": target.address.rpartition("@")[2],
        }
        if mail.remote_ip:
            environment["remote-ip"] = mail.remote_ip
        if mail.junk:
            environment[JUNK_ITEM] = "yes"
        if mail.rendered.has_attachments:
            environment[ATTACHMENTS_ITEM] = "yes"
        return Facts(
            now=mail.received_at,
            envelope_from="" if mail.reverse_path is None else str(mail.reverse_path),
            envelope_to=target.address,
            separator=settings.smtp.subaddress_separator,
            environment=environment,
            mailboxes=await self._mailboxes(target.account_id) if program.needs_mailboxes else (),
            scripts=program.scripts,
        )

    async def _mailboxes(self, account_id: AccountId) -> tuple[MailboxFact, ...]:
        found = await self._database.read("filters.mailboxes", lambda tx: mailboxes.list_all(tx, account_id))
        return tuple(
            MailboxFact(
                name=one.name, id=one.id, special_use=None if one.role is None else f"\\{one.role.value.capitalize()}"
            )
            for one in found
        )

    def _forwarded(self, mail: Mail, target: LocalTarget, plan: Plan) -> Plan:
        """The account's forward, after its scripts: what they discarded, rejected or failed at is not forwarded."""
        forward = target.forward
        if forward is None or mail.junk or plan.failed or plan.rejected is not None or not plan.copies:
            return plan
        known = {one.address.lower() for one in plan.redirects}
        added = tuple(Redirect(address=to) for to in forward.targets if to.lower() not in known)
        return replace(plan, copies=plan.copies if forward.keep_copy else (), redirects=(*plan.redirects, *added))

    # --- what the delivery carries out

    async def _copy(self, maker: _Edits, copy: Copy) -> PlannedCopy:
        bits = 0
        for flag in copy.flags:
            bits |= _FLAGS.get(flag, 0)
        return PlannedCopy(
            into=copy.into,
            flags=bits,
            keywords=tuple(flag for flag in copy.flags if flag not in _FLAGS),
            octets=await maker.edited(copy.header),
            by=copy.by,
        )

    async def _redirection(self, maker: _Edits, redirect: Redirect) -> Redirection:
        address = parse_address(redirect.address)
        return Redirection(
            target=address, local=await self._is_local(address.domain), octets=await maker.edited(redirect.header)
        )

    # --- answers

    async def _answers(
        self, mail: Mail, target: LocalTarget, program: Program | None, plan: Plan
    ) -> tuple[list[Answer], list[Line]]:
        if program is None or plan.failed or not program.addresses:
            return [], []
        made: list[Answer] = []
        lines: list[Line] = []
        wanted: list[tuple[Vacation, str | None]] = [(one, None) for one in plan.vacations]
        if (away := self._away(mail, program)) is not None and (plan.copies or plan.redirects):
            wanted.append(away)
        for vacation, html in wanted:
            occasion = self._occasion(mail, program)
            reason = refusal(occasion, vacation)
            if reason is not None:
                lines.append(Line(verdict="unanswered", detail=f"no automatic answer: {reason}"))
            elif (found := await self._vacation(mail, target, occasion, vacation, html)) is not None:
                made.append(found)
        told = [await self._notification(mail, target, program, notify) for notify in plan.notifications]
        made += [one for one in told if one is not None]
        return made, lines

    def _away(self, mail: Mail, program: Program) -> tuple[Vacation, str | None] | None:
        """The account's own vacation answer, while it is on."""
        row, now = program.vacation, mail.received_at
        if row is None or (row.starts_at and now < row.starts_at) or (row.ends_at and now >= row.ends_at):
            return None
        vacation = Vacation(
            reason=row.text, seconds=row.days * 86_400, handle=VACATION_HANDLE, subject=row.subject or None
        )
        return vacation, row.html

    def _occasion(self, mail: Mail, program: Program) -> Occasion:
        return Occasion(
            reverse_path=mail.reverse_path,
            fields=_own_fields(mail),
            addresses=program.addresses,
            display_name=program.display_name,
            subaddress_separator=self._settings().smtp.subaddress_separator,
            junk=mail.junk or mail.doubtful,
            now=mail.received_at,
        )

    async def _vacation(
        self, mail: Mail, target: LocalTarget, occasion: Occasion, vacation: Vacation, html: str | None
    ) -> Answer | None:
        sender = mail.reverse_path
        if sender is None:
            return None
        try:
            octets = answer(occasion, vacation, domain=self._settings().server.hostname, html=html)
        except InvalidInput as error:
            log.warning("filter.answer_refused", account_id=target.account_id, reason=error.public)
            return None
        queueable = await self._queueable(mail, target, octets, sender, "an automatic answer")
        return Answer(
            insert=queueable.insert,
            words=f"an automatic answer goes to {sender}",
            handle=vacation.handle,
            sender=sender.key,
            seconds=vacation.seconds,
        )

    async def _notification(self, mail: Mail, target: LocalTarget, program: Program, notify: Notify) -> Answer | None:
        fields = _own_fields(mail)
        if mail.reverse_path is None and notify.importance is not Importance.HIGH:
            # A report about a notification must not make the next one (RFC 5436 §2.3).
            return None
        try:
            octets = notification(
                notify,
                fields=fields,
                addresses=program.addresses,
                domain=self._settings().server.hostname,
                now=mail.received_at,
            )
        except InvalidInput as error:
            log.warning("filter.notification_refused", account_id=target.account_id, reason=error.public)
            return None
        if octets is None:
            return None
        recipients = [parse_address(one) for one in notify.recipients]
        queueable = await self._queueable(mail, target, octets, recipients, "a notification")
        return Answer(insert=queueable.insert, words=f"a notification goes to {', '.join(notify.recipients)}")

    async def _rejected(self, mail: Mail, target: LocalTarget, plan: TargetPlan, reason: str) -> TargetPlan:
        """A reject when the mail is accepted already (RFC 5429 §2.1.1): no backscatter, no lost mail."""
        kept = (PlannedCopy(into=None, flags=0, keywords=(), octets=None, by=""),)
        sender = mail.reverse_path
        if sender is None or not mail.sender_is_genuine:
            line = Line(
                verdict="kept", detail="the reject can't be told to a sender who may be forged: the mail is kept"
            )
            return TargetPlan(copies=kept, lines=(*plan.lines, line))
        address = parse_address(target.address)
        try:
            octets = reject_notice(
                author=Address("postmaster", address.domain),
                recipient=sender,
                refused_for=address,
                reason=reason,
                original=mail.octets,
                message_id_header=mail.rendered.message_id_header,
                hostname=self._settings().server.hostname,
                now=mail.received_at,
            )
        except InvalidInput as error:
            line = Line(verdict="kept", detail=f"the reject's text can't be sent: {error.public}; the mail is kept")
            return TargetPlan(copies=kept, lines=(*plan.lines, line))
        queueable = await self._queueable(mail, target, octets, sender, "a notice of a reject")
        told = Answer(insert=queueable.insert, words=f"a notice of the reject goes to {sender}")
        return TargetPlan(answers=(told,), lines=plan.lines)

    async def _queueable(
        self, mail: Mail, target: LocalTarget, octets: bytes, to: Address | Sequence[Address], detail: str
    ) -> Queueable:
        addresses = [to] if isinstance(to, Address) else list(to)
        envelope = Envelope(
            reverse_path=None,
            recipients=tuple(Recipient(address=address) for address in addresses),
            smtputf8=any(address.needs_smtputf8 for address in addresses),
        )
        submission = Submission(
            tenant_id=mail.tenant_id,
            account_id=target.account_id,
            origin=Origin.SYSTEM,
            envelope=envelope,
            content=await self._blobs.content(octets),
            trace_id=mail.trace_id,
            signing_domain=target.address.rpartition("@")[2],
        )
        return await self._outgoing.prepare(submission, detail=f"{detail} of {target.address}")


class _Edits:
    """Stored forms of the message with edited headers, one a header."""

    def __init__(self, blobs: BlobStore, worker: Worker, octets: bytes) -> None:
        self._blobs = blobs
        self._worker = worker
        self._octets = octets
        self._made: dict[bytes, Octets] = {}

    async def edited(self, header: bytes | None) -> Octets | None:
        if header is None:
            return None
        found = self._made.get(header)
        if found is None:
            whole = header + self._octets[header_end(self._octets) :]
            blob = await self._blobs.place(await self._blobs.content(whole))
            rendered = await self._worker.run(lambda: render(whole))
            found = self._made[header] = Octets(blob=blob, blob_is_new=True, rendered=rendered)
        return found


def _own_fields(mail: Mail) -> HeaderFields:
    return split_header(mail.octets)


def _without_loops(mail: Mail, target: LocalTarget, plan: Plan) -> Plan:
    """Send nothing on that this address sent on before; then the mail is kept (RFC 9228 §4)."""
    if not plan.redirects:
        return plan
    seen: set[str] = set()
    for fields in (split_header(mail.trace_fields), _own_fields(mail)):
        seen |= {value.strip().decode("utf-8", "replace").casefold() for value in fields.every(b"delivered-to")}
    if target.address.casefold() not in seen:
        return plan
    line = Line(verdict="loop", detail="the mail was sent on by this address before: it is kept instead", wrong=True)
    return replace(plan, redirects=(), copies=plan.copies or (KEPT,), lines=(*plan.lines, line))


def needs_filter(targets: Iterable[LocalTarget]) -> bool:
    """Whether any of the accounts has filters or a forward."""
    return any(target.filter_version or target.forward is not None for target in targets)


def rejected_by_all(plans: Mapping[AccountId, TargetPlan], targets: Iterable[LocalTarget]) -> Reply | None:
    """The refusal when every one of the accounts rejects the mail, else None (RFC 5429 §2.1)."""
    answer: Reply | None = None
    for target in targets:
        plan = plans.get(target.account_id)
        if plan is None or plan.rejected is None:
            return None
        answer = answer or reply(550, "5.7.1", _reply_text(plan.rejected))
    return answer


def _reply_text(reason: str) -> str:
    """One line of printable ASCII, as a reply may carry it."""
    words = " ".join(reason.split())
    shown = "".join(c if " " <= c <= "~" else "?" for c in words)[:_REPLY_MAX]
    return f"refused by the recipient: {shown}" if shown else "refused by the recipient"
