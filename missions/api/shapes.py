"""What missions look like from outside: missions and steps, incidents, playbooks, summaries."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s

from auditlog.api.endpoint import Strict, members
from missions.models import Incident, Mission, Playbook, Step, Summary
from missions.progress import Progress
from missions.reports import SEVERITIES
from verification.api.shapes import ForeignJson, JsonObject, Requester, number
from verification.models import State as ContractState

Shape = s.Serializer[Any]


class ProgressShape(Shape):
    """Counted steps."""

    planned = s.IntegerField()
    completed = s.IntegerField()
    failed = s.IntegerField()
    rolled_back = s.IntegerField()
    percent = s.IntegerField(help_text="Settled steps in the hundred.")
    confidence = s.FloatField(allow_null=True)
    health_score = s.IntegerField(allow_null=True)


class MissionShape(Shape):
    """A goal, and how far it is."""

    id = s.UUIDField()
    goal = s.CharField()
    state = s.ChoiceField(Mission.State.choices)
    playbook = s.CharField()
    started_by = Requester()
    progress = ProgressShape()
    created_at = s.DateTimeField()
    ended_at = s.DateTimeField(allow_null=True)
    ending_reason = s.CharField()


class StepShape(Shape):
    """One contract's place in a mission, or the plan of one."""

    id = s.UUIDField()
    position = s.IntegerField()
    title = s.CharField()
    contract_id = s.UUIDField(allow_null=True, help_text="null while it is only planned.")
    contract_state = s.ChoiceField(ContractState.choices, allow_null=True)
    problem = s.CharField(help_text="Why it could not be proposed.")


class SafePointShape(Shape):
    """A snapshot the mission can return to."""

    id = s.UUIDField()
    snapshot_id = s.UUIDField()
    after_position = s.IntegerField()
    label = s.CharField()
    created_at = s.DateTimeField()


class MissionDetail(MissionShape):
    """A mission with its steps and safe points."""

    steps = StepShape(many=True)
    safe_points = SafePointShape(many=True)


class MissionRequest(Strict):
    """A new mission."""

    goal = s.CharField(max_length=500)


class EndRequest(Strict):
    """Why it ends."""

    reason = s.CharField(required=False, default="", allow_blank=True, max_length=2000)


class IncidentShape(Shape):
    """A problem, what it was taken for, and what is done about it."""

    id = s.UUIDField()
    error_type = s.CharField()
    error_message = s.CharField()
    severity = s.CharField()
    source = s.CharField()
    error_id = s.CharField()
    context = JsonObject()
    occurrence_count = s.IntegerField()
    state = s.ChoiceField(Incident.State.choices)
    error_pattern = s.CharField()
    confidence = s.FloatField(allow_null=True)
    playbook = s.CharField()
    mission_id = s.UUIDField(allow_null=True)
    diagnosis = ForeignJson()
    escalation_reason = s.CharField()
    reported_by = s.CharField()
    created_at = s.DateTimeField()
    last_seen_at = s.DateTimeField()
    resolved_at = s.DateTimeField(allow_null=True)


class ErrorReportShape(Shape):
    """An error, reported."""

    error_type = s.CharField(max_length=200)
    error_message = s.CharField(max_length=20_000)
    severity = s.ChoiceField(SEVERITIES)
    source = s.CharField(max_length=200)
    error_id = s.CharField(required=False, allow_null=True, max_length=200)
    mission_id = s.UUIDField(required=False, allow_null=True)
    context = JsonObject(required=False, allow_null=True)


class Alert(Shape):
    """One alert of Alertmanager."""

    status = s.ChoiceField(["firing", "resolved"])
    labels = s.DictField(child=s.CharField(), help_text="`alertname` must be there.")
    annotations = s.DictField(child=s.CharField(), required=False)
    fingerprint = s.CharField(required=False)


class AlertmanagerShape(Shape):
    """A notification of Alertmanager (version 4). Members not named here are accepted and not read."""

    alerts = Alert(many=True)


class PlaybookShape(Shape):
    """A template of steps, in the version in force."""

    id = s.UUIDField()
    name = s.CharField()
    version = s.IntegerField()
    title = s.CharField()
    error_pattern = s.CharField()
    variables = JsonObject()
    steps = s.ListField(child=JsonObject())
    created_at = s.DateTimeField()


class RunRequest(Strict):
    """What a playbook needs to know."""

    variables = JsonObject(required=False, default=dict)
    mission_id = s.UUIDField(required=False, allow_null=True, default=None, help_text="To run it in this mission.")


class SummaryShape(Shape):
    """One hour, counted."""

    id = s.UUIDField()
    kind = s.ChoiceField(Summary.Kind.choices)
    period_start = s.DateTimeField()
    period_end = s.DateTimeField()
    tier = s.CharField()
    action_type = s.CharField()
    counts = JsonObject()
    updated_at = s.DateTimeField()


# --- rows into shapes ------------------------------------------------------------------------------------------


def mission(row: Mission, progress: Progress) -> dict[str, Any]:
    """The members of MissionShape."""
    return {
        **{name: getattr(row, name) for name in _MISSION},
        "started_by": {"kind": row.started_by_kind, "label": row.started_by_label},
        "progress": progress.as_dict(),
    }


def step(row: Step) -> dict[str, Any]:
    """The members of StepShape; the contract is joined."""
    names = ("id", "position", "title", "contract_id", "problem")
    state = row.contract.state if row.contract else None
    return {**{name: getattr(row, name) for name in names}, "contract_state": state}


def mission_detail(row: Mission, progress: Progress) -> dict[str, Any]:
    """The members of MissionDetail: two more queries."""
    points = row.safe_points.all()
    names = tuple(SafePointShape().fields)
    return {
        **mission(row, progress),
        "steps": [step(each) for each in row.steps.select_related("contract").order_by("position")],
        "safe_points": [{name: getattr(point, name) for name in names} for point in points],
    }


def incident(row: Incident) -> dict[str, Any]:
    """The members of IncidentShape."""
    copied = {name: getattr(row, name) for name in _INCIDENT}
    return {**copied, "confidence": number(row.confidence), "reported_by": row.reported_by_label}


def playbook(row: Playbook) -> dict[str, Any]:
    """The members of PlaybookShape."""
    return {name: getattr(row, name) for name in _PLAYBOOK}


def summary(row: Summary) -> dict[str, Any]:
    """The members of SummaryShape."""
    return {name: getattr(row, name) for name in _SUMMARY}


_MISSION = members(MissionShape, "started_by", "progress")
_INCIDENT = members(IncidentShape, "confidence", "reported_by")
_PLAYBOOK = members(PlaybookShape)
_SUMMARY = members(SummaryShape)
