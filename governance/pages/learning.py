"""What the record of settled contracts teaches: how often actions kept their word, and how well that was foretold."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpResponse
from django.shortcuts import render

from auditlog import entries
from auditlog.models import Entry
from verification import learning as record
from verification.facts import LearningFact

from . import base, charts
from .base import PageRequest

DAYS = (7, 30, 90, 365)
DEFAULT_DAYS = record.RECENT.days
ROWS = 100
INSIGHTS = 20


@base.page("learning.read")
def learning(request: PageRequest) -> HttpResponse:
    """The record, grouped by one dimension, over some days."""
    asked = request.GET.get("by", "")
    dimension = asked if asked in record.DIMENSIONS else "action_type"
    days = next((each for each in DAYS if str(each) == request.GET.get("days")), DEFAULT_DAYS)
    since = base.now() - timedelta(days=days)
    stats = record.stats(group_by=[dimension], since=since)[:ROWS]
    overall = next(iter(record.stats(group_by=[], since=since)), None)
    rows = overall.calibration if overall else ()
    return render(
        request,
        "console/learning.html",
        {
            "dimension": dimension,
            "dimensions": record.DIMENSIONS,
            "days": days,
            "spans": DAYS,
            "stats": [(stat.group[dimension], stat, round(stat.lower_bound * 100)) for stat in stats],
            "overall": overall,
            "dots": charts.calibration([(each.stated, each.succeeded, each.runs) for each in rows]),
            "side": charts.SIDE,
            "insights": _insights(),
        },
    )


def _insights() -> list[dict[str, object]]:
    found = Entry.objects.filter(fact=LearningFact.INSIGHT.name_).order_by("-recorded_at", "-id")[:INSIGHTS]
    return [{**entries.data(entry), "at": entry.recorded_at, "contract_id": entry.contract_id} for entry in found]
