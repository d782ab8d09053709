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
from typing import Any

import structlog
from django.conf import settings

from . import canonical, parsing
from .notes import Head, NoteInvalid, Verifier, open_checkpoint

logger = structlog.get_logger(__name__)

TAIL = 8192
"""Bytes from the end of the anchor file in which its last whole line begins."""


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


def publish(head: Head, note: str, signed_at: datetime) -> list[str]:
    """Tell every place switched on; returns which took it. One that fails is logged and holds up nobody."""
    anchor, told = Anchor(head, note, canonical.stamp(signed_at)), []
    for name in settings.LOG_ANCHORS:
        try:
            _places[name](anchor)
            told.append(name)
        except Exception:
            logger.exception("anchor_failed", anchor=name, size=head.size)
    return told


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
    with path().open("ab+") as file:
        # A line that was cut off (the disk was full, the power failed) spoils no other.
        file.seek(max(0, length() - 1))
        begins = b"\n" if file.read(1) not in (b"", b"\n") else b""
        file.write(begins + json.dumps(anchor.as_json()).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@register("syslog")
def to_syslog(anchor: Anchor) -> None:
    """One line to the system's log."""
    syslog.syslog(
        syslog.LOG_NOTICE,
        f"grace log {anchor.head.origin} size={anchor.head.size} root={anchor.head.root.hex()}",
    )


@dataclass(frozen=True)
class Line:
    """A line of the anchor file: its number, where it begins in bytes, and its head, or None when it does not verify.

    Numbers count from 1; 0 when it is only known to be the last.
    """

    number: int
    begins: int
    head: Head | None


def read(verifier: Verifier) -> Iterator[Line]:
    """The lines of the anchor file.

    One that is no whole JSON object was cut off (the disk was full, the power failed): it is left out.
    """
    if not length():
        return
    begins = 0
    with path().open("rb") as file:
        for number, raw in enumerate(file, 1):
            if line := _line(number, begins, raw, verifier):
                yield line
            begins += len(raw)


def last(verifier: Verifier) -> Line | None:
    """The last whole line of the anchor file, without reading the rest."""
    end = length()
    if not end:
        return None
    with path().open("rb") as file:
        file.seek(max(0, end - TAIL))
        begins, lines = file.tell(), file.read().splitlines(keepends=True)
    begins += sum(map(len, lines))
    for raw in reversed(lines):
        begins -= len(raw)
        if line := _line(0, begins, raw, verifier):
            return line
    return None


def _line(number: int, begins: int, raw: bytes, verifier: Verifier) -> Line | None:
    try:
        told = parsing.members(raw)
    except parsing.Unreadable:
        return None
    return Line(number, begins, _head(told, verifier))


def _head(told: dict[str, Any], verifier: Verifier) -> Head | None:
    try:
        head = open_checkpoint(parsing.text(told.get("note")), verifier)
        same = (head.size, head.root.hex()) == (told.get("size"), told.get("root"))
    except (parsing.Unreadable, NoteInvalid):
        return None
    return head if same else None
