"""Reasons that can be chosen, so that saying no to many requests costs a key each and not a sentence each."""

from __future__ import annotations

from django.http import QueryDict

QUICK = (
    "Not needed.",
    "Not now; propose it again later.",
    "Too risky as it stands.",
    "Wrong target or wrong values.",
    "The same as another request.",
    "The evidence does not convince.",
)
"""In the order of the digits that choose them, 1 first."""


def given(sent: QueryDict) -> str:
    """The reason a form says: one of `QUICK` (field `quick`, unless this is an approval), then what was typed."""
    typed = sent.get("reason", "").strip()
    chosen = sent.get("quick", "")
    if chosen not in QUICK or sent.get("verdict") == "approve":
        return typed
    return f"{chosen} {typed}".strip()
