"""Real servers and workers, started for a test session and ended with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from grace_site.supervision.children import LEASH

ROOT = Path(__file__).resolve().parents[2]


def wait_until(true: Callable[[], object], *, seconds: float, what: str) -> None:
    """Return as soon as `true()` is; fail after `seconds` saying `what` did not happen.

    Raises:
        AssertionError: it did not become true in time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def parent_of(pid: int) -> int:
    """The parent of a process; raises FileNotFoundError when there is no such process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def process(argv: list[str], *, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `argv` in a process group of its own, its output in `log`; the whole group is ended at the end.

    A test session that is killed takes it along.
    """
    leashed = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv]
    with log.open("wb") as output:
        running = subprocess.Popen(
            leashed, cwd=ROOT, env=dict(env), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield running
    finally:
        end_group(running)


def end_group(running: subprocess.Popen[bytes]) -> None:
    """End the process and everything it started: politely at first, by force after ten seconds."""
    for sig, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        try:
            os.killpg(running.pid, sig)
        except ProcessLookupError:
            break
        try:
            running.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    running.wait(5)


def worker_argv(*, queues: str = "default,executions,log", concurrency: int = 2) -> list[str]:
    """The command line of a real Celery worker."""
    celery = [sys.executable, "-m", "celery", "-A", "grace_site", "worker"]
    return [
        *celery,
        "-Q",
        queues,
        "-c",
        str(concurrency),
        "-l",
        "INFO",
        "--without-mingle",
        "--without-gossip",
    ]
