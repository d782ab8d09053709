"""What every executor needs when it reports the world as JSON: safe values, digests, clocks."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from verification.executors.base import Observation

MAX_DEPTH = 64


def now(state: dict[str, Any]) -> Observation:
    """An observation made at this moment, its state made safe to store."""
    return Observation(json_safe(state), datetime.now(UTC))


def json_safe(value: Any, depth: int = 0) -> Any:
    """The value as JSON that any database can store.

    NUL characters and lone surrogates are replaced, numbers that are not finite and values JSON does not know
    become text, names become text, and what is nested deeper than 64 levels is cut off with a note.
    """
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        if depth >= MAX_DEPTH:
            return "(nested too deeply)"
        if isinstance(value, Mapping):
            return {storable(str(name)): json_safe(item, depth + 1) for name, item in value.items()}
        return [json_safe(item, depth + 1) for item in value]
    return storable(str(value))


def storable(text: str) -> str:
    """The text without what PostgreSQL refuses: NUL characters and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, independent of the order of its members."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
