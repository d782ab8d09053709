"""Refusals that matter are facts, but nobody can fill the log with them: what is left out is said once a minute."""

from __future__ import annotations

from datetime import datetime, timedelta

from auditlog import log
from auditlog.actors import SYSTEM
from auditlog.facts import Facts
from auditlog.models import Entry
from auditlog.subjects import Subject

from .facts import NotingFact

MOST_PER_MINUTE = 20
EVERYBODY = "everybody"


def enough(fact: Facts, *, now: datetime, actor_id: str | None = None, most: int = MOST_PER_MINUTE) -> bool:
    """Whether so many of a fact (by one actor, if given) were noted in the last minute that more say nothing new.

    The log is told, once in that minute, that there were more.
    """
    recent = Entry.objects.filter(recorded_at__gt=now - timedelta(minutes=1))
    noted = recent.filter(fact=fact.name_, **({} if actor_id is None else {"actor_id": actor_id}))
    if len(noted.values_list("pk")[:most]) < most:
        return False
    subject = Subject("noting", f"{fact.name_} by {actor_id or EVERYBODY}")
    if not recent.filter(fact=NotingFact.UNNOTED.name_, subject_id=subject.id).exists():
        with log.recording():
            data = {"of": fact.name_, "noted_per_minute": most}
            log.append(NotingFact.UNNOTED, actor=SYSTEM, subject=subject, data=data, outcome="refused", now=now)
    return True
