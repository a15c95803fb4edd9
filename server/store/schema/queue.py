"""The outbound queue."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from server.store.schema.base import id_column, int_column, metadata, ref_column, text_column

queued_messages = Table(
    "queued_messages",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    text_column("account_id", null=True),
    text_column("origin"),
    text_column("sender"),
    Column("blob_id", Text, ForeignKey("blobs.id"), nullable=False, index=True),
    Column("prefix", LargeBinary, nullable=False),
    int_column("size_octets"),
    text_column("message_id_header", null=True),
    text_column("subject"),
    text_column("trace_id"),
    int_column("smtputf8"),
    int_column("body_8bit"),
    text_column("ret", null=True),
    text_column("envid", null=True),
    int_column("created_at"),
    int_column("expires_at"),
)

queued_recipients = Table(
    "queued_recipients",
    metadata,
    id_column(),
    Column("queue_id", Text, ForeignKey("queued_messages.id"), nullable=False, index=True),
    text_column("tenant_id"),
    text_column("recipient"),
    text_column("domain"),
    text_column("kind"),
    text_column("status"),
    text_column("hold_reason"),
    int_column("attempts"),
    int_column("due_at"),
    text_column("lease_owner", null=True),
    int_column("lease_until", null=True),
    text_column("notify"),
    text_column("orcpt", null=True),
    int_column("warned"),
    text_column("last_reply"),
    text_column("last_host"),
    int_column("created_at"),
    int_column("updated_at"),
    int_column("finished_at", null=True),
    Index("ix_queued_recipients_status_due_at", "status", "due_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey("queued_recipients.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    int_column("started_at"),
    int_column("duration_ms"),
    text_column("status"),
    int_column("code"),
    text_column("enhanced"),
    text_column("text"),
    int_column("from_remote"),
    text_column("host"),
    text_column("ip"),
    text_column("tls"),
)

pauses = Table(
    "pauses",
    metadata,
    id_column(),
    text_column("tenant_id"),
    text_column("domain"),
    int_column("created_at"),
    UniqueConstraint("tenant_id", "domain"),
)
"""Destinations to which nothing is attempted; domain `*` pauses all, an empty tenant every tenant's mail."""
