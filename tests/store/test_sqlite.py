from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from netplug.contract.store import Batch
from netplug.errors import StoreUnavailable
from netplug.model import Lease, LeaseKind, PoolId
from netplug.store import database
from netplug.store.migrate import VERSION
from netplug.store.sqlite import TIDY_AT_ONCE_ROWS, SqliteStore
from tests.store.loading import loaded

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def _lease(number: int, owner: str = "web-1") -> Lease:
    address = ip_address("10.9.0.0") + number
    return Lease(pool_id=PoolId("p"), address=address, owner=owner, created_at=NOON)


LEASES = tuple(_lease(number) for number in range(200))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.opened(path)
    yield store
    await store.close()


@pytest.fixture
async def written(path: Path) -> Path:
    """Return the path of a closed state file with all of LEASES in it."""
    store = await SqliteStore.opened(path)
    await store.commit(Batch(puts=LEASES))
    await store.close()
    return path


async def _content(path: Path) -> set[object]:
    store = await SqliteStore.opened(path)
    try:
        return set(await loaded(store))
    finally:
        await store.close()


@contextmanager
def _files_limited_to(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, which SQLite meets like a disk that refuses to write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_first_start_makes_directory_and_file_for_the_owner_only(
    store: SqliteStore, path: Path
) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600, "lock": 0o600}


async def test_close_leaves_everything_in_one_file(written: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup" / "state.db"
    backup.parent.mkdir()
    shutil.copy(written, backup)

    assert await _content(backup) == set(LEASES)


async def test_files_of_a_store_that_was_never_closed_hold_what_was_committed(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    await store.commit(Batch(puts=LEASES))

    shutil.copytree(path.parent, tmp_path / "after-the-crash")

    assert await _content(tmp_path / "after-the-crash" / "state.db") == set(LEASES)


async def test_open_after_a_crash_moves_the_wal_into_the_file(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    await store.commit(Batch(puts=LEASES))
    crashed = tmp_path / "after-the-crash" / "state.db"
    shutil.copytree(path.parent, crashed.parent)

    restarted = await SqliteStore.opened(crashed)
    (tmp_path / "copy").mkdir()
    shutil.copy(crashed, tmp_path / "copy")
    await restarted.close()

    assert await _content(tmp_path / "copy" / "state.db") == set(LEASES)


async def test_start_that_died_while_making_the_file_is_made_up_for(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("state.db.new").write_bytes(b"half")

    assert await _content(path) == set()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _emptied(path: Path) -> None:
    os.truncate(path, 0)


def _scribbled_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096)


def _replaced_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replaced_by_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "not-mounted" / "state.db")


def _lost_but_for_its_wal(path: Path) -> None:
    path.rename(path.with_name("state.db-wal"))


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE record (song TEXT)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_garbage, r"damaged .*; move it away and restore a backup"),
        (_truncated, r"damaged .*; move it away and restore a backup"),
        (_scribbled_over, r"damaged .*; move it away and restore a backup"),
        (_emptied, r"it is empty; move it away and restore a backup"),
        (_replaced_by_directory, r"not a file; move it away"),
        (_replaced_by_dangling_link, r"not a file; move it away"),
        (_lost_but_for_its_wal, r"missing, but state\.db-wal is there"),
        (_foreign, r"not a state file of pynet; move it away"),
        (_newer, rf"newer pynet .*schema {VERSION + 1}, this version knows {VERSION}.*upgrade"),
    ],
)
async def test_open_of_a_spoilt_state_is_refused_until_the_backup_is_back(
    written: Path, tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(written.parent, backup)
    spoil(written)

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=reason):
            await SqliteStore.opened(written)

    shutil.rmtree(written.parent)
    backup.rename(written.parent)
    assert await _content(written) == set(LEASES)


async def test_open_of_schema_1_makes_its_endpoint_leases_dynamic(written: Path) -> None:
    old = [("p/10.9.0.7", "endpoint"), ("p/10.9.0.8", "gateway")]
    owner = '"kind":"endpoint"'
    with closing(sqlite3.connect(written, isolation_level=None)) as connection:
        connection.execute("DELETE FROM record")
        connection.execute("PRAGMA user_version = 1")
        for key, kind in old:
            address = key.removeprefix("p/")
            fields = {"pool_id": "p", "address": address, "kind": kind, "owner": owner}
            value = json.dumps({**fields, "created_at": "2026-01-31T12:00:00Z"}).encode()
            connection.execute("INSERT INTO record VALUES ('lease', ?, ?)", (key, value))

    store = await SqliteStore.opened(written)
    leases = [record for record in await loaded(store) if isinstance(record, Lease)]
    await store.close()

    assert {(str(lease.address), lease.kind, lease.owner) for lease in leases} == {
        ("10.9.0.7", LeaseKind.DYNAMIC, owner),
        ("10.9.0.8", LeaseKind.GATEWAY, owner),
    }


@pytest.mark.parametrize("at_once", [1, 7, len(LEASES)])
async def test_load_in_portions_yields_each_record_once(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("netplug.store.sqlite.LOADED_AT_ONCE", at_once)
    await store.commit(Batch(puts=LEASES))

    portions = [portion async for portion in store.load()]

    assert sorted(str(lease) for portion in portions for lease in portion) == sorted(
        str(lease) for lease in LEASES
    )
    assert {len(portion) for portion in portions[:-1]} <= {at_once}


async def test_load_of_a_record_that_does_not_decode_names_file_and_record(written: Path) -> None:
    with closing(sqlite3.connect(written, isolation_level=None)) as connection:
        connection.execute("UPDATE record SET value = x'7b7d' WHERE key = 'p/10.9.0.7'")
    store = await SqliteStore.opened(written)

    with pytest.raises(StoreUnavailable, match=rf"{written}: lease 'p/10\.9\.0\.7' cannot be read"):
        await loaded(store)

    await store.close()


async def test_open_below_something_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match=r"file: .*choose another directory"):
        await SqliteStore.opened(tmp_path / "file" / "state.db")


