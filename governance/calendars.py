"""Recurring times: RFC 5545 calendars, and when they are on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from dateutil import rrule

MAX_RULE_CHARS = 1_000
MOST_STEPS = 500


class BadRule(ValueError):
    """The text is not a calendar we take; says why."""


@dataclass(frozen=True, order=True)
class Window:
    """A recurring time: each occurrence of `rule` (RFC 5545 lines, DTSTART with a time zone) lasts so many seconds."""

    rule: str
    duration_seconds: int

    def as_dict(self) -> dict[str, Any]:
        """The window as JSON."""
        return {"rule": self.rule, "duration_seconds": self.duration_seconds}

    def lasting(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The occurrence that lasts at a moment: when it began, and when it ends. Raises BadRule."""
        latest = parse(self.rule).before(now, inc=True)
        if latest is None:
            return None
        end = latest + timedelta(seconds=self.duration_seconds)
        return (latest, end) if end > now else None

    def next_start(self, after: datetime) -> datetime | None:
        """When the first occurrence after a moment begins; None when there is none. Raises BadRule."""
        found: datetime | None = parse(self.rule).after(after)
        return found


def parse(rule: str) -> rrule.rrule | rrule.rruleset:
    """A calendar from RFC 5545 lines with a DTSTART that has a time zone; raises BadRule."""
    if len(rule) > MAX_RULE_CHARS or "\x00" in rule:
        raise BadRule(f"At most {MAX_RULE_CHARS} characters.")
    if "SECONDLY" in rule.upper() or "MINUTELY" in rule.upper():
        raise BadRule("It recurs hourly at most.")
    try:
        found = _parsed(rule)
        start = _start(found)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise BadRule(f"Not an RFC 5545 calendar: {error}.") from error
    if start is None or start.tzinfo is None:
        raise BadRule("DTSTART is needed, with a time zone (Z or TZID).")
    return found


def first_opening(choices: Sequence[Sequence[Window]], after: datetime) -> datetime | None:
    """The first moment from `after` on at which of every choice of windows one is open; None when none is found.

    No choices at all is always open. Raises BadRule.
    """
    at = after
    for _ in range(MOST_STEPS):
        closed = [windows for windows in choices if not any(each.lasting(at) for each in windows)]
        if not closed:
            return at
        starts = [min(_starts(windows, at), default=None) for windows in closed]
        known = [start for start in starts if start is not None]
        if len(known) < len(starts):
            return None
        at = max(known).astimezone(UTC)
    return None


def _starts(windows: Sequence[Window], after: datetime) -> list[datetime]:
    return [start for each in windows if (start := each.next_start(after)) is not None]


@lru_cache(maxsize=64)
def _parsed(rule: str) -> rrule.rrule | rrule.rruleset:
    # A DTSTART alone is one occurrence in RFC 5545; the library wants to be told.
    once = "" if "RRULE" in rule or "RDATE" in rule else "\nRRULE:FREQ=DAILY;COUNT=1"
    return rrule.rrulestr(rule + once, cache=True)


def _start(found: rrule.rrule | rrule.rruleset) -> datetime | None:
    start: datetime | None = getattr(found, "_dtstart", None)
    return start if start is not None else next(iter(found), None)
