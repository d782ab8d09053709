"""Runs one command in a process of its own and ends everything it leaves behind.

Started by `processes.run` as a plain script (standard library only, no site packages) with a JSON request on
standard input: `{argv, environment, cwd, stdin, seconds, output_limit, memory_bytes, orphan_seconds,
stop_seconds, leaves_running}`. Answers with one JSON object on standard output.

It is a process because the limits must hold even when the worker that asked is killed: then the command may
finish within `orphan_seconds`, and never runs past its deadline. It is two processes because either may be
killed. The supervisor runs the command and adopts every descendant that loses its parent
(PR_SET_CHILD_SUBREAPER), so a process that forked, left its session and lingers is found and ended too. The
guardian, its parent, adopts what a supervisor that died leaves, and ends it; the supervisor ends everything when
the guardian dies. Standard output is closed when both have gone, and nothing they ended is running then.
"""

import base64
import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TERM_SECONDS = 2.0
DRAIN_SECONDS = 0.2
HEARD = (signal.SIGCHLD, signal.SIGTERM)
libc = ctypes.CDLL(None, use_errno=True)


class Stop(Exception):
    """The command must be ended; the text is the reason."""


class Asked:
    """Whether the worker asked for the end (SIGTERM); looked at by the loop, never raised into it."""

    to_stop = False


def ask_to_stop(signum: int, frame: object) -> None:
    """SIGTERM from the worker, passed on by the guardian."""
    Asked.to_stop = True


def main() -> None:
    """Read the request and become two: the supervisor runs it and answers, the guardian waits for the supervisor."""
    request = json.loads(sys.stdin.buffer.readline())
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    leash, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(held)
        answer(request, leash)
    os.close(leash)  # `held` stays open for as long as the guardian lives: its end is what the supervisor sees
    guard(pid, request)


def guard(supervisor: int, request: dict[str, Any]) -> None:
    """Wait for the supervisor, kill it when it is late, and end what it left unless it went its own regular way."""
    until = time.monotonic() + request["seconds"] + request["stop_seconds"]
    done, status = 0, 0
    while not done:
        heard = signal.sigtimedwait(HEARD, max(0.0, until - time.monotonic()))
        if heard is None:
            os.kill(supervisor, signal.SIGKILL)
        elif heard.si_signo == signal.SIGTERM:
            os.kill(supervisor, signal.SIGTERM)
            until = min(until, time.monotonic() + request["stop_seconds"])
        done, status = os.waitpid(supervisor, 0 if heard is None else os.WNOHANG)
    if status or not request["leaves_running"]:
        end_children(request["stop_seconds"])


def answer(request: dict[str, Any], leash: int) -> None:
    """The supervisor: run the command and say how it ended. Never returns; its exit code is 0 when it got so far."""
    os.setsid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
    said = supervise(request, leash)
    with contextlib.suppress(BrokenPipeError):  # nobody is there any more to be told
        sys.stdout.write(json.dumps(said))
        sys.stdout.flush()
    os._exit(0)


def supervise(request: dict[str, Any], leash: int) -> dict[str, Any]:
    """Start the command, gather its output, end it in time."""
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    fail_read, fail_write = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        become(request, out_write, err_write, fail_write)
    for handle in (out_write, err_write, fail_write):
        os.close(handle)
    not_started = os.read(fail_read, 500).decode()
    output = {out_read: bytearray(), err_read: bytearray()}
    stopped, status = "", None
    try:
        status = gather(pid, output, leash, started, request)
    except Stop as stop:
        stopped = str(stop)
    status = end(pid, status, gently=stopped not in ("", "unguarded"), spare=request["leaves_running"])
    drain(output, request["output_limit"])
    exit_code = os.waitstatus_to_exitcode(status)
    return {
        "exit_code": exit_code if exit_code >= 0 else None,
        "signal": -exit_code if exit_code < 0 else None,
        "not_started": not_started,
        "stopped": stopped,
        "stdout": base64.b64encode(bytes(output[out_read])).decode(),
        "stderr": base64.b64encode(bytes(output[err_read])).decode(),
        "seconds": time.monotonic() - started,
    }


