"""The tables, one definition for SQLite and PostgreSQL; `migrations` builds them.

- Only three column types: integers, text, octets. Times are microseconds since the epoch, booleans 0 or 1, lists JSON.
- Ids are UUIDv7 text. UIDs, modseqs and event numbers come from counter rows, in the transaction that uses them.
- Every table that holds a tenant's or an account's data says whose it is.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, MetaData, Table, Text, UniqueConstraint, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id(name: str = "id") -> Column[str]:
    return Column(name, Text, primary_key=True)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _int(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _ref(name: str, target: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, ForeignKey(target), nullable=null)


def _life() -> tuple[Column[int], ...]:
    return _int("created_at"), _int("updated_at"), _int("revision"), _int("deleted_at", null=True)


# Bookkeeping of the store itself.

meta = Table("meta", metadata, _id("key"), _text("value"))
counters = Table("counters", metadata, _id("name"), _int("value"))
committed_units = Table("committed_units", metadata, _id(), Column("at", BigInteger, nullable=False, index=True))
leases = Table("leases", metadata, _id("name"), _text("owner"), _int("until"))

# Who owns mail.

tenants = Table(
    "tenants",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _text("display_name"),
    _text("status"),
    *_life(),
)

domains = Table(
    "domains",
    metadata,
    _id(),
    _ref("tenant_id", "tenants.id"),
    Column("name", Text, nullable=False, unique=True),
    _text("status"),
    _text("catch_all", null=True),
    _int("subaddressing"),
    _int("max_message_size", null=True),
    _int("require_tls_in"),
    _int("require_tls_out"),
    *_life(),
)

domain_aliases = Table(
    "domain_aliases",
    metadata,
    _id(),
    _ref("tenant_id", "tenants.id"),
    Column("name", Text, nullable=False, unique=True),
    _ref("domain_id", "domains.id"),
    _int("enabled"),
    *_life(),
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    _id(),
    _ref("tenant_id", "tenants.id"),
    _ref("domain_id", "domains.id"),
    _text("selector"),
    _text("algorithm"),
    _text("state"),
    Column("sealed_key", LargeBinary, nullable=False),
    _text("public_record"),
    _int("created_at"),
    UniqueConstraint("domain_id", "selector"),
)

accounts = Table(
    "accounts",
    metadata,
    _id(),
    _ref("tenant_id", "tenants.id"),
    Column("domain_id", Text, ForeignKey("domains.id"), nullable=False, index=True),
    Column("address", Text, nullable=False, unique=True),
    _text("display_name"),
    _text("role"),
    _text("status"),
    _int("quota_octets"),
    _int("used_octets"),
    _int("modseq"),
    _int("credential_version"),
    _int("last_login_at", null=True),
    *_life(),
)

credentials = Table(
    "credentials",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    _text("argon2"),
    Column("scram_salt", LargeBinary, nullable=False),
    _int("scram_iterations"),
    Column("scram_stored_key", LargeBinary, nullable=False),
    Column("scram_server_key", LargeBinary, nullable=False),
    _int("changed_at"),
)

aliases = Table(
    "aliases",
    metadata,
    _id(),
    _ref("tenant_id", "tenants.id"),
    Column("domain_id", Text, ForeignKey("domains.id"), nullable=False, index=True),
    Column("address", Text, nullable=False, unique=True),
    _text("targets"),
    _int("enabled"),
    _int("internal_only"),
    _text("description"),
    *_life(),
)

addresses = Table(
    "addresses",
    metadata,
    _id("address"),
    _ref("tenant_id", "tenants.id"),
    _ref("domain_id", "domains.id"),
    _text("kind"),
    Column("owner_id", Text, nullable=False, index=True),
    _int("position"),
)
"""Every address that is taken, as `Address.key`; kind is `account` or `alias`, owner_id the account's or alias's id."""

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    _ref("tenant_id", "tenants.id"),
    Column("lookup", Text, nullable=False, unique=True),
    _text("secret_sha256"),
    _text("previous_sha256", null=True),
    _int("previous_until", null=True),
    _text("name"),
    _text("scopes"),
    _int("system"),
    _text("account_id", null=True),
    _text("networks"),
    _int("expires_at", null=True),
    _int("last_used_at", null=True),
    _text("last_used_ip", null=True),
    _int("created_at"),
    _int("revision"),
    _int("revoked_at", null=True),
)

# Mail.

mailboxes = Table(
    "mailboxes",
    metadata,
    _id(),
    _ref("account_id", "accounts.id"),
    _text("name"),
    _text("role", null=True),
    _int("subscribed"),
    _int("uidvalidity"),
    _int("uidnext"),
    _int("recent_uid"),
    _int("total"),
    _int("unseen"),
    _int("size_octets"),
    _int("modseq"),
    _int("created_at"),
    _int("deleted_at", null=True),
    UniqueConstraint("account_id", "name"),
)
"""A folder. `name` is the full path in UTF-8 with `/`; `modseq` its highest (RFC 7162); UIDs below `recent_uid` were
seen as \\Recent by a session before; `total`, `unseen`, `size_octets` count messages that are not expunged."""

blobs = Table(
    "blobs",
    metadata,
    _id(),
    _int("size_octets"),
    _text("sha256"),
    _text("place"),
    _int("created_at"),
    _int("unreferenced_since", null=True),
    Column("inline", LargeBinary, nullable=True),
)

emails = Table(
    "emails",
    metadata,
    _id(),
    _ref("account_id", "accounts.id"),
    Column("blob_id", Text, ForeignKey("blobs.id"), nullable=False, index=True),
    Column("trace_id", Text, nullable=True),
    _int("size_octets"),
    _int("received_at"),
    _int("sent_at", null=True),
    _text("subject"),
    _text("sender"),
    _text("recipients"),
    _text("message_id_header", null=True),
    _text("preview"),
    _int("has_attachments"),
    Column("envelope", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("bodystructure", LargeBinary, nullable=False),
    Column("prefix", LargeBinary, nullable=False),
)
"""One mail of one account (RFC 8621 §4): its octets are `prefix` + the blob's; `size_octets` counts both."""

