"""COMPRESS (RFC 4978 §3)."""

from __future__ import annotations

from dataclasses import dataclass

from server.protocol.imap.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Compress:
    """`algorithm` is in upper case."""

    algorithm: str


def parse_compress(cursor: Cursor) -> Compress:
    """compress = "COMPRESS" SP algorithm"""
    cursor.space()
    return Compress(cursor.keyword().decode("ascii"))
