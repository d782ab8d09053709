"""A SQLite database in a snapshot: taken by an online backup, so that writers need not stop."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from verification.executors.base import JsonDict, SnapshotItem, SnapshotReader, SnapshotWriter

from . import scratch

PAGES_AT_ONCE = 1000
BUSY_SECONDS = 5.0
DONE = 101


def keep(
    database: Path, store: SnapshotWriter, *, name: str, meta: JsonDict | None = None, seconds: float = 60.0
) -> SnapshotItem:
    """Keep the database as it is at one moment; raises sqlite3.Error when it cannot be read, or not in time.

    It is opened for writing, so that what a killed writer left half done is rolled back and not copied.
    """
    with scratch.directory() as directory:
        copy = directory / "copy.sqlite3"
        with closing(_opened(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.execute("PRAGMA query_only = ON")
            source.backup(target, pages=PAGES_AT_ONCE, progress=_until(seconds), sleep=0.05)
        return store.add_file(copy, name=name, meta=meta)


def bring_back(
    database: Path,
    snapshot: SnapshotReader,
    *,
    name: str,
    seconds: float = 60.0,
    change: Callable[[sqlite3.Connection], None] | None = None,
) -> None:
    """Write the kept database over the live one in one transaction; raises KeyError and sqlite3.Error.

    `change` may alter the copy before.
    """
    with scratch.directory() as directory:
        copy = directory / "copy.sqlite3"
        copy.write_bytes(snapshot.read(name))
        with closing(sqlite3.connect(copy)) as source, closing(_opened(database)) as target:
            if change is not None:
                change(source)
            source.backup(target, progress=_until(seconds), sleep=0.05)


def _opened(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)


def _until(seconds: float) -> Callable[[int, int, int], None]:
    """A backup's progress that ends it when its time is up, also while it waits for a lock."""
    ends = time.monotonic() + seconds

    def progress(status: int, remaining: int, total: int) -> None:
        if status != DONE and time.monotonic() > ends:
            raise sqlite3.OperationalError(f"not copied within {seconds:g} s")

    return progress
