"""Executions: the verbs that claim a target, begin an attempt, record what happened and settle it.

Everything here is a transaction; everything that touches the world is in `verification.running`. Each verb locks the
job under the token of its lease first, so that a late worker with an old token can record nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Exists, F, OuterRef, Subquery

from auditlog import jobs, log, reading
from auditlog.actors import SYSTEM
from auditlog.jobs import Lease, LeaseLost
from auditlog.models import JobState
from auditlog.refusals import Kind, Refused

from . import contracts, executors, gates, snapshotting
from .criteria import Judgement, Measurement
from .executors.base import Call, ExecutionResult, Observation, Reversibility
from .facts import AgenticFact
from .gates import Closed, Dispatch, Then
from .models import Contract, Execution, Revision, Snapshot, State
from .verdicts import Next

STARTABLE = frozenset({State.AUTHORIZED, State.FAILED, State.IN_DOUBT})
OPEN = frozenset(
    {
        Execution.State.PREPARING,
        Execution.State.EXECUTING,
        Execution.State.HANDED_OVER,
        Execution.State.VERIFYING,
        Execution.State.IN_DOUBT,
        Execution.State.ROLLING_BACK,
    }
)
NO_TOKEN = -1
"""The token of an attempt whose job has ended: no lease ever carries it."""
DEADLINE_MARGIN = timedelta(seconds=5)
RETRY_BASE_SECONDS, RETRY_CAP_SECONDS = 2.0, 300.0


class NothingToDo(Refused):
    """The contract is in no state from which an attempt can start."""

    code = "nothing_to_execute"
    kind = Kind.CONFLICT


class TargetBusy(Refused):
    """Another attempt holds the target; contracts on one target run one after the other."""

    code = "target_busy"
    kind = Kind.CONFLICT


class CarriedElsewhere(Refused):
    """Another job of this contract, which has not ended, carries its open attempt."""

    code = "carried_elsewhere"
    kind = Kind.CONFLICT


@dataclass(frozen=True)
class Findings:
    """What was observed after an attempt: the world, each criterion, the verdict, and the time it took."""

    observation: Observation | None
    measurements: Sequence[Measurement]
    judgement: Judgement
    reason: str = ""

    @property
    def state(self) -> dict[str, Any] | None:
        """The observed state, or None when it could not be read."""
        return self.observation.state if self.observation else None


# --- claim ---


def adopt(*, contract_id: UUID, lease: Lease, now: datetime) -> Execution:
    """The open attempt of this contract, or a new one, which holds its target unless it only reads.

    Stands in the transaction that claims the job. An attempt that had begun keeps the token it began with: a newer
    lease knows by it that the attempt is in doubt. Raises NothingToDo, TargetBusy, and CarriedElsewhere when another
    live job has the attempt in hand.
    """
    attempts = Execution.objects.filter(contract_id=OuterRef("contract_id"))
    revision = (
        Revision.objects.select_related("contract")
        .filter(contract_id=contract_id, number=F("contract__current_revision"))
        .annotate(
            latest=Subquery(attempts.order_by("-attempt").values("attempt")[:1]),
            is_open=Exists(attempts.filter(state__in=OPEN)),
        )
        .get()
    )
    if revision.is_open:
        return _resume(contract_id, lease)
    return _prepare(revision, attempt=(revision.latest or 0) + 1, lease=lease, now=now)


def _resume(contract_id: UUID, lease: Lease) -> Execution:
    contract = contracts.lock(contract_id)
    execution = contract.executions.select_related("revision").get(state__in=OPEN)
    if execution.job_id != lease.job_id:
        _take_over(execution, lease)
    elif execution.state == Execution.State.PREPARING:
        execution.token = lease.token
        execution.save(update_fields=["token"])
    return execution


def _take_over(execution: Execution, lease: Lease) -> None:
    """Go on with an attempt whose job has ended; what it had begun is in doubt, whatever its token was."""
    if not jobs.ended(execution.job_id):
        raise CarriedElsewhere("Another job carries this attempt.")
    execution.job_id = lease.job_id
    execution.token = lease.token if execution.state == Execution.State.PREPARING else NO_TOKEN
    execution.save(update_fields=["job_id", "token"])


def _prepare(revision: Revision, *, attempt: int, lease: Lease, now: datetime) -> Execution:
    contract = revision.contract
    if contract.state not in STARTABLE or contract.dead_lettered_at is not None:
        raise NothingToDo(f"The contract is {contract.state}.")
    try:
        return Execution.objects.create(
            contract=contract,
            revision=revision,
            attempt=attempt,
            target=contract.target,
            holds_target=_exclusive(revision),
            job_id=lease.job_id,
            token=lease.token,
            created_at=now,
        )
    except IntegrityError:
        raise TargetBusy(f"Another attempt holds {contract.target}.") from None


def _exclusive(revision: Revision) -> bool:
    """Whether the contract needs its target for itself. What only reads does not, however long it measures."""
    contract = revision.contract
    call = Call(contract.action_type, contract.target, revision.parameters)
    return executors.get(contract.action_type).reversibility(call) != Reversibility.READ_ONLY


def put_off(*, execution_id: UUID, lease: Lease, now: datetime) -> Closed:
    """Give up an attempt whose target cannot be observed: nothing was touched.

    The gates that need no observation are asked: its authorization may have run out. Otherwise it waits.
    """
    with log.recording():
        execution, contract = locked(execution_id, lease)
        if (over := _over(contract, execution)) is not None:
            return over
        wait = patience_seconds(contract, now)
        unseen = Closed("observation", "target_not_observable", "The target cannot be observed.", Then.WAIT, wait)
        dispatch = Dispatch(contract, execution.revision, execution, None, "", now)
        with reading.once():
            why = gates.first_closed(dispatch) or unseen
        _turn_away(dispatch, why)
        return why


def begin(
    *,
    execution_id: UUID,
    lease: Lease,
    observation: Observation,
    fingerprint: str,
    unmet: str,
    baseline_metrics: dict[str, float],
    deadline_seconds: float,
    now: datetime,
) -> Execution | Closed:
    """Ask every gate; when all are open the contract begins, else the attempt is given up and the no is answered.

    `unmet` names a precondition that does not hold, or is empty.
    """
    with log.recording():
        execution, contract = locked(execution_id, lease)
        if execution.state != Execution.State.PREPARING:
            raise LeaseLost(str(lease.job_id))
        if (over := _over(contract, execution)) is not None:
            return over
        dispatch = Dispatch(contract, execution.revision, execution, observation, fingerprint, now)
        with reading.once():
            why = _called_off(contract) or (_unmet(contract, unmet) if unmet else gates.first_closed(dispatch))
            if why is None:
                gates.begun(dispatch)
        if why is not None:
            _turn_away(dispatch, why)
            return why
        execution.baseline_metrics = baseline_metrics
        _start(contract, execution, dispatch, token=lease.token, deadline_seconds=deadline_seconds)
        return execution


def _over(contract: Contract, execution: Execution) -> Closed | None:
    """Give the attempt up when its contract ended while the target was observed."""
    if contract.state in STARTABLE and contract.dead_lettered_at is None:
        return None
    execution.delete()
    return Closed("contract", "not_startable", f"The contract is {contract.state}.", Then.CANCEL)


def _called_off(contract: Contract) -> Closed | None:
    """Whoever asked for its end is heard before any gate."""
    if contract.cancel_requested_at is None:
        return None
    return Closed("contract", "cancelled", contract.cancel_reason, Then.CANCEL)


def _unmet(contract: Contract, unmet: str) -> Closed:
    """Where people were asked they are asked again; what ran by itself has nobody to ask."""
    then = Then.CANCEL if contract.tier == "tier_1" else Then.REAPPROVE
    return Closed("preconditions", "precondition_unmet", unmet, then)


def _turn_away(dispatch: Dispatch, why: Closed) -> None:
    """Give the attempt up before it touched anything, and let the contract become what the no says."""
    contract, now = dispatch.contract, dispatch.now
    dispatch.execution.delete()
    if why.then == Then.WAIT:
        return
    gates.closed(dispatch, why)
    reason = f"{why.code}: {why.detail}"
    if contract.state != State.AUTHORIZED:
        # A retry that may no longer start: the attempts before it are all there will be.
        contracts.dead_letter(contract, attempts=contract.executions.count(), error=reason, by=SYSTEM, now=now)
    elif why.then == Then.REAPPROVE:
        contracts.await_approval(contract_id=contract.pk, tier=contract.tier, by=SYSTEM, reason=reason, now=now)
    elif why.then == Then.EXPIRE:
        contracts.expire(contract_id=contract.pk, by=SYSTEM, reason=reason, now=now)
    else:
        contracts.cancel(contract_id=contract.pk, by=SYSTEM, reason=reason, now=now)
    contracts.wake_waiting(contract.target, now=now)


def _start(
    contract: Contract, execution: Execution, dispatch: Dispatch, *, token: int, deadline_seconds: float
) -> None:
    now = dispatch.now
    assert dispatch.observation is not None, "what could not be observed was put off"
    execution.state, execution.token = Execution.State.EXECUTING, token
    execution.baseline, execution.baseline_fingerprint = dispatch.observation.state, dispatch.fingerprint
    execution.started_at, execution.deadline_at = now, now + timedelta(seconds=deadline_seconds)
    begun = ("baseline", "baseline_fingerprint", "baseline_metrics", "started_at", "deadline_at")
    execution.save(update_fields=["state", "token", *begun])
    contracts.move(contract, State.EXECUTING, by=SYSTEM, now=now, attempt=execution.attempt)
    _record_action(contract, execution, AgenticFact.ACTION_EXECUTING, status="executing", now=now)


# --- what happened ---


def keep_snapshot(*, execution_id: UUID, lease: Lease, snapshot: Snapshot, now: datetime) -> None:
    """Keep the way back and tie it to the attempt, before anything is done."""
    with log.recording():
        lease.fence()
        snapshotting.keep(snapshot, kind=Snapshot.Kind.PRE_ACTION, by=SYSTEM, now=now)
        Execution.objects.filter(pk=execution_id, job_id=lease.job_id).update(snapshot=snapshot)


def record_result(*, execution_id: UUID, lease: Lease, result: ExecutionResult, now: datetime) -> Execution:
    """Write down what the executor says; whether it is true is observed next."""
    with log.recording():
        execution, _ = locked(execution_id, lease)
        note_result(execution, result, now=now)
        return execution


def note_result(execution: Execution, result: ExecutionResult, *, now: datetime) -> None:
    """The same, for an attempt that is locked."""
    execution.result = {**result.as_dict(), "retryable": result.retryable}
    execution.state = Execution.State.VERIFYING
    execution.save(update_fields=["result", "state"])
    if result.ok:
        contracts.move(
            execution.contract,
            State.VERIFYING,
            by=SYSTEM,
            now=now,
            attempt=execution.attempt,
            duration_ms=result.duration_ms,
        )


def doubt(*, execution_id: UUID, lease: Lease, reason: str, now: datetime) -> Execution:
    """An attempt began and nobody knows how it ended: say so, and keep its target."""
    with log.recording():
        execution, _ = locked(execution_id, lease)
        note_doubt(execution, reason=reason, now=now)
        return execution


def note_doubt(execution: Execution, *, reason: str, now: datetime) -> None:
    """The same, for an attempt that is locked."""
    execution.state = Execution.State.IN_DOUBT
    execution.save(update_fields=["state"])
    contracts.move(execution.contract, State.IN_DOUBT, by=SYSTEM, now=now, reason=reason, attempt=execution.attempt)


def note_unread(*, execution_id: UUID, lease: Lease, undone: ExecutionResult | None = None, now: datetime) -> timedelta:
    """What became of an attempt cannot be seen: note since when, and what going back said of itself.

    Answers for how long it has been so.
    """
    with log.recording():
        execution, _ = locked(execution_id, lease)
        execution.unread_since = execution.unread_since or now
        if undone is not None:
            execution.rollback_result = undone.as_dict()
        execution.save(update_fields=["unread_since", "rollback_result"])
        return now - execution.unread_since


def note_read(*, execution_id: UUID, lease: Lease) -> None:
    """It can be seen again."""
    with log.recording():
        lease.fence()
        Execution.objects.filter(pk=execution_id, job_id=lease.job_id).update(unread_since=None)


def keep_samples(*, execution_id: UUID, lease: Lease, findings: Findings) -> None:
    """Keep what a long verification has measured so far."""
    with log.recording():
        lease.fence()
        Execution.objects.filter(pk=execution_id, job_id=lease.job_id).update(
            measurements=[each.as_dict() for each in findings.measurements], observed=findings.state
        )


def conclude(
    *, execution_id: UUID, lease: Lease, findings: Findings, step: Next, retryable: bool, now: datetime
) -> tuple[Execution, float | None]:
    """Settle the attempt as `step` says, or set it rolling back.

    Answers the attempt and, when the contract failed and may be tried again, after how many seconds.
    """
    with log.recording():
        execution, contract = locked(execution_id, lease)
        execution.measurements = [each.as_dict() for each in findings.measurements]
        execution.observed, execution.outcome = findings.state, findings.judgement.outcome
        execution.confidence = contract.confidence = findings.judgement.confidence
        execution.unread_since = None
        retry_after = _CONCLUSIONS[step](contract, execution, findings, retryable, now)
        if execution.state == Execution.State.ROLLING_BACK:
            # Whoever goes on under another token comes after a worker that may have begun to go back.
            execution.token = lease.token
        found = ("token", "measurements", "observed", "outcome", "confidence", "recovered", "rollback_reason")
        execution.save(update_fields=["state", "holds_target", "finished_at", "unread_since", *found])
        if not execution.holds_target:
            contracts.wake_waiting(contract.target, now=now)
        if retry_after is None and execution.state not in OPEN:
            lease.finish({"contract": str(contract.pk), "state": contract.state})
        return execution, retry_after


def _verified(contract: Contract, execution: Execution, findings: Findings, retryable: bool, now: datetime) -> None:
    if contract.state == State.EXECUTING:
        contracts.move(contract, State.VERIFYING, by=SYSTEM, now=now, attempt=execution.attempt)
    execution.recovered = contract.state == State.IN_DOUBT
    if contract.action_type in snapshotting.GOING_BACK:
        named = UUID(execution.revision.parameters["snapshot_id"])
        snapshotting.note_restored(snapshot_id=named, by=SYSTEM, now=now)
    _settle(contract, execution, State.VERIFIED, findings, now=now, recovered=execution.recovered)
    _record_action(contract, execution, AgenticFact.ACTION_COMPLETED, status="verified", now=now)


def _partial(contract: Contract, execution: Execution, findings: Findings, retryable: bool, now: datetime) -> None:
    _settle(contract, execution, State.PARTIAL, findings, now=now)
    _record_action(contract, execution, AgenticFact.ACTION_FAILED, status="partial", now=now)


def _failed(
    contract: Contract, execution: Execution, findings: Findings, retryable: bool, now: datetime
) -> float | None:
    """Nothing happened: cancelled, if somebody asked for that by now, and otherwise failed."""
    if contract.state == State.IN_DOUBT:
        contracts.move(contract, State.EXECUTING, by=SYSTEM, now=now, reason="observed: nothing happened")
    if contract.cancel_requested_at is not None:
        _settle(contract, execution, State.CANCELLED, findings, now=now)
        _record_action(contract, execution, AgenticFact.ACTION_FAILED, status="cancelled", now=now)
        return None
    _settle(contract, execution, State.FAILED, findings, now=now)
    _record_action(contract, execution, AgenticFact.ACTION_FAILED, status="failed", now=now)
    if retryable and execution.attempt < contract.max_attempts:
        return backoff_seconds(execution.attempt)
    error = str((execution.result or {}).get("error") or findings.reason)
    contracts.dead_letter(contract, attempts=execution.attempt, error=error, by=SYSTEM, now=now)
    return None


def _roll_back(contract: Contract, execution: Execution, findings: Findings, retryable: bool, now: datetime) -> None:
    _violate(contract, execution, findings, now=now)
    execution.state, execution.rollback_reason = Execution.State.ROLLING_BACK, _reason(execution)
    contracts.move(
        contract,
        State.ROLLING_BACK,
        by=SYSTEM,
        now=now,
        reason=execution.rollback_reason,
        attempt=execution.attempt,
    )


def _hold(contract: Contract, execution: Execution, findings: Findings, retryable: bool, now: datetime) -> None:
    _violate(contract, execution, findings, now=now)
    if contract.state == State.EXECUTING:
        contracts.move(contract, State.IN_DOUBT, by=SYSTEM, now=now, reason=findings.reason)
    _keep_held(contract, execution, reason=findings.reason or "there is no way back", now=now)


_CONCLUSIONS = {
    Next.VERIFIED: _verified,
    Next.PARTIAL: _partial,
    Next.FAILED: _failed,
    Next.ROLL_BACK: _roll_back,
    Next.HOLD: _hold,
}


# --- the way back ---


def finish_rollback(
    *,
    execution_id: UUID,
    lease: Lease,
    result: ExecutionResult,
    observation: Observation | None,
    restored: bool,
    from_snapshot: bool,
    reason: str,
    now: datetime,
) -> Execution:
    """Settle a rollback by what was observed after it: as before, or held and loud.

    `restored`: the target is as it was. `from_snapshot`: its snapshot brought it there; there may have been nothing to
    undo.
    """
    with log.recording():
        execution, contract = locked(execution_id, lease)
        execution.rollback_result = result.as_dict()
        execution.rollback_observed = observation.state if observation else None
        execution.unread_since = None
        if restored:
            if from_snapshot and execution.snapshot_id is not None:
                snapshotting.note_restored(snapshot_id=execution.snapshot_id, by=SYSTEM, now=now)
            _free(execution, now=now)
            contracts.move(
                contract,
                State.ROLLED_BACK,
                by=SYSTEM,
                now=now,
                reason=execution.rollback_reason,
                attempt=execution.attempt,
                rollback_duration_ms=result.duration_ms,
            )
            contracts.wake_waiting(contract.target, now=now)
        else:
            _keep_held(contract, execution, reason=reason, now=now)
        execution.save()
        return execution


# --- shared by the verbs above ---


def locked(execution_id: UUID, lease: Lease) -> tuple[Execution, Contract]:
    """The attempt and its contract, locked in this order: job, contract, attempt; all read after the lock.

    Raises LeaseLost when the lease is over, or another job carries the attempt by now.
    """
    held = Execution.objects.filter(
        pk=execution_id,
        job_id=lease.job_id,
        job__token=lease.token,
        job__state=JobState.RUNNING,
        job__lease_until__gt=lease.now(),
    )
    rows = held.select_for_update(of=("job", "contract", "self")).select_related("job", "contract", "revision")
    execution = rows.order_by().first()
    if execution is None:
        raise LeaseLost(str(lease.job_id))
    return execution, execution.contract


def _settle(
    contract: Contract, execution: Execution, to: State, findings: Findings, *, now: datetime, **data: Any
) -> None:
    _free(execution, now=now)
    contracts.move(
        contract,
        to,
        by=SYSTEM,
        now=now,
        reason=findings.reason,
        attempt=execution.attempt,
        confidence=str(findings.judgement.confidence),
        **data,
    )


def _free(execution: Execution, *, now: datetime) -> None:
    execution.state, execution.holds_target, execution.finished_at = Execution.State.SETTLED, False, now


def _violate(contract: Contract, execution: Execution, findings: Findings, *, now: datetime) -> None:
    if contract.state == State.VERIFYING:
        contracts.move(
            contract,
            State.VIOLATED,
            by=SYSTEM,
            now=now,
            reason=findings.reason,
            attempt=execution.attempt,
            confidence=str(findings.judgement.confidence),
        )
    _record_action(contract, execution, AgenticFact.ACTION_FAILED, status="violated", now=now)


def _keep_held(contract: Contract, execution: Execution, *, reason: str, now: datetime) -> None:
    execution.state, execution.finished_at = Execution.State.HELD, now
    contracts.move(contract, State.HELD, by=SYSTEM, now=now, reason=reason, attempt=execution.attempt)


def _reason(execution: Execution) -> str:
    if execution.result is None:
        return "in_doubt"
    return "criteria_violated" if execution.result.get("ok") else "execution_failed"


def _record_action(contract: Contract, execution: Execution, fact: AgenticFact, *, status: str, now: datetime) -> None:
    data: dict[str, Any] = {
        "action_type": contract.action_type,
        "target": contract.target,
        "tier": contract.tier,
        "attempt": execution.attempt,
        "status": status,
    }
    if execution.result is not None:
        data["result"] = log.foreign(execution.result)
        data["duration_ms"] = int(execution.result.get("duration_ms", 0))
    if execution.confidence is not None:
        data["confidence"] = str(execution.confidence)
    outcome = "failure" if fact is AgenticFact.ACTION_FAILED else "success"
    contracts.record(contract, fact, data, by=SYSTEM, now=now, outcome=outcome)


def patience_seconds(contract: Contract, now: datetime) -> float:
    """How long to wait for a target that cannot be observed: a tenth of the time waited so far, 5 s to 5 min."""
    waited = (now - (contract.authorized_at or now)).total_seconds()
    return min(300.0, max(5.0, waited / 10))


def backoff_seconds(attempt: int) -> float:
    """Exponential with full jitter: between half and one and a half of 2, 4, 8 … seconds, at most 300."""
    wait: float = min(RETRY_CAP_SECONDS, RETRY_BASE_SECONDS * 2 ** (attempt - 1))
    return wait * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
