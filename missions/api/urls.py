"""Addresses of missions, incidents, playbooks and summaries, below /api/verification."""

from __future__ import annotations

from django.urls import path

from missions.api import incidents, missions, playbooks, summaries

urlpatterns = [
    path("missions", missions.Missions.as_view(), name="api-missions"),
    path("missions/<uuid:id>", missions.OneMission.as_view(), name="api-mission"),
    path("missions/<uuid:id>/timeline", missions.MissionTimeline.as_view(), name="api-mission-timeline"),
    path("missions/<uuid:id>/complete", missions.CompleteMission.as_view(), name="api-mission-complete"),
    path("missions/<uuid:id>/abandon", missions.AbandonMission.as_view(), name="api-mission-abandon"),
    path("incidents", incidents.Incidents.as_view(), name="api-incidents"),
    path("incidents/alertmanager", incidents.Alertmanager.as_view(), name="api-incidents-alertmanager"),
    path("playbooks", playbooks.Playbooks.as_view(), name="api-playbooks"),
    path("playbooks/<slug:name>/run", playbooks.RunPlaybook.as_view(), name="api-playbook-run"),
    path("summaries", summaries.Summaries.as_view(), name="api-summaries"),
]
