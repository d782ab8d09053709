"""Bundles of the log to take away: asked for, made by a job, fetched."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog import exports
from auditlog.models import Job, JobState
from governance import principals

from . import audit, base, searching
from .base import PageRequest


@base.act("auditlog.export", shown_by=audit.show)
def ask(request: PageRequest) -> HttpResponse:
    """Have a bundle made: of the whole log, or of what the search that was sent finds."""
    job = exports.request(
        wanted=searching.read(request.POST).understood(),
        disclose=request.POST.get("disclose") == "yes",
        by=principals.actor_of(request.user),
        now=base.now(),
    )
    return redirect("bundle", job_id=job.pk)


@base.page("auditlog.export")
def bundle(request: PageRequest, job_id: UUID) -> HttpResponse:
    """How far a bundle is, and where it is fetched."""
    job = base.find(request, Job.objects.filter(kind=exports.KIND), pk=job_id)
    return render(
        request,
        "console/bundle.html",
        {
            "job": job,
            "result": job.result or {},
            "going_on": job.state in (JobState.QUEUED, JobState.RUNNING),
            "is_there": job.state == JobState.COMPLETED and exports.path_of(job).is_file(),
            "wanted": sorted(job.arguments["wanted"].items()),
        },
    )
