"""The sandbox's lock file: look at it, release it, or put it back. Prints one JSON object.

Usage: lock.py probe|release|restore FILE
"""

import json
import sys
from pathlib import Path

STALE = {"holder": "nightly-import", "pid": 4194304, "since": "2026-11-22T02:00:00Z"}


def main(action: str, path: Path) -> int:
    """Do it, and say how the lock stands now. Releasing twice, or restoring twice, is harmless."""
    if action == "release":
        path.unlink(missing_ok=True)
    elif action == "restore":
        path.write_text(json.dumps(STALE) + "\n")
    elif action != "probe":
        sys.stderr.write(f"unknown action {action}\n")
        return 2
    sys.stdout.write(json.dumps({"locked": path.exists()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
