"""The sandbox's lock file: look at it, release it, or put it back as it was. Prints one JSON object.

Usage: lock.py probe|release|restore FILE. `restore` reads the state before from standard input.
"""

import json
import os
import sys
from pathlib import Path

ASIDE = ".released"


def was_locked(state: str) -> bool:
    """Whether the state before says that the lock was there; an unreadable one does not."""
    try:
        return json.loads(state).get("locked") is True
    except (ValueError, AttributeError):
        return False


def main(action: str, path: Path) -> int:
    """Do it, and say how the lock stands now. Doing it twice is harmless: a released lock is kept aside."""
    aside = path.with_name(path.name + ASIDE)
    if action == "release" or (action == "restore" and not was_locked(sys.stdin.read())):
        if path.exists():
            os.replace(path, aside)
    elif action == "restore":
        if aside.exists():
            os.replace(aside, path)
    elif action != "probe":
        sys.stderr.write(f"unknown action {action}\n")
        return 2
    sys.stdout.write(json.dumps({"locked": path.exists()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
