"""What happened lately, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count

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
    """Count the entries of the last hours, in one query. An entry whose outcome is not `success` is a failure."""
    since = now - timedelta(hours=hours)
    grouped = Entry.objects.filter(recorded_at__gte=since).values_list("fact", "actor_id", "subsystem", "outcome")
    facts, actors, subsystems, failed = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for fact, actor, subsystem, outcome, count in grouped.annotate(count=Count("pk")).order_by():
        facts[fact] += count
        actors[actor] += count
        subsystems[subsystem] += count
        if outcome != "success":
            failed[subsystem] += count
    return Summary(
        since=since,
        entries=facts.total(),
        failures=failed.total(),
        by_fact=_most(facts),
        by_actor=_most(actors),
        by_subsystem=_most(subsystems),
        failures_by_subsystem=_most(failed),
    )


def _most(counted: Counter[str]) -> Counts:
    return sorted(counted.items(), key=lambda each: (-each[1], each[0]))[:MANY]
