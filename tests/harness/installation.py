"""A whole installation in processes of its own: `manage.py` with a VAR_DIR, ports and a database nobody else has."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.harness import environment, processes
from tests.harness.processes import ROOT, wait_until

READY_SECONDS = 90
# What says when something was last looked at, and which of the entries have their places in the tree by now.
VOLATILE = {"django_session", "sqlite_sequence", "auditlog_pending", "auditlog_leaf"}


class Installation:
    """`manage.py` in one VAR_DIR; of this test session's environment only the kind of database reaches it.

    When the suite runs on PostgreSQL it has a database of its own there, otherwise a file of SQLite in VAR_DIR. Two of
    the same home are the same installation.
    """

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        self.var_dir = home / "var"
        self.port = free_port()
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        ours = {
            "VAR_DIR": str(self.var_dir),
            "PORT": str(self.port),
            "SANDBOX_PORT": str(free_port()),
            "GRACE_ENV_FILE": "",
        }
        if server := environment.postgres_url():
            ours["DATABASE_URL"] = f"{server.rpartition('/')[0]}/{_database(server, home)}"
        self.env = inherited | ours | env

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def manage(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; what it printed is text."""
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def rows(self, query: str, *given: str) -> list[tuple[Any, ...]]:
        """What its database answers; `?` stands for each of what is given."""
        if url := self.env.get("DATABASE_URL"):
            with psycopg.connect(_conninfo(url)) as database:
                return database.execute(query.replace("?", "%s"), given).fetchall()  # type: ignore[arg-type]
        with closing(sqlite3.connect(self.var_dir / "grace.sqlite3")) as file:
            return file.execute(query, given).fetchall()

    def count(self) -> dict[str, int]:
        """How many rows each table has; those that change by themselves are left out."""
        tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        if "DATABASE_URL" not in self.env:
            tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = {name for (name,) in self.rows(tables)} - VOLATILE
        # The names come from the database itself.
        return {name: self.rows(f'SELECT count(*) FROM "{name}"')[0][0] for name in sorted(names)}  # noqa: S608

    def status(self, path: str) -> int:
        """The status of GET, 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    @contextmanager
    def up(self) -> Iterator[str]:
        """`manage.py up`, ready, for as long as the block lasts; yields what it printed until then."""
        log = self.home / "up.log"
        argv = [sys.executable, "manage.py", "up"]
        with processes.process(argv, env=self.env, log=log) as running:
            self.process = psutil.Process(running.pid)

            def ready() -> bool:
                assert running.poll() is None, log.read_text(errors="replace")
                return self.status("/readyz") == 200 and "Grace is running" in log.read_text(errors="replace")

            wait_until(ready, seconds=READY_SECONDS, what=f"up is ready; it said:\n{log.read_text()}")
            yield log.read_text(errors="replace")

    def kill(self) -> None:
        """End what `up` started, all of it at once and by force, as a power cut would."""
        family = [self.process, *self.process.children(recursive=True)]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        wait_until(lambda: not any(map(_lives, family)), seconds=30, what="all of it is gone")


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


__all__ = ["Installation", "free_port"]


def _conninfo(url: str) -> str:
    """A URL as libpq reads it, also `postgres://postgres@/directory/of/socket/database`."""
    login, _, place = url.removeprefix("postgres://").partition("@")
    directory, _, name = place.rpartition("/")
    if not directory.startswith("/"):
        return url
    return f"host={directory} user={login} dbname={name}"


def _database(server: str, home: Path) -> str:
    """The name of an installation's database, which is made when it is not there."""
    name = "installation_" + sha256(str(home).encode()).hexdigest()[:16]
    with psycopg.connect(_conninfo(server), autocommit=True) as postgres:
        if not postgres.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            postgres.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return name
