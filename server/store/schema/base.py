"""What all tables share: the metadata and the column types.

- Only three column types: integers, text, octets. Times are microseconds since the epoch, booleans 0 or 1, lists JSON.
- Ids are UUIDv7 text. UIDs, modseqs and event numbers come from counter rows, in the transaction that uses them.
- Every table that holds a tenant's or an account's data says whose it is.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, MetaData, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def id_column(name: str = "id") -> Column[str]:
    return Column(name, Text, primary_key=True)


def text_column(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def int_column(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def ref_column(name: str, target: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, ForeignKey(target), nullable=null)


def life_columns() -> tuple[Column[int], ...]:
    return (
        int_column("created_at"),
        int_column("updated_at"),
        int_column("revision"),
        int_column("deleted_at", null=True),
    )


# Bookkeeping of the store itself.

meta = Table("meta", metadata, id_column("key"), text_column("value"))
counters = Table("counters", metadata, id_column("name"), int_column("value"))
committed_units = Table("committed_units", metadata, id_column(), Column("at", BigInteger, nullable=False, index=True))
leases = Table("leases", metadata, id_column("name"), text_column("owner"), int_column("until"))
