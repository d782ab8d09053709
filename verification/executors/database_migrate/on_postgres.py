"""Looking at, changing and bringing back a PostgreSQL database."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from typing import Any

import psycopg
from psycopg import conninfo, errors, sql

from verification.executors.base import ExecutorError, SnapshotReader, SnapshotWriter
from verification.executors.command_run import processes
from verification.executors.database_migrate.listed import (
    ALTERED,
    LEDGER,
    LEDGER_COLUMNS,
    LOOK_SECONDS,
    Database,
    NotDone,
    Seen,
    Unclear,
    Work,
    answered,
    asking,
    inserting,
)
from verification.snapshots import scratch

CONNECT_SECONDS = 3
LOCK_SECONDS = 10
POLL_SECONDS = 0.2
OUTPUT_BYTES = 64 * 1024
_ITEM = "database.sql"
_LEDGER = f"public.{LEDGER}"
"""By its schema, so that no other search path leads to another table."""
_CREATE = f"CREATE TABLE IF NOT EXISTS {_LEDGER} ({LEDGER_COLUMNS}, PRIMARY KEY (contract_id, what))"
_LOCK = f"LOCK TABLE {_LEDGER} IN SHARE ROW EXCLUSIVE MODE"
_IS_THERE = f"""
SELECT relkind = 'r' AND NOT relrowsecurity FROM pg_catalog.pg_class
WHERE oid = pg_catalog.to_regclass('{_LEDGER}')
"""  # noqa: S608 - our own constant
_NOTES = f"SELECT contract_id, what, sha256, at FROM {_LEDGER}"  # noqa: S608 - our own constant
_NOTHING_MORE = (
    # What a script put off until the commit is done now, and what it put off once more can no longer write.
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET TRANSACTION READ ONLY",
    "RESET ROLE",
    "SET LOCAL search_path = pg_catalog",
)
_TRANSIENT = (errors.OperationalError, errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
_SCHEMA = resources.files(__package__).joinpath("schema.sql").read_text()
_CLEAR = resources.files(__package__).joinpath("clear.sql").read_text()
_COLUMNS = """
SELECT CASE WHEN table_schema = 'public' THEN '' ELSE table_schema || '.' END || table_name, column_name, data_type
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_type = 'BASE TABLE' AND table_schema !~ '^pg_' AND table_schema <> 'information_schema'
  AND table_name <> %s
ORDER BY 1, ordinal_position
"""
_REACHES_OUT = """
SELECT bool_or(pg_has_role(role, 'member')) FROM unnest(ARRAY[
    'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files']) AS role
"""
_NOT_OWNED = """
SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT pg_has_role(c.relowner, 'usage')
  AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
