"""The end of deleted accounts and domains: every row that is theirs, in small steps, the account's own row last.

- Mail goes first, BATCH messages a write; what is left then is little. Events, audit and queued mail stay.
- Blobs are not touched: the collector finds those that nothing names any more.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import delete, exists, or_, select

from server.domain.ids import AccountId, TenantId
from server.store.repositories import threads
from server.store.schema import (
    accounts,
    addresses,
    aliases,
    dkim_keys,
    domain_aliases,
    domains,
    emails,
    mailbox_grants,
    mailboxes,
    messages,
    metadata,
    send_grants,
)
from server.store.transaction import Transaction

BATCH = 1_000
_KEPT = frozenset({"accounts", "audit", "events", "queued_messages", "search_documents", "search_pending"})
"""Tables with an `account_id` that tell what happened, hold mail on its way, or are swept with the search index."""


async def due_accounts(tx: Transaction, before_us: int) -> list[tuple[TenantId, AccountId]]:
    """Accounts deleted before `before_us`."""
    query = select(accounts.c.tenant_id, accounts.c.id).where(accounts.c.deleted_at < before_us).limit(BATCH)
    return [(TenantId(cast(str, row[0])), AccountId(cast(str, row[1]))) for row in await tx.fetch(query)]


async def drop_mail(tx: Transaction, account_id: AccountId) -> int:
    """Remove up to BATCH messages of an account, restorable ones too; how many."""
    own = select(mailboxes.c.id).where(mailboxes.c.account_id == account_id)
    query = select(messages.c.id, messages.c.email_id).where(messages.c.mailbox_id.in_(own)).limit(BATCH)
    rows = await tx.fetch(query)
    if not rows:
        return 0
    email_ids = list({cast(str, row[1]) for row in rows})
    await tx.execute(delete(messages).where(messages.c.id.in_([cast(str, row[0]) for row in rows])))
    shown = exists().where(messages.c.email_id == emails.c.id)
    unseen = await tx.fetch(select(emails.c.id).where(emails.c.id.in_(email_ids), ~shown))
    gone = [cast(str, row[0]) for row in unseen]
    await threads.forget(tx, gone)
    await tx.execute(delete(emails).where(emails.c.id.in_(gone)))
    return len(rows)


async def drop_account(tx: Transaction, account_id: AccountId) -> None:
    """Remove an account without mail, and all that is its own."""
    await tx.execute(delete(mailbox_grants).where(mailbox_grants.c.identifier == account_id))
    await tx.execute(delete(send_grants).where(send_grants.c.grantee_id == account_id))
    for table in reversed(metadata.sorted_tables):
        if table.name not in _KEPT and "account_id" in table.c:
            await tx.execute(delete(table).where(table.c.account_id == account_id))
    await tx.execute(delete(addresses).where(addresses.c.owner_id == account_id))
    await tx.execute(delete(accounts).where(accounts.c.id == account_id))


async def drop_domains(tx: Transaction, before_us: int) -> int:
    """Remove domains deleted before `before_us` on which no account stands any more, with their keys and aliases."""
    used = or_(
        exists().where(accounts.c.domain_id == domains.c.id),
        exists().where(aliases.c.domain_id == domains.c.id, aliases.c.deleted_at.is_(None)),
        exists().where(addresses.c.domain_id == domains.c.id, addresses.c.kind == "account"),
    )
    rows = await tx.fetch(select(domains.c.id).where(domains.c.deleted_at < before_us, ~used).limit(BATCH))
    ids = [cast(str, row[0]) for row in rows]
    if ids:
        for table in (addresses, aliases, dkim_keys, domain_aliases):
            await tx.execute(delete(table).where(table.c.domain_id.in_(ids)))
        await tx.execute(delete(domains).where(domains.c.id.in_(ids)))
    return len(ids)
