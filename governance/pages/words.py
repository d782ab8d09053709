"""The words and tones of the console: how a state is called, and whether it is good news.

Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta

TONES = {
    "ok": (
        "verified",
        "approved",
        "completed",
        "resolved",
        "delivered",
        "granted",
        "active",
        "passed",
        "released",
        "success",
    ),
    "bad": (
        "violated",
        "failed",
        "rejected",
        "denied",
        "dead",
        "held",
        "revoked",
        "engaged",
        "dead_lettered",
        "failure",
    ),
    "warn": (
        *("awaiting_approval", "pending", "partial", "changes_requested", "stale", "rolled_back", "in_doubt"),
        *("escalated", "open", "drifted", "inconclusive", "suspended", "paused", "withdrawn", "refused"),
    ),
    "info": (
        *(
            "authorized",
            "executing",
            "handed_over",
            "verifying",
            "rolling_back",
            "running",
            "queued",
            "planned",
            "preparing",
        ),
        *("requested", "started", "proposed"),
    ),
}
_TONE_OF = {state: tone for tone, states in TONES.items() for state in states}

_DID = {"approve": "approved", "reject": "rejected", "request_changes": "asked for changes"}

_SENTENCES = {
    "approval.requested": "Approval asked for",
    "approval.decided": "Decision",
    "approval.commented": "Comment",
    "approval.granted": "Approved",
    "approval.rejected": "Rejected",
    "approval.changes_requested": "Changes asked for",
    "approval.withdrawn": "Approval withdrawn",
    "approval.stale": "Approval fell: the world moved",
    "agentic.problem_identified": "Problem identified",
    "agentic.action_planned": "Action planned",
    "agentic.action_executing": "Action begins",
    "agentic.action_completed": "Action completed",
    "agentic.action_failed": "Action failed",
    "agentic.problem_resolved": "Problem resolved",
    "contract.awaiting_approval": "Waits for approval",
    "contract.in_doubt": "In doubt",
    "permit.claimed": "An agent took over the work",
    "permit.reported": "The agent reported",
    "permit.expired": "The permit lapsed",
}


def tone(state: str) -> str:
    """`ok`, `bad`, `warn`, `info`, or `quiet` for states that are neither."""
    return _TONE_OF.get(str(state), "quiet")


def spoken(state: str) -> str:
    """A state as it is read: `awaiting_approval` is "awaiting approval"."""
    return str(state).replace("_", " ")


def sentence(fact: str) -> str:
    """A fact's name as a short sentence."""
    return _SENTENCES.get(fact) or spoken(fact.replace(".", " ")).capitalize()


def verdict(value: str) -> str:
    """A verdict as what somebody did: "approved"."""
    return _DID.get(str(value), spoken(value))


def risk_level(score: int) -> str:
    """`low`, `medium` or `high` for a score from 0 to 100."""
    return "high" if score >= 70 else "medium" if score >= 40 else "low"


def distance(then: datetime, now: datetime) -> str:
    """How far away a time is: "3 min ago", "in 2 h 14 min", "just now"."""
    ahead = then > now
    text = duration(then - now if ahead else now - then)
    if text == "0 s":
        return "just now"
    return f"in {text}" if ahead else f"{text} ago"


def duration(length: timedelta) -> str:
    """A length of time in its two largest units, seconds only below a minute."""
    seconds = int(length.total_seconds())
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days >= 10:
        return f"{days} d"
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"
