"""The control: the same daemon without fsync, which the durability checks must catch.

Run as `python -m tests.fault.unsynced run --config FILE`; no setting and no variable does this to the real one (P1).
"""

from __future__ import annotations

from server import __main__ as program
from server.adapters.blobs_fs import FileBlobStore
from server.store.sqlite import SqliteBackend


def switch_off(owner: type, argument: str, value: object) -> None:
    """Change the default of a constructor's keyword, wherever it is called."""
    defaults = vars(owner)["__init__"].__kwdefaults__
    assert argument in defaults, f"{owner.__name__} has no {argument}"
    defaults[argument] = value


if __name__ == "__main__":
    switch_off(FileBlobStore, "sync", False)
    switch_off(SqliteBackend, "synchronous", "OFF")
    program.main()
