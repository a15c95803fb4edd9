"""What is known of the full-text index; the index itself is made by the dialect."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from server.store.schema.base import int_column, metadata, text_column

search_documents = Table(
    "search_documents",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("email_id", Text, nullable=False, unique=True),
    text_column("account_id"),
    int_column("version"),
    int_column("indexed_at"),
    Index("ix_search_documents_account_id", "account_id"),
)
"""The mails that are in the index; `version` is that of the words' making, so that a new one re-indexes."""
