"""How fast one person may decide: so many calls a minute through all doors together, a batch counting once."""

from __future__ import annotations

import math
from datetime import datetime

from django.conf import settings
from django.core.cache import cache

from auditlog.refusals import Refused

WINDOW_SECONDS = 60
_KEPT_SECONDS = 3 * WINDOW_SECONDS


class TooManyDecisions(Refused):
    """This person has decided as often as they may for now; `retry_after` says when they may again."""

    code = "too_many_decisions"
    kind = Refused.Kind.LIMITED


def take(user_id: int, *, now: datetime) -> None:
    """Count one call by this person at `now`, or raise TooManyDecisions.

    Two counters stand for a sliding minute: the one that runs, and of the one before the share that still lies
    within the last 60 seconds. While the cache cannot be reached nothing is counted and nobody is refused.
    """
    most = settings.APPROVAL_DECISION_RATE_PER_MIN
    window, gone = divmod(now.timestamp(), WINDOW_SECONDS)
    name = f"decisions:{user_id}:{int(window)}"
    before = cache.get(f"decisions:{user_id}:{int(window) - 1}", 0)
    cache.add(name, 0, _KEPT_SECONDS)
    used = cache.incr(name)
    if used * WINDOW_SECONDS + before * (WINDOW_SECONDS - gone) <= most * WINDOW_SECONDS:
        return
    cache.decr(name)
    raise TooManyDecisions(
        f"At most {most} decisions a minute; a batch counts once.",
        retry_after=_seconds_left(before, used, most, gone),
    )


def _seconds_left(before: int, used: int, most: int, gone: float) -> int:
    """Seconds until another call is let through, if there is none until then."""
    if used <= most:
        return max(1, math.ceil(WINDOW_SECONDS * (before - most + used) / before - gone))
    return max(1, math.ceil(WINDOW_SECONDS - gone + WINDOW_SECONDS * (used - most) / (used - 1)))
