"""Cleans up after a test session however it ended, a SIGKILL included.

Run as a script with the session's directories: it waits until the session's end of its standard input is closed,
which the kernel does when nobody else can, then stops a PostgreSQL left in any of them and removes them.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def watch(*directories: Path) -> None:
    """Start a guard over these directories; it acts when this process is gone."""
    argv = [sys.executable, "-I", "-S", __file__, *map(str, directories)]
    reading, _held_open = os.pipe()
    # In a session of its own, so that Ctrl-C in the terminal does not end it first.
    os.posix_spawn(sys.executable, argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)], setsid=True)
    os.close(reading)


def main() -> None:
    """Wait, then clean up."""
    sys.stdin.buffer.read()
    for directory in map(Path, sys.argv[1:]):
        with suppress(OSError, ValueError, IndexError):
            pid = int((directory / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGQUIT)
            time.sleep(0.5)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
