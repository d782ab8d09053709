"""TARGETS_FILE for tests, and a worker that can be killed at a moment of the test's choosing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from auditlog import jobs
from tests.harness import processes
from tests.harness.processes import wait_until
from verification.executors.base import SnapshotItem
from verification.models import Contract

WORK = "from auditlog import jobs; jobs.run_until_idle()"


def write(path: Path, **tables: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a file of targets."""
    lines = []
    for table, entries in tables.items():
        for name, members in entries.items():
            lines.append(f'[{table}."{name}"]')
            lines += [f"{key} = {_toml(value)}" for key, value in members.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


@contextmanager
def killed_when(true: Callable[[], object], *, env: Mapping[str, str], log: Path, what: str) -> Iterator[None]:
    """A process does what is due; as soon as `true()` is, it is killed with SIGKILL. Then the block is run."""
    argv = [sys.executable, "manage.py", "shell", "--no-imports", "-c", WORK]
    with processes.process(argv, env=env, log=log) as worker:

        def reached() -> bool:
            assert worker.poll() is None, f"it ended before {what}: {log.read_text()}"
            return bool(true())

        wait_until(reached, seconds=40, what=what)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)
    yield


@contextmanager
def stopped_when(
    true: Callable[[], object], *, env: Mapping[str, str], log: Path, what: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process does what is due; as soon as `true()` is, it is stopped with SIGSTOP. Then the block is run."""
    argv = [sys.executable, "manage.py", "shell", "--no-imports", "-c", WORK]
    with processes.process(argv, env=env, log=log) as worker:
        wait_until(true, seconds=40, what=what)
        os.killpg(worker.pid, signal.SIGSTOP)
        try:
            yield worker
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGCONT)


def wake(worker: subprocess.Popen[bytes]) -> None:
    """Let a stopped process go on to its end."""
    os.killpg(worker.pid, signal.SIGCONT)
    worker.wait(30)


def settle(contract_id: Any, *, steps: int = 4, seconds: float = 100) -> Contract:
    """Do what is due now and, step by step, later: leases run out, deadlines pass, retries come."""
    for step in range(steps + 1):
        jobs.run_until_idle(timezone.now() + timedelta(seconds=seconds * step))
    return Contract.objects.get(pk=contract_id)


class Kept:
    """A snapshot in memory, for tests of one executor alone."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[SnapshotItem, bytes]] = {}

    def add_bytes(self, name: str, data: bytes, meta: dict[str, Any] | None = None) -> SnapshotItem:
        """Keep these bytes."""
        item = SnapshotItem(name, "", len(data), meta or {})
        self.kept[name] = (item, data)
        return item

    def add_file(self, path: Path, *, name: str = "", meta: dict[str, Any] | None = None) -> SnapshotItem:
        """Keep a file."""
        return self.add_bytes(name or path.name, path.read_bytes(), meta)

    def items(self) -> Iterator[SnapshotItem]:
        """What was kept."""
        return iter([item for item, _ in self.kept.values()])

    def item(self, name: str) -> SnapshotItem:
        """One of them."""
        return self.kept[name][0]

    def read(self, name: str) -> bytes:
        """Its bytes."""
        return self.kept[name][1]
