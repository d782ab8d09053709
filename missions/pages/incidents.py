"""Incidents: what went wrong, what it was taken for, and what was done about it."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render

from governance.pages import base, timelines
from governance.pages.base import PageRequest
from missions.models import Incident


@base.page("incidents.read")
def incidents(request: PageRequest) -> HttpResponse:
    """Every incident, newest first."""
    rows = base.filtered(
        request,
        Incident.objects.select_related("mission"),
        state="state",
        source="source",
        pattern="error_pattern",
    )
    return render(
        request,
        "console/incidents.html",
        {"shown": base.cut(request, rows), "states": Incident.State.choices},
    )


@base.page("incidents.read")
def incident(request: PageRequest, incident_id: UUID) -> HttpResponse:
    """One incident, with everything it was reported with."""
    found = base.find(request, Incident.objects.select_related("mission"), pk=incident_id)
    steps = found.steps.select_related("contract").order_by("position")
    moments = timelines.of(mission_id=found.mission_id) if found.mission_id else []
    return render(request, "console/incident.html", {"incident": found, "steps": steps, "moments": moments})
