"""A whole installation in processes of its own: `manage.py` with a VAR_DIR and ports nobody else has."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.harness import processes
from tests.harness.processes import ROOT, wait_until

READY_SECONDS = 90


class Installation:
    """`manage.py` in one VAR_DIR; nothing of this test session's environment reaches it."""

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
