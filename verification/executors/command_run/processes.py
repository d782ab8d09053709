"""Running a command within limits on time, output and memory, in a process tree that ends when it ends."""

from __future__ import annotations

import base64
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUPERVISOR = Path(__file__).with_name("supervisor.py")
STOP_SECONDS = 5.0
ORPHAN_SECONDS = 5.0
POLL_SECONDS = 0.1
BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


class NotStarted(Exception):
    """The program could not be started, so nothing happened."""


class Lost(Exception):
    """The process that watched the command was killed, and the command with it: nobody knows how far it came."""


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes of output (both streams), megabytes of address space (0: none)."""

    seconds: float
    output_bytes: int
    memory_mb: int
    leaves_running: bool = False


@dataclass(frozen=True)
class Finished:
    """How a command ended. `stopped` is "", "timeout", "output", "cancelled" or "unguarded"."""

    exit_code: int | None
    signal: int | None
    stopped: str
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def ok(self) -> bool:
        """It ended by itself with exit code 0."""
        return not self.stopped and self.exit_code == 0


def never() -> bool:
    """Nobody cancels."""
    return False


def run(
    argv: Sequence[str],
    *,
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    cwd: str = "/",
    stdin: str = "",
    cancelled: Callable[[], bool] = never,
) -> Finished:
    """Run it to its end, or end it. Raises NotStarted and Lost."""
    request = {
        "argv": list(argv),
        "environment": {**BASE_ENVIRONMENT, **(environment or {})},
        "cwd": cwd,
        "stdin": stdin,
        "seconds": limits.seconds,
        "output_limit": limits.output_bytes,
        "memory_bytes": limits.memory_mb * 1024 * 1024,
        "orphan_seconds": ORPHAN_SECONDS,
        "stop_seconds": STOP_SECONDS,
        "leaves_running": limits.leaves_running,
    }
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(SUPERVISOR)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=BASE_ENVIRONMENT,
    ) as supervisor:
        assert supervisor.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it is gone already; the empty answer says so
                supervisor.stdin.write(json.dumps(request).encode() + b"\n")
                supervisor.stdin.flush()
            answer = _read(supervisor, limits.seconds + 2 * STOP_SECONDS, cancelled)
        finally:
            if supervisor.poll() is None:
                supervisor.kill()
    return _finished(answer, limits)


def _read(supervisor: subprocess.Popen[bytes], seconds: float, cancelled: Callable[[], bool]) -> bytes:
    """All the supervisor answers. Its standard input stays open until then: closed, it says we are gone."""
    assert supervisor.stdout is not None
    answer = bytearray()
    told = False
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as watching:
        watching.register(supervisor.stdout, selectors.EVENT_READ)
        while time.monotonic() < until:
            if watching.select(timeout=POLL_SECONDS):
                piece = supervisor.stdout.read1(65536)  # type: ignore[attr-defined]  # a BufferedReader
                if not piece:
                    supervisor.wait(timeout=STOP_SECONDS)
                    break
                answer += piece
            elif not told and cancelled():
                told = True
                supervisor.terminate()
                until = time.monotonic() + 2 * STOP_SECONDS
    return bytes(answer)


def _finished(answer: bytes, limits: Limits) -> Finished:
    try:
        said: dict[str, Any] = json.loads(answer)
    except ValueError as exc:
        raise Lost("The process that watched the command was killed.") from exc
    if said["not_started"]:
        raise NotStarted(said["not_started"])
    return Finished(
        exit_code=said["exit_code"],
        signal=said["signal"],
        stopped=said["stopped"],
        stdout=base64.b64decode(said["stdout"])[: limits.output_bytes],
        stderr=base64.b64decode(said["stderr"])[: limits.output_bytes],
        seconds=said["seconds"],
    )
