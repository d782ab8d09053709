"""Running a contract: the steps between the transactions, where the world is observed and acted on.

The job `execution.run` carries a contract from authorized to settled. An attempt's state names the step that comes
next, so whoever picks the job up after a crash goes on from there:

    preparing     observe, ask the gates, begin
    executing     snapshot, execute, record the result; in doubt if begun under an older token, or if the executor says
                  that it does not know
    handed_over   an external agent does the work, or may: look whether its permit was reported, or lapsed
    in_doubt      observe until it is clear what happened
    verifying     observe, measure the criteria, conclude
    rolling_back  restore, observe, compare with the baseline

What was done to a target that cannot be read is not known yet: it is looked at again, in another run of the job, until
PATIENCE is at its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection

from auditlog import jobs
from auditlog.context import ObservabilityContext
from auditlog.jobs import Lease, LeaseLost, RunAgain
from auditlog.models import Job
from auditlog.refusals import Refused

from . import contracts, criteria, executions, executors, measuring, permits, snapshotting, verdicts
from .executions import DEADLINE_MARGIN, Findings
from .executors.base import (
    Call,
    ExecutionResult,
    Executor,
    ExecutorError,
    Observation,
    Reversibility,
    Run,
    SnapshotReader,
    Status,
)
from .gates import Closed, Then
from .models import Contract, Execution
from .verdicts import Next

logger = structlog.get_logger(__name__)

BUSY_SECONDS = 5.0
PAUSED_SECONDS = 30.0
LOOK_AGAIN_SECONDS, LONGEST_LOOK_SECONDS = 1.0, 15.0
PATIENCE = timedelta(minutes=2)
"""For how long in a row a target may be unreadable before it is judged without being seen."""
CANCEL_POLL_SECONDS = 0.5


class InsideTransaction(RuntimeError):
    """An outside effect was about to happen inside a transaction."""


@dataclass(frozen=True)
class Attempt:
    """One attempt in hand: its rows, its executor, the call as it runs, and the lease it runs under."""

    contract: Contract
    execution: Execution
    executor: Executor
    call: Call
    lease: Lease

    @classmethod
    def of(cls, execution: Execution, lease: Lease) -> Attempt:
        """What an attempt needs, from its row as a verb answered it."""
        contract = execution.contract
        call = Call(
            contract.action_type,
            contract.target,
            execution.revision.parameters,
            token=lease.token,
            contract_id=contract.pk,
        )
        return cls(contract, execution, executors.get(contract.action_type), call, lease)

    @property
    def acting(self) -> Call:
        """The call with what was authorized, for acting and not only looking."""
        return replace(self.call, edition=self.contract.executor_version)

    @property
    def ids(self) -> dict[str, Any]:
        """What every verb of `verification.executions` is told."""
        return {"execution_id": self.execution.pk, "lease": self.lease}

    @property
    def reversibility(self) -> Reversibility:
        """The trusted class of this call."""
        return self.executor.reversibility(self.call)

    @property
    def way_back(self) -> bool:
        """Whether what was done can be undone, or nothing is ever done."""
        return self.reversibility != Reversibility.IRREVERSIBLE

    def observe(self) -> Observation | None:
        """The target now, or None when it cannot be read."""
        outside_transaction()
        try:
            return self.executor.observe(self.call)
        except ExecutorError as error:
            logger.warning("target_not_observed", error=str(error))
            return None

    def unchanged(self, observation: Observation | None) -> bool:
        """Whether the target is provably as it was before the attempt."""
        if self.reversibility == Reversibility.READ_ONLY or permits.unclaimed(self.execution):
            return True
        if observation is None or not self.executor.tells_change(self.call):
            return False
        return self.executor.untouched(self.call, self.baseline, observation)

    @property
    def baseline(self) -> Observation:
        """The target as it was when the attempt began."""
        assert self.execution.started_at is not None, "begin() sets the start"
        return Observation(self.execution.baseline or {}, self.execution.started_at)

    def is_back(self, observation: Observation | None) -> bool | None:
        """Whether the target was seen to be as it was before the attempt, after going back; None: it cannot be told."""
        if self.unchanged(observation):
            return True
        if not self.executor.tells_change(self.call):
            return False
        if observation is None:
            return None
        outside_transaction()
        try:
            return self.executor.is_back(self.call, self.baseline, observation, self.kept())
        except ExecutorError as error:
            logger.warning("rollback_not_verified", error=str(error))
            return None
        except Refused as refusal:
            logger.warning("rollback_not_verified", error=str(refusal))
            return False

    @property
    def undone(self) -> ExecutionResult | None:
        """What going back said, when that was done already and could not be looked at."""
        told = self.execution.rollback_result
        return None if told is None else ExecutionResult.from_dict(told)

    def kept(self) -> SnapshotReader | None:
        """The way back, or None where none was kept; raises SnapshotDamaged and NotUsable."""
        snapshot = self.execution.snapshot
        return None if snapshot is None else snapshotting.open_verified(snapshot)


def take(job: Job, lease: Lease) -> Execution | executions.NothingToDo:
    """Adopt the attempt that the job carries, in the transaction of the job's claim; raises RunAgain to wait."""
    if not settings.VERIFICATION_ENABLED:
        raise RunAgain(after=PAUSED_SECONDS)
    try:
        return executions.adopt(contract_id=UUID(job.subject_id), lease=lease, now=lease.now())
    except executions.NothingToDo as refusal:
        return refusal
    except (executions.TargetBusy, executions.CarriedElsewhere):
        raise RunAgain(after=BUSY_SECONDS) from None


