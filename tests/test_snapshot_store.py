"""The snapshot store: stored once, signed, and nothing damaged is ever handed out."""

import json
import multiprocessing
import os
import sqlite3
import stat
import time
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from verification.snapshots import keys, scratch, sqlite, store
from verification.snapshots.store import Damaged, Reader, Sealed


def sealed(**items: bytes) -> Sealed:
    writer = store.Writer()
    for name, data in items.items():
        writer.add_bytes(name, data)
    return writer.seal()


def reopened(kept: Sealed) -> Reader:
    return store.open_sealed(kept.manifest, kept.sha256, kept.signature)


def blobs(var_dir: Path) -> list[Path]:
    return [path for path in (var_dir / "snapshots").rglob("*") if path.is_file()]


def test_it_gives_back_what_was_kept(var_dir: Path) -> None:
    writer = store.Writer()
    writer.add_bytes("a", b"\x00\xff", {"mode": 0o644, "name": "é"})
    (var_dir / "b.txt").write_bytes(b"text")
    writer.add_file(var_dir / "b.txt")
    kept = writer.seal()
    assert (kept.item_count, kept.byte_count) == (2, 6)
    reader = reopened(kept)
    assert [item.name for item in reader.items()] == ["a", "b.txt"]
    assert reader.item("a").meta == {"mode": 0o644, "name": "é"}
    assert (reader.read("a"), reader.read("b.txt")) == (b"\x00\xff", b"text")
    with pytest.raises(KeyError):
        reader.read("c")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=10), st.binary(max_size=100), max_size=5))
def test_any_bytes_come_back(items: dict[str, bytes]) -> None:
    writer = store.Writer()
    for name, data in items.items():
        writer.add_bytes(name, data)
    reader = reopened(writer.seal())
    assert {item.name: reader.read(item.name) for item in reader.items()} == items


def test_content_is_stored_once(var_dir: Path) -> None:
    sealed(a=b"same", b=b"same", c=b"other")
    sealed(d=b"same")
    assert len(blobs(var_dir)) == 2


def test_a_name_is_taken_once() -> None:
    writer = store.Writer()
    writer.add_bytes("a", b"1")
    with pytest.raises(ValueError, match="already"):
        writer.add_bytes("a", b"2")


def test_an_empty_snapshot_is_one_too() -> None:
    assert list(reopened(sealed()).items()) == []