def become(request: dict[str, Any], out_write: int, err_write: int, fail_write: int) -> None:
    """In the child: own session, limits, clean descriptors, then the program. Never returns."""
    try:
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        given = os.memfd_create("stdin")
        os.write(given, request["stdin"].encode())
        os.lseek(given, 0, os.SEEK_SET)
        for source, target in ((given, 0), (out_write, 1), (err_write, 2)):
            os.dup2(source, target)
        os.closerange(3, fail_write)
        os.chdir(request["cwd"])
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if request["memory_bytes"]:
            resource.setrlimit(resource.RLIMIT_AS, (request["memory_bytes"],) * 2)
        os.execve(request["argv"][0], request["argv"], request["environment"])  # noqa: S606
    except (OSError, ValueError, MemoryError) as exc:
        os.write(fail_write, f"{type(exc).__name__}: {getattr(exc, 'strerror', None) or exc}".encode()[:500])
    finally:
        os._exit(127)


def gather(pid: int, output: dict[int, bytearray], leash: int, started: float, request: dict[str, Any]) -> int:
    """Read until the command ends and give its wait status; raises Stop when a limit is reached."""
    ends = started + request["seconds"]
    watching = selectors.DefaultSelector()
    for handle in output:
        os.set_blocking(handle, False)
        watching.register(handle, selectors.EVENT_READ)
    watching.register(0, selectors.EVENT_READ)
    watching.register(leash, selectors.EVENT_READ)
    while True:
        for key, _ in watching.select(timeout=min(0.05, max(0.0, ends - time.monotonic()))):
            if key.fd == 0:  # the worker's end of our standard input: it is gone
                watching.unregister(0)
                ends = min(ends, time.monotonic() + request["orphan_seconds"])
            elif key.fd == leash:
                raise Stop("unguarded")
            elif not read_some(key.fd, output):
                watching.unregister(key.fd)
        if sum(map(len, output.values())) > request["output_limit"]:
            raise Stop("output")
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if Asked.to_stop:
            raise Stop("cancelled")
        if time.monotonic() >= ends:
            raise Stop("timeout")


def read_some(handle: int, output: dict[int, bytearray]) -> bool:
    """Read what is there; False at the end."""
    try:
        piece = os.read(handle, 65536)
    except BlockingIOError:
        return True
    output[handle] += piece
    return bool(piece)


def end(pid: int, status: int | None, *, gently: bool, spare: bool) -> int:
    """End the group and everything adopted, and give the wait status of the command itself."""
    if gently and status is None:
        status = wait(pid, signal.SIGTERM, TERM_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if status is None:
        _, status = os.waitpid(pid, 0)
    if not spare:
        end_children(TERM_SECONDS)
    return status


def end_children(seconds: float) -> None:
    """Kill every child, those adopted included, until none is left; what cannot be killed is given so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for child in children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


def wait(pid: int, signum: int, seconds: float) -> int | None:
    """Signal the group and wait for the command to end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signum)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    return None


def children() -> list[int]:
    """Our children, those we adopted included."""
    own = os.getpid()
    try:
        with open(f"/proc/{own}/task/{own}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent_of(pid) == own]


def parent_of(pid: int) -> int:
    """The parent of a process, 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def drain(output: dict[int, bytearray], limit: int) -> None:
    """What was written before the end and not read yet; one who was spared may hold the pipe, so not long."""
    until = time.monotonic() + DRAIN_SECONDS
    for handle, read in output.items():
        while time.monotonic() < until and sum(map(len, output.values())) <= limit:
            before = len(read)
            if not read_some(handle, output) or len(read) == before:
                break


if __name__ == "__main__":
    main()
