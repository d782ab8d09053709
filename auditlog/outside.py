"""What is kept outside the database, on the host that signs: what was signed last, and what somebody accepted here.

Whoever owns the database can write anything into it, and nothing into these files.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from . import parsing
from .parsing import Unreadable


@dataclass(frozen=True)
class Memory:
    """The last size and root that were signed."""

    size: int
    root: bytes
    signed_at: str


@dataclass(frozen=True)
class Beginning:
    """Where history begins anew: somebody accepted a log that is not the one that was seen before.

    What was seen until then is not held against the log: what this many entries say, checkpoints up to this key, and
    this many bytes of anchors.
    """

    size: int
    checkpoint: int
    anchors: int


def memory() -> Memory | None:
    """What was signed last; None when nothing is remembered. Raises Unreadable."""
    path = directory() / "signer.json"
    try:
        told = parsing.members(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    return Memory(parsing.size(told.get("size")), parsing.root(told.get("root")), parsing.text(told.get("signed_at")))


def remember(what: Memory) -> None:
    """Keep what is about to be signed."""
    text = json.dumps({"size": what.size, "root": what.root.hex(), "signed_at": what.signed_at})
    write(directory() / "signer.json", f"{text}\n".encode())


def accept(digest: str, about: dict[str, str], beginning: Beginning | None) -> None:
    """Keep that somebody accepted on this host what a finding says; `about` is who, when, why and what, for people."""
    path = _accepted()
    line = {**about, "digest": digest, "begins": asdict(beginning) if beginning else None}
    known = path.read_bytes() if path.exists() else b""
    # A line that was cut off spoils no other.
    begins = b"\n" if known and not known.endswith(b"\n") else b""
    write(path, known + begins + json.dumps(line, ensure_ascii=False).encode() + b"\n")


def accepted() -> frozenset[str]:
    """Digests of the findings that were accepted on this host."""
    return frozenset(line["digest"] for line in _lines() if line)


def beginning() -> Beginning:
    """Where history began anew last; at nothing when it never did."""
    begun = [line["begins"] for line in _lines() if line and line["begins"]]
    return begun[-1] if begun else Beginning(0, 0, 0)


def unreadable() -> int:
    """How many lines of what was accepted here count for nothing, since nothing can be made of them."""
    return _lines().count(None)


def write(path: Path, content: bytes) -> None:
    """Replace a file at once and durably; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked() -> Iterator[None]:
    """One signer at a time on this host."""
    directory().mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory() / "signer.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def directory() -> Path:
    """Where all of it lies."""
    return Path(settings.VAR_DIR) / "log"


def _accepted() -> Path:
    return directory() / "accepted.jsonl"


def _lines() -> list[dict[str, Any] | None]:
    """What was accepted here, oldest first; None for a line that cannot be read."""
    try:
        return [_line(each) for each in _accepted().read_bytes().splitlines()]
    except FileNotFoundError:
        return []
    except OSError:
        return [None]


def _line(raw: bytes) -> dict[str, Any] | None:
    try:
        found = parsing.members(raw)
        begins = found.get("begins", ())
        if begins is not None:
            found["begins"] = Beginning(*(parsing.size(begins[name]) for name in ("size", "checkpoint", "anchors")))
        found["digest"] = parsing.text(found.get("digest"))
    except (Unreadable, KeyError, TypeError):
        return None
    return found
