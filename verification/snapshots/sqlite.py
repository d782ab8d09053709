"""A SQLite database in a snapshot: taken by an online backup, so that writers need not stop."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from verification.executors.base import JsonDict, SnapshotItem, SnapshotReader, SnapshotWriter

PAGES_AT_ONCE = 1000


def keep(database: Path, store: SnapshotWriter, *, name: str, meta: JsonDict | None = None) -> SnapshotItem:
    """Keep the database as it is at one moment; raises sqlite3.Error when it cannot be read."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "copy.sqlite3"
        with (
            closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target, pages=PAGES_AT_ONCE)
        return store.add_file(copy, name=name, meta=meta)


def bring_back(database: Path, snapshot: SnapshotReader, *, name: str) -> None:
    """Write the kept database over the live one in one transaction; raises KeyError and sqlite3.Error."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "copy.sqlite3"
        copy.write_bytes(snapshot.read(name))
        with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(database)) as target:
            source.backup(target)
