"""Incidents: errors that were reported, by agents, people and Alertmanager."""

from __future__ import annotations

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from missions import incidents, reports
from missions.api import shapes
from missions.models import Incident

TAG = "incidents"
REPORT = {
    "error_type": "OperationalError",
    "error_message": "database is locked",
    "severity": "error",
    "source": "billing",
    "context": {"path": "billing.json"},
}


class IncidentQuery(PageQuery):
    """Filters of the list."""

    state = s.ChoiceField(Incident.State.choices, required=False)
    severity = s.ChoiceField(reports.SEVERITIES, required=False)
    source = s.CharField(required=False, max_length=200)
    error_pattern = s.CharField(required=False, max_length=100)
    mission_id = s.UUIDField(required=False)


class Incidents(Endpoint):
    """`/incidents`"""

    write_scope = "reports"

    @operation(
        "list_incidents",
        "Incidents, newest first",
        tag=TAG,
        asks="incidents.read",
        query=IncidentQuery,
        answer=[shapes.IncidentShape],
    )
    def get(self, request: Request) -> Response:
        """What they were taken for, and the mission that cures each."""
        wanted = {name: value for name, value in self.query.items() if name not in ("limit", "cursor")}
        return self.page(self.visible(Incident.objects.filter(**wanted)), shapes.incident)

    @operation(
        "report_incident",
        "Report an error",
        tag=TAG,
        asks="incidents.report",
        body=shapes.ErrorReportShape,
        raw_body=True,
        answer=shapes.IncidentShape,
        status=201,
        example=REPORT,
        description="The same problem reported again counts on the incident that is open for it. What will be done "
        "is planned after the answer; follow the incident or its mission.",
    )
    def post(self, request: Request) -> Response:
        """The incident it belongs to."""
        report = reports.ErrorReport.from_body(self.body)
        incident = incidents.report(report=report, by=self.actor, user=self.user, now=self.now)
        return self.answer(shapes.incident(incident), status=201)


class Alertmanager(Endpoint):
    """`/incidents/alertmanager`"""

    write_scope = "reports"

    @operation(
        "report_alerts",
        "Take a notification of Alertmanager in",
        tag=TAG,
        asks="incidents.report",
        body=shapes.AlertmanagerShape,
        raw_body=True,
        answer=[shapes.IncidentShape],
        status=201,
        example={
            "version": "4",
            "alerts": [
                {
                    "status": "firing",
                    "labels": {"alertname": "ServiceDown", "service": "billing", "severity": "critical"},
                    "annotations": {"summary": "billing does not answer"},
                    "fingerprint": "b2f0c1d3e4a5f607",
                }
            ],
        },
    )
    def post(self, request: Request) -> Response:
        """An incident for each firing alert; resolved ones say nothing new."""
        found = [
            incidents.report(report=report, by=self.actor, user=self.user, now=self.now)
            for report in reports.from_alertmanager(self.body)
        ]
        shown = [shapes.incident(incident) for incident in found]
        return self.answer(shown, status=201, count=len(shown), next=None, previous=None)
