"""What accounts do with their mail at delivery: Sieve scripts, rules, vacation."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text, UniqueConstraint

from server.store.schema.base import id_column, int_column, metadata, ref_column, text_column

sieve_scripts = Table(
    "sieve_scripts",
    metadata,
    id_column(),
    ref_column("tenant_id", "tenants.id"),
    text_column("account_id", null=True),
    text_column("place"),
    text_column("name"),
    Column("octets", LargeBinary, nullable=False),
    int_column("active"),
    int_column("created_at"),
    int_column("updated_at"),
    UniqueConstraint("account_id", "name"),
)
"""`place` is `user`, or `before` or `after` for the administrator's, which have no account."""

filter_rules = Table(
    "filter_rules",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    text_column("rules"),
    int_column("revision"),
    int_column("updated_at"),
)
"""An account's rules as JSON (filtering.md section 7)."""

vacations = Table(
    "vacations",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    int_column("enabled"),
    int_column("starts_at", null=True),
    int_column("ends_at", null=True),
    text_column("subject"),
    text_column("text"),
    text_column("html", null=True),
    int_column("days"),
    int_column("revision"),
    int_column("updated_at"),
)

vacation_replies = Table(
    "vacation_replies",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("handle", Text, primary_key=True),
    Column("sender", Text, primary_key=True),
    Column("until", BigInteger, nullable=False, index=True),
)
"""Who had an automatic reply and gets none before `until` (RFC 5230 §4.2)."""

sieve_duplicates = Table(
    "sieve_duplicates",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("until", BigInteger, nullable=False, index=True),
)
"""Unique ids that a duplicate test has seen (RFC 7352)."""
