"""Playbooks: publishing versions, choosing among them, and running one.

Running lays down the steps and owes a job; the job proposes the next step through the one door everything is
proposed through, outside any transaction. When a step is verified the next one is owed; when one fails the
run stops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Q

from auditlog import ids, jobs, log
from auditlog.actors import SYSTEM, Actor
from auditlog.refusals import Kind, Refused
from auditlog.subjects import Subject
from governance import access, policies, principals, proposals
from governance.proposals import Proposal
from verification import learning
from verification.models import Contract

from . import missions, patterns, templates
from .facts import PlaybookFact
from .models import Incident, Mission, Playbook, Step
from .templates import PlannedStep, Template

SENTINEL = Actor("system", "sentinel", "input sentinel")
"""In whose name the steps of an incident are proposed."""

WAIT_SECONDS = 30.0


class NotFound(Refused):
    """There is no playbook of that name."""

    code = "playbook_not_found"
    kind = Kind.NOT_FOUND


@dataclass(frozen=True)
class Choice:
    """A playbook, and the lower bound of its success on the pattern it was chosen for (0.0 to 1.0)."""

    playbook: Playbook
    lower_bound: float


def template_of(playbook: Playbook) -> Template:
    """The typed face of a playbook's JSON."""
    return templates.parse(variables=playbook.variables, steps=playbook.steps)


def publish(
    *,
    name: str,
    title: str,
    steps: list[dict[str, Any]],
    variables: Mapping[str, Any],
    error_pattern: str = "",
    by: Actor,
    now: datetime,
) -> Playbook:
    """Put a version of a playbook in force; the same document again changes nothing. Raises
    InvalidPlaybook."""
    template = templates.parse(variables=variables, steps=steps)
    with log.recording():
        versions = Playbook.objects.select_for_update().filter(name=name)
        current = versions.filter(is_active=True).first()
        if current is not None and (current.digest, current.error_pattern) == (
            template.digest,
            error_pattern,
        ):
            return current
        newest = versions.order_by("-version").values_list("version", flat=True).first() or 0
        versions.update(is_active=False)
        playbook = Playbook.objects.create(
            name=name,
            version=newest + 1,
            title=title,
            error_pattern=error_pattern,
            variables=dict(variables),
            steps=steps,
            digest=template.digest,
            created_by_label=by.label,
            created_at=now,
        )
        data = {"name": name, "version": playbook.version, "digest": playbook.digest}
        subject = Subject("playbook", str(playbook.pk), str(playbook))
        log.append(PlaybookFact.CHANGED, actor=by, subject=subject, data=data, now=now)
        return playbook


def active(name: str) -> Playbook:
    """The version in force. Raises NotFound."""
    playbook = Playbook.objects.filter(name=name, is_active=True).first()
    if playbook is None:
        raise NotFound(f"There is no playbook {name!r}.")
    return playbook


def best_for(error_pattern: str) -> Choice | None:
    """Of the playbooks for a pattern, the one whose record has the best lower bound; the oldest among
    equals."""
    candidates = list(
        Playbook.objects.filter(error_pattern=error_pattern, is_active=True).order_by("created_at", "name")
    )
    if not candidates:
        return None
    record = learning.stats(group_by=("playbook",), where=Q(error_pattern=error_pattern))
    bounds = {stat.group["playbook"]: stat.lower_bound for stat in record}
    chosen = max(candidates, key=lambda playbook: bounds.get(playbook.name, 0.0))
    return Choice(chosen, bounds.get(chosen.name, 0.0))


