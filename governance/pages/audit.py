"""The log: search, whether it can be proved, what happened lately, and what checks found."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog import entries, exports, facts, findings, standing, summaries
from auditlog.models import Finding, Job, Subscription
from auditlog.refusals import Refused
from governance import principals

from . import base, searching, timelines
from .base import PageRequest

HOURS = (1, 24, 24 * 7, 24 * 30)
MOST_HOURS = 24 * 366
FINDINGS = 20
BUNDLES = 5
ANCHOR = "governance-anchor"
"""The subscriber that tells a webhook (see `governance.reactions`)."""


@base.page("auditlog.read")
def audit(request: PageRequest) -> HttpResponse:
    """Entries, newest first, beside the state of the log."""
    return show(request)


def show(request: PageRequest, finding_id: int | None = None, *, refused: Refused | None = None) -> HttpResponse:
    """The page; `refused` stands beside the form it belongs to (`finding_id`: that of a finding)."""
    now = base.now()
    search = searching.read(request.POST if request.method == "POST" else request.GET)
    rows = entries.newest({} if search.problems else search.asked)
    shown = base.cut(request, rows.none() if search.problems else rows, order=("-recorded_at", "-id"))
    hours = _hours(request)
    summary = summaries.recent(hours=hours, now=now)
    names = principals.names_of([actor for actor, _ in summary.by_actor])
    may_export = "auditlog.export" in request.permissions
    return render(
        request,
        "console/audit.html",
        {
            "search": search,
            "shown": shown,
            "moments": timelines.moments(shown.rows),
            "facts": facts.registered(),
            "outcomes": searching.OUTCOMES,
            "standing": standing.standing(now),
            "findings": Finding.objects.filter(acknowledged_at=None).order_by("-found_at")[:FINDINGS],
            "on_host": findings.ON_HOST,
            "acknowledged": Finding.objects.exclude(acknowledged_at=None).order_by("-acknowledged_at")[:FINDINGS],
            "anchor_webhook": _anchor_webhook(),
            "hours": hours,
            "spans": HOURS,
            "summary": summary,
            "actors": [(actor, names.get(actor, actor), count) for actor, count in summary.by_actor],
            "bundles": Job.objects.filter(kind=exports.KIND).order_by("-created_at")[:BUNDLES] if may_export else [],
            "may_export": may_export,
            "refused": refused,
            "refused_for": finding_id,
        },
    )


def _anchor_webhook() -> Subscription | None:
    """Whoever is told each signed head over HTTP, and how far they are; None when nobody is."""
    return Subscription.objects.filter(name=ANCHOR).first() if settings.LOG_ANCHOR_URL else None


def _hours(request: PageRequest) -> int:
    text = request.GET.get("hours", "")
    return min(max(int(text), 1), MOST_HOURS) if text.isascii() and text.isdecimal() and len(text) < 10 else 24


@base.act("auditlog.acknowledge", shown_by=show)
def acknowledge(request: PageRequest, finding_id: int) -> HttpResponse:
    """Take note of a finding, so that signing goes on."""
    finding = findings.acknowledge(
        finding_id=finding_id,
        by=principals.actor_of(request.user),
        reason=request.POST.get("reason", "").strip(),
        now=base.now(),
    )
    messages.success(request, f"Acknowledged: {finding}. The reason stands in the log.")
    return redirect("audit")