@pytest.mark.parametrize("victim", [".", "state.db", "lock"])
async def test_open_of_what_cannot_be_written_is_refused(written: Path, victim: str) -> None:
    (written.parent / victim).chmod(0o500)
    if os.access(written.parent / victim, os.W_OK):
        pytest.skip("root: permissions do not bind it")

    with pytest.raises(StoreUnavailable, match=r"writable|mend that"):
        await SqliteStore.opened(written)

    (written.parent / victim).chmod(0o700)
    assert await _content(written) == set(LEASES)


async def test_open_while_in_use_names_the_holder(store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=rf"{path.parent}: in use by pid {os.getpid()};"):
        await SqliteStore.opened(path)


async def test_open_that_is_cancelled_lets_the_next_one_in(path: Path) -> None:
    opening = asyncio.ensure_future(SqliteStore.opened(path))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    for thread in threading.enumerate():
        if thread.name == "store":
            await asyncio.to_thread(thread.join)

    assert opening.cancelled()
    assert await _content(path) == set()


async def test_commits_beside_one_whose_caller_is_cancelled_are_answered(
    store: SqliteStore,
) -> None:
    writing = [asyncio.ensure_future(store.commit(Batch(puts=(r,)))) for r in LEASES[:5]]
    await asyncio.sleep(0)
    writing[2].cancel()

    await asyncio.wait(writing)

    assert [w.cancelled() for w in writing] == [False, False, True, False, False]
    assert set(await loaded(store)) == set(LEASES[:5])


async def test_commit_that_the_disk_refuses_writes_nothing_and_the_next_one_works(
    store: SqliteStore, path: Path
) -> None:
    await store.commit(Batch(puts=LEASES[:10]))
    wal_bytes = path.with_name("state.db-wal").stat().st_size
    changed = tuple(_lease(number, owner="db-1" * 100) for number in range(200))

    with _files_limited_to(wal_bytes + 8192):
        outcomes = await asyncio.gather(
            *(store.commit(Batch(puts=changed, is_durable=flag)) for flag in (False, True)),
            return_exceptions=True,
        )
    await store.commit(Batch(puts=LEASES[10:]))

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
    assert set(await loaded(store)) == set(LEASES)


async def test_wal_that_grew_long_is_moved_into_the_file_between_commits(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    absent = tuple(_lease(number) for number in range(1000, 1000 + TIDY_AT_ONCE_ROWS))
    await store.commit(Batch(puts=LEASES, drops=absent))
    await loaded(store)

    (tmp_path / "copy").mkdir()
    shutil.copy(path, tmp_path / "copy")

    assert await _content(tmp_path / "copy" / "state.db") == set(LEASES)


@pytest.fixture
def held_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Return what lets syncs of the log go on; they wait until it is set."""
    may_go_on = threading.Event()

    def fdatasync(fd: int) -> None:
        assert may_go_on.wait(10)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    yield may_go_on
    may_go_on.set()


async def test_commits_go_on_beside_a_sync(store: SqliteStore, held_disk: threading.Event) -> None:
    await store.commit(Batch(puts=LEASES[:1]))
    syncing = asyncio.ensure_future(store.sync())
    await asyncio.sleep(0)

    await store.commit(Batch(puts=LEASES[1:]))

    assert not syncing.done()
    held_disk.set()
    await syncing
    assert set(await loaded(store)) == set(LEASES)


async def test_close_waits_for_a_sync(path: Path, held_disk: threading.Event) -> None:
    store = await SqliteStore.opened(path)
    await store.commit(Batch(puts=LEASES))
    syncing = asyncio.ensure_future(store.sync())
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(store.close())
    await asyncio.wait([closing], timeout=0.1)
    assert not closing.done()
    held_disk.set()

    await asyncio.gather(syncing, closing)

    assert await _content(path) == set(LEASES)


async def test_log_that_cannot_be_synced_is_moved_into_the_file(
    store: SqliteStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "the disk says no")

    await store.commit(Batch(puts=LEASES))
    monkeypatch.setattr(os, "fdatasync", refuse)

    await store.sync()

    (tmp_path / "copy").mkdir()
    shutil.copy(path, tmp_path / "copy")
    assert await _content(tmp_path / "copy" / "state.db") == set(LEASES)


async def test_sync_that_failed_is_made_up_for_before_anything_counts_as_durable(
    store: SqliteStore, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "the disk says no")

    await store.commit(Batch(puts=LEASES[:10]))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", refuse)
        broken.setattr(database, "_start_wal_over", refuse)
        with pytest.raises(StoreUnavailable, match="the disk says no"):
            await store.sync()
        with pytest.raises(StoreUnavailable, match="the disk says no"):
            await store.commit(Batch(puts=LEASES[10:], is_durable=True))
    assert set(await loaded(store)) == set(LEASES[:10])

    monkeypatch.setattr(os, "fdatasync", lambda fd: None)  # as Linux does after it failed once
    await store.sync()

    (tmp_path / "copy").mkdir()
    shutil.copy(path, tmp_path / "copy")
    assert await _content(tmp_path / "copy" / "state.db") == set(LEASES[:10])


async def test_log_that_cannot_be_moved_for_a_reader_is_not_called_durable(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "the disk says no")

    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM record").fetchone()
        await store.commit(Batch(puts=LEASES))
        monkeypatch.setattr(os, "fdatasync", refuse)
        with pytest.raises(StoreUnavailable, match="cannot be moved"):
            await store.sync()

    await store.sync()
