"""The days in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import Count
from django.db.models.functions import TruncDate
from django.http import HttpResponse
from django.shortcuts import render

from auditlog.models import Job, JobState
from governance.models import ApprovalRequest
from governance.pages import base
from governance.pages.base import PageRequest
from missions.models import Incident, Mission
from verification import learning
from verification.models import Contract, State

DAYS = 14
HEIGHT, WIDTH, GAP = 110, 40, 28
_NOT_AS_PROMISED = frozenset({State.FAILED, State.ROLLED_BACK, State.VIOLATED, State.HELD, State.PARTIAL})
_NEEDS_SOMEBODY = (State.PARTIAL, State.HELD, State.IN_DOUBT)


@dataclass(frozen=True)
class Bar:
    """One day of the chart; lengths in its units."""

    day: date
    verified: int
    other: int
    x: int
    verified_y: float
    verified_height: float
    other_y: float
    other_height: float

    @property
    def middle(self) -> float:
        """Where the day is written."""
        return self.x + WIDTH / 2


@base.page("overview.read")
def overview(request: PageRequest) -> HttpResponse:
    """What waits, what ran, and how the like of it has gone."""
    now = base.now()
    states = Counter(
        dict(
            Contract.objects.filter(created_at__gte=now - timedelta(days=1)).values_list("state").annotate(Count("id"))
        )
    )
    bars = _bars(now)
    return render(
        request,
        "console/overview.html",
        {
            "pending": ApprovalRequest.objects.filter(state=ApprovalRequest.State.PENDING).count(),
            "states": states.most_common(),
            "proposed": states.total(),
            "stuck": Contract.objects.filter(state__in=_NEEDS_SOMEBODY).count(),
            "missions": Mission.objects.filter(state=Mission.State.ACTIVE).count(),
            "incidents": Incident.objects.exclude(state=Incident.State.RESOLVED).count(),
            "owed": Job.objects.filter(state__in=(JobState.QUEUED, JobState.RUNNING)).count(),
            "dead": Job.objects.filter(state=JobState.DEAD).count(),
            "bars": bars,
            "chart_width": DAYS * (WIDTH + GAP),
            "chart_height": HEIGHT,
            "bar_width": WIDTH,
            "verified": sum(bar.verified for bar in bars),
            "other": sum(bar.other for bar in bars),
            "stats": learning.stats(group_by=["action_type"], since=now - timedelta(days=90))[:15],
        },
    )


def _bars(now: datetime) -> list[Bar]:
    first = now.date() - timedelta(days=DAYS - 1)
    rows = (
        Contract.objects.filter(settled_at__date__gte=first)
        .annotate(day=TruncDate("settled_at"))
        .order_by()
        .values_list("day", "state")
        .annotate(count=Count("id"))
    )
    verified: Counter[date] = Counter()
    other: Counter[date] = Counter()
    for day, state, count in rows:
        if state == State.VERIFIED:
            verified[day] += count
        elif state in _NOT_AS_PROMISED:
            other[day] += count
    days = [first + timedelta(days=offset) for offset in range(DAYS)]
    return scaled([(day, verified[day], other[day]) for day in days])


def scaled(counts: list[tuple[date, int, int]]) -> list[Bar]:
    """Stacked bars that fill the height of the chart; pure."""
    most = max((good + bad for _, good, bad in counts), default=0) or 1
    bars = []
    for place, (day, good, bad) in enumerate(counts):
        low, high = round(HEIGHT * good / most, 1), round(HEIGHT * bad / most, 1)
        bars.append(
            Bar(
                day,
                good,
                bad,
                x=place * (WIDTH + GAP) + GAP // 2,
                verified_y=round(HEIGHT - low, 1),
                verified_height=low,
                other_y=round(HEIGHT - low - high, 1),
                other_height=high,
            )
        )
    return bars
