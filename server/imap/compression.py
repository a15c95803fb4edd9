"""COMPRESS=DEFLATE: raw deflate in both directions (RFC 4978).

- Inflated octets are made only as fast as they are taken: what a few compressed octets can become never stands in
  memory, and costs its sender the same limits as if it had been sent in clear.
- Each write ends in a sync flush, so that the client can read all of it.
"""

from __future__ import annotations

import zlib

PIECE_OCTETS = 64 * 1024
"""Inflated at once."""
LEVEL = 1
"""Speed before size: 64 KiB cost about a millisecond."""
_RAW = -zlib.MAX_WBITS


class CompressionError(Exception):
    """The client's octets are no deflate stream, or it has ended."""


class Compression:
    """Both directions of one connection."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_RAW)
        self._deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW)
        self._waiting = b""
        self._more = False

    @property
    def pending(self) -> bool:
        """Whether `inflate` may have something to give."""
        return bool(self._waiting) or self._more

    def receive(self, data: bytes) -> None:
        """Take compressed octets; the caller stops reading while `pending`."""
        self._waiting += data
        self._more = True

    def inflate(self) -> bytes:
        """The next piece, at most PIECE_OCTETS; empty when more octets are needed. Raises CompressionError."""
        try:
            data = self._inflater.decompress(self._waiting, PIECE_OCTETS)
        except zlib.error as error:
            raise CompressionError from error
        self._waiting = self._inflater.unconsumed_tail
        # A full piece may have left octets inside the inflater, though all input is taken.
        self._more = len(data) == PIECE_OCTETS
        if self._inflater.eof:
            raise CompressionError
        return data

    def deflate(self, data: bytes) -> bytes:
        return self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
