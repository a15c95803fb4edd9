"""What happened: events, audit, answers that may be asked for again."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text, text

from server.store.schema.base import id_column, int_column, metadata, text_column

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    text_column("id"),
    text_column("type"),
    int_column("time"),
    text_column("severity"),
    text_column("component"),
    text_column("verdict"),
    text_column("detail"),
    text_column("reply"),
    text_column("tenant_id", null=True),
    text_column("account_id", null=True),
    Column("trace_id", Text, nullable=True, index=True),
    Column("queue_id", Text, nullable=True),
    Column("message_id_header", Text, nullable=True, index=True),
    text_column("subject", null=True),
    Column("sender", Text, nullable=True, index=True),
    Column("recipient", Text, nullable=True, index=True),
    text_column("remote_ip", null=True),
    text_column("data"),
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
    text_column("id"),
    int_column("time"),
    text_column("tenant_id", null=True),
    text_column("type"),
    text_column("actor_kind"),
    text_column("actor_id"),
    text_column("actor_name"),
    text_column("ip"),
    text_column("request_id"),
    text_column("target_kind"),
    text_column("target_id"),
    text_column("target_name"),
    text_column("changes"),
    text_column("reason"),
    text_column("result"),
    text_column("prev_hash"),
    text_column("hash"),
)

idempotency = Table(
    "idempotency",
    metadata,
    id_column("key"),
    text_column("body_sha256"),
    int_column("status"),
    text_column("headers"),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)
