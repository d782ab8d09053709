"""One supervised process: how it is started, read, restarted and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from grace_site.supervision.lines import as_object

LEASH = Path(__file__).with_name("leash.py")
LOG_BYTES = 10 * 1024 * 1024
BACKOFF_SECONDS = (0.2, 1, 2, 4, 8, 15, 30)
STEADY_SECONDS = 60


@dataclass(frozen=True)
class Spec:
    """What to run: a name, a command line, the whole environment, and where it will answer, if it does."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    url: str = ""
    quiet: bool = False


@dataclass
class Child:
    """A part and its present process, if any. It is restarted after a pause that grows with its failures.

    Where its lines are to be `structured`, each becomes a JSON object, whoever wrote it.
    """

    spec: Spec
    log_dir: Path
    structured: bool = False
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started_at: float = 0.0
    restart_at: float = 0.0
    _log: IO[bytes] | None = None
    _unfinished: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """The part's name."""
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self.process.pid if self.process else None

    @property
    def log_path(self) -> Path:
        """Where its output is kept."""
        return self.log_dir / f"{self.name}.log"

    def start(self) -> None:
        """Start it in a session and process group of its own, on a leash."""
        self._open_log()
        argv = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self.spec.argv]
        self.process = subprocess.Popen(
            argv,
            env=dict(self.spec.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.started_at = time.monotonic()

    def died(self) -> float:
        """Note that the process is gone; return the pause in seconds before it is started again."""
        if time.monotonic() - self.started_at > STEADY_SECONDS:
            self.deaths = 0
        pause = BACKOFF_SECONDS[min(self.deaths, len(BACKOFF_SECONDS) - 1)]
        self.deaths += 1
        # What it started must not go on without it.
        self.signal(signal.SIGKILL)
        if self.process and self.process.stdout:
            self.process.stdout.close()
        if self._unfinished:
            self._keep(self._unfinished)
            self._unfinished = b""
        self.process = None
        self.restart_at = time.monotonic() + pause
        return pause

    def ask_to_end(self) -> None:
        """Ask the process, and nobody else in its group, to end.

        It ends the others when they are through with what they do; one that dies under it, it would complain about.
        """
        if self.process:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.process.pid, signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and everything in its group."""
        if self.process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)

    def lines(self) -> Iterator[str]:
        """What it has written since the last time, line by line; all of it goes to its log as well."""
        if not self.process or not self.process.stdout:
            return
        with suppress(BlockingIOError, ValueError):
            while chunk := self.process.stdout.read(65536):
                *whole, self._unfinished = (self._unfinished + chunk).split(b"\n")
                for line in whole:
                    if line.strip() or not self.structured:
                        yield self._keep(line)

    def close(self) -> None:
        """Let go of its log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def last_lines(self, count: int = 15) -> str:
        """The end of its log."""
        with suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-count:])
        return ""

    def _open_log(self) -> None:
        if self._log is None:
            # Owner only: lines may name people and files.
            self._log = os.fdopen(os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", 0)

    def _keep(self, line: bytes) -> str:
        """Write a line to the log, and answer it as it stands there."""
        assert self._log is not None
        said = line.decode(errors="replace")
        if self.structured:
            said = as_object(self.name, said)
        with suppress(OSError):
            self._log.write(said.encode() + b"\n")
            if self._log.tell() > LOG_BYTES:
                self.close()
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
                self._open_log()
        return said


def left_over() -> list[int]:
    """Processes whose parent is this one, read from /proc (none where there is no /proc)."""
    mine = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                mine.append(int(entry.parent.name))
    return mine
