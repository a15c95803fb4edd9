"""Blob rows: which octets exist, how large, with what digest, where."""

from __future__ import annotations

from typing import cast

from sqlalchemy import bindparam, select

from server.domain.ids import BlobId
from server.domain.message import Blob, BlobPlace
from server.store.schema import blobs
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Row, Transaction

_INSERT = prepared_insert(blobs)
_GET = prepared(select(blobs).where(blobs.c.id == bindparam("b_id")))


async def insert(tx: Transaction, blob: Blob) -> None:
    """Write the row that makes a placed blob part of the store."""
    await tx.insert(
        _INSERT,
        {
            "id": blob.id,
            "size_octets": blob.size_octets,
            "sha256": blob.sha256,
            "place": blob.place.value,
            "created_at": tx.now_us,
            "unreferenced_since": None,
            "inline": blob.inline,
        },
    )


async def get(tx: Transaction, blob_id: BlobId) -> Blob | None:
    """Load a blob, its octets included when they lie in the row."""
    row = await tx.fetch_one(_GET, {"b_id": blob_id})
    return None if row is None else blob_from_row(row)


def blob_from_row(row: Row) -> Blob:
    """Make the value from a row that has the columns of `blobs`."""
    return Blob(
        id=BlobId(cast(str, row["id"])),
        size_octets=cast(int, row["size_octets"]),
        sha256=cast(str, row["sha256"]),
        place=BlobPlace(cast(str, row["place"])),
        inline=cast("bytes | None", row["inline"]),
    )
