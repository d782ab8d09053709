"""Incidents: taking errors in, judging them, planning a cure, and following it to its end.

Taking in is short and loses nothing: the error is in the log before anybody thinks about it. Judging and
planning are a job. What the sentinel plans by itself stands in `patterns`; everything else is proposed for
approval.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from auditlog import context, jobs, log
from auditlog.actors import SYSTEM, Actor
from auditlog.refusals import FieldError, Kind, Refused
from auditlog.subjects import Subject
from governance import access
from verification.models import State as ContractState
from verification.models.contracts import SETTLED

from . import missions, patterns, playbooks
from .facts import ErrorFact, IncidentFact, SentinelFact
from .models import Incident, Mission
from .patterns import Classification
from .playbooks import SENTINEL, Choice
from .reports import ErrorReport
from .templates import InvalidPlaybook, InvalidVariables

PLAN_JOB = "incident.plan"

State = Incident.State


class UnknownMission(Refused):
    """The report names a mission that does not exist."""

    code = "unknown_mission"
    kind = Kind.INVALID


class CannotKeepUp(Refused):
    """The same problem opens and closes faster than it can be counted."""

    code = "incident_contended"
    kind = Kind.CONFLICT


def subject_of(incident: Incident) -> Subject:
    """The incident as the subject of a log entry."""
    return Subject("incident", str(incident.pk), str(incident))


# --- taking in ---


def report(*, report: ErrorReport, by: Actor, user: User | None, now: datetime) -> Incident:
    """Take an error in: count it on the open incident of the same problem, or open one and owe its plan.

    An error within an incident's mission is recorded there and opens no other. Raises UnknownMission,
    CannotKeepUp.
    """
    if user is not None:
        access.require(user, "incidents.report")
    with log.recording():
        mission = _mission_of(report, user)
        incident, is_new = _incident_of(report, mission, by=by, user=user, now=now)
        with context.caused_by(_record_error(incident, report, by=by, now=now)):
            if is_new:
                _open(incident, by=by, now=now)
        return incident


def _mission_of(report: ErrorReport, user: User | None) -> Mission | None:
    if report.mission_id is None or not missions.tracked():
        return None
    mission = missions.open_to(user).filter(pk=report.mission_id).first()
    if mission is None:
        errors = [FieldError("/mission_id", "unknown_mission", "There is no such mission.")]
        raise UnknownMission("The report names a mission that does not exist.", errors=errors)
    return mission


def _incident_of(
    report: ErrorReport, mission: Mission | None, *, by: Actor, user: User | None, now: datetime
) -> tuple[Incident, bool]:
    """The incident this error belongs to, locked and counted, and whether it is new."""
    if mission is not None and (serving := Incident.objects.filter(mission=mission).order_by("created_at").first()):
        _seen_again(serving, now, counted=serving.fingerprint == report.fingerprint)
        return serving, False
    for _ in range(3):
        if known := Incident.objects.filter(fingerprint=report.fingerprint, resolved_at__isnull=True).first():
            if _seen_again(known, now):
                return known, False
            continue
        try:
            with transaction.atomic():
                return _create(report, mission, by=by, user=user, now=now), True
        except IntegrityError:
            continue
    raise CannotKeepUp("The same problem is being reported and resolved at this very moment; send it again.")


def _seen_again(incident: Incident, now: datetime, *, counted: bool = True) -> bool:
    """Count another report, unless the incident was resolved in the meantime; whether it was still open."""
    row = Incident.objects.filter(pk=incident.pk)
    if counted:
        row = row.filter(resolved_at__isnull=True)
    changed = row.update(occurrence_count=F("occurrence_count") + (1 if counted else 0), last_seen_at=now)
    incident.refresh_from_db()
    return bool(changed)


def _create(report: ErrorReport, mission: Mission | None, *, by: Actor, user: User | None, now: datetime) -> Incident:
    return Incident.objects.create(
        error_type=report.error_type,
        error_message=report.error_message,
        severity=report.severity,
        source=report.source,
        error_id=report.error_id,
        context=dict(report.context),
        fingerprint=report.fingerprint,
        mission=_mission_for(report, mission, now=now),
        reported_by_id=user.pk if user is not None else None,
        reported_by_label=by.label,
        created_at=now,
        last_seen_at=now,
    )


def _mission_for(report: ErrorReport, mission: Mission | None, *, now: datetime) -> Mission | None:
    """The mission the cure will belong to: the one the error happened in while it is open, else one of its
    own."""
    if not missions.tracked():
        return None
    if mission is not None and mission.state in missions.OPEN:
        return mission
    goal = f"Resolve {report.error_type} from {report.source}"
    return missions.create(goal=goal, by=SENTINEL, user=None, now=now)


def _record_error(incident: Incident, report: ErrorReport, *, by: Actor, now: datetime) -> UUID:
    return log.append(
        ErrorFact.DETECTED,
        actor=by,
        subject=subject_of(incident),
        data={
            "error_type": report.error_type,
            "error_message": report.error_message,
            "severity": report.severity,
            "source": report.source,
            "error_id": report.error_id,
            "fingerprint": report.fingerprint,
            "occurrence": incident.occurrence_count,
            "context": log.foreign(dict(report.context)),
        },
        mission_id=incident.mission_id,
        now=now,
    )


def _open(incident: Incident, *, by: Actor, now: datetime) -> None:
    data = {name: getattr(incident, name) for name in ("error_type", "severity", "source", "fingerprint")}
    _record(incident, IncidentFact.OPENED, data, by=by, now=now)
    jobs.enqueue(kind=PLAN_JOB, subject_id=str(incident.pk), mission_id=incident.mission_id, now=now)


# --- judging and planning ---


def plan(*, incident_id: UUID, now: datetime) -> Incident:
    """Judge an open incident and plan its cure; what cannot be planned is escalated. Planning twice changes
    nothing."""
    with log.recording():
        incident = _locked(incident_id)
        if incident.state != State.OPEN:
            return incident
        found = patterns.classify(incident.error_type, incident.error_message, incident.context)
        with context.caused_by(_identify(incident, found, now=now)):
            choice = playbooks.best_for(found.error_pattern)
            if choice is None:
                return escalate(incident, reason=f"No playbook cures {found.error_pattern}.", now=now)
            if incident.mission_id is None:
                return escalate(incident, reason="Missions are not tracked here, so nothing can be planned.", now=now)
            mission = missions.lock(incident.mission_id)
            return _plan(incident, mission, found, choice, now=now)


def _identify(incident: Incident, found: Classification, *, now: datetime) -> UUID:
    incident.error_pattern, incident.confidence = found.error_pattern, found.confidence
    incident.patterns_version, incident.diagnosis = found.version, found.as_dict()
    incident.save(update_fields=["error_pattern", "confidence", "patterns_version", "diagnosis"])
    data = {
        "error_pattern": found.error_pattern,
        "patterns_version": found.version,
        "confidence": log.decimal(found.confidence),
        "tier": found.tier,
        "diagnosis": found.diagnosis,
        "root_causes": list(found.root_causes),
    }
    return _record(incident, SentinelFact.PROBLEM_IDENTIFIED, data, by=SENTINEL, now=now)


def _plan(incident: Incident, mission: Mission, found: Classification, choice: Choice, *, now: datetime) -> Incident:
    playbook, minimum_tier = choice.playbook, _minimum_tier(found)
    observe_only = bool(settings.SELF_HEAL_OBSERVE_ONLY)
    try:
        template = playbooks.template_of(playbook)
        steps = template.fill(template.known(incident.context))
        playbooks.lay(mission, playbook, steps, user=None, incident=incident, minimum_tier=minimum_tier, now=now)
    except (InvalidPlaybook, InvalidVariables, missions.NotNow) as refused:
        return escalate(incident, reason=f"{playbook} cannot be run: {refused.detail}", now=now)
    incident.state, incident.playbook = State.PLANNED, playbook.name
    incident.save(update_fields=["state", "playbook"])
    data = {
        "playbook": playbook.name,
        "playbook_version": playbook.version,
        "steps": len(steps),
        "error_pattern": found.error_pattern,
        "confidence": log.decimal(found.confidence),
        "lower_bound": log.decimal(choice.lower_bound, 4),
        "minimum_tier": minimum_tier,
        "observe_only": observe_only,
    }
    with context.caused_by(_record(incident, SentinelFact.ACTION_PLANNED, data, by=SENTINEL, now=now)):
        _take_over(mission, playbook.name)
        if not observe_only:
            playbooks.begin(mission, by=SENTINEL, now=now)
    return incident


def _take_over(mission: Mission, playbook: str) -> None:
    """A mission the sentinel opened itself settles by itself; a mission of people's stays theirs."""
    if mission.started_by_kind == SENTINEL.kind and mission.state == Mission.State.PLANNED:
        mission.playbook, mission.settles_itself = playbook, True
        mission.save(update_fields=["playbook", "settles_itself"])


