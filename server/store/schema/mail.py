"""Mailboxes, messages and the octets they show."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint, text

from server.store.schema.base import id_column, int_column, metadata, ref_column, text_column

_LIVE = text("expunged_at IS NULL")
_GONE = text("expunged_at IS NOT NULL")

mailboxes = Table(
    "mailboxes",
    metadata,
    id_column(),
    ref_column("account_id", "accounts.id"),
    text_column("name"),
    text_column("role", null=True),
    int_column("subscribed"),
    int_column("uidvalidity"),
    int_column("uidnext"),
    int_column("recent_uid"),
    int_column("total"),
    int_column("unseen"),
    int_column("size_octets"),
    int_column("modseq"),
    int_column("purged_modseq"),
    int_column("created_at"),
    int_column("deleted_at", null=True),
    UniqueConstraint("account_id", "name"),
)
"""A folder. `name` is the full path in UTF-8 with `/`; `modseq` its highest (RFC 7162); UIDs below `recent_uid` were
seen as \\Recent by a session before; `total`, `unseen`, `size_octets` count messages that are not expunged; expunged
rows of changes up to `purged_modseq` may be gone (RFC 7162 §3.2.7)."""

blobs = Table(
    "blobs",
    metadata,
    id_column(),
    int_column("size_octets"),
    text_column("sha256"),
    text_column("place"),
    int_column("created_at"),
    int_column("unreferenced_since", null=True),
    Column("inline", LargeBinary, nullable=True),
)

emails = Table(
    "emails",
    metadata,
    id_column(),
    ref_column("account_id", "accounts.id"),
    Column("blob_id", Text, ForeignKey("blobs.id"), nullable=False, index=True),
    Column("trace_id", Text, nullable=True),
    int_column("size_octets"),
    int_column("received_at"),
    int_column("sent_at", null=True),
    text_column("subject"),
    text_column("sender"),
    text_column("recipients"),
    text_column("message_id_header", null=True),
    text_column("thread_references"),
    text_column("base_subject"),
    text_column("list_id", null=True),
    Column("thread_id", Text, nullable=True, index=True),
    text_column("category", null=True),
    text_column("category_source", null=True),
    int_column("category_confidence", null=True),
    text_column("preview"),
    int_column("has_attachments"),
    Column("envelope", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("bodystructure", LargeBinary, nullable=False),
    Column("prefix", LargeBinary, nullable=False),
)
"""One mail of one account (RFC 8621 §4): its octets are `prefix` + the blob's; `size_octets` counts both.
`thread_references` are the message ids of References and In-Reply-To, separated by spaces; `base_subject` is that of
RFC 5256 §2.1; `category_confidence` is in percent."""

messages = Table(
    "messages",
    metadata,
    Column("mailbox_id", Text, ForeignKey("mailboxes.id"), primary_key=True),
    Column("uid", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    text_column("account_id"),
    Column("email_id", Text, ForeignKey("emails.id"), nullable=False, index=True),
    int_column("modseq"),
    int_column("created_modseq"),
    int_column("flags"),
    text_column("keywords"),
    int_column("internal_date"),
    int_column("saved_at"),
    int_column("size_octets"),
    int_column("expunged_at", null=True),
    Index("ix_messages_mailbox_id_modseq", "mailbox_id", "modseq"),
    # Pages of a mailbox by time: of what is there.
    Index("ix_messages_live", "mailbox_id", "internal_date", "uid", sqlite_where=_LIVE, postgresql_where=_LIVE),
    # What was expunged: an account's, to be restored; everybody's, to be purged in time.
    Index("ix_messages_gone", "account_id", "expunged_at", "uid", sqlite_where=_GONE, postgresql_where=_GONE),
    Index("ix_messages_purge", "expunged_at", sqlite_where=_GONE, postgresql_where=_GONE),
    sqlite_with_rowid=False,
)
"""A mail in a mailbox, narrow so that a view of 100,000 loads in one scan. `flags` is the bit set of
`domain.flags`; `keywords` are space-separated, sorted; `saved_at` is when it came into this mailbox (RFC 8514);
an expunged row stays until its undelete ends."""

threads = Table(
    "threads",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    text_column("thread_id"),
    int_column("created_at"),
    sqlite_with_rowid=False,
)
"""Which thread a mail joins that names a message id under a base subject: `key` is a hash of both; the oldest wins."""

tags = Table(
    "tags",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    text_column("keyword"),
    text_column("name"),
    text_column("colour"),
    text_column("description"),
    int_column("created_at"),
    int_column("updated_at"),
    int_column("revision"),
    UniqueConstraint("tenant_id", "keyword"),
)

categories = Table(
    "categories",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    text_column("name"),
    text_column("colour"),
    text_column("description"),
    int_column("priority"),
    int_column("enabled"),
    int_column("created_at"),
    int_column("updated_at"),
    int_column("revision"),
    UniqueConstraint("tenant_id", "name"),
)

sender_categories = Table(
    "sender_categories",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("address", Text, primary_key=True),
    text_column("category"),
    int_column("corrections"),
)
"""What owners' corrections taught of a From address (filtering.md section 8)."""

mailbox_grants = Table(
    "mailbox_grants",
    metadata,
    Column("mailbox_id", Text, ForeignKey("mailboxes.id"), primary_key=True),
    Column("identifier", Text, primary_key=True),
    text_column("account_id"),
    text_column("rights"),
    int_column("created_at"),
)
"""Access control lists (RFC 4314): `identifier` is an account's id or `anyone`, `account_id` the mailbox's owner."""

send_grants = Table(
    "send_grants",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("grantee_id", Text, ForeignKey("accounts.id"), primary_key=True),
    int_column("created_at"),
)
"""Who may send with the addresses of another: `account_id` owns them, `grantee_id` sends."""

metadata_entries = Table(
    "metadata_entries",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("mailbox_id", Text, primary_key=True),
    Column("entry", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Annotations (RFC 5464); `mailbox_id` is empty for the account's own, `entry` in lower case."""
