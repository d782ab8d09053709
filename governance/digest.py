"""What an approval is bound to: one document, in one spelling, and its SHA-256.

The document is written when a revision is put before the policy, and written again from the rows of the database
when it is about to run. Nothing may lie between the two: hence numbers and texts that a database could give back
differently are refused when proposed (`unfaithful`).
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rfc8785

from auditlog.refusals import FieldError

VERSION = 1
MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 32
MAX_ERRORS = 20


@dataclass(frozen=True)
class Bound:
    """Everything a person says yes to; `expires_at` and `not_before` are aware times."""

    action_type: str
    executor_version: str
    target: str
    parameters: Mapping[str, Any]
    expected_effect: Mapping[str, Any]
    preconditions: list[Any]
    tier: str
    requirements: Mapping[str, Any]
    policy_digest: str
    mission_id: str
    agent: str
    on_behalf_of: str
    not_before: datetime | None
    expires_at: datetime
    fingerprint: str


def document(bound: Bound) -> str:
    """The RFC 8785 text of what is approved. Raises ValueError when something in it has no canonical form."""
    members = {
        "version": VERSION,
        "action_type": bound.action_type,
        "executor_version": bound.executor_version,
        "target": bound.target,
        "parameters": bound.parameters,
        "expected_effect": bound.expected_effect,
        "criteria": bound.expected_effect.get("success_criteria", []),
        "preconditions": bound.preconditions,
        "tier": bound.tier,
        "requirements": bound.requirements,
        "policy_digest": bound.policy_digest,
        "mission_id": bound.mission_id,
        "agent": bound.agent,
        "on_behalf_of": bound.on_behalf_of,
        "not_before": _stamp(bound.not_before),
        "expires_at": _stamp(bound.expires_at),
        "fingerprint": bound.fingerprint,
    }
    return canonical(members).decode()


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes. Raises ValueError."""
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(str(error)) from error


def sha256(text: str | bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two digests are equal, in time that tells nothing about where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def unfaithful(value: Any, *, at: str = "") -> list[FieldError]:
    """What in a JSON value would not come back from a database exactly as it went in (at most 20 errors).

    Integers beyond 2^53 and floats as large, NaN and infinities, NUL characters, lone surrogates, and nesting
    deeper than 32.
    """
    found: list[FieldError] = []
    _look(value, at, 0, found)
    return found[:MAX_ERRORS]


def _look(value: Any, at: str, depth: int, found: list[FieldError]) -> None:
    if len(found) >= MAX_ERRORS:
        return
    if depth > MAX_DEPTH:
        found.append(FieldError(at, "too_deep", f"Nested deeper than {MAX_DEPTH}."))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            here = f"{at}/{_token(name)}"
            if problem := _text_problem(name):
                found.append(FieldError(at, "not_storable", f"A member name holds {problem}."))
            else:
                _look(item, here, depth + 1, found)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _look(item, f"{at}/{index}", depth + 1, found)
    elif isinstance(value, str):
        if problem := _text_problem(value):
            found.append(FieldError(at, "not_storable", f"The text holds {problem}."))
    elif problem := _number_problem(value):
        found.append(FieldError(at, "not_storable", problem))


def _text_problem(text: str) -> str:
    if "\x00" in text:
        return "a NUL character"
    return "" if _is_unicode(text) else "a lone surrogate"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number_problem(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN and infinities are not JSON."
    if isinstance(value, int | float) and abs(value) > MAX_SAFE_INTEGER:
        return "A number beyond 2^53 loses digits on its way; write it as text."
    return "" if isinstance(value, int | float) else f"{type(value).__name__} is not JSON."


def _stamp(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