"""


def look(database: Database, contract_id: str) -> Seen:
    """The database now, read-only; raises ExecutorError."""
    with _connected(database, LOOK_SECONDS) as connection:
        connection.read_only = True
        with connection.transaction():
            _limit(connection, LOOK_SECONDS)
            schema = [tuple(row) for row in connection.execute(_SCHEMA, (LEDGER, f"{LEDGER}_pkey"))]
            columns: list[Any] = connection.execute(_COLUMNS, (LEDGER,)).fetchall()
            ledger = _ledger(connection, contract_id)
        queries = {name: _asked(connection, query) for name, query in database.queries.items()}
    return Seen(schema, columns, ledger, queries)


def keep(database: Database, store: SnapshotWriter) -> None:
    """All of it, as pg_dump writes it; raises ExecutorError, also when it could not be brought back."""
    limit = database.max_dump_mb * 2**20
    with _connected(database, LOOK_SECONDS) as connection:
        if _one(connection, "SELECT pg_database_size(current_database())") > limit:
            detail = f"{database.name} has more than {database.max_dump_mb} MB, more than would be brought back."
            raise ExecutorError(detail)
        if _one(connection, _NOT_OWNED):
            raise ExecutorError(f"The role does not own all of {database.name}, so it could not bring all of it back.")
    with scratch.directory() as directory:
        dump = directory / _ITEM
        more = ("--format=plain", "--no-owner", f"--lock-wait-timeout={LOCK_SECONDS}s", f"--file={dump}")
        _program(database, "pg_dump", more, seconds=database.timeout_seconds)
        if dump.stat().st_size > limit:
            raise ExecutorError(f"The dump has more than {database.max_dump_mb} MB, more than would be brought back.")
        store.add_file(dump, name=_ITEM, meta={"database": database.name})


def apply(database: Database, script: str, work: Work) -> bool:
    """Run the script and note it, in one transaction; False when this contract had done so already.

    Raises NotDone and Unclear. The script is run by EXECUTE in a DO block: there the server itself refuses statements
    that would end the transaction, whatever they are hidden in. It is committed with the ledger as it was noted or not
    at all, also when it was altered by what the script left to the commit (deferred triggers, cursors that are held).
    """
    with _connected(database, work.seconds) as connection:
        done = _watched(connection, work, lambda: _applied(connection, script, work))
        if not done:
            return False
        if why := work.why_stop():
            raise NotDone(why, transient=True)
        try:
            connection.commit()
        except errors.OperationalError as problem:
            raise Unclear(f"The connection was lost while committing: {_said(problem)}") from None
    return True


def bring_back(database: Database, snapshot: SnapshotReader, work: Work) -> None:
    """Drop what is there, write the dump, and note it, in one transaction; raises NotDone and KeyError."""
    with scratch.directory() as directory:
        whole = directory / "whole.sql"
        with whole.open("wb") as file:
            file.write(f"SET lock_timeout = '{LOCK_SECONDS}s';\n{_CLEAR}\n".encode())
            file.write(snapshot.read(_ITEM))
            file.write(f"\nRESET ALL;\n{_CREATE};\n{inserting(work, _LEDGER)};\n".encode())
        more = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", f"--file={whole}")
        try:
            _program(database, "psql", more, seconds=work.seconds)
        except ExecutorError as problem:
            raise NotDone(str(problem)) from None


def _applied(connection: psycopg.Connection[Any], script: str, work: Work) -> bool:
    _limit(connection, work.seconds)
    _do(connection, _CREATE)
    # Nobody else writes there until this is over: what is found in it afterwards is the script's doing.
    _do(connection, _LOCK)
    if work.what in _ledger(connection, work.contract_id):
        connection.rollback()
        return False
    noted = _notes(connection) | {work.note}
    _do(connection, inserting(work, _LEDGER))
    connection.execute("SELECT set_config('grace.script', %s, true)", (script,))
    _do(connection, "DO $grace$ BEGIN EXECUTE current_setting('grace.script'); END $grace$")
    _do(connection, *_NOTHING_MORE)
    if _notes(connection) != noted:
        raise NotDone(ALTERED)
    return True


def _do(connection: psycopg.Connection[Any], *statements: str) -> None:
    for statement in statements:
        connection.execute(sql.SQL(statement))


def _watched(connection: psycopg.Connection[Any], work: Work, act: Callable[[], bool]) -> bool:
    """Let the server work in a thread of its own, and end it when its time is up or somebody says so."""
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(act())
        except Exception as problem:  # noqa: BLE001 - raised again below
            answers.append(problem)

    thread = threading.Thread(target=run, name="migrate", daemon=True)
    ends, why = time.monotonic() + work.seconds, ""
    thread.start()
    while thread.is_alive() and not why:
        thread.join(POLL_SECONDS)
        why = work.why_stop() or ("Its time was up." if time.monotonic() > ends else "")
    if thread.is_alive():
        _end(connection, thread)
        raise NotDone(why, late=why.startswith("Its time"), transient=True)
    [answer] = answers
    if isinstance(answer, psycopg.Error):
        transient = isinstance(answer, _TRANSIENT)
        raise NotDone(f"The script failed: {_said(answer)}", transient=transient, late=_is_late(answer)) from None
    if isinstance(answer, Exception):
        raise answer
    return bool(answer)


def _end(connection: psycopg.Connection[Any], thread: threading.Thread) -> None:
    """Ask the server to stop; when it does not even hear that, hang up. Either way it rolls back."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=1.0)
    thread.join(2.0)
    if thread.is_alive():
        _shut(connection)
        thread.join(2.0)