@jobs.runner(contracts.EXECUTION_JOB, queue="executions", max_attempts=20, visible=False, take=take)
def run(job: Job, lease: Lease) -> dict[str, Any]:
    """Carry one contract as far as it goes; raises RunAgain when it has to wait for something."""
    if isinstance(lease.taken, executions.NothingToDo):
        return {"skipped": lease.taken.detail}
    execution: Execution = lease.taken
    contract = execution.contract
    ids = ObservabilityContext(
        contract_id=contract.pk, mission_id=job.mission_id, action_type=contract.action_type, tier=contract.tier
    )
    with ids:
        while step := STEPS.get(execution.state):
            went_on = step(Attempt.of(execution, lease))
            if went_on is None:
                break
            execution = went_on
        return {"contract": str(execution.contract_id), "state": execution.contract.state}


def begin(attempt: Attempt) -> Execution | None:
    """Look at the target and the preconditions, then ask to begin. None when the attempt was given up."""
    observation = attempt.observe()
    now = attempt.lease.now
    answer: Execution | Closed
    if observation is None:
        answer = executions.put_off(**attempt.ids, now=now())
    else:
        answer = executions.begin(
            **attempt.ids,
            observation=observation,
            fingerprint=attempt.executor.fingerprint(observation),
            unmet=_unmet_precondition(attempt, observation),
            baseline_metrics=measuring.before(criteria.parse(attempt.execution.revision.expected_effect)),
            deadline_seconds=attempt.executor.deadline_seconds(attempt.call),
            now=now(),
        )
    if isinstance(answer, Execution):
        return answer
    logger.info("not_started", gate=answer.gate, code=answer.code, detail=answer.detail)
    if answer.then == Then.WAIT:
        raise RunAgain(after=answer.retry_after)
    return None


def _unmet_precondition(attempt: Attempt, observation: Observation) -> str:
    wanted = criteria.parse_criteria(attempt.execution.revision.preconditions)
    world = measuring.World(observed=observation.state, baseline=observation.state, parameters=attempt.call.parameters)
    for criterion in wanted:
        measured = measuring.measure_once(criterion, world)
        if measured.outcome is not criteria.Outcome.PASSED:
            return f"{measured.title}: {measured.reason or measured.outcome.value}"
    return ""


def perform(attempt: Attempt) -> Execution:
    """Take the snapshot, execute, record or hand over. An attempt begun under an older token is in doubt instead."""
    if attempt.execution.token != attempt.lease.token:
        lost = "the worker that carried this attempt was lost"
        return executions.doubt(**attempt.ids, reason=lost, now=attempt.lease.now())
    try:
        _keep_the_way_back(attempt)
    except ExecutorError as error:
        result = ExecutionResult.failure(f"The way back could not be kept: {error}", retryable=True)
    else:
        result = _execute(attempt)
    if result.offer is not None:
        return permits.offer(**attempt.ids, work=result.offer, now=attempt.lease.now())
    if result.status == Status.UNKNOWN:
        return executions.doubt(**attempt.ids, reason=result.error or "", now=attempt.lease.now())
    return executions.record_result(**attempt.ids, result=result, now=attempt.lease.now())


