"""Reading JSON that anybody may have written: rows of the database and files beside it.

Whatever the bytes are, the answer is what they should hold or Unreadable, and nothing else. Pure.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

DEEPEST = 64
"""How deep a document may be nested: twice what the log takes."""
LARGEST = 2**63 - 1
SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("id", "at", "fact", "subsystem", "outcome")
_PARTIES = ("actor", "subject")
_TEXTS_OR_NULL = ("mission_id", "contract_id", "correlation_id", "caused_by")


class Unreadable(ValueError):
    """Nothing can be made of it."""


def members(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises Unreadable."""
    try:
        found = orjson.loads(raw)
    except ValueError as error:
        raise Unreadable(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Unreadable("no JSON object")
    if raw.count(b"[") + raw.count(b"{") > DEEPEST and _is_deep(found):
        raise Unreadable(f"nested deeper than {DEEPEST}")
    return found


def entry(raw: bytes) -> dict[str, Any]:
    """The document in the bytes of an entry, with every member an entry has. Raises Unreadable."""
    found = members(raw)
    wrong = [name for name in _TEXTS if not isinstance(found.get(name), str)]
    wrong += [name for name in _TEXTS_OR_NULL if not isinstance(found.get(name, 0), str | None)]
    wrong += [name for name in _PARTIES if not _is_party(found.get(name))]
    wrong += [] if isinstance(found.get("data"), dict) else ["data"]
    wrong += [] if _are_commitments(found.get("commitments")) else ["commitments"]
    if wrong:
        raise Unreadable(f"not as an entry is: {', '.join(wrong)}")
    return found


def size(value: object) -> int:
    """A size or position in the log. Raises Unreadable."""
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise Unreadable("no size")
    return value


def root(value: object) -> bytes:
    """A root in hex. Raises Unreadable."""
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise Unreadable("no root")
    return bytes.fromhex(value)


def text(value: object) -> str:
    """A text. Raises Unreadable."""
    if not isinstance(value, str):
        raise Unreadable("no text")
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            each
            for outer in level
            if isinstance(outer, dict | list)
            for each in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _is_party(party: object) -> bool:
    if not isinstance(party, dict) or not isinstance(party.get("label"), str | None):
        return False
    return isinstance(party.get("kind"), str) and isinstance(party.get("id"), str)


def _are_commitments(found: object) -> bool:
    return isinstance(found, list) and all(
        isinstance(each, dict) and isinstance(each.get("pointer"), str) and isinstance(each.get("sha256"), str)
        for each in found
    )
