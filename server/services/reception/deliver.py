"""The last step of every local delivery: one blob, message rows for all recipients, what goes on as queue rows.

- All of it is written in the caller's transaction: one message, one blob, one commit, one 250 (architecture.md §4).
- Accounts are taken in the order of their ids, so that two deliveries never wait for each other's rows.
- The received octets are stored as they came; the trace fields are the row's prefix. Only a script may edit a header,
  and then its copy is a blob of its own.
- A mailbox that a filter names and that is not there never loses a mail: it goes to the default one, and the trace
  says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from server.domain.changes import Severity, TraceEvent
from server.domain.errors import Conflict, InvalidInput
from server.domain.ids import BlobId, MailboxId
from server.domain.mailbox import Mailbox
from server.domain.message import SpecialUse
from server.protocol.sieve.outcome import FileInto
from server.services.filters.plan import Line
from server.services.mailstore.append import append_in
from server.services.mailstore.mailboxes import create_in, normalise_name
from server.services.reception.delivery import JUNK, Delivery, Octets, PlannedCopy, TargetPlan
from server.services.reception.onward import forward_in, redirect_in
from server.services.reception.prefix import delivered_to, return_path
from server.services.reception.routing import LocalTarget
from server.store.repositories import blobs, filters, mailboxes
from server.store.times import from_us, to_us
from server.store.transaction import Transaction

_PLAIN = TargetPlan(copies=(PlannedCopy(into=None, flags=0, keywords=(), octets=None, by=""),))


async def deliver_in(tx: Transaction, delivery: Delivery) -> None:
    """Store every copy and queue everything that goes on, with an event for each."""
    work = _Work(delivery=delivery)
    if delivery.blob_is_new:
        await blobs.insert(tx, delivery.blob)
    for target in sorted(delivery.accounts, key=lambda t: t.account_id):
        plan = delivery.plans.get(target.account_id, _PLAIN)
        for line in plan.lines:
            _tell(tx, delivery, target, line)
        await _store_copies(tx, work, target, plan)
        if plan is not _PLAIN:
            await _carry_out(tx, work, target, plan)
    if delivery.forwards:
        await forward_in(tx, delivery)


@dataclass(slots=True)
class _Work:
    """One delivery on its way into the store."""

    delivery: Delivery
    inserted: set[BlobId] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a copy goes, its name for the trace, and what was wrong with where it should have gone."""

    mailbox: MailboxId | SpecialUse
    name: str
    problem: str = ""


async def _store_copies(tx: Transaction, work: _Work, target: LocalTarget, plan: TargetPlan) -> None:
    delivery = work.delivery
    prefix = return_path(delivery.reverse_path) + delivered_to(target.address) + delivery.trace_fields
    used: set[MailboxId | SpecialUse] = set()
    for copy in plan.copies:
        place = await _find_place(tx, delivery, target, copy.into)
        if place.problem:
            _tell(tx, delivery, target, Line(verdict="misfiled", detail=f"{copy.by}: {place.problem}", wrong=True))
        if place.mailbox in used:
            continue
        used.add(place.mailbox)
        octets = copy.octets
        if octets is not None:
            await _insert_once(tx, work, octets)
        stored = await append_in(
            tx,
            account_id=target.account_id,
            mailbox=place.mailbox,
            blob=delivery.blob if octets is None else octets.blob,
            blob_is_new=False,
            prefix=prefix,
            rendered=delivery.rendered if octets is None else octets.rendered,
            flags=copy.flags,
            keywords=(*delivery.keywords, *copy.keywords),
            internal_date=delivery.received_at,
            received_at=delivery.received_at,
            trace_id=delivery.trace_id,
            check_quota=delivery.check_quota,
        )
        by = f" by {copy.by}" if copy.by else ""
        tx.record(
            TraceEvent(
                type="message.stored",
                component="delivery",
                verdict="stored",
                detail=f"stored in {place.name} of {target.address}{by}",
                tenant_id=target.tenant_id,
                account_id=target.account_id,
                trace_id=delivery.trace_id,
                recipient=target.address.lower(),
                data={"mailbox": place.name, "uid": stored.uid, "message_id": stored.message_id},
            )
        )


async def _carry_out(tx: Transaction, work: _Work, target: LocalTarget, plan: TargetPlan) -> None:
    """Everything of a plan but its copies."""
    for one in plan.redirections:
        if one.octets is not None:
            await _insert_once(tx, work, one.octets)
    await redirect_in(tx, work.delivery, target, plan.redirections)
    now = from_us(tx.now_us)
    for answer in plan.answers:
        if answer.handle is not None:
            until_us = to_us(now + timedelta(seconds=answer.seconds))
            if not await filters.claim_reply(tx, target.account_id, answer.handle, answer.sender, until_us):
                continue
        await answer.insert(tx)
        _tell(tx, work.delivery, target, Line(verdict="answered", detail=answer.words))
    remembered = [(seen.key, to_us(now + timedelta(seconds=seen.seconds))) for seen in plan.seen]
    await filters.remember(tx, target.account_id, remembered)


async def _insert_once(tx: Transaction, work: _Work, octets: Octets) -> None:
    if octets.blob_is_new and octets.blob.id not in work.inserted:
        work.inserted.add(octets.blob.id)
        await blobs.insert(tx, octets.blob)


async def _find_place(tx: Transaction, delivery: Delivery, target: LocalTarget, into: FileInto | None) -> _Place:
    role = SpecialUse.JUNK if JUNK in delivery.keywords else SpecialUse.INBOX
    default = _Place(mailbox=role, name="Junk" if role is SpecialUse.JUNK else "INBOX")
    if into is None:
        return default
    try:
        found = await _find_mailbox(tx, target, into)
    except (InvalidInput, Conflict) as error:
        problem = f"the mailbox {into.mailbox[:100]!r} can't be made: {error.public}"
        return _Place(mailbox=role, name=default.name, problem=f"{problem}; stored in {default.name}")
    if found is None:
        problem = f"there is no mailbox {into.mailbox[:100]!r}; stored in {default.name}"
        return _Place(mailbox=role, name=default.name, problem=problem)
    return _Place(mailbox=found.role if found.role is not None else found.id, name=found.name)


async def _find_mailbox(tx: Transaction, target: LocalTarget, into: FileInto) -> Mailbox | None:
    """The mailbox a fileinto means: by its id, its use, its name, made where that was asked for."""
    account_id = target.account_id
    use = None if into.special_use is None else SpecialUse(into.special_use[1:].lower())
    if into.mailbox_id is not None:
        found = await mailboxes.get(tx, account_id, MailboxId(into.mailbox_id))
        if found is not None:
            return found
    if use is not None:
        for mailbox in await mailboxes.list_all(tx, account_id):
            if mailbox.role is use:
                return mailbox
    name = normalise_name(into.mailbox)
    found = await mailboxes.by_name(tx, account_id, name)
    if found is None and into.create:
        return await create_in(tx, account_id, name, use)
    return found


def _tell(tx: Transaction, delivery: Delivery, target: LocalTarget, line: Line) -> None:
    tx.record(
        TraceEvent(
            type="message.discarded" if line.verdict == "discarded" else "message.filtered",
            component="filter",
            verdict=line.verdict,
            detail=f"{line.detail} ({target.address})",
            severity=Severity.WARNING if line.wrong else Severity.INFO,
            tenant_id=target.tenant_id,
            account_id=target.account_id,
            trace_id=delivery.trace_id,
            recipient=target.address.lower(),
        )
    )
