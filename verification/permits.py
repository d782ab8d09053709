"""Permits: work that an external agent does instead of Grace, once, and under Grace's eyes.

The worker that carries an attempt offers its permit and sleeps no second for it; an agent claims it, is heard of, and
reports; the attempt's job looks again and goes on. What is reported is the agent's word and no more: the world is
observed after it as after any executor. Who locks several rows locks job, contract, attempt and permit, in this order.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings

from auditlog import canonical, jobs, log, reading
from auditlog.actors import SYSTEM, Actor
from auditlog.jobs import Lease, LeaseLost
from auditlog.models import Job
from auditlog.refusals import FieldError, Kind, Refused

from . import contracts, executions, executors, gates, permit_notes
from .executors import observed
from .executors.base import Call, ExecutionResult, Observation, Offer, Status
from .facts import PermitFact
from .gates import Dispatch
from .models import Execution, Permit, State

LOOK_SECONDS = 10.0
MAX_RESULT_CHARS = 64_000
REPORTABLE = (Status.SUCCESS, Status.FAILED, Status.PARTIAL, Status.TIMEOUT)


class AgentsOnly(Refused):
    """Permits are for agents."""

    code = "agents_only"
    kind = Kind.FORBIDDEN


class NothingIsExecuted(Refused):
    """VERIFICATION_ENABLED is false, and nothing is executed without verification."""

    code = "verification_disabled"
    kind = Kind.HELD


class NoSuchPermit(Refused):
    """There is no such permit."""

    code = "permit_not_found"
    kind = Kind.NOT_FOUND


class NotValid(Refused):
    """It is not what Grace wrote for this agent and this attempt."""

    code = "permit_not_valid"
    kind = Kind.CONFLICT


class Spent(Refused):
    """The work was reported: a permit is good for one report."""

    code = "permit_spent"
    kind = Kind.CONFLICT


class Expired(Refused):
    """It was not claimed, its agent was not heard of, or its deadline passed. Nothing it reports is recorded."""

    code = "permit_expired"
    kind = Kind.CONFLICT


class BadReport(Refused):
    """The report cannot be an ExecutionResult; `errors` names the fields."""

    code = "report_not_valid"
    kind = Kind.INVALID


@dataclass(frozen=True)
class Claimed:
    """A permit, and the same in writing, signed."""

    permit: Permit
    note: str


# --- the worker's side -----------------------------------------------------------------------------------------


def offer(*, execution_id: UUID, lease: Lease, work: Offer, now: datetime) -> Execution:
    """Offer the work of an attempt that has begun, instead of doing it. Raises LeaseLost."""
    with log.recording():
        execution, contract = executions.locked(execution_id, lease)
        if execution.state != Execution.State.EXECUTING or execution.deadline_at is None:
            raise LeaseLost(str(lease.job_id))
        Permit.objects.create(
            execution=execution,
            name=work.name,
            agents=list(work.agents),
            arguments=work.arguments,
            digest=contract.authorized_digest,
            token=execution.token,
            heartbeat_seconds=work.heartbeat_seconds,
            offered_at=now,
            good_until=min(now + timedelta(seconds=work.claim_seconds), execution.deadline_at),
            deadline_at=execution.deadline_at,
        )
        execution.state = Execution.State.HANDED_OVER
        execution.save(update_fields=["state"])
        return execution


def look(*, execution_id: UUID, lease: Lease, now: datetime) -> Execution:
    """What became of the permit of an attempt: its state says. Raises LeaseLost.

    Reported: verified next. Never claimed: failed, and nothing happened. Claimed, and its agent silent: in doubt.
    """
    with log.recording():
        execution, contract = executions.locked(execution_id, lease)
        permit = Permit.objects.select_for_update().get(execution=execution)
        if permit.state == Permit.State.REPORTED:
            executions.note_result(execution, ExecutionResult.from_dict(permit.result or {}), now=now)
        elif permit.state == Permit.State.OFFERED and contract.cancel_requested_at is not None:
            _lapse(permit, execution, reason="It was cancelled before anybody claimed its permit.", now=now)
        elif permit.state == Permit.State.OFFERED and permit.good_until <= now:
            _lapse(permit, execution, reason="Nobody claimed its permit in time.", now=now)
        elif permit.state == Permit.State.CLAIMED and permit.good_until <= now:
            _lapse(permit, execution, reason=f"{permit.claimed_by_label} was not heard of in time.", now=now)
        return execution


def next_look(execution: Execution, *, now: datetime) -> float:
    """In how many seconds to look again, when no report comes first."""
    left = (Permit.objects.get(execution=execution).good_until - now).total_seconds()
    return min(max(left, 0.5), LOOK_SECONDS)


def unclaimed(execution: Execution) -> bool:
    """Whether the work was offered and nobody ever had the permit: then it did nothing."""
    return Permit.objects.filter(execution=execution, claimed_at=None).exists()


def _lapse(permit: Permit, execution: Execution, *, reason: str, now: datetime) -> None:
    had = permit.claimed_at is not None
    permit.state, permit.ended_at = Permit.State.LAPSED, now
    permit.save(update_fields=["state", "ended_at"])
    _record(permit, execution, PermitFact.EXPIRED, by=SYSTEM, now=now, outcome="failure", reason=reason)
    if had:
        executions.note_doubt(execution, reason=reason, now=now)
    else:
        executions.note_result(execution, ExecutionResult.failure(reason, retryable=True), now=now)


# --- the agent's side ------------------------------------------------------------------------------------------


def claim(*, by: Actor, names: Collection[str] | None = None, now: datetime) -> Claimed | None:
    """The oldest work on offer that this agent may do, of these names when given; None when there is none.

    Every gate is asked once more: what a hold, a freeze or a change of the rules stops now is not given out. Raises
    AgentsOnly and NothingIsExecuted.
    """
    if by.kind != "agent":
        raise AgentsOnly("Permits are claimed with an agent's key.")
    if not settings.VERIFICATION_ENABLED:
        raise NothingIsExecuted("Nothing is executed while verification is switched off.")
    on_offer = Permit.objects.filter(state=Permit.State.OFFERED, good_until__gt=now).order_by("offered_at", "id")
    for permit in on_offer if names is None else on_offer.filter(name__in=names):
        if by.label in permit.agents and (note := _claim(permit.pk, by=by, now=now)) is not None:
            return note
    return None


def _claim(permit_id: UUID, *, by: Actor, now: datetime) -> Claimed | None:
    with log.recording():
        permit = _locked(permit_id)
        execution = permit.execution
        if not _to_be_had(execution, now=now):
            return None
        until = min(now + timedelta(seconds=permit.heartbeat_seconds), permit.deadline_at)
        taken = Permit.objects.filter(pk=permit_id, state=Permit.State.OFFERED, good_until__gt=now).update(
            state=Permit.State.CLAIMED,
            claimed_by_id=by.id,
            claimed_by_label=by.label,
            claimed_at=now,
            heard_at=now,
            good_until=until,
        )
        if not taken:
            return None
        permit.refresh_from_db(fields=["state", "claimed_by_id", "claimed_by_label", "claimed_at", "good_until"])
        deadline = canonical.stamp(permit.deadline_at)
        _record(permit, execution, PermitFact.CLAIMED, by=by, now=now, deadline_at=deadline)
    return Claimed(permit, permit_notes.write(_claims(permit)))


def _to_be_had(execution: Execution, *, now: datetime) -> bool:
    """Whether the work of a locked attempt may begin now: nobody wants it stopped, and every gate is open."""
    contract, revision = execution.contract, execution.revision
    waiting = execution.state == Execution.State.HANDED_OVER and contract.state == State.EXECUTING
    if not waiting or contract.cancel_requested_at is not None:
        return False
    call = Call(contract.action_type, contract.target, revision.parameters)
    if executors.get(contract.action_type).edition(call) != contract.executor_version:
        return False
    seen = Observation(execution.baseline or {}, execution.started_at or now)
    with reading.once():
        dispatch = Dispatch(contract, revision, execution, seen, execution.baseline_fingerprint, now)
        return gates.first_closed(dispatch) is None


def heartbeat(*, permit_id: UUID, note: str, by: Actor, now: datetime) -> Permit:
    """The agent is at work: its permit is good for longer, until the deadline at most.

    The contract of what is answered says whether to stop. Raises NoSuchPermit, NotValid, Spent and Expired.
    """
    with log.recording():
        permit = _held(permit_id, note, by=by, now=now)
        permit.heard_at = now
        permit.good_until = min(now + timedelta(seconds=permit.heartbeat_seconds), permit.deadline_at)
        permit.save(update_fields=["heard_at", "good_until"])
        return permit


def report(*, permit_id: UUID, note: str, result: dict[str, Any], by: Actor, now: datetime) -> Permit:
    """What the agent says came of it; the attempt goes on by observing. A permit takes one report.

    `result` has the members of an ExecutionResult. Raises BadReport, NoSuchPermit, NotValid, Spent and Expired.
    """
    told = _checked(result)
    with log.recording():
        permit = _held(permit_id, note, by=by, now=now)
        measured = int((now - (permit.claimed_at or now)).total_seconds() * 1000)
        permit.state, permit.ended_at = Permit.State.REPORTED, now
        permit.result = {**told, "duration_ms": told["duration_ms"] or measured}
        permit.save(update_fields=["state", "ended_at", "result"])
        about = {"status": told["status"], "result": log.foreign(told["result"])}
        outcome = "success" if told["ok"] else "failure"
        _record(permit, permit.execution, PermitFact.REPORTED, by=by, now=now, outcome=outcome, **about)
        jobs.bring_forward(kind=contracts.EXECUTION_JOB, subject_id=str(permit.execution.contract_id), now=now)
        return permit


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    """The report as it is stored; raises BadReport."""
    status, ok = result["status"], result["status"] == Status.SUCCESS
    if status not in REPORTABLE:
        raise _bad("/status", "not_allowed", f"One of {', '.join(REPORTABLE)} is reported.")
    if result.get("ok", ok) is not ok:
        raise _bad("/ok", "contradiction", "It is ok when its status is success, and only then.")
    told = {
        "ok": ok,
        "status": str(status),
        "result": observed.json_safe(result.get("result") or {}),
        "error": observed.storable(result.get("error") or "") or (None if ok else "The agent gave no reason."),
        "error_resolved": bool(result.get("error_resolved")),
        "metrics": observed.json_safe(result.get("metrics") or {}),
        "duration_ms": int(result.get("duration_ms") or 0),
        "retryable": bool(result.get("retryable")) and not ok,
    }
    if len(log.foreign(told)) > MAX_RESULT_CHARS:
        raise _bad("/result", "too_long", f"A report has at most {MAX_RESULT_CHARS} characters of JSON.")
    return told


def _bad(pointer: str, code: str, detail: str) -> BadReport:
    return BadReport(detail, errors=[FieldError(pointer, code, detail)])


# --- shared ----------------------------------------------------------------------------------------------------


def _locked(permit_id: UUID) -> Permit:
    """The permit with its attempt and contract, locked and read after it; raises NoSuchPermit."""
    job_id = Permit.objects.filter(pk=permit_id).values_list("execution__job_id", flat=True).first()
    if job_id is None:
        raise NoSuchPermit("There is no such permit.")
    Job.objects.select_for_update().filter(pk=job_id).first()
    contract_id = Permit.objects.values_list("execution__contract_id", flat=True).get(pk=permit_id)
    contract = contracts.lock(contract_id)
    found = Permit.objects.select_for_update(of=("self",)).select_related("execution__revision").get(pk=permit_id)
    found.execution.contract = contract
    return found


def _held(permit_id: UUID, note: str, *, by: Actor, now: datetime) -> Permit:
    """The locked permit, if this agent holds it, in this writing, and its time has not come."""
    try:
        claims = permit_notes.read(note)
    except permit_notes.Forged as problem:
        raise NotValid(f"This permit is not valid: {problem}.") from None
    permit = _locked(permit_id)
    contract = permit.execution.contract
    # The writing binds agent, digest and token; the row says whether they still are what they were.
    if permit.claimed_by_id != by.id or claims != {"iss": permit_notes.ISSUER, **_claims(permit)}:
        raise NotValid("This permit is not valid: it is another's, or for something else.")
    if permit.state == Permit.State.REPORTED:
        raise Spent("The work was reported already.")
    if permit.state != Permit.State.CLAIMED or permit.good_until <= now:
        raise Expired("The permit has lapsed. What was done is found out by looking; report nothing.")
    if permit.digest != contract.authorized_digest or permit.execution.state != Execution.State.HANDED_OVER:
        raise NotValid("This permit is not valid: the contract is another by now.")
    return permit


def _claims(permit: Permit) -> dict[str, Any]:
    """What the permit says, in the names of RFC 7519 where it has one."""
    execution = permit.execution
    assert permit.claimed_at is not None, "only what was claimed is written"
    return {
        "jti": str(permit.pk),
        "sub": permit.claimed_by_id,
        "iat": _seconds(permit.claimed_at),
        "exp": _seconds(permit.deadline_at),
        "contract": str(execution.contract_id),
        "digest": permit.digest,
        "attempt": execution.attempt,
        "token": permit.token,
        "target": execution.target,
        "remote": permit.name,
        "arguments": permit.arguments,
    }


def _seconds(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp())


def _record(
    permit: Permit,
    execution: Execution,
    fact: PermitFact,
    *,
    by: Actor,
    now: datetime,
    outcome: str = "success",
    **data: Any,
) -> None:
    contract = execution.contract
    about = {
        "action_type": contract.action_type,
        "target": contract.target,
        "permit_id": str(permit.pk),
        "attempt": execution.attempt,
        "name": permit.name,
    }
    if permit.claimed_by_label:
        about["agent"] = permit.claimed_by_label
    contracts.record(contract, fact, {**about, **data}, by=by, now=now, outcome=outcome)
