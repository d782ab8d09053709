"""What must be true before the parts start: directories, keys, tables, and a bootstrapped installation."""

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from grace_site.supervision.children import LEASH

FOLDERS = ("run", "logs", "keys", "sandbox", "files")


class CannotStart(Exception):
    """Starting makes no sense; the text says why and what would help."""


def folders(var_dir: Path) -> None:
    """Make VAR_DIR and what belongs in it, for the owner only.

    Raises:
        CannotStart: it cannot be written to.
    """
    try:
        var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in FOLDERS:
            (var_dir / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            f"VAR_DIR {var_dir} cannot be used ({error.strerror}). Set VAR_DIR to a writable directory."
        ) from error


def lock(var_dir: Path) -> IO[str]:
    """Hold the lock of this VAR_DIR until the returned file is closed or the process ends, however it ends.

    Raises:
        CannotStart: another supervisor holds it.
    """
    file = (var_dir / "run" / "up.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = file.read().strip()
        file.close()
        raise CannotStart(
            f"Grace is already running on {var_dir} (process {pid}). "
            "Stop it first, or set VAR_DIR and PORT to run a second one."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def port_is_free(host: str, port: int) -> None:
    """Check that the web process will be able to listen.

    Raises:
        CannotStart: it would not.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"Grace cannot listen on {host} port {port} ({error.strerror}). "
                f"Stop what uses it, or choose another: PORT={port + 1} make run"
            ) from error


def bootstrap(root: Path, env: Mapping[str, str], stopping: Callable[[], bool]) -> dict[str, Any]:
    """Run `bootstrap --json`, which migrates first, in a process of its own, and return what it says.

    Only the first run's answer holds logins and keys.

    Raises:
        CannotStart: a step failed.
    """
    answer = _manage(root, env, stopping, "bootstrap", "--json")
    try:
        found = json.loads(answer)
    except ValueError:
        if stopping():
            return {}
        raise CannotStart(f"manage.py bootstrap --json did not answer with JSON, but:\n{answer[-2000:]}") from None
    return found if isinstance(found, dict) else {}


def _manage(root: Path, env: Mapping[str, str], stopping: Callable[[], bool], *arguments: str) -> str:
    """Run a command and return what it printed; end it when we are to stop."""
    argv = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid())]
    argv += [sys.executable, str(root / "manage.py"), *arguments]
    with subprocess.Popen(
        argv,
        cwd=root,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while True:
            with suppress(subprocess.TimeoutExpired):
                printed, complaints = process.communicate(timeout=0.2)
                break
            if stopping():
                process.kill()
    if process.returncode and not stopping():
        said = "\n".join(part.strip()[-3000:] for part in (printed, complaints) if part.strip())
        raise CannotStart(f"manage.py {' '.join(arguments)} failed:\n{said}")
    return printed
