"""A unified diff, read line by line, so that a page can show it with numbers, signs and colours.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .pretty import visible

Kind = Literal["added", "removed", "same", "hunk", "file"]

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


@dataclass(frozen=True)
class Line:
    """One line of a diff: its sign, its number before and after (None where it is not), and its text."""

    kind: Kind
    sign: str
    before: int | None
    after: int | None
    text: str


@dataclass(frozen=True)
class Change:
    """One member of two documents that differs; a side that lacks it is None."""

    pointer: str
    before: Any
    after: Any


def read(body: str) -> list[Line]:
    """The lines of a unified diff."""
    return list(_read(body))


def counts(lines: list[Line]) -> tuple[int, int]:
    """How many lines are added, and how many removed."""
    return sum(line.kind == "added" for line in lines), sum(line.kind == "removed" for line in lines)


def between(before: Any, after: Any, at: str = "") -> list[Change]:
    """Where two JSON documents differ, in the order of their member names; lists are compared whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted({*before, *after})
        return [change for name in names for change in between(before.get(name), after.get(name), f"{at}/{name}")]
    return [] if before == after else [Change(at or "/", before, after)]


def _read(body: str) -> Iterator[Line]:
    before = after = 0
    inside = False
    for raw in body.splitlines():
        text = visible(raw)
        if found := _HUNK.match(raw):
            before, after = int(found[1]), int(found[2])
            inside = True
            yield Line("hunk", "", None, None, text)
        elif not inside:
            yield Line("file", "", None, None, text)
        elif raw.startswith("+"):
            yield Line("added", "+", None, after, text[1:])
            after += 1
        elif raw.startswith("-"):
            yield Line("removed", "-", before, None, text[1:])
            before += 1
        elif raw.startswith("\\"):
            yield Line("file", "", None, None, text)
        else:
            yield Line("same", "", before, after, text[1:])
            before, after = before + 1, after + 1
