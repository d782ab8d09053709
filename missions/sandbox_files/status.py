"""How the sandbox service stands: its lock, its configuration, and whether it would answer well. Changes
nothing.

Usage: status.py FOLDER. Prints one JSON object.
"""

import json
import sys
from pathlib import Path

MOST_CONNECTIONS = 1000


def status(folder: Path) -> dict[str, object]:
    """What the service would say of itself; `problem` is empty when it is well."""
    locked = (folder / "app.lock").exists()
    try:
        config = json.loads((folder / "app.json").read_text())
        connections = config["max_connections"]
        sound = type(connections) is int and 1 <= connections <= MOST_CONNECTIONS
        problem = "" if sound else f"validation error: max_connections {connections!r} is out of range"
    except (OSError, ValueError, KeyError, TypeError) as error:
        connections, problem = None, f"validation error: app.json cannot be used ({type(error).__name__})"
    if locked and not problem:
        problem = "database is locked: lock file app.lock exists"
    return {"healthy": not problem, "locked": locked, "max_connections": connections, "problem": problem}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(status(Path(sys.argv[1]))) + "\n")
