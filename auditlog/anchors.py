"""Where the roots of the log are told to somebody outside the database.

An anchor is a function taking a signed head; a new place is registered by name and switched on in `LOG_ANCHORS`. It
is told before the checkpoint is kept, so it must be quick: what may have to be tried again (a webhook) listens to
`auditlog.checkpoint_signed` on the mesh instead.
"""

from __future__ import annotations

import json
import os
import syslog
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from django.conf import settings

from . import canonical
from .notes import Head, NoteInvalid, Verifier, open_checkpoint

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Anchor:
    """A head as it was told, with the whole signed note and the time of signing."""

    head: Head
    note: str
    signed_at: str

    def as_json(self) -> dict[str, str | int]:
        """As every place keeps it; `root` is hex."""
        return {
            "signed_at": self.signed_at,
            "origin": self.head.origin,
            "size": self.head.size,
            "root": self.head.root.hex(),
            "note": self.note,
        }


Publish = Callable[[Anchor], None]
_places: dict[str, Publish] = {}


def register(name: str) -> Callable[[Publish], Publish]:
    """Register a place to tell heads to."""

    def add(publish: Publish) -> Publish:
        _places[name] = publish
        return publish

    return add


def publish(head: Head, note: str, signed_at: datetime) -> None:
    """Tell every place switched on; one that fails is logged and holds up nobody."""
    anchor = Anchor(head, note, canonical.stamp(signed_at))
    for name in settings.LOG_ANCHORS:
        try:
            _places[name](anchor)
        except Exception:
            logger.exception("anchor_failed", anchor=name, size=head.size)


def path() -> Path:
    """The append-only anchor file."""
    return Path(settings.VAR_DIR) / "log" / "anchors.log"


def length() -> int:
    """How long the anchor file is, in bytes."""
    return path().stat().st_size if path().exists() else 0


@register("file")
def to_file(anchor: Anchor) -> None:
    """Append one JSON line, and wait until it is on the disk."""
    path().parent.mkdir(parents=True, exist_ok=True)
    with path().open("a") as file:
        file.write(json.dumps(anchor.as_json()) + "\n")
        file.flush()
        os.fsync(file.fileno())


@register("syslog")
def to_syslog(anchor: Anchor) -> None:
    """One line to the system's log."""
    syslog.syslog(
        syslog.LOG_NOTICE,
        f"grace log {anchor.head.origin} size={anchor.head.size} root={anchor.head.root.hex()}",
    )


def read(verifier: Verifier, after: int = 0) -> Iterator[tuple[int, Head | None]]:
    """The lines of the anchor file: line number (from 1) and its head, or None for a line that does not verify.

    Those that begin in the first `after` bytes are left out (none, when the file is not even that long).
    """
    if not length():
        return
    begins, after = 0, after if after <= length() else 0
    with path().open("rb") as file:
        for number, line in enumerate(file, 1):
            if begins >= after:
                yield number, _head(line, verifier)
            begins += len(line)


def last(verifier: Verifier, after: int = 0) -> tuple[int, Head | None] | None:
    """The last line of the anchor file, as `read` gives it, without reading the rest (its number is 0)."""
    if length() in (0, after):
        return None
    with path().open("rb") as file:
        file.seek(max(after if after < length() else 0, length() - 8192))
        lines = file.read().splitlines()
    return (0, _head(lines[-1], verifier)) if lines else None


def _head(line: bytes, verifier: Verifier) -> Head | None:
    try:
        told = json.loads(line)
        head = open_checkpoint(told["note"], verifier)
        same = (head.size, head.root.hex()) == (told["size"], told["root"])
    except (ValueError, KeyError, TypeError, AttributeError, NoteInvalid):
        return None
    return head if same else None
