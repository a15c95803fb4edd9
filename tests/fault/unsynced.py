"""The control: the same daemon without fsync, which the durability checks must catch.

Run as `python -m tests.fault.unsynced run --config FILE`; no setting and no variable does this to the real one (P1).
"""

from __future__ import annotations

from functools import partial

from server import __main__ as program
from server.adapters.blobs_fs import FileBlobStore
from server.daemon import parts, stores
from server.store.sqlite import SqliteBackend

if __name__ == "__main__":
    vars(parts)["FileBlobStore"] = partial(FileBlobStore, sync=False)
    vars(stores)["SqliteBackend"] = partial(SqliteBackend, synchronous="OFF")
    program.main()
