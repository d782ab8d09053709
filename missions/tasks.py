"""What workers do for missions: the runners of its jobs, and the tasks of its beats. Each makes one call."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from celery import shared_task
from django.utils import timezone

from auditlog import jobs
from auditlog.jobs import Lease
from auditlog.models import Job

from . import incidents, missions, playbooks, summaries


@jobs.runner(incidents.PLAN_JOB)
def plan_incident(job: Job, lease: Lease) -> None:
    """Judge an incident and plan its cure; when that fails for good, people must take it on."""
    incident_id = UUID(job.subject_id)
    try:
        incidents.plan(incident_id=incident_id, now=lease.now())
    except Exception as error:
        if _was_last(job):
            reason = f"Planning failed with {type(error).__name__}."
            incidents.give_up(incident_id=incident_id, reason=reason, now=lease.now())
        raise


@jobs.runner(missions.ADVANCE_JOB)
def advance_mission(job: Job, lease: Lease) -> dict[str, Any]:
    """Propose the planned steps of a mission that are next; when that fails for good, they failed."""
    mission_id = UUID(job.subject_id)
    try:
        return {"proposed": playbooks.advance(mission_id=mission_id, now=lease.now())}
    except jobs.RunAgain:
        raise
    except Exception as error:
        if _was_last(job):
            reason = f"Proposing failed with {type(error).__name__}."
            playbooks.give_up(mission_id=mission_id, reason=reason, now=lease.now())
        raise


@jobs.runner(summaries.JOB, visible=True)
def aggregate_period(job: Job, lease: Lease) -> dict[str, Any]:
    """Count a period again."""
    start, end = (datetime.fromisoformat(job.arguments[name]) for name in ("start", "end"))
    return summaries.aggregate(start=start, end=end, now=lease.now()).as_dict()


@shared_task(name="missions.tasks.aggregate")
def aggregate(**_: object) -> None:
    """Owe the next count of contracts and approvals."""
    summaries.owe(now=timezone.now())


def _was_last(job: Job) -> bool:
    return job.attempts - job.losses >= job.max_attempts
