"""Signs of life in the log: who is expected to give them, and who has fallen silent.

An idle subsystem must not look dead, so each one says now and then that it is alive. Silence counts only while the
house was running: after a night switched off nobody was silent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from django.conf import settings
from django.db.models import Max

from . import log
from .actors import SYSTEM
from .facts import SystemFact
from .models import Entry, IntegrityRun
from .subjects import Subject

EVERY_SECONDS = 3600.0

_expected = {"worker:default", "worker:executions", "worker:log"}


def expect(name: str) -> None:
    """Register a subsystem that gives signs of life at least every hour."""
    _expected.add(name)


def beat(*, name: str, now: datetime) -> None:
    """Say that a subsystem is alive."""
    with log.recording():
        log.append(SystemFact.HEARTBEAT, actor=SYSTEM, subject=Subject("subsystem", name), data={"name": name}, now=now)


def silent(now: datetime) -> list[str]:
    """Expected subsystems that were alive once and have said nothing for too long, while the house was running."""
    window = timedelta(hours=settings.SUBSYSTEM_SILENT_HOURS)
    if not _running_since(now - window, now):
        return []
    beats = Entry.objects.filter(fact=SystemFact.HEARTBEAT.name_, subject_id__in=_expected)
    last = dict(beats.values_list("subject_id").annotate(last=Max("recorded_at")))
    return sorted(name for name, at in last.items() if at is not None and now - at > window)


def _running_since(start: datetime, now: datetime) -> bool:
    """Whether checks have run all the time, with no gap of more than two of their intervals."""
    gap = timedelta(minutes=2 * settings.INTEGRITY_INTERVAL_MINUTES + 1)
    runs = IntegrityRun.objects.filter(started_at__gt=start, started_at__lte=now)
    times = [start, *runs.order_by("started_at").values_list("started_at", flat=True), now]
    return all(later - earlier <= gap for earlier, later in pairwise(times))
