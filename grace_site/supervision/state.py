"""What is running in a VAR_DIR: one small file for each part, which commands read to find it.

Knows no Django: the settings ask here for the broker.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One running part: its name, its process, and the address it answers at (a URL, or "")."""

    name: str
    pid: int
    url: str = ""


@dataclass(frozen=True)
class Running:
    """A supervisor that is alive, and its parts by name."""

    pid: int
    url: str
    parts: dict[str, Part]


def run_dir(var_dir: Path) -> Path:
    """Where the state files of this VAR_DIR lie."""
    return var_dir / "run"


def record(var_dir: Path, part: Part) -> None:
    """Write down that this part runs. Readable by the owner only: the broker's address holds its password."""
    path = run_dir(var_dir) / f"{part.name}.json"
    draft = path.with_suffix(".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(part), file)
    draft.replace(path)


def forget(var_dir: Path, name: str) -> None:
    """Remove what was recorded about a part."""
    (run_dir(var_dir) / f"{name}.json").unlink(missing_ok=True)


def recorded(var_dir: Path, name: str) -> Part | None:
    """What was recorded about a part whose process is still there, else None."""
    try:
        part = Part(**json.loads((run_dir(var_dir) / f"{name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return part if alive(part.pid) else None


def running(var_dir: Path) -> Running | None:
    """The supervisor of this VAR_DIR with its parts, or None when none runs."""
    supervisor = recorded(var_dir, "up")
    if supervisor is None:
        return None
    names = sorted(path.stem for path in run_dir(var_dir).glob("*.json") if path.stem != "up")
    parts = {name: part for name in names if (part := recorded(var_dir, name))}
    return Running(pid=supervisor.pid, url=supervisor.url, parts=parts)


def broker_url(var_dir: Path) -> str:
    """The URL of the private broker of a running supervisor, or ""."""
    broker = recorded(var_dir, "broker")
    return broker.url if broker else ""


def alive(pid: int) -> bool:
    """Whether there is a process with this id (a zombie counts as gone, where /proc can tell)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return status != "Z"