@contextmanager
def _connected(database: Database, seconds: float) -> Iterator[psycopg.Connection[Any]]:
    """A connection of a role that cannot reach beyond the database; raises ExecutorError. Rolled back at the end."""
    connection: psycopg.Connection[Any] | None = None
    hang_up = threading.Timer(seconds + 5.0, lambda: _shut(connection))
    hang_up.daemon = True
    try:
        connection = psycopg.connect(
            database.address, connect_timeout=CONNECT_SECONDS, application_name="grace", autocommit=False
        )
        hang_up.start()
        if not database.allow_superuser and _one(connection, _REACHES_OUT):
            detail = (
                f"The role of {database.name} may run programs and touch files on the server: use one that may not."
            )
            raise ExecutorError(detail)
        connection.rollback()
        yield connection
    except psycopg.Error as problem:
        raise NotDone(f"{database.name}: {_said(problem)}", transient=isinstance(problem, _TRANSIENT)) from None
    finally:
        hang_up.cancel()
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


def _shut(connection: psycopg.Connection[Any] | None) -> None:
    """Hang up on a server that never answers."""
    if connection is not None and not connection.closed:
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


def _limit(connection: psycopg.Connection[Any], seconds: float) -> None:
    """For this transaction: no statement outlives the deadline, no lock is waited for for long, nobody idles in it."""
    milliseconds = {
        "statement_timeout": seconds,
        "lock_timeout": min(seconds, LOCK_SECONDS),
        "idle_in_transaction_session_timeout": LOCK_SECONDS,
    }
    for name, value in milliseconds.items():
        connection.execute("SELECT set_config(%s, %s, true)", (name, str(int(value * 1000))))


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(sql.SQL(query)).fetchone()
    return row[0] if row else None


def _ledger(connection: psycopg.Connection[Any], contract_id: str) -> list[str]:
    """What was done in this database for a contract."""
    return [what for contract, what, *_ in _notes(connection) if contract == contract_id]


def _notes(connection: psycopg.Connection[Any]) -> set[tuple[Any, ...]]:
    """All that stands in the ledger; nothing where there is none. Raises NotDone when it is something else."""
    plain = _one(connection, _IS_THERE)
    if plain is None:
        return set()
    if not plain:
        raise NotDone(ALTERED)
    return set(connection.execute(_NOTES))


def _asked(connection: psycopg.Connection[Any], query: str) -> Any:
    """The answer of a query, None while the tables or columns it asks of are not there."""
    try:
        with connection.transaction():
            _limit(connection, LOOK_SECONDS)
            return answered(connection.execute(asking(query)).fetchall())
    except (errors.UndefinedTable, errors.UndefinedColumn):
        return None


def _program(database: Database, name: str, more: tuple[str, ...], *, seconds: float) -> None:
    """Run one of PostgreSQL's own programs, which ends with us; the password is not on its command line."""
    where = database.programs or processes.BASE_ENVIRONMENT["PATH"]
    program = shutil.which(name, path=where)
    if program is None:
        raise ExecutorError(f"{name} is not in {where}; name its directory as `programs` of {database.name}.")
    parameters = conninfo.conninfo_to_dict(database.address)
    password = str(parameters.pop("password", "") or "")
    argv = [program, *more, "--no-password", f"--dbname={conninfo.make_conninfo('', **_texts(parameters))}"]
    limits = processes.Limits(seconds, OUTPUT_BYTES, 0)
    try:
        finished = processes.run(argv, limits=limits, environment={"PGPASSWORD": password} if password else {})
    except (processes.NotStarted, processes.Lost) as problem:
        raise ExecutorError(f"{name}: {problem}") from None
    if not finished.ok:
        said = finished.stderr.decode("utf-8", "replace").strip()[:500]
        raise ExecutorError(f"{name}: {'its time was up' if finished.stopped else said}")


def _texts(parameters: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in {**parameters, "connect_timeout": CONNECT_SECONDS}.items()}


def _is_late(problem: psycopg.Error) -> bool:
    return isinstance(problem, errors.QueryCanceled)


def _said(problem: psycopg.Error) -> str:
    """What the server said, in one line, without the text it was given."""
    primary = problem.diag.message_primary or str(problem)
    return " ".join(primary.split())[:300] or type(problem).__name__
