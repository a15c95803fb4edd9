"""Long-running work: imports and exports, and what was imported already."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Table, Text

from server.store.schema.base import id_column, int_column, metadata, ref_column, text_column

jobs = Table(
    "jobs",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    text_column("account_id", null=True),
    text_column("kind"),
    text_column("status"),
    text_column("parameters"),
    Column("sealed_secret", LargeBinary, nullable=True),
    text_column("progress"),
    int_column("done"),
    int_column("total", null=True),
    text_column("errors"),
    text_column("created_by"),
    text_column("lease_owner", null=True),
    int_column("lease_until", null=True),
    int_column("created_at"),
    int_column("started_at", null=True),
    int_column("updated_at"),
    int_column("finished_at", null=True),
    Index("ix_jobs_status_created_at", "status", "created_at"),
)
"""`parameters`, `progress` and `errors` are JSON; `progress` is where a stopped job goes on."""

imported_messages = Table(
    "imported_messages",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    text_column("message_id"),
    text_column("state"),
)
"""What came from a source before: `key` names the message there, `state` its flags at the last pass."""
