"""A unified diff that is never cut off and never takes long. Pure."""

from __future__ import annotations

import difflib

MAX_PRODUCT = 4_000_000
_NO_NEWLINE = "\n\\ No newline at end of file\n"


def unified(old: str, new: str, name: str) -> str:
    """The difference as a unified diff; a huge one is shown as one block, not compared line by line."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    if len(before) * len(after) > MAX_PRODUCT:
        return _block(before, after, name)
    lines = difflib.unified_diff(before, after, fromfile=f"a/{name}", tofile=f"b/{name}")
    return "".join(line if line.endswith("\n") else line + _NO_NEWLINE for line in lines)


def _block(before: list[str], after: list[str], name: str) -> str:
    """Everything between the common beginning and the common end, replaced."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    removed, added = before[start : len(before) - end], after[start : len(after) - end]
    head = f"--- a/{name}\n+++ b/{name}\n@@ -{start + 1},{len(removed)} +{start + 1},{len(added)} @@\n"
    body = [f"-{line}" for line in removed] + [f"+{line}" for line in added]
    return head + "".join(line if line.endswith("\n") else line + _NO_NEWLINE for line in body)
