"""Missions: the verbs that start, follow and end a mission.

With `MISSION_TRACKING_ENABLED=false` nothing here keeps a row or appends a fact: contracts still carry
whatever mission id they were given, and timelines are still answered, since they are queries on the log;
`start` is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Count, Max, Q, QuerySet

from auditlog import entries, jobs, log, metrics
from auditlog.actors import Actor
from auditlog.models import Entry
from auditlog.refusals import FieldError, Kind, Refused
from auditlog.subjects import Subject
from governance import access, principals, proposals
from verification.models import Contract, Snapshot
from verification.models import State as ContractState
from verification.models.contracts import SETTLED

from . import metrics as mission_metrics
from .facts import MissionFact
from .models import Incident, Mission, Step
from .progress import Progress

ADVANCE_JOB = "mission.advance"

State = Mission.State
OPEN = (State.PLANNED, State.ACTIVE, State.PAUSED)
NOT_STARTED = (
    ContractState.PROPOSED,
    ContractState.AWAITING_APPROVAL,
    ContractState.CHANGES_REQUESTED,
    ContractState.AUTHORIZED,
)

COMPLETED = Q(contract__settled_at__isnull=False, contract__state=ContractState.VERIFIED)
ROLLED_BACK = Q(contract__settled_at__isnull=False, contract__state=ContractState.ROLLED_BACK)
FAILED = Q(
    contract__settled_at__isnull=False,
    contract__state__in=sorted(SETTLED - {ContractState.VERIFIED, ContractState.ROLLED_BACK}),
) | Q(problem__gt="")
UNSETTLED = Q(contract__settled_at__isnull=True, problem="")


class TrackingOff(Refused):
    """Missions are not tracked in this installation."""

    code = "mission_tracking_off"
    kind = Kind.HELD


class NotFound(Refused):
    """There is no such mission."""

    code = "mission_not_found"
    kind = Kind.NOT_FOUND


class NotNow(Refused):
    """The mission is in a state from which this cannot be done."""

    code = "mission_not_now"
    kind = Kind.CONFLICT


class Unsettled(Refused):
    """Steps of the mission are not settled yet; `errors` names each."""

    code = "mission_unsettled"
    kind = Kind.CONFLICT


class InAnotherMission(Refused):
    """The contract serves another mission already."""

    code = "contract_in_another_mission"
    kind = Kind.CONFLICT


class EmptyGoal(Refused):
    """A mission has a goal of 1 to 500 characters."""

    code = "invalid_goal"
    kind = Kind.INVALID


def tracked() -> bool:
    """Whether missions are kept in this installation."""
    return bool(settings.MISSION_TRACKING_ENABLED)


def subject_of(mission: Mission) -> Subject:
    """The mission as the subject of a log entry."""
    return Subject("mission", str(mission.pk), mission.goal)


def lock(mission_id: UUID) -> Mission:
    """The mission's row, locked until the transaction ends; raises NotFound.

    Who needs a mission and its contracts locks the mission first.
    """
    try:
        return Mission.objects.select_for_update().get(pk=mission_id)
    except Mission.DoesNotExist:
        raise NotFound(f"There is no mission {mission_id}.") from None


def create(
    *,
    goal: str,
    by: Actor,
    user: User | None,
    now: datetime,
    state: Mission.State = State.PLANNED,
    playbook: str = "",
    settles_itself: bool = False,
) -> Mission:
    """Write a mission down without saying so in the log: for verbs that have more to say about it.

    Raises TrackingOff, EmptyGoal.
    """
    if not tracked():
        raise TrackingOff("Missions are not tracked here (MISSION_TRACKING_ENABLED is false).")
    goal = goal.strip()
    if not 1 <= len(goal) <= 500:
        raise EmptyGoal(
            "A mission needs a goal of 1 to 500 characters.",
            errors=[FieldError("/goal", "out_of_range", "1 to 500 characters.")],
        )
    return Mission.objects.create(
        goal=goal,
        state=state,
        playbook=playbook,
        settles_itself=settles_itself,
        started_by_id=user.pk if user is not None else None,
        started_by_kind=by.kind,
        started_by_label=by.label,
        created_at=now,
    )


def start(*, goal: str, by: Actor, user: User | None, now: datetime) -> Mission:
    """Begin a mission that its people complete or abandon. Raises Forbidden, TrackingOff, EmptyGoal."""
    _require(user, "missions.start")
    with log.recording():
        mission = create(goal=goal, by=by, user=user, now=now)
        return activate(mission, by=by, now=now)


def _require(user: User | None, permission: str) -> None:
    """Raise Forbidden unless the user may; None is Grace itself, which may."""
    if user is not None:
        access.require(user, permission)


def activate(mission: Mission, *, by: Actor, now: datetime) -> Mission:
    """Turn a planned (and locked, or new) mission active and say that it started."""
    mission.state = State.ACTIVE
    mission.save(update_fields=["state"])
    data = {"goal": mission.goal, "playbook": mission.playbook, "steps": mission.steps.count()}
    _record(mission, MissionFact.STARTED, data, by=by, now=now)
    return mission


def attach(*, mission_id: UUID, contract_id: UUID, by: Actor, now: datetime, step_id: UUID | None = None) -> Step:
    """Give a contract its place in a mission: that of `step_id`, of the step that proposed it, or the next
    one.

    Attaching twice answers the same step. Raises NotFound, NotNow when the mission has ended,
    InAnotherMission.
    """
    with log.recording():
        mission = lock(mission_id)
        contract = _contract(contract_id)
        attached = Step.objects.filter(contract=contract).first()
        if attached is not None:
            if attached.mission_id != mission.pk:
                raise InAnotherMission(f"The contract serves the mission {attached.mission_id}.")
            return attached
        if contract.mission_id != mission.pk:
            raise InAnotherMission(f"The contract was proposed for {contract.mission_id or 'no mission'}.")
        if mission.state not in OPEN:
            raise NotNow(f"The mission is {mission.state}; it takes no more contracts.")
        step = _planned(mission, contract, step_id) or _appended(mission, contract, now=now)
        if mission.state == State.PLANNED:
            activate(mission, by=by, now=now)
        count(step=step, mission=mission, by=by, now=now)
        return step


def gather(mission: Mission, *, now: datetime) -> None:
    """Give their places to contracts proposed for a (locked) mission whose creation has not been heard
    yet."""
    placed = mission.steps.filter(contract__isnull=False).values("contract")
    for contract in Contract.objects.filter(mission_id=mission.pk).exclude(pk__in=placed).order_by("created_at", "id"):
        _ = _planned(mission, contract, None) or _appended(mission, contract, now=now)


def _contract(contract_id: UUID) -> Contract:
    try:
        return Contract.objects.get(pk=contract_id)
    except Contract.DoesNotExist:
        raise NotFound(f"There is no contract {contract_id}.") from None


def _planned(mission: Mission, contract: Contract, step_id: UUID | None) -> Step | None:
    """The step this contract was planned as, now filled."""
    waiting = mission.steps.filter(contract__isnull=True, problem="")
    for step in waiting:
        is_its_own = step.key == contract.idempotency_key and step.planned_by_id == contract.requested_by_id
        if step.pk == step_id or is_its_own:
            step.contract = contract
            step.save(update_fields=["contract"])
            return step
    return None


def _appended(mission: Mission, contract: Contract, *, now: datetime) -> Step:
    return Step.objects.create(
        mission=mission,
        position=last_position(mission) + 1,
        title=str(contract)[:200],
        contract=contract,
        created_at=now,
    )


def last_position(mission: Mission) -> int:
    """The position of the last step, 0 when there is none; meaningful while the mission is locked."""
    return mission.steps.aggregate(last=Max("position"))["last"] or 0


def progress(*, mission_id: UUID) -> Progress:
    """How far a mission has come. Raises NotFound."""
    found = progress_of([mission_id])
    if mission_id not in found:
        raise NotFound(f"There is no mission {mission_id}.")
    return found[mission_id]


def progress_of(mission_ids: Iterable[UUID]) -> dict[UUID, Progress]:
    """How far each of these missions has come, in two queries however many; unknown ids are left out."""
    scores = dict(Mission.objects.filter(pk__in=list(mission_ids)).order_by().values_list("pk", "health_score"))
    rows = Step.objects.filter(mission_id__in=list(scores)).order_by().values("mission_id")
    counted = {
        row["mission_id"]: (row["planned"], row["completed"], row["failed"], row["rolled_back"])
        for row in rows.annotate(
            planned=Count("id"),
            completed=Count("id", filter=COMPLETED),
            failed=Count("id", filter=FAILED),
            rolled_back=Count("id", filter=ROLLED_BACK),
        )
    }
    return {
        mission_id: Progress(*counted.get(mission_id, (0, 0, 0, 0)), health_score=score)
        for mission_id, score in scores.items()
    }


def timeline(*, mission_id: UUID) -> QuerySet[Entry]:
    """Everything the log says about a mission, in log order."""
    return entries.timeline(mission_id=mission_id)


def pause(*, mission_id: UUID, reason: str, by: Actor, now: datetime, user: User | None = None) -> Mission:
    """Stop proposing and starting: planned steps wait, and authorized contracts are not claimed. Raises
    NotNow."""
    _require(user, "missions.manage")
    with log.recording():
        mission = lock(mission_id)
        if mission.state != State.ACTIVE:
            raise NotNow(f"The mission is {mission.state}; only an active one can be paused.")
        mission.state = State.PAUSED
        mission.save(update_fields=["state"])
        _record(mission, MissionFact.PAUSED, {"reason": reason}, by=by, now=now)
        return mission


def resume(*, mission_id: UUID, reason: str, by: Actor, now: datetime, user: User | None = None) -> Mission:
    """Take up a paused mission, or begin one that was only planned. Raises NotNow."""
    _require(user, "missions.manage")
    with log.recording():
        mission = lock(mission_id)
        if mission.state not in (State.PLANNED, State.PAUSED):
            raise NotNow(f"The mission is {mission.state}; there is nothing to take up.")
        if mission.state == State.PLANNED:
            activate(mission, by=by, now=now)
        else:
            mission.state = State.ACTIVE
            mission.save(update_fields=["state"])
            _record(mission, MissionFact.RESUMED, {"reason": reason}, by=by, now=now)
        owe_advance(mission, now=now)
        return mission


def complete(*, mission_id: UUID, by: Actor, now: datetime, reason: str = "", user: User | None = None) -> Mission:
    """End a mission whose steps are all settled. Raises NotFound, NotNow, and Unsettled naming those that are
    not."""
    _require(user, "missions.manage")
    with log.recording():
        mission = lock(mission_id)
        if mission.state not in OPEN:
            raise NotNow(f"The mission is {mission.state} already.")
        gather(mission, now=now)
        if unsettled := list(mission.steps.filter(UNSETTLED).select_related("contract")):
            raise Unsettled(
                f"{len(unsettled)} of the mission's steps are not settled.",
                errors=[_named(step) for step in unsettled],
            )
        return end(mission, State.COMPLETED, reason=reason, by=by, now=now)


def _named(step: Step) -> FieldError:
    where = f"contract {step.contract_id} is {step.contract.state}" if step.contract else "it is only planned"
    return FieldError(f"/steps/{step.position}", "unsettled", f"Step {step.position} ({step.title}): {where}.")


def abandon(*, mission_id: UUID, reason: str, by: Actor, user: User | None, now: datetime) -> Mission:
    """Give a mission up: what has not started is cancelled, what runs settles by itself. Raises NotFound,
    NotNow."""
    _require(user, "missions.manage")
    with log.recording():
        mission = lock(mission_id)
        if mission.state not in OPEN:
            raise NotNow(f"The mission is {mission.state} already.")
        gather(mission, now=now)
        end(mission, State.CANCELLED, reason=reason, by=by, now=now)
        for step in mission.steps.filter(contract__state__in=NOT_STARTED):
            assert step.contract_id is not None
            _cancel(step.contract_id, reason=reason, by=by, now=now)
        return mission


def _cancel(contract_id: UUID, *, reason: str, by: Actor, now: datetime) -> None:
    """Who may give a mission up may take back what waits in it, whoever asked for it; `user` None says so."""
    why = f"Its mission was abandoned. {reason}".strip()
    try:
        proposals.cancel(contract_id=contract_id, by=by, user=None, reason=why, now=now)
    except Refused as refused:
        if refused.kind is not Kind.CONFLICT:
            raise
        # It started in the meantime: it settles by itself.


def turn_away(*, contract_id: UUID, by: Actor, now: datetime) -> None:
    """A contract slipped in while its mission was being abandoned: it is cancelled like the others."""
    with log.recording():
        contract = _contract(contract_id)
        abandoned = Mission.objects.filter(state=State.CANCELLED)
        mission = abandoned.filter(pk=contract.mission_id).first() if contract.mission_id else None
        if mission is not None and contract.state in NOT_STARTED:
            _cancel(contract_id, reason=mission.ending_reason, by=by, now=now)


def follow(*, contract_id: UUID, by: Actor, now: datetime) -> Step | None:
    """Count what became of a contract, for the mission it serves; None when it serves none."""
    with log.recording():
        step = Step.objects.filter(contract_id=contract_id).first()
        if step is None:
            return None
        mission = lock(step.mission_id)
        step = Step.objects.select_related("contract").get(pk=step.pk)
        return count(step=step, mission=mission, by=by, now=now)


def count(*, step: Step, mission: Mission, by: Actor, now: datetime) -> Step:
    """Count a step's outcome once, say so, and settle or carry on the mission (which is locked)."""
    contract = step.contract
    reached = contract.state if contract is not None and contract.settled_at else "refused" if step.problem else ""
    if reached == step.reached:
        return step
    step.reached = reached
    step.save(update_fields=["reached"])
    _take_health(mission)
    if reached:
        so_far = progress(mission_id=mission.pk)
        data = {"position": step.position, "reached": reached, "percent": so_far.percent, **_counts(so_far)}
        _record(mission, MissionFact.PROGRESSED, data, by=by, now=now)
    _settle(mission, by=by, now=now)
    if mission.state == State.ACTIVE and reached == ContractState.VERIFIED:
        owe_advance(mission, now=now)
    return step