messages = Table(
    "messages",
    metadata,
    Column("mailbox_id", Text, ForeignKey("mailboxes.id"), primary_key=True),
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    _text("account_id"),
    Column("email_id", Text, ForeignKey("emails.id"), nullable=False, index=True),
    _int("modseq"),
    _int("created_modseq"),
    _int("flags"),
    _text("keywords"),
    _int("internal_date"),
    _int("size_octets"),
    _int("expunged_at", null=True),
    Index("ix_messages_mailbox_id_modseq", "mailbox_id", "modseq"),
    sqlite_with_rowid=False,
)
"""A mail in a mailbox, narrow so that a view of 100,000 loads in one scan. `flags` is the bit set of
`domain.flags`; `keywords` are space-separated, sorted; an expunged row stays until its undelete ends."""

# The queue.

queued_messages = Table(
    "queued_messages",
    metadata,
    _id(),
    _ref("tenant_id", "tenants.id"),
    _text("account_id", null=True),
    _text("origin"),
    _text("sender"),
    Column("blob_id", Text, ForeignKey("blobs.id"), nullable=False, index=True),
    Column("prefix", LargeBinary, nullable=False),
    _int("size_octets"),
    _text("message_id_header", null=True),
    _text("subject"),
    _text("trace_id"),
    _int("smtputf8"),
    _int("body_8bit"),
    _text("ret", null=True),
    _text("envid", null=True),
    _int("created_at"),
    _int("expires_at"),
)

queued_recipients = Table(
    "queued_recipients",
    metadata,
    _id(),
    Column("queue_id", Text, ForeignKey("queued_messages.id"), nullable=False, index=True),
    _text("tenant_id"),
    _text("recipient"),
    _text("domain"),
    _text("kind"),
    _text("status"),
    _text("hold_reason"),
    _int("attempts"),
    _int("due_at"),
    _text("lease_owner", null=True),
    _int("lease_until", null=True),
    _text("notify"),
    _text("orcpt", null=True),
    _int("warned"),
    _text("last_reply"),
    _text("last_host"),
    _int("created_at"),
    _int("updated_at"),
    _int("finished_at", null=True),
    Index("ix_queued_recipients_status_due_at", "status", "due_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey("queued_recipients.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _int("started_at"),
    _int("duration_ms"),
    _text("status"),
    _int("code"),
    _text("enhanced"),
    _text("text"),
    _int("from_remote"),
    _text("host"),
    _text("ip"),
    _text("tls"),
)

pauses = Table(
    "pauses",
    metadata,
    _id(),
    _text("tenant_id"),
    _text("domain"),
    _int("created_at"),
    UniqueConstraint("tenant_id", "domain"),
)
"""Destinations to which nothing is attempted; domain `*` pauses all, an empty tenant every tenant's mail."""

# What happened.

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("id"),
    _text("type"),
    _int("time"),
    _text("severity"),
    _text("component"),
    _text("verdict"),
    _text("detail"),
    _text("reply"),
    _text("tenant_id", null=True),
    _text("account_id", null=True),
    Column("trace_id", Text, nullable=True, index=True),
    Column("queue_id", Text, nullable=True),
    Column("message_id_header", Text, nullable=True, index=True),
    _text("subject", null=True),
    Column("sender", Text, nullable=True, index=True),
    Column("recipient", Text, nullable=True, index=True),
    _text("remote_ip", null=True),
    _text("data"),
    # Few events have one: the others must not cost an index entry each.
    Index(
        "ix_events_queue_id",
        "queue_id",
        sqlite_where=text("queue_id IS NOT NULL"),
        postgresql_where=text("queue_id IS NOT NULL"),
    ),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("id"),
    _int("time"),
    _text("tenant_id", null=True),
    _text("type"),
    _text("actor_kind"),
    _text("actor_id"),
    _text("actor_name"),
    _text("ip"),
    _text("request_id"),
    _text("target_kind"),
    _text("target_id"),
    _text("target_name"),
    _text("changes"),
    _text("reason"),
    _text("result"),
    _text("prev_hash"),
    _text("hash"),
)

idempotency = Table(
    "idempotency",
    metadata,
    _id("key"),
    _text("body_sha256"),
    _int("status"),
    _text("headers"),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)
