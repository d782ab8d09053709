"""A small database that belongs to somebody else: on SQLite, and on a real PostgreSQL as a role that owns no more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

TABLES = (
    "CREATE TABLE orders (id integer PRIMARY KEY, total integer NOT NULL)",
    "INSERT INTO orders VALUES (1, 100), (2, 250)",
)
QUERIES = {
    "orders": "select count(*) from orders",
    "sum": "select sum(total) from orders;",
    "notes": "select count(note) from orders",
    "rows": "select id, total from orders order by id",
}
ROLE = "grace_shop"


class OnSqlite:
    """The file, and the tests' own connections to it."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "shop ?#.sqlite3"
        self.url = f"sqlite:///{self.file.as_uri().removeprefix('file://')}"
        with self.connected() as connection:
            for statement in TABLES:
                connection.execute(statement)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A connection on which every statement is its own transaction."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            yield connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query answers."""
        with self.connected() as connection:
            return [tuple(row) for row in connection.execute(query).fetchall()]

    def members(self) -> dict[str, Any]:
        """The database as TARGETS_FILE lists it."""
        return {"url": self.url, "queries": QUERIES, "timeout_seconds": 10}


class OnPostgres:
    """A database on the server at this socket; made anew for each test."""

    kind = "postgres"

    def __init__(self, socket_dir: str, programs: Path) -> None:
        self.socket_dir, self.programs = socket_dir, programs
        self.url = f"postgresql://{ROLE}@/shop?host={socket_dir}"
        self.admin = f"postgresql://postgres@/postgres?host={socket_dir}"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
            with suppress(psycopg.errors.DuplicateObject):
                connection.execute(f"CREATE ROLE {ROLE} LOGIN")
            connection.execute(f"CREATE DATABASE shop OWNER {ROLE}")
        with self.connected() as connection:
            for statement in TABLES:
                connection.execute(statement)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A connection on which every statement is its own transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            yield connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query answers."""
        with self.connected() as connection:
            return list(connection.execute(query).fetchall())

    def members(self) -> dict[str, Any]:
        """The database as TARGETS_FILE lists it."""
        return {"url": self.url, "queries": QUERIES, "timeout_seconds": 10, "programs": str(self.programs)}


Shop = OnSqlite | OnPostgres