def refuse_step(*, step_id: UUID, problem: str, by: Actor, now: datetime) -> Step:
    """A planned step could not be proposed: it counts as failed, with the reason."""
    with log.recording():
        mission = lock(Step.objects.get(pk=step_id).mission_id)
        step = Step.objects.get(pk=step_id)
        if step.contract_id is None and not step.problem:
            step.problem = problem
            step.save(update_fields=["problem"])
            count(step=step, mission=mission, by=by, now=now)
        return step


def _take_health(mission: Mission) -> None:
    """The health score measured last within the mission."""
    measured = Snapshot.objects.filter(mission_id=mission.pk, health_score__isnull=False)
    score = measured.order_by("-created_at", "-id").values_list("health_score", flat=True).first()
    if score is not None and score != mission.health_score:
        mission.health_score = score
        mission.save(update_fields=["health_score"])


def _settle(mission: Mission, *, by: Actor, now: datetime) -> None:
    """End a mission that settles itself when its steps say so; take it up again when a failed step was
    retried."""
    if not mission.settles_itself or mission.state not in (*OPEN, State.FAILED):
        return
    so_far = progress(mission_id=mission.pk)
    if so_far.failed or so_far.rolled_back:
        if mission.state != State.FAILED:
            end(mission, State.FAILED, reason=_why(mission), by=by, now=now)
    elif so_far.planned and so_far.completed == so_far.planned:
        end(mission, State.COMPLETED, reason="Every step was verified.", by=by, now=now)
    elif mission.state == State.FAILED:
        mission.state, mission.ended_at, mission.ending_reason = State.ACTIVE, None, ""
        mission.save(update_fields=["state", "ended_at", "ending_reason"])
        _record(mission, MissionFact.RESUMED, {"reason": "A failed step is tried again."}, by=by, now=now)