def _minimum_tier(found: Classification) -> str:
    allowed = "tier_1" if settings.SELF_HEAL_EXECUTE else "tier_2"
    return patterns.strictest([found.minimum_tier, allowed])


def give_up(*, incident_id: UUID, reason: str, now: datetime) -> Incident:
    """Planning failed for good: people must take the incident on."""
    with log.recording():
        incident = _locked(incident_id)
        return escalate(incident, reason=reason, now=now) if incident.state == State.OPEN else incident


def escalate(incident: Incident, *, reason: str, now: datetime) -> Incident:
    """Hand a locked incident to people, once."""
    if incident.state in (State.ESCALATED, State.RESOLVED):
        return incident
    incident.state, incident.escalation_reason = State.ESCALATED, reason
    incident.save(update_fields=["state", "escalation_reason"])
    data = {"reason": reason, "error_pattern": incident.error_pattern}
    _record(incident, IncidentFact.ESCALATED, data, by=SENTINEL, now=now, outcome="failure")
    return incident


# --- following ---


def follow(*, mission_id: UUID, now: datetime) -> list[Incident]:
    """Draw the conclusion for each unresolved incident of a mission from how the mission and its own steps
    stand."""
    with log.recording():
        mission = Mission.objects.filter(pk=mission_id).first()
        if mission is None:
            return []
        unresolved = Incident.objects.select_for_update().filter(mission=mission, resolved_at__isnull=True)
        return [_concluded(incident, mission, now=now) for incident in unresolved]