def run(
    *,
    name: str,
    by: Actor,
    user: User | None,
    now: datetime,
    mission_id: UUID | None = None,
    incident_id: UUID | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Mission:
    """Run a playbook in a mission of its own, or add its steps to the open mission given.

    A mission of its own settles by itself. Raises Forbidden, NotFound, InvalidVariables,
    missions.TrackingOff, missions.NotFound, missions.NotNow.
    """
    if user is not None:
        access.require(user, "playbooks.run")
    playbook = active(name)
    steps = template_of(playbook).fill(variables or {})
    with log.recording():
        incident = None if incident_id is None else Incident.objects.filter(pk=incident_id).first()
        if mission_id is None:
            mission = missions.create(
                goal=playbook.title, by=by, user=user, now=now, playbook=name, settles_itself=True
            )
        else:
            mission = missions.lock(mission_id)
        lay(mission, playbook, steps, user=user, incident=incident, now=now)
        begin(mission, by=by, now=now)
        return mission


def lay(
    mission: Mission,
    playbook: Playbook,
    steps: Sequence[PlannedStep],
    *,
    user: User | None,
    now: datetime,
    incident: Incident | None = None,
    minimum_tier: str = "",
) -> list[Step]:
    """Add one run's planned steps to a mission (locked, or new). Raises NoPolicy, and missions.NotNow when it ended.

    None of them runs under a lower tier than the strictest would: people are asked before the first, not half way (C).
    """
    if mission.state not in missions.OPEN:
        raise missions.NotNow(f"The mission is {mission.state}; it takes no more steps.")
    behind = user or (incident.reported_by if incident else None)
    tiers = [_tier(mission, playbook, step, user=behind, now=now) for step in steps]
    run_id, last = ids.new_id(), missions.last_position(mission)
    return Step.objects.bulk_create(
        Step(
            mission=mission,
            position=last + place,
            title=step.title,
            run=run_id,
            incident=incident,
            plan=_plan(playbook, step, incident),
            planned_by_id=user.pk if user is not None else None,
            delay_seconds=step.delay_seconds,
            minimum_tier=patterns.strictest([minimum_tier, *tiers]),
            created_at=now,
        )
        for place, step in enumerate(steps, start=1)
    )


def _tier(mission: Mission, playbook: Playbook, step: PlannedStep, *, user: User | None, now: datetime) -> str:
    """Under which tier a step would run by itself; one that would be denied counts as tier_3."""
    ruling = policies.rule(
        action_type=step.proposal["action_type"],
        target=step.proposal["target"],
        parameters=step.proposal.get("parameters", {}),
        user=user,
        now=now,
        mission_id=mission.pk,
        playbook=playbook.name,
    )
    return ruling.tier


def _plan(playbook: Playbook, step: PlannedStep, incident: Incident | None) -> dict[str, Any]:
    """What will be proposed, and what it belongs to; `_proposal` is its only reader."""
    confidence = None if incident is None or incident.confidence is None else str(incident.confidence)
    return {
        "proposal": step.proposal,
        "playbook": playbook.name,
        "error_pattern": incident.error_pattern if incident else playbook.error_pattern,
        "confidence": confidence,
    }


def begin(mission: Mission, *, by: Actor, now: datetime) -> None:
    """Let a mission with planned steps go: it starts if it had not, and its next steps are owed."""
    if mission.state == Mission.State.PLANNED:
        missions.activate(mission, by=by, now=now)
    if mission.state == Mission.State.ACTIVE:
        missions.owe_advance(mission, now=now)


def advance(*, mission_id: UUID, now: datetime) -> int:
    """Propose every planned step that is next; answers how many. Outside any transaction.

    Proposing twice is harmless: each step has its key. Raises jobs.RunAgain when the door asks to come later.
    """
    mission = Mission.objects.get(pk=mission_id)
    if mission.state != Mission.State.ACTIVE:
        return 0
    steps = missions.ready(mission)
    for step in steps:
        propose(step=step, now=now)
    return len(steps)


def propose(*, step: Step, now: datetime) -> None:
    """Propose one planned step and give its contract the step's place; a refusal becomes the step's
    outcome."""
    user = step.planned_by
    by = SENTINEL if user is None else principals.actor_of(user)
    contract_id = _proposed(step)
    if contract_id is None:
        try:
            contract_id = _submit(step, user=user, by=by, now=now)
        except Refused as refused:
            if refused.kind in (Kind.LIMITED, Kind.HELD):
                raise jobs.RunAgain(refused.retry_after or WAIT_SECONDS) from refused
            missions.refuse_step(step_id=step.pk, problem=_told(refused), by=SYSTEM, now=now)
            return
    missions.attach(mission_id=step.mission_id, contract_id=contract_id, step_id=step.pk, by=by, now=now)


def give_up(*, mission_id: UUID, reason: str, now: datetime) -> None:
    """The steps that are next could not be proposed for good: that is their outcome."""
    for step in missions.ready(Mission.objects.get(pk=mission_id)):
        missions.refuse_step(step_id=step.pk, problem=reason, by=SYSTEM, now=now)


def _proposed(step: Step) -> UUID | None:
    """The contract of a step whose proposer was interrupted before it could attach it."""
    found = Contract.objects.filter(mission_id=step.mission_id, idempotency_key=step.key, requested_by=step.planned_by)
    return found.values_list("pk", flat=True).first()


def _submit(step: Step, *, user: User | None, by: Actor, now: datetime) -> UUID:
    submitted = proposals.submit(
        proposal=_proposal(step, now=now),
        by=by,
        user=user,
        idempotency_key=step.key,
        now=now,
    )
    assert submitted.contract is not None
    return submitted.contract.pk


def _proposal(step: Step, *, now: datetime) -> Proposal:
    plan = step.plan or {}
    body = {**plan["proposal"], "mission_id": str(step.mission_id)}
    if plan["confidence"] is not None:
        body["confidence"] = float(plan["confidence"])
    if step.delay_seconds:
        body["not_before"] = (now + timedelta(seconds=step.delay_seconds)).isoformat()
    return replace(
        Proposal.from_body(body),
        incident_id=step.incident_id,
        playbook=plan["playbook"],
        error_pattern=plan["error_pattern"],
        minimum_tier=step.minimum_tier,
        on_behalf_of_id=_reporter_id(step),
    )


def _reporter_id(step: Step) -> int | None:
    """Who reported the error that a step of Grace's own cures; a step that a person planned is that person's."""
    if step.planned_by_id is not None or step.incident is None:
        return None
    return step.incident.reported_by_id


def _told(refused: Refused) -> str:
    details = "; ".join(f"{error.pointer}: {error.detail}" for error in refused.errors)
    return f"{refused.code}: {refused.detail} {details}".strip()[:2000]
