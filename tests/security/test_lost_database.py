"""A database that is lost, empty or damaged costs no message (P1, T32): the start is refused, nothing is made anew."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import msgspec
import pytest

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.config.schema import Database, Settings, Storage
from server.config.secret import Secret
from server.daemon.exits import ExitCode, StartFailure
from server.daemon.stores import migrate
from server.services.upkeep import retention
from server.services.upkeep.purge import Purge
from server.store.repositories import blobs
from tests.support.identity import make_identity
from tests.support.stores import WallClock, open_sqlite


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return msgspec.structs.replace(
        Settings(),
        database=Database(url=Secret(f"sqlite:///{tmp_path}/db/mairust.db")),
        storage=Storage(path=tmp_path / "mail"),
    )


def _blob(settings: Settings) -> Path:
    path = settings.storage.path / "01a205" / "01a20520-10a8-7000-8000-000000000000"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"From: a@b.example\r\n\r\nx")
    return path


@pytest.mark.parametrize("left", [None, b""])
def test_a_database_that_is_gone_is_not_made_anew_beside_messages(settings: Settings, left: bytes | None) -> None:
    blob = _blob(settings)
    database = settings.storage.path.parent / "db" / "mairust.db"
    if left is not None:
        database.parent.mkdir()
        database.write_bytes(left)
    with pytest.raises(StartFailure) as refused:
        migrate(settings)
    assert refused.value.code is ExitCode.STORAGE
    assert str(database) in refused.value.text
    assert blob.exists()
    if left is None:
        assert not database.exists()
    else:
        with sqlite3.connect(database) as connection:
            assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_the_first_start_makes_one_and_the_next_finds_it(settings: Settings) -> None:
    (settings.storage.path / "tmp").mkdir(parents=True)
    (settings.storage.path / "tmp" / "half.part").touch()
    assert "brought" in migrate(settings)
    _blob(settings)
    assert "has this build's schema" in migrate(settings)


@pytest.mark.parametrize("how", ["not a database", "flipped", "cut"])
def test_a_damaged_database_is_named_and_left_as_it_is(settings: Settings, how: str) -> None:
    migrate(settings)
    database = settings.storage.path.parent / "db" / "mairust.db"
    good = database.read_bytes()
    bad = {
        "not a database": b"garbage!" + good[8:],
        "flipped": good[:100] + bytes(octet ^ 0xFF for octet in good[100:4096]) + good[4096:],
        "cut": good[: len(good) // 2],
    }[how]
    database.write_bytes(bad)
    with pytest.raises(StartFailure) as refused:
        migrate(settings)
    assert refused.value.code is ExitCode.STORAGE
    assert "restore a backup" in refused.value.text
    assert database.read_bytes() == bad


async def test_files_that_an_old_database_does_not_know_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the restore of an old backup most newer files have no row: they are what a recovery needs."""
    monkeypatch.setattr(retention, "STRAYS_MAX", 3)
    files = FileBlobStore(
        tmp_path / "mail", inline_max=0, worker=ThreadWorker("blob", threads=2), fatal=lambda _r: None, reserve=0
    )
    files.open()
    made = [await files.place(await files.content(b"a: b\r\n\r\n%d" % number)) for number in range(6)]
    paths = [tmp_path / "mail" / blob.id[:6] / blob.id for blob in made]
    for path in paths:
        os.utime(path, (time.time() - 200_000,) * 2)
    async with open_sqlite(tmp_path) as store:
        await store.write("one", lambda tx: blobs.insert(tx, made[0]))
        identity = await make_identity(store)
        purge = Purge(database=store, accounts=identity.accounts, directory=identity.directory)
        cleaner = retention.Retention(
            database=store, files=files, clock=WallClock(), settings=Settings, owner="here", purge=purge
        )
        assert (await cleaner.round())["files"] == 0
    assert all(path.exists() for path in paths)