def _keep_the_way_back(attempt: Attempt) -> None:
    if attempt.reversibility == Reversibility.READ_ONLY:
        # There is nothing to go back from (docs/decisions/0009).
        return
    outside_transaction()
    snapshot = snapshotting.drawn(call=attempt.call, baseline=attempt.execution.baseline, contract=attempt.contract)
    executions.keep_snapshot(**attempt.ids, snapshot=snapshot, now=attempt.lease.now())


def _execute(attempt: Attempt) -> ExecutionResult:
    outside_transaction()
    deadline = attempt.execution.deadline_at
    assert deadline is not None, "begin() sets the deadline"
    left = (deadline - attempt.lease.now()).total_seconds()
    if not attempt.lease.alive():
        # Whoever slept past the lease and wakes up here is no longer the one to act.
        raise LeaseLost(str(attempt.lease.job_id))
    return attempt.executor.execute(
        attempt.acting,
        Run(
            deadline_seconds=max(left, 0.0),
            token=attempt.lease.token,
            cancelled=_cancelled(attempt),
            progress=attempt.lease.progress,
        ),
    )


def await_report(attempt: Attempt) -> Execution:
    """See what became of the permit; raises RunAgain while its work is going on. No worker waits for it."""
    execution = permits.look(**attempt.ids, now=attempt.lease.now())
    if execution.state == Execution.State.HANDED_OVER:
        raise RunAgain(after=permits.next_look(execution, now=attempt.lease.now()))
    return execution


def _cancelled(attempt: Attempt) -> Callable[[], bool]:
    """Whether to stop: someone asked for it, or the lease is lost. Asks the database twice a second at most."""
    asked_at = 0.0
    answer = False

    def cancelled() -> bool:
        nonlocal asked_at, answer
        if not answer and time.monotonic() - asked_at >= CANCEL_POLL_SECONDS:
            asked_at = time.monotonic()
            wanted = Contract.objects.filter(pk=attempt.contract.pk, cancel_requested_at__isnull=False)
            answer = not attempt.lease.alive() or wanted.exists()
        return answer

    return cancelled


def verify(attempt: Attempt) -> Execution:
    """Observe what the attempt did, and settle it by that."""
    findings = _measure(attempt)
    result = attempt.execution.result or {}
    if result.get("ok"):
        step = verdicts.after_success(findings.judgement.outcome, way_back=attempt.way_back)
    else:
        step = verdicts.after_failure(
            findings.judgement.outcome,
            unchanged=attempt.unchanged(findings.observation),
            way_back=attempt.way_back,
        )
    return _conclude(attempt, findings, step, retryable=bool(result.get("retryable")))


def find_out(attempt: Attempt) -> Execution:
    """Nobody knows how the attempt ended: look until the world says."""
    findings = _measure(attempt)
    deadline = attempt.execution.deadline_at
    assert deadline is not None, "begin() sets the deadline"
    step = verdicts.after_doubt(
        findings.judgement.outcome,
        unchanged=attempt.unchanged(findings.observation),
        way_back=attempt.way_back,
        deadline_passed=attempt.lease.now() > deadline + DEADLINE_MARGIN,
    )
    if step == Next.LOOK_AGAIN:
        left = (deadline - attempt.lease.now()).total_seconds()
        raise RunAgain(after=min(max(LOOK_AGAIN_SECONDS, left / 60), LONGEST_LOOK_SECONDS))
    return _conclude(attempt, findings, step, retryable=True)


def _measure(attempt: Attempt) -> Findings:
    """The criteria as far as they can be measured; raises RunAgain while a window is open, or the target unreadable."""
    execution = attempt.execution
    result = execution.result or {}
    expected = criteria.parse(execution.revision.expected_effect)
    observation = attempt.observe()
    if observation is None and _only_sight_tells(attempt, expected):
        _look_again(attempt)
    elif observation is not None and execution.unread_since is not None:
        executions.note_read(**attempt.ids)
    world = measuring.World(
        observed=observation.state if observation else None,
        baseline=execution.baseline,
        result=result.get("result", {}),
        metrics=result.get("metrics", {}),
        parameters=attempt.call.parameters,
        baseline_metrics=execution.baseline_metrics,
    )
    measured = measuring.measure(expected, world, earlier=execution.measurements, now=attempt.lease.now())
    judgement = criteria.judge(measured.measurements, expected.rollback_threshold)
    findings = Findings(observation, measured.measurements, judgement, _why(measured.measurements, result))
    if measured.due_in is not None:
        executions.keep_samples(**attempt.ids, findings=findings)
        raise RunAgain(after=measured.due_in)
    return findings


