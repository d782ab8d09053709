"""A part that outlives whoever started it helps nobody: tie a process's life to its parent's.

Run as a script, `leash.py PARENT_PID COMMAND...` ties itself and becomes the command. Standard library only,
so that this costs a few milliseconds. Linux does it; elsewhere the command just runs.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, which should be `parent`, ends however it ends."""
    if _prctl(PR_SET_PDEATHSIG, signal.SIGKILL) and os.getppid() != parent:
        # It ended before we asked.
        os._exit(1)


def adopt_orphans() -> bool:
    """Become the parent of grandchildren whose parent dies, so that they can be found and ended."""
    return _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        return int(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)) == 0
    return False


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  (that is what it is for)
