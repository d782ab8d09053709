"""Pressing for an answer: reminders at half and nine tenths of the time, and a backup group after a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from auditlog import log
from auditlog.actors import SYSTEM
from auditlog.subjects import Subject
from verification import contracts
from verification.models import Contract

from . import holding, walking
from .facts import ApprovalFact
from .models import ApprovalRequest
from .policy import Requirements

REMINDED_AT_PERCENT = (50, 90)
AT_ONCE = 500


def subject_of(request: ApprovalRequest) -> Subject:
    """A request as the subject of a log entry."""
    return Subject("approval", str(request.pk), str(request.contract))


def next_look(request: ApprovalRequest) -> datetime | None:
    """When this request is looked at next, not counting holds."""
    moments = [_reminder_at(request), _escalation_at(request)]
    return min((each for each in moments if each is not None), default=None)


def press_due(*, now: datetime) -> int:
    """Remind people of every pending request that is due, or ask others as well; returns how many it was."""
    holding.notice_file(now=now)
    due = ApprovalRequest.objects.filter(state=ApprovalRequest.State.PENDING, remind_at__lte=now)
    return sum(_press(each, now=now) for each in walking.ids_by(due, "remind_at", at_once=AT_ONCE))


def _press(request_id: UUID, *, now: datetime) -> bool:
    with log.recording():
        contract = contracts.lock(ApprovalRequest.objects.values_list("contract_id", flat=True).get(pk=request_id))
        request = ApprovalRequest.objects.select_for_update(of=("self",)).get(pk=request_id)
        if request.state != ApprovalRequest.State.PENDING or request.remind_at is None:
            return False
        request.contract = contract
        paused = holding.paused(contract, since=request.created_at, until=now)
        if request.remind_at + paused > now:
            return False
        while (reminder := _reminder_at(request)) is not None and reminder + paused <= now:
            request.reminder_count += 1
        if (escalation := _escalation_at(request)) is not None and escalation + paused <= now:
            request.escalated_at = now
            _say(contract, request, ApprovalFact.ESCALATED, now=now)
        else:
            _say(contract, request, ApprovalFact.REMINDED, now=now)
        request.remind_at = next_look(request)
        request.save(update_fields=["reminder_count", "escalated_at", "remind_at"])
    return True


def _reminder_at(request: ApprovalRequest) -> datetime | None:
    if request.reminder_count >= len(REMINDED_AT_PERCENT):
        return None
    whole = request.expires_at - request.created_at
    return request.created_at + whole * REMINDED_AT_PERCENT[request.reminder_count] / 100


def _escalation_at(request: ApprovalRequest) -> datetime | None:
    requirements = Requirements.from_dict(request.requirements)
    if not requirements.escalate_to or request.escalated_at is not None:
        return None
    return request.created_at + timedelta(seconds=requirements.escalate_after_seconds)


def _say(contract: Contract, request: ApprovalRequest, fact: ApprovalFact, *, now: datetime) -> None:
    whole = (request.expires_at - request.created_at).total_seconds()
    gone = (now - request.created_at).total_seconds()
    escalated = fact is ApprovalFact.ESCALATED
    to_group = {"to_group": Requirements.from_dict(request.requirements).escalate_to} if escalated else {}
    log.append(
        fact,
        actor=SYSTEM,
        subject=subject_of(request),
        data={
            "action_type": contract.action_type,
            "target": contract.target,
            "tier": request.tier,
            "digest": request.digest,
            "percent": min(100, round(100 * gone / whole)) if whole else 100,
            "expires_at": request.expires_at,
            **to_group,
        },
        now=now,
        contract_id=contract.pk,
        mission_id=contract.mission_id,
    )
