"""Missions: what they are for, how far they have come, and what happened."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import principals
from governance.pages import base, timelines
from governance.pages.base import PageRequest
from missions import missions as verbs
from missions.models import Mission


@base.page("missions.read")
def missions(request: PageRequest) -> HttpResponse:
    """Every mission, newest first, with its progress."""
    rows = base.filtered(request, Mission.objects.all(), state="state", goal="goal__icontains")
    shown = base.cut(request, rows)
    progress = verbs.progress_of([row.pk for row in shown.rows])
    for row in shown.rows:
        row.progress = progress[row.pk]
    return render(request, "console/missions.html", {"shown": shown, "states": Mission.State.choices})


@base.page("missions.read")
def mission(request: PageRequest, mission_id: UUID) -> HttpResponse:
    """One mission."""
    return show(request, mission_id)


def show(request: PageRequest, mission_id: UUID, *, refused: Refused | None = None) -> HttpResponse:
    """The page of one mission; with `refused`, what was refused stands beside the forms."""
    found = base.find(request, Mission.objects.all(), pk=mission_id)
    return render(
        request,
        "console/mission.html",
        {
            "mission": found,
            "progress": verbs.progress(mission_id=found.pk),
            "steps": found.steps.select_related("contract"),
            "safe_points": found.safe_points.select_related("snapshot"),
            "incidents": found.incidents.all(),
            "moments": timelines.of(mission_id=found.pk),
            "may_manage": "missions.manage" in request.permissions and found.state in verbs.OPEN,
            "refused": refused,
        },
    )


@base.act("missions.manage", shown_by=show)
def complete(request: PageRequest, mission_id: UUID) -> HttpResponse:
    """End a mission whose steps are all settled."""
    verbs.complete(mission_id=mission_id, by=principals.actor_of(request.user), now=base.now())
    messages.success(request, "The mission is completed.")
    return redirect("mission", mission_id=mission_id)


@base.act("missions.manage", shown_by=show)
def abandon(request: PageRequest, mission_id: UUID) -> HttpResponse:
    """Give a mission up."""
    verbs.abandon(
        mission_id=mission_id,
        reason=request.POST.get("reason", "").strip(),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, "The mission is abandoned; what has not started is cancelled.")
    return redirect("mission", mission_id=mission_id)
