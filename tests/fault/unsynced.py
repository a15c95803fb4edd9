"""The control: the same daemon without fsync, which the durability checks must catch.

Run as `python -m tests.fault.unsynced run --config FILE`; no setting and no variable does this to the real one (P1).
"""

from __future__ import annotations

from functools import partial

from server import __main__ as program
from server.adapters.blobs_fs import FileBlobStore
from server.daemon import bootstrap, stores
from server.store.sqlite import SqliteBackend

if __name__ == "__main__":
    bootstrap.FileBlobStore = partial(FileBlobStore, sync=False)  # type: ignore[misc, assignment]
    stores.SqliteBackend = partial(SqliteBackend, synchronous="OFF")  # type: ignore[misc, assignment]
    program.main()
