"""Addresses of the console that missions adds."""

from django.urls import path

from . import incidents, missions, overview, playbooks

urlpatterns = [
    path("overview", overview.overview, name="overview"),
    path("missions", missions.missions, name="missions"),
    path("missions/<uuid:mission_id>", missions.mission, name="mission"),
    path("missions/<uuid:mission_id>/complete", missions.complete, name="mission-complete"),
    path("missions/<uuid:mission_id>/abandon", missions.abandon, name="mission-abandon"),
    path("playbooks", playbooks.playbooks, name="playbooks"),
    path("playbooks/<slug:name>", playbooks.playbook, name="playbook"),
    path("playbooks/<slug:name>/run", playbooks.run, name="playbook-run"),
    path("incidents", incidents.incidents, name="incidents"),
    path("incidents/<uuid:incident_id>", incidents.incident, name="incident"),
]