def _why(mission: Mission) -> str:
    step = mission.steps.filter(FAILED | ROLLED_BACK).select_related("contract").first()
    return "" if step is None else outcome_of(step)


def outcome_of(step: Step) -> str:
    """How a step ended, as a sentence for people."""
    how = step.problem or (f"is {step.contract.state}" if step.contract else "is planned")
    return f"Step {step.position} ({step.title}) {how}."[:1000]


def end(mission: Mission, state: Mission.State, *, reason: str, by: Actor, now: datetime) -> Mission:
    """Put a locked mission into a final state and say so."""
    mission.state, mission.ended_at, mission.ending_reason = state, now, reason
    mission.save(update_fields=["state", "ended_at", "ending_reason"])
    so_far = progress(mission_id=mission.pk)
    outcome = "success" if state == State.COMPLETED else "failure" if state == State.FAILED else "cancelled"
    data = {"reason": reason, **_counts(so_far)}
    _record(mission, MissionFact[state.name], data, by=by, now=now, outcome=outcome)
    metrics.on_commit(mission_metrics.completed.labels(status=state.value).inc)
    return mission


def _counts(so_far: Progress) -> dict[str, Any]:
    said: dict[str, Any] = {
        "planned": so_far.planned,
        "completed": so_far.completed,
        "failed": so_far.failed,
        "rolled_back": so_far.rolled_back,
    }
    if so_far.confidence is not None:
        said["confidence"] = log.decimal(so_far.confidence)
    return said


