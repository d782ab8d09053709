"""Plain lists: snapshots, jobs, webhooks."""

from __future__ import annotations

from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import render

from auditlog.models import Job, JobState
from governance.models import Delivery, Webhook
from verification.models import Snapshot

from . import base
from .base import PageRequest


@base.page("snapshots.read")
def snapshots(request: PageRequest) -> HttpResponse:
    """The ways back, newest first."""
    rows = base.filtered(request, Snapshot.objects.all(), kind="kind", state="state", scope="scope__icontains")
    rows = rows.defer("manifest", "parameters", "baseline")
    return render(
        request,
        "console/snapshots.html",
        {"shown": base.cut(request, rows), "kinds": Snapshot.Kind.choices, "states": Snapshot.State.choices},
    )


@base.page("jobs.read")
def jobs(request: PageRequest) -> HttpResponse:
    """Work that is owed, newest first."""
    rows = base.filtered(request, Job.objects.all(), state="state", kind="kind__startswith")
    return render(
        request,
        "console/jobs.html",
        {"shown": base.cut(request, rows), "states": JobState.choices},
    )


@base.page("webhooks.read")
def webhooks(request: PageRequest) -> HttpResponse:
    """Who is told, and whether it arrived."""
    rows = Webhook.objects.defer("secret_sealed").annotate(
        **{
            state: Count("deliveries", filter=Q(deliveries__state=state))
            for state in (Delivery.State.DELIVERED, Delivery.State.PENDING, Delivery.State.DEAD)
        }
    )
    return render(request, "console/webhooks.html", {"shown": base.cut(request, rows)})