def _concluded(incident: Incident, mission: Mission, *, now: datetime) -> Incident:
    steps = list(incident.steps.select_related("contract"))
    cured = bool(steps) and all(
        step.contract is not None and step.contract.state == ContractState.VERIFIED for step in steps
    )
    failed = [
        step
        for step in steps
        if step.problem
        or (step.contract and step.contract.settled_at and step.contract.state in SETTLED - {ContractState.VERIFIED})
    ]
    if cured or mission.state == Mission.State.COMPLETED:
        return _resolve(incident, now=now)
    if failed:
        return escalate(incident, reason=missions.outcome_of(failed[0]), now=now)
    if mission.state in (Mission.State.FAILED, Mission.State.CANCELLED):
        return escalate(incident, reason=f"Its mission is {mission.state}.", now=now)
    return incident


def _resolve(incident: Incident, *, now: datetime) -> Incident:
    incident.state, incident.resolved_at = State.RESOLVED, now
    incident.save(update_fields=["state", "resolved_at"])
    data = {
        "error_pattern": incident.error_pattern,
        "playbook": incident.playbook,
        "duration_ms": max(0, int((now - incident.created_at).total_seconds() * 1000)),
    }
    solved = _record(incident, SentinelFact.PROBLEM_RESOLVED, data, by=SENTINEL, now=now)
    with context.caused_by(solved):
        _record(incident, IncidentFact.RESOLVED, data, by=SYSTEM, now=now)
    return incident


def _locked(incident_id: UUID) -> Incident:
    found: QuerySet[Incident] = Incident.objects.select_for_update()
    return found.get(pk=incident_id)


def _record(
    incident: Incident,
    fact: IncidentFact | SentinelFact,
    data: Mapping[str, Any],
    *,
    by: Actor,
    now: datetime,
    outcome: str = "success",
) -> UUID:
    return log.append(
        fact,
        actor=by,
        subject=subject_of(incident),
        data=data,
        outcome=outcome,
        mission_id=incident.mission_id,
        now=now,
    )
