"""The sandbox: something small and real for a new installation to act on, below `VAR_DIR`.

`sandbox/` is the world: `app.json`, the configuration of a little service, and `app.lock`, a lock left behind
by a program that has ended. `commands/` holds what may be run there, and is out of reach of `config.update`.
The service itself (`service_argv`) is as well as those files say.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from verification import configuration

FILES = Path(__file__).parent / "sandbox_files"
SCRIPTS = ("lock.py", "status.py", "service.py")

CONFIG = {"name": "billing", "max_connections": 100, "cache": {"ttl_seconds": 60}}
LOCK = {"holder": "nightly-import", "pid": 4194304, "since": "2026-11-22T02:00:00Z"}

LOCK_TARGET = "lock:app.lock"
RELEASE_COMMAND = "sandbox.release_lock"
STATUS_TARGET = "service:billing"
CONFIG_TARGET = "file:app.json"


@dataclass(frozen=True)
class Sandbox:
    """Where things lie: the world (`folder`), what may be run there (`commands`), and the file that lists
    it."""

    folder: Path
    commands: Path

    @property
    def config(self) -> Path:
        """The service's configuration."""
        return self.folder / "app.json"

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.folder / "app.lock"

    @property
    def commands_file(self) -> Path:
        """The TOML file `command.run` reads."""
        return self.commands / "commands.toml"

    def service_argv(self, port: int) -> list[str]:
        """The command line that serves `http://127.0.0.1:<port>/health`, in the foreground."""
        return [sys.executable, str(self.commands / "service.py"), str(self.folder), str(port)]


def here() -> Sandbox:
    """This installation's sandbox, whether or not it has been written."""
    home = configuration.var_dir()
    return Sandbox(home / "sandbox", home / "commands")


def write() -> Sandbox:
    """Write what is missing, bring scripts and commands up to date, and leave the world as it is found.

    Only a new sandbox gets the configuration and the stale lock.
    """
    sandbox = here()
    sandbox.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    sandbox.commands.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in SCRIPTS:
        _put(sandbox.commands / name, (FILES / name).read_text())
    _put(sandbox.commands_file, commands(sandbox))
    if not sandbox.config.exists():
        reset(sandbox)
    return sandbox


def reset(sandbox: Sandbox) -> None:
    """Put the world back as it is in a new sandbox: a sound configuration, and the stale lock."""
    _put(sandbox.config, json.dumps(CONFIG, indent=2) + "\n")
    leave_lock(sandbox)


def leave_lock(sandbox: Sandbox) -> None:
    """Leave the stale lock behind, as the program that has ended did."""
    _put(sandbox.lock, json.dumps(LOCK) + "\n")


def commands(sandbox: Sandbox) -> str:
    """The text of the commands file: only what is needed here, each by its absolute path."""
    lock = [sys.executable, "-I", str(sandbox.commands / "lock.py")]
    status = [sys.executable, "-I", str(sandbox.commands / "status.py"), str(sandbox.folder)]
    at = str(sandbox.lock)
    return "\n".join(
        [
            "# Written by Grace for its own sandbox; name a file of your own in COMMANDS_FILE.",
            "",
            f'[commands."{RELEASE_COMMAND}"]',
            'title = "Release the stale lock of the sandbox service"',
            f"argv = {json.dumps([*lock, 'release', at])}",
            f"probe = {json.dumps([*lock, 'probe', at])}",
            f"undo = {json.dumps([*lock, 'restore', at])}",
            f"target = {json.dumps(LOCK_TARGET)}",
            'reversibility = "reversible"',
            "idempotent = true",
            "timeout_seconds = 20",
            "",
            '[commands."sandbox.status"]',
            'title = "Ask how the sandbox service stands"',
            f"argv = {json.dumps(status)}",
            f"probe = {json.dumps(status)}",
            f"target = {json.dumps(STATUS_TARGET)}",
            'reversibility = "read_only"',
            "idempotent = true",
            "timeout_seconds = 20",
            "",
        ]
    )


def _put(path: Path, text: str) -> None:
    """Replace a file as a whole, and only when it says something else. Its owner alone may write it."""
    if path.is_file() and path.read_text() == text:
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).chmod(0o600)
    os.replace(name, path)
