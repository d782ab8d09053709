"""Plain lists: snapshots, jobs."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render

from auditlog.models import Job, JobState
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