def owe_advance(mission: Mission, *, now: datetime) -> None:
    """Owe the proposal of whatever planned steps are next, within the transaction around."""
    if mission.steps.filter(contract__isnull=True, problem="").exists():
        jobs.enqueue(kind=ADVANCE_JOB, subject_id=str(mission.pk), mission_id=mission.pk, now=now)


def ready(mission: Mission) -> Sequence[Step]:
    """Planned steps that may be proposed now: the step before each in its own run was verified, or there is
    none."""
    found: list[Step] = []
    before: dict[UUID | None, bool] = {}
    for step in mission.steps.select_related("contract", "planned_by"):
        if step.contract is None and not step.problem and before.get(step.run, True):
            found.append(step)
        before[step.run] = step.contract is not None and step.contract.state == ContractState.VERIFIED
    return found


def open_to(user: User | None) -> QuerySet[Mission]:
    """The missions somebody may add to: people and Grace itself (None) all of them, agents their own side's.

    That is those which the agent or its owner started, and those of incidents one of them reported.
    """
    if user is None or principals.agent_of(user) is None:
        return Mission.objects.all()
    side = principals.answerable(user.pk)
    reported = Incident.objects.filter(reported_by_id__in=side)
    return Mission.objects.filter(Q(started_by_id__in=side) | Q(pk__in=reported.values("mission_id")))


def check_mission(mission_id: UUID | None, user: User | None) -> list[FieldError]:
    """What is wrong with proposing a contract for this mission; nothing when missions are not tracked.

    What an agent may not add to answers like what is not there.
    """
    if mission_id is None or not tracked():
        return []
    state = open_to(user).filter(pk=mission_id).values_list("state", flat=True).first()
    if state is None:
        return [FieldError("/mission_id", "unknown_mission", "There is no such mission.")]
    if state not in OPEN:
        return [FieldError("/mission_id", "mission_ended", f"The mission is {state}.")]
    return []


def _record(
    mission: Mission,
    fact: MissionFact,
    data: dict[str, Any],
    *,
    by: Actor,
    now: datetime,
    outcome: str = "success",
) -> UUID:
    return log.append(
        fact,
        actor=by,
        subject=subject_of(mission),
        data=data,
        outcome=outcome,
        mission_id=mission.pk,
        now=now,
    )
