"""The log: search, and whether it can be proved."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render

from auditlog import entries, summaries
from auditlog.models import Checkpoint, Finding, IntegrityRun, Leaf, Pending, Tree

from . import base, timelines
from .base import PageRequest

HOURS = 24


@base.page("auditlog.read")
def audit(request: PageRequest) -> HttpResponse:
    """Entries, newest first, beside the state of the log."""
    leaves = base.filtered(
        request,
        Leaf.objects.select_related("entry"),
        actor="entry__actor_id",
        subject="entry__subject_id",
        contract="entry__contract_id",
        mission="entry__mission_id",
    )
    pattern, leaves = _of_facts(request, leaves)
    shown = base.cut(request, leaves, order=("-index",))
    found = [leaf.entry for leaf in shown.rows]
    for leaf in shown.rows:
        leaf.entry.leaf_index = leaf.index
    return render(
        request,
        "console/audit.html",
        {
            "shown": shown,
            "moments": timelines.moments(found),
            "bad_pattern": pattern,
            "tree": Tree.objects.first(),
            "pending": Pending.objects.count(),
            "checkpoint": Checkpoint.objects.order_by("-pk").first(),
            "last_run": IntegrityRun.objects.order_by("-started_at").first(),
            "findings": Finding.objects.filter(acknowledged_at=None).order_by("-found_at")[:20],
            "summary": summaries.recent(hours=HOURS, now=base.now()),
        },
    )


def _of_facts(request: PageRequest, leaves: QuerySet[Leaf]) -> tuple[str, QuerySet[Leaf]]:
    """Leaves narrowed by `fact`, a name or a prefix ending in *; what was typed if it is neither."""
    typed = request.GET.get("fact", "").strip()
    if not typed:
        return "", leaves
    try:
        return "", leaves.filter(entries.matching(typed, "entry__"))
    except ValueError:
        return typed, leaves.none()