def _only_sight_tells(attempt: Attempt, expected: criteria.ExpectedEffect) -> bool:
    """Whether what becomes of an attempt hangs on what the target looks like."""
    if (attempt.execution.result or {}).get("ok"):
        return any(measuring.looks_at_target(each) for each in expected.criteria)
    return not attempt.unchanged(None)


def _look_again(attempt: Attempt, *, undone: ExecutionResult | None = None) -> None:
    """Raise RunAgain, so that it is looked once more, unless that has been tried for long enough."""
    lasted = executions.note_unread(**attempt.ids, undone=undone, now=attempt.lease.now())
    if lasted < PATIENCE:
        raise RunAgain(after=min(max(LOOK_AGAIN_SECONDS, lasted.total_seconds() / 4), LONGEST_LOOK_SECONDS))


def _why(measurements: tuple[criteria.Measurement, ...], result: dict[str, Any]) -> str:
    missed = [
        f"{each.title}: {each.reason or each.outcome.value}"
        for each in measurements
        if each.outcome is not criteria.Outcome.PASSED
    ]
    error = result.get("error")
    return "; ".join([*([str(error)] if error else []), *missed])[:1000]


def _conclude(attempt: Attempt, findings: Findings, step: Next, *, retryable: bool) -> Execution:
    execution, retry_after = executions.conclude(
        **attempt.ids,
        findings=findings,
        step=step,
        retryable=retryable and attempt.executor.retryable,
        now=attempt.lease.now(),
    )
    if retry_after is not None:
        raise RunAgain(after=retry_after)
    return execution


def roll_back(attempt: Attempt) -> Execution:
    """Go back once, look until something is to be seen, and believe only what is seen."""
    began = time.monotonic()
    result, observation = attempt.undone, attempt.observe()
    needed = result is not None or not attempt.unchanged(observation)
    if not needed:
        result = ExecutionResult.success({"note": "nothing to undo"})
    elif result is None:
        result, observation = _restore(attempt), attempt.observe()
    restored = attempt.is_back(observation)
    if restored is None:
        _look_again(attempt, undone=result)
    execution = executions.finish_rollback(
        **attempt.ids,
        result=result,
        observation=observation,
        restored=bool(restored),
        from_snapshot=needed and result.ok,
        reason="" if restored else (result.error or "the target is not as it was before"),
        now=attempt.lease.now(),
    )
    logger.info("rolled_back", restored=restored, seconds=round(time.monotonic() - began, 3))
    return execution


def _restore(attempt: Attempt) -> ExecutionResult:
    """Restore, unless there is nothing to restore from, or an earlier worker may have done it half."""
    execution = attempt.execution
    if execution.snapshot is None:
        return ExecutionResult.failure("no snapshot was taken")
    if execution.token != attempt.lease.token and not attempt.executor.restore_is_repeatable:
        return ExecutionResult.failure("an earlier worker may have undone it in part")
    outside_transaction()
    try:
        reader = snapshotting.open_verified(execution.snapshot)
    except snapshotting.SnapshotDamaged as damage:
        return ExecutionResult.failure(damage.detail)
    deadline = attempt.executor.deadline_seconds(attempt.call)
    return attempt.executor.restore(
        attempt.acting, reader, attempt.baseline, Run(deadline_seconds=deadline, token=attempt.lease.token)
    )


STEPS: dict[str, Callable[[Attempt], Execution | None]] = {
    Execution.State.PREPARING: begin,
    Execution.State.EXECUTING: perform,
    Execution.State.HANDED_OVER: await_report,
    Execution.State.IN_DOUBT: find_out,
    Execution.State.VERIFYING: verify,
    Execution.State.ROLLING_BACK: roll_back,
}


def outside_transaction() -> None:
    """Raise InsideTransaction when a transaction of ours is open.

    An effect inside one would survive its rollback. The transaction a test case wraps around everything is not ours.
    """
    if any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        raise InsideTransaction("An outside effect was about to happen inside a transaction.")