def test_only_the_owner_may_read_key_and_content(var_dir: Path) -> None:
    sealed(a=b"secret")
    for path in [*blobs(var_dir), *(var_dir / "keys").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((var_dir / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("data", [b"", b"shor", b"damaged"])
def test_damaged_content_is_found_before_anything_is_handed_out(var_dir: Path, data: bytes) -> None:
    kept = sealed(a=b"content", b=b"fine")
    blob = next(path for path in blobs(var_dir) if path.read_bytes() == b"content")
    blob.write_bytes(data)
    with pytest.raises(Damaged, match="'a'"):
        reopened(kept)


def test_missing_content_is_found(var_dir: Path) -> None:
    kept = sealed(a=b"content")
    blobs(var_dir)[0].unlink()
    with pytest.raises(Damaged, match="'a'"):
        reopened(kept)


def test_content_damaged_after_opening_is_found_when_read(var_dir: Path) -> None:
    reader = reopened(sealed(a=b"content"))
    blobs(var_dir)[0].write_bytes(b"damaged")
    with pytest.raises(Damaged):
        reader.read("a")


def test_keeping_damaged_content_again_heals_it(var_dir: Path) -> None:
    kept = sealed(a=b"content")
    blobs(var_dir)[0].write_bytes(b"damaged")
    sealed(b=b"content")
    assert reopened(kept).read("a") == b"content"


def changed(kept: Sealed) -> dict[str, tuple[str, str, str]]:
    document = json.loads(kept.manifest)
    document["items"][0]["sha256"] = "0" * 64
    forged = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = __import__("hashlib").sha256(forged.encode()).hexdigest()
    return {
        "another manifest": (forged, kept.sha256, kept.signature),
        "another manifest and its hash": (forged, digest, kept.signature),
        "another hash": (kept.manifest, "0" * 64, kept.signature),
        "another signature": (kept.manifest, kept.sha256, "00" * 64),
        "no signature": (kept.manifest, kept.sha256, ""),
        "nonsense": (kept.manifest, kept.sha256, "not hex"),
    }


@pytest.mark.parametrize("what", list(changed(Sealed('{"items":[{"sha256":""}]}', "", "", 0, 0))))
def test_a_forged_manifest_is_refused(what: str) -> None:
    kept = sealed(a=b"content")
    with pytest.raises(Damaged):
        store.open_sealed(*changed(kept)[what])


def test_another_installation_did_not_sign_it(settings: Any, tmp_path: Path) -> None:
    kept = sealed(a=b"content")
    settings.VAR_DIR = tmp_path / "elsewhere"
    sealed(a=b"content")
    with pytest.raises(Damaged, match="not signed"):
        reopened(kept)


def _sign_in(var_dir: str, queue: Any) -> None:
    os.environ["VAR_DIR"] = var_dir
    queue.put(keys.sign(b"same manifest"))


def test_processes_that_make_the_key_at_once_agree_on_it(var_dir: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_sign_in, args=(str(var_dir), queue)) for _ in range(6)]
    for process in processes:
        process.start()
    signatures = {queue.get(timeout=30) for _ in processes}
    for process in processes:
        process.join()
    assert len(signatures) == 1
    assert [path.name for path in (var_dir / "keys").iterdir()] == ["snapshots.key"]


def test_nothing_half_written_is_left(var_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.Writer().add_bytes("a", b"content")
    assert blobs(var_dir) == []


# --- SQLite ---


def rows(database: Path) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT n FROM t ORDER BY n").fetchall()


def test_a_live_database_is_kept_and_brought_back(tmp_path: Path) -> None:
    database = tmp_path / "live.sqlite3"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (n INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(3)])
        connection.commit()
        connection.execute("INSERT INTO t VALUES (99)")  # open transaction: not part of the moment
        writer = store.Writer()
        sqlite.keep(database, writer, name="database")
        connection.commit()
    kept = writer.seal()
    assert rows(database) == [(0,), (1,), (2,), (99,)]
    sqlite.bring_back(database, reopened(kept), name="database")
    assert rows(database) == [(0,), (1,), (2,)]


def test_what_is_no_database_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be read as one" * 100)
    with pytest.raises(sqlite3.Error):
        sqlite.keep(tmp_path / "text", store.Writer(), name="database")


# --- room for dumps on their way ---


def test_scratch_is_for_its_owner_and_gone_afterwards(var_dir: Path) -> None:
    with scratch.directory() as room:
        assert room.is_relative_to(var_dir)
        assert room.stat().st_mode & 0o077 == 0
        (room / "dump").write_bytes(b"x")
    assert not room.exists()


def test_what_a_killed_worker_left_is_removed_after_a_day(var_dir: Path) -> None:
    old, fresh = var_dir / "scratch" / "old", var_dir / "scratch" / "fresh"
    for each in (old, fresh):
        each.mkdir(parents=True)
        (each / "dump").write_bytes(b"x")
    long_ago = time.time() - scratch.LEFT_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    with scratch.directory():
        assert (old.exists(), fresh.exists()) == (False, True)


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        for number in range(64):
            file.write(bytes([number]) * 2**20)
    tracemalloc.start()
    try:
        writer = store.Writer()
        writer.add_file(large)
        kept = writer.seal()
        store.open_sealed(kept.manifest, kept.sha256, kept.signature)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.byte_count == 64 * 2**20
    assert peak < 8 * 2**20
