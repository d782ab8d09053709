"""Real worker processes to hire, kill and stop, with a broker of their own."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from tests.harness import processes
from tests.harness.processes import wait_until


class Workforce:
    """Workers of the queue `executions`, each with one process; the settings told to them are those at their hiring."""

    def __init__(self, stack: ExitStack, env: dict[str, str], settings: Any, home: Path, broker: redis.Redis) -> None:
        self.stack, self.env, self.settings, self.home, self.broker = stack, env, settings, home, broker
        self.logs: list[Path] = []

    def hire(self) -> subprocess.Popen[bytes]:
        """One more worker, ready to work."""
        log = self.home / f"worker-{len(self.logs)}.log"
        argv = [*processes.worker_argv(queues="executions", concurrency=1), "-n", f"hired-{len(self.logs)}@%h"]
        self.logs.append(log)
        told = {name: str(getattr(self.settings, name)) for name in ("COMMANDS_FILE", "JOB_LEASE_SECONDS")}
        worker = self.stack.enter_context(processes.process(argv, env={**self.env, **told}, log=log))

        def ready() -> bool:
            assert worker.poll() is None, log.read_text()
            return " ready." in log.read_text()

        wait_until(ready, seconds=40, what="the worker is ready")
        return worker

    def signal(self, worker: subprocess.Popen[bytes], number: int) -> None:
        """The worker and its pool, all at once, as a dying machine would."""
        os.killpg(worker.pid, number)
        if number == signal.SIGKILL:
            worker.wait(10)
