"""More of the world of a fault campaign: a database, a cache and programs under supervisord, real and left alone."""

from __future__ import annotations

import getpass
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.faults.world import JsonDict
from tests.harness import processes, valkey
from tests.harness.processes import wait_until

PROGRAMS = 400
STARTER = """
import pathlib, sys, time
with (pathlib.Path(sys.argv[1]) / "starts.txt").open("a") as file:
    file.write(sys.argv[2] + "\\n")
while True:
    time.sleep(60)
"""
SUPERVISORD = """
[supervisord]
nodaemon = true
logfile = {home}/supervisord.log
pidfile = {home}/supervisord.pid
childlogdir = {home}
user = {user}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[unix_http_server]
file = {home}/s.sock
"""
PROGRAM = """
[program:{name}]
command = {python} -I -S {home}/starter.py {home} {name}
autostart = false
startsecs = 0
"""


class Rows:
    """`database.migrate`: inserts a row into a SQLite database; irreversible, or others' rows would be taken back."""

    def __init__(self, home: Path) -> None:
        self.file = home / "shop.sqlite3"
        with closing(sqlite3.connect(self.file)) as database:
            database.execute("CREATE TABLE effects (name TEXT NOT NULL)")
            database.commit()

    @property
    def targets(self) -> JsonDict:
        """As TARGETS_FILE lists it."""
        return {"databases": {"shop": {"url": f"sqlite:///{self.file}", "way_back": "none", "timeout_seconds": 20}}}

    def proposal(self, name: str) -> JsonDict:
        script = f"INSERT INTO effects (name) VALUES ('{name}');"  # noqa: S608 - a name of our own
        return {
            "action_type": "database.migrate",
            "target": "database:shop",
            "parameters": {"database": "shop", "script": script},
            "expected_effect": {"target_state": {"applied": True}},
        }

    def effects(self, name: str) -> int:
        with closing(sqlite3.connect(self.file, timeout=20)) as database:
            [(count,)] = database.execute("SELECT count(*) FROM effects WHERE name = ?", [name]).fetchall()
        return int(count)

    def forget(self, name: str) -> None:
        with closing(sqlite3.connect(self.file, timeout=20)) as database:
            database.execute("DELETE FROM effects WHERE name = ?", [name])
            database.commit()


class Cached:
    """`cache.clear`: deletes three keys that were put there for it."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.client = redis.Redis(unix_socket_path=socket, db=1)
        self.put: set[str] = set()

    @property
    def targets(self) -> JsonDict:
        """As TARGETS_FILE lists it."""
        return {"caches": {"pages": {"url": f"unix://{self.socket}?db=1", "prefixes": ["page:"]}}}

    def proposal(self, name: str) -> JsonDict:
        if name not in self.put:
            self.forget(name)
            self.put.add(name)
        return {
            "action_type": "cache.clear",
            "target": "cache:pages",
            "parameters": {"cache": "pages", "prefix": f"page:{name}:"},
            "expected_effect": {"target_state": {"keys": 0}},
        }

    def effects(self, name: str) -> int:
        left = sum(self.client.exists(f"page:{name}:{number}") for number in range(3))
        assert left in {0, 3}, (name, left)
        return int(left == 0)

    def forget(self, name: str) -> None:
        self.client.mset({f"page:{name}:{number}": "rendered" for number in range(3)})


class Starts:
    """`service.restart`: starts a program that was not running; each start leaves a line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "starter.py").write_text(STARTER)
        programs = [
            PROGRAM.format(name=self.program(number), home=home, python=sys.executable) for number in _numbers()
        ]
        self.config = home / "supervisord.conf"
        self.config.write_text(SUPERVISORD.format(home=home, user=getpass.getuser()) + "".join(programs))

    @staticmethod
    def program(number: int) -> str:
        """The program for the act of this number."""
        return f"act-{number}"

    @property
    def targets(self) -> JsonDict:
        """As TARGETS_FILE lists them."""
        here = {"supervisor": f"unix://{self.home}/s.sock", "timeout_seconds": 10}
        return {"services": {self.program(number): {**here, "program": self.program(number)} for number in _numbers()}}

    def proposal(self, name: str) -> JsonDict:
        return {
            "action_type": "service.restart",
            "target": f"service:{name}",
            "parameters": {"service": name},
            "expected_effect": {"target_state": {"running": True}},
        }

    def effects(self, name: str) -> int:
        file = self.home / "starts.txt"
        return file.read_text().split().count(name) if file.exists() else 0

    def forget(self, name: str) -> None:
        file = self.home / "starts.txt"
        kept = [line for line in file.read_text().split() if line != name]
        file.write_text("".join(f"{line}\n" for line in kept))


def _numbers() -> range:
    return range(PROGRAMS)


@contextmanager
def running_cache() -> Iterator[Cached]:
    """A Valkey of its own."""
    home = Path(tempfile.mkdtemp(prefix="grace-faults-cache-"))
    try:
        with valkey.running(home, env=os.environ) as socket:
            yield Cached(socket)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running_programs() -> Iterator[Starts]:
    """A supervisord of its own, with programs that do not run yet."""
    home = Path(tempfile.mkdtemp(prefix="grace-faults-sup-"))
    made = Starts(home)
    argv: list[Any] = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(made.config)]
    try:
        with processes.process(argv, env={"PATH": "/usr/bin:/bin"}, log=home / "out.log"):
            wait_until((home / "s.sock").exists, seconds=30, what="supervisord answers")
            yield made
    finally:
        shutil.rmtree(home, ignore_errors=True)
