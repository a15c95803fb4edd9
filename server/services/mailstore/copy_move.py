"""Copy, move and expunge; one unit of work each, so that MOVE never shows two copies or none (RFC 6851 §3).

- A copy shows the same mail: octets and rendered parts exist once, quota counts each message.
- A moved message keeps its id; its old row stays as the expunged one, for sessions that still number it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.domain.changes import TraceEvent
from server.domain.errors import InvalidInput, NotFound
from server.domain.flags import ALL_FLAGS, DELETED, FLAGGED, SEEN
from server.domain.ids import AccountId, MailboxId, MessageId, ModSeq, Uid, UidValidity, new_id
from server.store.repositories import mailboxes, messages
from server.store.repositories.email_copies import copy_emails
from server.store.repositories.messages import MessageState, Traced
from server.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """COPYUID's three facts (RFC 4315 §3): `source` and `target` correspond, both ascending."""

    uidvalidity: UidValidity
    source: tuple[Uid, ...]
    target: tuple[Uid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expunged:
    """`modseq` is None when there was nothing to expunge."""

    modseq: ModSeq | None
    uids: tuple[Uid, ...]


async def copy_in(
    tx: Transaction,
    *,
    account_id: AccountId,
    mailbox_id: MailboxId,
    uids: Sequence[int],
    to: str,
    move: bool,
    to_account: AccountId | None = None,
    permitted: int = ALL_FLAGS,
) -> Copied:
    """Copy or move the messages that exist among `uids` (ascending) to the mailbox named `to`.

    Args:
        to_account: Whose mailbox that is, when it is another's: its quota is charged.
        permitted: Flags that may be set there (RFC 4314 §4, "COPY"); keywords go with those beside \\Seen and
            \\Deleted.

    Raises:
        NotFound: No mailbox of that name.
        InvalidInput: A move into the mailbox itself.
        OverQuota: The copies don't fit.
    """
    there = to_account or account_id
    target = await mailboxes.by_name(tx, there, to)
    if target is None:
        raise NotFound("no such mailbox")
    if move and target.id == mailbox_id:
        raise InvalidInput("the messages are in this mailbox already")
    states = await messages.states(tx, account_id, mailbox_id, uids)
    if not states:
        return Copied(uidvalidity=target.uidvalidity, source=(), target=())
    arriving = [_arriving(state, permitted) for state in states]
    octets = sum(state.size_octets for state in states)
    unseen = sum(1 for state in arriving if not state.flags & SEEN)
    modseq = await messages.charge(tx, there, 0 if move and there == account_id else octets)
    _, first = await mailboxes.take_uids(
        tx, there, target.id, modseq=modseq, count=len(states), unseen=unseen, octets=octets
    )
    emails: dict[str, str] = {}
    if there != account_id:
        emails = await copy_emails(tx, account_id, [state.email_id for state in states], there)
    if move:
        left = modseq if there == account_id else await messages.charge(tx, account_id, -octets)
        await _retire(tx, account_id, mailbox_id, left, states)
    copies = [
        replace(
            state,
            uid=Uid(first + place),
            id=state.id if move else MessageId(new_id()),
            email_id=emails.get(state.email_id, state.email_id),
        )
        for place, state in enumerate(arriving)
    ]
    await messages.insert(tx, there, target.id, modseq, copies)
    return Copied(
        uidvalidity=target.uidvalidity,
        source=tuple(state.uid for state in states),
        target=tuple(copy.uid for copy in copies),
    )


def _arriving(state: MessageState, permitted: int) -> MessageState:
    """A message as it arrives where not all flags may be set."""
    keywords = state.keywords if permitted & FLAGGED else ""
    return replace(state, flags=state.flags & permitted, keywords=keywords)


async def expunge_in(tx: Transaction, *, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]) -> Expunged:
    """Expunge those among `uids` (ascending) that are marked \\Deleted (RFC 9051 §6.4.3, §6.4.9)."""
    states = await messages.states(tx, account_id, mailbox_id, uids)
    return await expunge_states(tx, account_id, mailbox_id, [state for state in states if state.flags & DELETED])


async def remove_in(tx: Transaction, *, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]) -> Expunged:
    """Expunge those among `uids` (ascending) that exist, as POP3's QUIT does (RFC 1939 §6)."""
    return await expunge_states(tx, account_id, mailbox_id, await messages.states(tx, account_id, mailbox_id, uids))


async def expunge_states(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, states: Sequence[MessageState]
) -> Expunged:
    """Expunge these messages whatever their flags; each that has a trace gets its last line (P2)."""
    if not states:
        return Expunged(modseq=None, uids=())
    for message in await messages.traced(tx, account_id, mailbox_id, [state.uid for state in states]):
        tx.record(_deleted(account_id, message))
    modseq = await messages.charge(tx, account_id, -sum(state.size_octets for state in states))
    await _take_out(tx, account_id, mailbox_id, modseq, states)
    return Expunged(modseq=modseq, uids=tuple(state.uid for state in states))


def _deleted(account_id: AccountId, message: Traced) -> TraceEvent:
    return TraceEvent(
        type="message.deleted",
        component="mailstore",
        verdict="deleted",
        detail=f"expunged from {message.mailbox_name}",
        tenant_id=message.tenant_id,
        account_id=account_id,
        trace_id=message.trace_id,
        message_id_header=message.message_id_header,
        data={"mailbox": message.mailbox_name, "uid": message.uid},
    )


async def _retire(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, modseq: ModSeq, states: Sequence[MessageState]
) -> None:
    """Expunge the rows a move leaves behind and free their ids."""
    await messages.replace_ids(tx, account_id, mailbox_id, [(state.uid, MessageId(new_id())) for state in states])
    await _take_out(tx, account_id, mailbox_id, modseq, states)


async def _take_out(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, modseq: ModSeq, states: Sequence[MessageState]
) -> None:
    await messages.expunge(tx, account_id, mailbox_id, modseq, [state.uid for state in states])
    await mailboxes.adjust(
        tx,
        account_id,
        mailbox_id,
        modseq=modseq,
        count=-len(states),
        unseen=-sum(1 for state in states if not state.flags & SEEN),
        octets=-sum(state.size_octets for state in states),
    )
