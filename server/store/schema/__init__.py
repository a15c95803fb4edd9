"""The tables, one definition for SQLite and PostgreSQL; `migrations` builds them. One file a family."""

from __future__ import annotations

from server.store.schema.base import committed_units, counters, leases, meta, metadata
from server.store.schema.directory import (
    accounts,
    addresses,
    aliases,
    api_keys,
    app_passwords,
    bans,
    credentials,
    dkim_keys,
    domain_aliases,
    domains,
    login_places,
    tenants,
)
from server.store.schema.filters import filter_rules, sieve_duplicates, sieve_scripts, vacation_replies, vacations
from server.store.schema.jobs import imported_messages, jobs
from server.store.schema.log import audit, events, idempotency
from server.store.schema.mail import (
    blobs,
    categories,
    emails,
    mailbox_grants,
    mailboxes,
    messages,
    metadata_entries,
    send_grants,
    sender_categories,
    tags,
    threads,
)
from server.store.schema.queue import attempts, pauses, queued_messages, queued_recipients
from server.store.schema.search import search_documents, search_pending

__all__ = [
    "accounts",
    "addresses",
    "aliases",
    "api_keys",
    "app_passwords",
    "attempts",
    "audit",
    "bans",
    "blobs",
    "categories",
    "committed_units",
    "counters",
    "credentials",
    "dkim_keys",
    "domain_aliases",
    "domains",
    "emails",
    "events",
    "filter_rules",
    "idempotency",
    "imported_messages",
    "jobs",
    "leases",
    "login_places",
    "mailbox_grants",
    "mailboxes",
    "messages",
    "meta",
    "metadata",
    "metadata_entries",
    "pauses",
    "queued_messages",
    "queued_recipients",
    "search_documents",
    "search_pending",
    "send_grants",
    "sender_categories",
    "sieve_duplicates",
    "sieve_scripts",
    "tags",
    "tenants",
    "threads",
    "vacation_replies",
    "vacations",
]
