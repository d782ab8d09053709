"""Recurring times: RFC 5545 calendars, and when they are on. Pure.

The library that reads them looks for the next occurrence until the year 9999 and begins at the first. Here nothing is
looked for outside a given span: the start is moved up to it by whole intervals, and the intervals taken are counted.
What is found is kept by spans of a month, in UTC, so that a duration is added to a moment and not to a clock on a wall.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from dateutil import rrule

MAX_RULE_CHARS = 1_000
MAX_INTERVAL = 1_000
MAX_COUNT = 1_000
MOST_TIMES_A_DAY = 24
MOST_INTERVALS = 40_000
MOST_STEPS = 500
SPAN = timedelta(days=32)
HORIZON_SPANS = 115
"""How far ahead the next occurrence is looked for: ten years, so that a leap day is found over 2100 as well."""
COUNTED_WITHIN = timedelta(days=100 * 365)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9000, 1, 1, tzinfo=UTC)
_STEPS = {
    rrule.HOURLY: timedelta(hours=1),
    rrule.DAILY: timedelta(days=1),
    rrule.WEEKLY: timedelta(weeks=1),
    rrule.MONTHLY: timedelta(days=28),
    rrule.YEARLY: timedelta(days=365),
}
"""The least an interval of each frequency lasts."""


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
        lasts = timedelta(seconds=self.duration_seconds)
        started = [start for start in parse(self.rule).between(now - lasts, now) if start + lasts > now]
        return (started[-1], started[-1] + lasts) if started else None

    def next_start(self, after: datetime) -> datetime | None:
        """When the first occurrence after a moment begins; None when there is none. Raises BadRule."""
        return parse(self.rule).after(after)


@dataclass(frozen=True, eq=False)
class Calendar:
    """What RFC 5545 lines say; made by `parse`."""

    rules: tuple[rrule.rrule, ...]
    dates: tuple[datetime, ...]
    excepted: frozenset[datetime]

    def between(self, since: datetime, until: datetime) -> list[datetime]:
        """When occurrences begin from one moment to another, both included, in UTC and in order."""
        spans = range(_span(since), _span(until) + 1)
        return [start for span in spans for start in _in_span(self, span) if since <= start <= until]

    def after(self, now: datetime) -> datetime | None:
        """When the first occurrence after a moment begins; None when there is none within ten years."""
        first = _span(now)
        spans = range(first, first + HORIZON_SPANS)
        return next((start for span in spans for start in _in_span(self, span) if start > now), None)


def parse(rule: str) -> Calendar:
    """A calendar from RFC 5545 lines with a DTSTART that has a time zone; raises BadRule."""
    if len(rule) > MAX_RULE_CHARS or "\x00" in rule:
        raise BadRule(f"At most {MAX_RULE_CHARS} characters.")
    found = _read(rule)
    if isinstance(found, str):
        raise BadRule(found)
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


@lru_cache(maxsize=512)
def _in_span(calendar: Calendar, span: int) -> tuple[datetime, ...]:
    since = _EPOCH + span * SPAN
    found = {each for rule in calendar.rules for each in _occurrences(rule, since, since + SPAN)}
    found.update(each.astimezone(UTC) for each in calendar.dates)
    return tuple(sorted(each for each in found - calendar.excepted if since <= each < since + SPAN))


def _span(moment: datetime) -> int:
    return (min(moment, _LAST) - _EPOCH) // SPAN


@lru_cache(maxsize=64)
def _read(text: str) -> Calendar | str:
    """The calendar, or why there is none, which may have taken a while to find out as well."""
    try:
        return _parsed(text)
    except BadRule as error:
        return str(error)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        return f"Not an RFC 5545 calendar: {error}."


def _parsed(text: str) -> Calendar:
    lines = text.upper()
    if "SECONDLY" in lines or "MINUTELY" in lines:
        raise BadRule("It recurs hourly at most.")
    if "EXRULE" in lines:
        raise BadRule("EXRULE is not taken; name the dates in EXDATE.")
    # A DTSTART alone is one occurrence in RFC 5545; the library wants to be told.
    once = "" if "RRULE" in lines or "RDATE" in lines else "\nRRULE:FREQ=DAILY;COUNT=1"
    found = vars(rrule.rrulestr(text + once, forceset=True))
    dates, excepted = tuple(found["_rdate"]), frozenset(found["_exdate"])
    starts = [vars(each)["_dtstart"] for each in found["_rrule"]]
    if "DTSTART" not in lines or any(each.tzinfo is None for each in (*starts, *dates, *excepted)):
        raise BadRule("DTSTART is needed, with a time zone (Z or TZID).")
    calendar = Calendar(tuple(_bounded(each) for each in found["_rrule"]), dates, excepted)
    for each in calendar.rules:
        begins = vars(each)["_dtstart"].astimezone(UTC)
        if next(_occurrences(each, begins, begins + HORIZON_SPANS * SPAN), None) is None:
            raise BadRule("It has no occurrence in the ten years after its DTSTART.")
    return calendar


def _bounded(rule: rrule.rrule) -> rrule.rrule:
    """The rule with its COUNT told as an UNTIL, so that nobody has to count from its start again."""
    given = vars(rule)
    if not 1 <= given["_interval"] <= MAX_INTERVAL:
        raise BadRule(f"INTERVAL is from 1 to {MAX_INTERVAL}.")
    if len(given["_byminute"] or ()) * len(given["_bysecond"] or ()) * len(given["_byhour"] or (0,)) > MOST_TIMES_A_DAY:
        raise BadRule("It recurs hourly at most.")
    count = given["_count"]
    if count is None:
        return rule
    if not 1 <= count <= MAX_COUNT:
        raise BadRule(f"COUNT is from 1 to {MAX_COUNT}.")
    begins = given["_dtstart"]
    interval = _Counted(given["_interval"], _intervals(rule, begins, begins + COUNTED_WITHIN))
    counted = list(_walk(rule.replace(interval=interval, cache=False)))
    if len(counted) < count:
        raise BadRule("COUNT is reached too late; use UNTIL.")
    return rule.replace(count=None, until=counted[-1])


class _Spent(Exception):
    """All intervals of the span have been taken."""


class _Counted(int):
    """An interval that can be taken so many times, since the library itself never gives up looking."""

    def __new__(cls, interval: int, times: int) -> _Counted:
        made = super().__new__(cls, interval)
        made.left = times
        return made

    left: int

    def _take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _Spent

    def __radd__(self, other: int) -> int:
        self._take()
        return other + int(self)

    def __mul__(self, other: Any) -> Any:
        self._take()
        return int(self) * other


def _occurrences(rule: rrule.rrule, since: datetime, until: datetime) -> Iterator[datetime]:
    """When it occurs from one moment to another, in UTC and nearly in order."""
    given = vars(rule)
    if until < given["_dtstart"] or (given["_until"] is not None and given["_until"] < since - SPAN):
        return
    # Clocks are put back and forward by less than a day, and only within it does the order of moments differ.
    start = _moved_up(rule, since - timedelta(days=1))
    interval = _Counted(given["_interval"], _intervals(rule, start, until + timedelta(days=1)))
    for found in _walk(rule.replace(dtstart=start, interval=interval, cache=False)):
        moment = found.astimezone(UTC)
        if moment > until + timedelta(days=1):
            return
        if since <= moment <= until:
            yield moment


def _walk(rule: rrule.rrule) -> Iterator[datetime]:
    try:
        yield from rule
    except _Spent:
        return


def _intervals(rule: rrule.rrule, start: datetime, until: datetime) -> int:
    given = vars(rule)
    taken = max((until - start) // (_STEPS[given["_freq"]] * int(given["_interval"])), 0) + 3
    return min(taken, MOST_INTERVALS)


def _moved_up(rule: rrule.rrule, since: datetime) -> datetime:
    """The rule's start moved up by whole intervals, to two of them before a moment, so that that one is whole."""
    given = vars(rule)
    start: datetime = given["_dtstart"]
    interval, frequency = int(given["_interval"]), given["_freq"]
    wall = since.astimezone(start.tzinfo)
    if frequency not in (rrule.YEARLY, rrule.MONTHLY):
        step = _STEPS[frequency] * interval
        times = (wall.replace(tzinfo=None) - start.replace(tzinfo=None)) // step - 2
        return start + max(times, 0) * step
    months = interval * (12 if frequency == rrule.YEARLY else 1)
    for times in range((12 * (wall.year - start.year) + wall.month - start.month) // months - 2, 0, -1):
        month = start.month - 1 + times * months
        try:
            return start.replace(year=start.year + month // 12, month=month % 12 + 1)
        except ValueError:  # that month has no such day
            continue
    return start
