"""Refusals that matter are facts, but nobody can fill the log with them."""

from __future__ import annotations

from datetime import datetime, timedelta

from auditlog.facts import Facts
from auditlog.models import Entry

MOST_PER_MINUTE = 20


def enough(fact: Facts, *, now: datetime, actor_id: str | None = None, most: int = MOST_PER_MINUTE) -> bool:
    """Whether so many of a fact (by one actor, if given) were noted in the last minute that more say nothing new."""
    recent = Entry.objects.filter(fact=fact.name_, recorded_at__gt=now - timedelta(minutes=1))
    if actor_id is not None:
        recent = recent.filter(actor_id=actor_id)
    return len(recent.values_list("pk")[:most]) >= most
