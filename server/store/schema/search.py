"""The full-text index: what is in it, what is still to go in, and the index itself, which each database makes.

- A mail waits in `search_pending` from the statement that inserts it, by a trigger: whatever stores mail, nothing is
  missed. A mail that is purged waits there too, to be taken out.
- SQLite holds the terms in an FTS5 table without contents, and compressed beside it: to take a document out again,
  FTS5 wants the very terms that went in. PostgreSQL holds them as a tsvector and as lines.
- Terms in the index begin with a mark of their account: an account's search reads nothing of others.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from server.store.schema.base import int_column, metadata, text_column

search_documents = Table(
    "search_documents",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("email_id", Text, nullable=False, unique=True),
    text_column("account_id"),
    int_column("version"),
    int_column("indexed_at"),
    Index("ix_search_documents_account_id", "account_id"),
)
"""The mails that are in the index; `version` is that of the words' making, so that a new one re-indexes. A number is
never given twice."""

search_pending = Table(
    "search_pending",
    metadata,
    Column("email_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""Mails that the index does not know yet, and mails that are gone but that it may still know."""

SEARCH_COLUMNS = ("subject", "sender", "recipient", "cc", "bcc", "body", "filename", "list", "other")
"""The index's columns: `protocol.mime.document.SearchField`, in its order."""
UNMANAGED = ("search_index", "search_terms", "search_words")
"""Tables made below, and those that FTS5 makes of them, have names that begin so."""

SQLITE_INDEX = (
    f"CREATE VIRTUAL TABLE search_index USING fts5({', '.join(SEARCH_COLUMNS)},"
    " content='', columnsize=0, tokenize='ascii')",
    "CREATE VIRTUAL TABLE search_words USING fts5vocab(search_index, 'row')",
)
"""The part that a rebuild drops and makes again."""
SQLITE_DROP = ("DROP TABLE IF EXISTS search_words", "DROP TABLE IF EXISTS search_index", "DELETE FROM search_terms")

_SQLITE = (
    *SQLITE_INDEX,
    "CREATE TABLE search_terms (number INTEGER PRIMARY KEY, terms BLOB NOT NULL)",
    "CREATE TRIGGER emails_to_index AFTER INSERT ON emails BEGIN"
    " INSERT INTO search_pending (email_id, account_id) VALUES (new.id, new.account_id) ON CONFLICT DO NOTHING; END",
    "CREATE TRIGGER emails_off_index AFTER DELETE ON emails BEGIN"
    " INSERT INTO search_pending (email_id, account_id) VALUES (old.id, old.account_id) ON CONFLICT DO NOTHING; END",
)
_POSTGRES = (
    "CREATE TABLE search_terms (number BIGINT PRIMARY KEY, vector TSVECTOR NOT NULL, lines TEXT[] NOT NULL)",
    "CREATE INDEX ix_search_terms_vector ON search_terms USING gin (vector)",
    "CREATE FUNCTION emails_to_index() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO search_pending (email_id, account_id) VALUES (NEW.id, NEW.account_id) ON CONFLICT DO NOTHING;"
    " RETURN NULL; END $$",
    "CREATE FUNCTION emails_off_index() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO search_pending (email_id, account_id) VALUES (OLD.id, OLD.account_id) ON CONFLICT DO NOTHING;"
    " RETURN NULL; END $$",
    "CREATE TRIGGER emails_to_index AFTER INSERT ON emails FOR EACH ROW EXECUTE FUNCTION emails_to_index()",
    "CREATE TRIGGER emails_off_index AFTER DELETE ON emails FOR EACH ROW EXECUTE FUNCTION emails_off_index()",
)


def index_statements(dialect: str) -> tuple[str, ...]:
    """The statements that make the index, for a migration; the tables above exist by then."""
    return _SQLITE if dialect == "sqlite" else _POSTGRES
