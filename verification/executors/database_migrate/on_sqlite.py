"""Looking at, changing and bringing back a SQLite database."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from verification.executors.base import ExecutorError, SnapshotReader, SnapshotWriter
from verification.executors.database_migrate.listed import (
    ALTERED,
    LEDGER,
    LEDGER_COLUMNS,
    LOOK_SECONDS,
    Database,
    NotDone,
    Seen,
    Work,
    answered,
    asking,
    inserting,
)
from verification.snapshots import sqlite as copies

STEPS_BETWEEN_LOOKS = 20_000
MAX_VALUE_BYTES = 64 * 2**20
_ITEM = "database"
_LEDGER = f"main.{LEDGER}"
"""By its schema, so that no temporary table of a script is taken for it."""
_CREATE = f"CREATE TABLE IF NOT EXISTS {_LEDGER} ({LEDGER_COLUMNS}, PRIMARY KEY (contract_id, what))"
_PRAGMAS = frozenset({"user_version", "application_id", "defer_foreign_keys", "foreign_key_check", "table_info"})
_USED_INSIDE = frozenset({"data_version", "page_size", "encoding"})
"""Pragmas that full-text and spatial tables ask for themselves."""
_REFUSED = {
    sqlite3.SQLITE_TRANSACTION: "BEGIN, COMMIT and ROLLBACK are",
    sqlite3.SQLITE_SAVEPOINT: "SAVEPOINT is",
    sqlite3.SQLITE_ATTACH: "ATTACH (and VACUUM INTO) is",
    sqlite3.SQLITE_DETACH: "DETACH is",
}
_SCHEMA = f"""
SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema
WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name <> '{LEDGER}' ORDER BY 1, 2
"""  # noqa: S608 - our own constant
_COLUMNS = f"""
SELECT s.name, c.name, lower(c.type) FROM sqlite_schema AS s JOIN pragma_table_info(s.name) AS c
WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND s.name <> '{LEDGER}' ORDER BY 1, c.cid
"""  # noqa: S608


def look(database: Database, contract_id: str) -> Seen:
    """The database now; raises ExecutorError."""
    with _opened(database.path, LOOK_SECONDS) as connection:
        connection.execute("PRAGMA query_only = ON")
        return Seen(
            schema=connection.execute(_SCHEMA).fetchall(),
            columns=connection.execute(_COLUMNS).fetchall(),
            ledger=_ledger(connection, contract_id),
            queries={name: _asked(connection, query) for name, query in database.queries.items()},
        )


def keep(database: Database, store: SnapshotWriter) -> None:
    """The whole database as it is; raises ExecutorError."""
    path = database.path
    if path.exists() and path.stat().st_size > database.max_dump_mb * 2**20:
        raise ExecutorError(
            f"{database.name} has more than {database.max_dump_mb} MB, more than would be brought back."
        )
    try:
        copies.keep(path, store, name=_ITEM, seconds=database.timeout_seconds)
    except (sqlite3.Error, OSError) as problem:
        raise ExecutorError(f"{database.name} could not be copied: {problem}") from None


def apply(database: Database, script: str, work: Work) -> bool:
    """Run the script and note it, in one transaction; False when this contract had done so already.

    Raises NotDone. The script cannot end the transaction, open another file or change how SQLite works.
    """
    ends = time.monotonic() + work.seconds
    with _opened(database.path, work.seconds, why_stop=work.why_stop) as connection:
        if work.what in _ledger(connection, work.contract_id):
            return False
        noted = _notes(connection) | {work.note}
        broken = _broken_references(connection)
        judge = _Judge()
        connection.set_authorizer(judge)
        try:
            # The first statement is the transaction's begin, and the only one of its kind the judge lets pass.
            connection.executescript(f"BEGIN IMMEDIATE;\n{_CREATE};\n{inserting(work, _LEDGER)};\n{script}")
        except (sqlite3.Error, sqlite3.Warning, ValueError) as problem:
            raise NotDone(judge.said or _reason(problem, work, ends), transient=_is_busy(problem)) from None
        finally:
            connection.set_authorizer(None)
        if _notes(connection) != noted:
            raise NotDone(ALTERED)
        if _broken_references(connection) > broken:
            raise NotDone("A row refers to one that is not there (PRAGMA foreign_key_check).")
        if why := work.why_stop():
            raise NotDone(why, transient=True)
        connection.execute("COMMIT")
    return True


def bring_back(database: Database, snapshot: SnapshotReader, work: Work) -> None:
    """Write the kept database over the live one in one transaction, and note it there; raises NotDone and KeyError."""

    def note(copy: sqlite3.Connection) -> None:
        copy.execute(_CREATE)
        copy.execute(inserting(work, _LEDGER))
        copy.commit()

    try:
        copies.bring_back(database.path, snapshot, name=_ITEM, seconds=work.seconds, change=note)
    except (sqlite3.Error, OSError) as problem:
        raise NotDone(f"The copy could not be written back: {problem}", transient=True) from None


class _Judge:
    """SQLite asks it about everything a statement would do, before it is done."""

    def __init__(self) -> None:
        self.begun = False
        self.said = ""

    def __call__(self, action: int, first: str | None, second: str | None, *where: Any) -> int:
        if action == sqlite3.SQLITE_TRANSACTION and not self.begun:
            self.begun = True
            return sqlite3.SQLITE_OK
        if action in _REFUSED:
            self.said = f"{_REFUSED[action]} not for a script to say."
        elif action == sqlite3.SQLITE_PRAGMA and not self._harmless(first, second):
            self.said = f"PRAGMA {first} is not for a script to say."
        elif action == sqlite3.SQLITE_FUNCTION and second == "load_extension":
            self.said = "load_extension is not for a script to call."
        else:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def _harmless(self, name: str | None, value: str | None) -> bool:
        return (name or "").lower() in _PRAGMAS or ((name or "").lower() in _USED_INSIDE and value is None)


@contextmanager
def _opened(path: Path, seconds: float, why_stop: Callable[[], str] = str) -> Iterator[sqlite3.Connection]:
    """A connection that ends what it does in time; raises NotDone. Opening rolls back what a killed writer left."""
    ends = time.monotonic() + seconds
    try:
        with closing(
            sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=min(seconds, 5.0))
        ) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            connection.set_progress_handler(lambda: time.monotonic() > ends or bool(why_stop()), STEPS_BETWEEN_LOOKS)
            yield connection
    except sqlite3.Error as problem:
        raise NotDone(str(problem), transient=_is_busy(problem)) from None


def _ledger(connection: sqlite3.Connection, contract_id: str) -> list[str]:
    """What was done in this database for a contract."""
    return [what for contract, what, *_ in _notes(connection) if contract == contract_id]


def _notes(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    """All that stands in the ledger; nothing where there is none. Raises NotDone when it is something else."""
    there = connection.execute("SELECT type FROM main.sqlite_schema WHERE name = ?", (LEDGER,)).fetchone()
    if there is None:
        return set()
    if there[0] != "table":
        raise NotDone(ALTERED)
    return set(connection.execute(f"SELECT contract_id, what, sha256, at FROM {_LEDGER}"))  # noqa: S608


def _asked(connection: sqlite3.Connection, query: str) -> Any:
    """The answer of a query, None while the tables or columns it asks of are not there."""
    try:
        return answered(connection.execute(asking(query)).fetchall())
    except sqlite3.OperationalError as problem:
        if str(problem).startswith(("no such table", "no such column")):
            return None
        raise


def _broken_references(connection: sqlite3.Connection) -> int:
    return len(connection.execute("PRAGMA foreign_key_check").fetchmany(10_000))


def _is_busy(problem: Exception) -> bool:
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _reason(problem: Exception, work: Work, ends: float) -> str:
    if why := work.why_stop():
        return why
    return "Its time was up." if time.monotonic() > ends else f"The script failed: {problem}"
