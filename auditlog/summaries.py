"""What happened lately, counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, QuerySet

from .models import Entry

MANY = 100

Counts = list[tuple[str, int]]


@dataclass(frozen=True)
class Summary:
    """Activity since a moment; each list is the most frequent first, at most 100."""

    since: datetime
    entries: int
    failures: int
    by_fact: Counts
    by_actor: Counts
    by_subsystem: Counts
    failures_by_subsystem: Counts


def recent(*, hours: int, now: datetime) -> Summary:
    """Count the entries of the last hours. An entry whose outcome is not `success` is a failure."""
    since = now - timedelta(hours=hours)
    entries = Entry.objects.filter(recorded_at__gte=since)
    failed = entries.exclude(outcome="success")
    return Summary(
        since=since,
        entries=entries.count(),
        failures=failed.count(),
        by_fact=_by(entries, "fact"),
        by_actor=_by(entries, "actor_id"),
        by_subsystem=_by(entries, "subsystem"),
        failures_by_subsystem=_by(failed, "subsystem"),
    )


def _by(entries: QuerySet[Entry], column: str) -> Counts:
    counted = entries.values_list(column).annotate(count=Count("pk")).order_by("-count", column)
    return list(counted[:MANY])
