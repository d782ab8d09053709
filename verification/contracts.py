"""Contracts: the verbs that propose, authorize, move and settle what an action intends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

from auditlog import context, jobs, log, reading
from auditlog.actors import Actor
from auditlog.facts import Facts
from auditlog.refusals import Kind, Refused
from auditlog.subjects import Subject

from .facts import ContractFact
from .models import Contract, Execution, Revision, State
from .models.contracts import SETTLED

EXECUTION_JOB = "execution.run"

MOVES: dict[str, frozenset[str]] = {
    state: frozenset(to)
    for state, to in {
        State.PROPOSED: {State.DENIED, State.AWAITING_APPROVAL, State.AUTHORIZED},
        State.AWAITING_APPROVAL: {
            State.AUTHORIZED,
            State.REJECTED,
            State.CHANGES_REQUESTED,
            State.EXPIRED,
            State.CANCELLED,
            State.DENIED,
        },
        State.CHANGES_REQUESTED: {
            State.AWAITING_APPROVAL,
            State.AUTHORIZED,
            State.DENIED,
            State.EXPIRED,
            State.CANCELLED,
        },
        State.AUTHORIZED: {State.EXECUTING, State.AWAITING_APPROVAL, State.EXPIRED, State.CANCELLED},
        State.EXECUTING: {
            State.VERIFYING,
            State.FAILED,
            State.ROLLING_BACK,
            State.IN_DOUBT,
            State.CANCELLED,
        },
        State.IN_DOUBT: {State.VERIFIED, State.EXECUTING, State.ROLLING_BACK, State.HELD},
        State.VERIFYING: {State.VERIFIED, State.PARTIAL, State.VIOLATED},
        State.VIOLATED: {State.ROLLING_BACK, State.HELD},
        State.ROLLING_BACK: {State.ROLLED_BACK, State.HELD},
        State.FAILED: {State.EXECUTING, State.AWAITING_APPROVAL},
        State.PARTIAL: set(),
        State.HELD: set(),
        State.DENIED: set(),
        State.REJECTED: set(),
        State.EXPIRED: set(),
        State.CANCELLED: set(),
        State.VERIFIED: set(),
        State.ROLLED_BACK: set(),
    }.items()
}
"""The moves the product makes by itself. `resolve` is the one way out of partial, held and in_doubt for people."""

MAY_STILL_ACT = frozenset({State.EXECUTING, State.IN_DOUBT})
RESOLVABLE = frozenset({State.PARTIAL, State.HELD, State.IN_DOUBT})
GOING_ON = frozenset(
    {
        State.AUTHORIZED,
        State.EXECUTING,
        State.VERIFYING,
        State.VIOLATED,
        State.ROLLING_BACK,
        State.IN_DOUBT,
        State.FAILED,
    }
)
"""States in which a job carries the contract (a dead-lettered one excepted)."""
UNOWED_FOR = timedelta(minutes=2)
UNOWED_BATCH = 1000
VERDICTS = frozenset({State.VERIFIED, State.FAILED, State.ROLLED_BACK})


class NotFound(Refused):
    """There is no such contract."""

    code = "contract_not_found"
    kind = Kind.NOT_FOUND


class NotNow(Refused):
    """The contract is in a state from which this cannot be done."""

    code = "contract_not_now"
    kind = Kind.CONFLICT


class Changed(Refused):
    """The contract is another than the caller saw last."""

    code = "contract_changed"
    kind = Kind.STALE


class AuthorizationUsedUp(Refused):
    """The authorization of the contract is no longer good."""

    code = "authorization_expired"
    kind = Kind.CONFLICT


class UnknownVerdict(Refused):
    """A contract cannot be resolved to that state."""

    code = "unknown_verdict"
    kind = Kind.INVALID


@dataclass(frozen=True)
class Draft:
    """What a proposal asks for, after its shape was checked."""

    action_type: str
    target: str
    parameters: dict[str, Any]
    expected_effect: dict[str, Any]
    preconditions: list[dict[str, Any]] = field(default_factory=list)
    mission_id: UUID | None = None
    incident_id: UUID | None = None
    playbook: str = ""
    error_pattern: str = ""
    stated_confidence: Decimal | None = None
    justification: str = ""
    not_before: datetime | None = None
    callback_url: str = ""
    max_attempts: int = 3
    on_behalf_of_id: int | None = None


def subject_of(contract: Contract) -> Subject:
    """The contract as the subject of a log entry."""
    return Subject("contract", str(contract.pk), str(contract))


_expected: ContextVar[tuple[UUID, frozenset[str]] | None] = ContextVar("expected_contract", default=None)


def version(contract: Contract) -> str:
    """A name for the contract as it is now; after another move or revision it has another."""
    seen = f"{contract.pk} {contract.current_revision} {contract.state} {contract.state_changed_at.isoformat()}"
    return sha256(seen.encode()).hexdigest()[:32]


@contextmanager
def expecting(contract_id: UUID, versions: frozenset[str]) -> Iterator[None]:
    """Inside, whoever locks this contract finds it in one of these versions, or Changed is raised."""
    token = _expected.set((contract_id, versions))
    try:
        yield
    finally:
        _expected.reset(token)


def as_expected(contract: Contract) -> Contract:
    """The contract, unless `expecting` says that it should be another; raises Changed."""
    expected = _expected.get()
    if expected is not None and expected[0] == contract.pk and version(contract) not in expected[1]:
        raise Changed(
            f"The contract is {contract.state} in revision {contract.current_revision} by now; read it again."
        )
    return contract


@reading.remembered
def lock(contract_id: UUID) -> Contract:
    """The contract's row, locked until the transaction ends; raises NotFound and, where `expecting` asks, Changed.

    Within `reading.once()` always the same. Who needs the contract and an approval request locks the contract first,
    always in this order.
    """
    try:
        return as_expected(Contract.objects.select_for_update().get(pk=contract_id))
    except Contract.DoesNotExist:
        raise NotFound(f"There is no contract {contract_id}.") from None


@contextmanager
def story(contract: Contract) -> Iterator[None]:
    """What is appended or owed inside belongs to what its proposal began, in whose request it may happen.

    It carries the proposal's correlation id, and is caused by the entry before it unless another cause is bound.
    """
    ids = context.ObservabilityContext(correlation_id=contract.correlation_id or None)
    with ids, context.caused_by(context.cause() or log.latest(contract.pk)):
        yield


def record(
    contract: Contract, fact: Facts, data: Mapping[str, Any], *, by: Actor, now: datetime, outcome: str = "success"
) -> UUID:
    """Append a fact about a contract, with its ids; answers the entry's id."""
    with story(contract):
        return log.append(
            fact,
            actor=by,
            subject=subject_of(contract),
            data=dict(data),
            outcome=outcome,
            now=now,
            contract_id=contract.pk,
            mission_id=contract.mission_id,
        )


def move(contract: Contract, to: State, *, by: Actor, now: datetime, reason: str = "", **data: Any) -> Contract:
    """Take an allowed move by compare-and-swap and say so in the log; raises NotNow.

    `data` are further members of the fact (see `verification.facts.Moved`).
    """
    if to not in MOVES[contract.state]:
        raise NotNow(f"The contract is {contract.state}; it cannot become {to} now.")
    return _put(contract, to, by=by, now=now, reason=reason, **data)


def _put(contract: Contract, to: State, *, by: Actor, now: datetime, reason: str, **data: Any) -> Contract:
    was = contract.state
    contract.state, contract.state_changed_at = to, now
    contract.settled_at = now if to in SETTLED and to != State.FAILED else None
    fields = {
        "state": contract.state,
        "state_changed_at": now,
        "settled_at": contract.settled_at,
        "tier": contract.tier,
        "authorized_digest": contract.authorized_digest,
        "authorized_at": contract.authorized_at,
        "valid_until": contract.valid_until,
        "confidence": contract.confidence,
    }
    if Contract.objects.filter(pk=contract.pk, state=was).update(**fields) != 1:
        raise NotNow(f"The contract is no longer {was}.")
    record(
        contract,
        ContractFact[to.name],
        {
            "action_type": contract.action_type,
            "target": contract.target,
            "tier": contract.tier,
            "from_state": was,
            "to_state": to.value,
            "revision": contract.current_revision,
            "reason": reason,
            **data,
        },
        by=by,
        now=now,
    )
    return contract


def _written(revision: Revision) -> dict[str, Any]:
    return {
        "revision": revision.number,
        "parameters": log.foreign(revision.parameters),
        "expected_effect": log.foreign(revision.expected_effect),
        "preconditions": log.foreign(revision.preconditions),
    }


def propose(
    *,
    draft: Draft,
    requested_by_id: int | None,
    by: Actor,
    idempotency_key: str | None,
    request_sha256: str,
    executor_version: str,
    now: datetime,
) -> Contract:
    """Write down a contract and its first revision; nothing is decided about it yet."""
    with log.recording(savepoint=False):
        contract = Contract.objects.create(
            action_type=draft.action_type,
            executor_version=executor_version,
            target=draft.target,
            requested_by_id=requested_by_id,
            on_behalf_of_id=draft.on_behalf_of_id,
            requested_by_kind=by.kind,
            requested_by_label=by.label,
            idempotency_key=idempotency_key,
            request_sha256=request_sha256,
            mission_id=draft.mission_id,
            incident_id=draft.incident_id,
            playbook=draft.playbook,
            error_pattern=draft.error_pattern,
            correlation_id=context.current().correlation_id or "",
            stated_confidence=draft.stated_confidence,
            justification=draft.justification,
            callback_url=draft.callback_url,
            max_attempts=draft.max_attempts,
            created_at=now,
            state_changed_at=now,
        )
        revision = Revision.objects.create(
            contract=contract,
            number=1,
            parameters=draft.parameters,
            expected_effect=draft.expected_effect,
            preconditions=draft.preconditions,
            not_before=draft.not_before,
            made_by_label=by.label,
            created_at=now,
        )
        contract.revision = revision
        reading.tell(lock, contract.pk, answer=contract)
        _record_creation(contract, revision, by=by, now=now)
        return contract


def _record_creation(contract: Contract, revision: Revision, *, by: Actor, now: datetime) -> None:
    about = {"action_type": contract.action_type, "target": contract.target}
    behind = contract.on_behalf_of_id
    # The first entry about the contract: what led to it stands around, and nothing else can have.
    log.append(
        ContractFact.CREATED,
        data={
            **about,
            **({} if behind is None else {"on_behalf_of": str(behind)}),
            **_written(revision),
            "executor_version": contract.executor_version,
            "justification": contract.justification,
            "playbook": contract.playbook,
            "error_pattern": contract.error_pattern,
            "request_sha256": contract.request_sha256,
        },
        actor=by,
        subject=subject_of(contract),
        now=now,
        contract_id=contract.pk,
        mission_id=contract.mission_id,
    )
    record(
        contract,
        ContractFact.PROPOSED,
        {**about, "tier": "", "from_state": "", "to_state": State.PROPOSED.value, "revision": 1, "reason": ""},
        by=by,
        now=now,
    )


def revise(
    *,
    contract_id: UUID,
    parameters: dict[str, Any],
    expected_effect: dict[str, Any],
    preconditions: list[dict[str, Any]],
    not_before: datetime | None,
    origin: Revision.Origin,
    by: Actor,
    now: datetime,
) -> Revision:
    """Write the next revision of a contract that has not begun; the earlier ones stay. Raises NotNow."""
    with log.recording():
        contract = lock(contract_id)
        if contract.state not in {State.AWAITING_APPROVAL, State.CHANGES_REQUESTED}:
            raise NotNow(f"The contract is {contract.state}; it can no longer be revised.")
        contract.current_revision += 1
        contract.save(update_fields=["current_revision"])
        revision = Revision.objects.create(
            contract=contract,
            number=contract.current_revision,
            origin=origin,
            parameters=parameters,
            expected_effect=expected_effect,
            preconditions=preconditions,
            not_before=not_before,
            made_by_label=by.label,
            created_at=now,
        )
        about = {"action_type": contract.action_type, "target": contract.target, "origin": str(origin)}
        record(contract, ContractFact.REVISED, {**about, **_written(revision)}, by=by, now=now)
        return revision


def deny(*, contract_id: UUID, by: Actor, reason: str, now: datetime) -> Contract:
    """The policy refuses the contract; nothing will run."""
    with log.recording():
        return move(lock(contract_id), State.DENIED, by=by, now=now, reason=reason)


def await_approval(*, contract_id: UUID, tier: str, by: Actor, reason: str, now: datetime) -> Contract:
    """The contract waits for people: at first, or because what authorized it no longer holds."""
    with log.recording(savepoint=False):
        contract = lock(contract_id)
        if contract.state == State.AUTHORIZED:
            # Its next authorization owes an execution of its own, at a time of its own.
            jobs.drop(kind=EXECUTION_JOB, subject_id=str(contract.pk), now=now)
        contract.tier = tier
        contract.authorized_digest, contract.authorized_at, contract.valid_until = "", None, None
        return move(contract, State.AWAITING_APPROVAL, by=by, now=now, reason=reason)


def authorize(
    *, contract_id: UUID, tier: str, digest: str, valid_until: datetime | None, by: Actor, now: datetime
) -> Contract:
    """Allow exactly this revision to run, and owe its execution: the job is written in this transaction.

    `digest` is the SHA-256 (hex) of what was authorized; it is recomputed and compared before anything starts.
    """
    with log.recording(savepoint=False):
        contract = lock(contract_id)
        contract.tier, contract.authorized_digest, contract.authorized_at = tier, digest, now
        contract.valid_until = valid_until
        until: dict[str, Any] = {} if valid_until is None else {"valid_until": valid_until}
        move(contract, State.AUTHORIZED, by=by, now=now, digest=digest, **until)
        not_before = contract.revision.not_before
        _owe_execution(contract, due_at=max(now, not_before) if not_before else now, now=now)
        return contract


def _owe_execution(contract: Contract, *, due_at: datetime, now: datetime) -> None:
    """Owe the contract's execution. No job of an earlier authorization waits: it went when that did."""
    with story(contract), context.caused_by(log.latest(contract.pk)):
        jobs.enqueue(
            kind=EXECUTION_JOB,
            subject_id=str(contract.pk),
            due_at=due_at,
            now=now,
            contract_id=contract.pk,
            mission_id=contract.mission_id,
        )


def owe_what_is_owed_by_none(*, now: datetime) -> int:
    """Give every contract that has to go on, and that no job carries any more, a new job. Answers how many.

    Nothing in Grace ends such a job early; this is for what people and databases do to it.
    """
    since = now - UNOWED_FOR
    active = Contract.objects.filter(state__in=GOING_ON, state_changed_at__lt=since, dead_lettered_at=None)
    found = 0
    for contract in active.order_by("state_changed_at")[:UNOWED_BATCH]:
        if jobs.is_owed(kind=EXECUTION_JOB, subject_id=str(contract.pk)):
            continue
        with log.recording():
            _owe_execution(contract, due_at=now, now=now)
            found += 1
    return found


def reject(*, contract_id: UUID, by: Actor, reason: str, now: datetime) -> Contract:
    """A reviewer said no."""
    with log.recording():
        return move(lock(contract_id), State.REJECTED, by=by, now=now, reason=reason)


def request_changes(*, contract_id: UUID, by: Actor, reason: str, now: datetime) -> Contract:
    """A reviewer asks for another revision."""
    with log.recording():
        return move(lock(contract_id), State.CHANGES_REQUESTED, by=by, now=now, reason=reason)


def expire(*, contract_id: UUID, by: Actor, reason: str, now: datetime) -> Contract:
    """Time ran out before the contract began."""
    with log.recording():
        return move(lock(contract_id), State.EXPIRED, by=by, now=now, reason=reason)


def cancel(*, contract_id: UUID, by: Actor, reason: str, now: datetime) -> Contract:
    """Stop a contract. Before it began it is cancelled at once; while it runs the executor is asked to stop, and it
    becomes cancelled only if nothing happened, also after a doubt. One that failed and waits for another attempt stays
    failed, and there is no other: a dead letter. Raises NotNow."""
    with log.recording():
        contract = lock(contract_id)
        if contract.state in MAY_STILL_ACT:
            return _ask_to_stop(contract, reason=reason, by=by, now=now)
        if waits_for_retry(contract):
            attempts = contract.executions.exclude(state=Execution.State.PREPARING).count()
            dead_letter(contract, attempts=attempts, error=f"It was cancelled. {reason}".strip(), by=by, now=now)
            return contract
        return move(contract, State.CANCELLED, by=by, now=now, reason=reason)


def _ask_to_stop(contract: Contract, *, reason: str, by: Actor, now: datetime) -> Contract:
    contract.cancel_requested_at, contract.cancel_reason = now, reason
    contract.save(update_fields=["cancel_requested_at", "cancel_reason"])
    data = {
        "action_type": contract.action_type,
        "target": contract.target,
        "tier": contract.tier,
        "state": contract.state,
        "reason": reason,
    }
    record(contract, ContractFact.CANCEL_REQUESTED, data, by=by, now=now)
    return contract


def can_be_cancelled(contract: Contract) -> bool:
    """Whether `cancel` has anything to stop."""
    may_end = State.CANCELLED in MOVES[contract.state] or contract.state in MAY_STILL_ACT
    return may_end or waits_for_retry(contract)


def waits_for_retry(contract: Contract) -> bool:
    """Whether it failed and another attempt follows by itself."""
    return contract.state == State.FAILED and contract.dead_lettered_at is None


def resolve(*, contract_id: UUID, verdict: str, reason: str, by: Actor, now: datetime) -> Contract:
    """A person settles what the product could not: partial, in_doubt or held. The target becomes free.

    Raises NotNow from any other state, and UnknownVerdict for a verdict that is not verified, failed or
    rolled_back.
    """
    if verdict not in VERDICTS:
        raise UnknownVerdict(f"A contract cannot be resolved to {verdict!r}.")
    with log.recording():
        contract = lock(contract_id)
        if contract.state not in RESOLVABLE:
            raise NotNow(f"The contract is {contract.state}; there is nothing to resolve.")
        about = {"action_type": contract.action_type, "target": contract.target, "tier": contract.tier}
        resolved = {**about, "from_state": contract.state, "verdict": verdict, "reason": reason}
        record(contract, ContractFact.RESOLVED, resolved, by=by, now=now)
        _put(contract, State(verdict), by=by, now=now, reason=reason)
        if verdict == State.FAILED:
            Contract.objects.filter(pk=contract.pk).update(settled_at=now, dead_lettered_at=now)
        contract.executions.exclude(state=Execution.State.SETTLED).update(
            holds_target=False, state=Execution.State.SETTLED, finished_at=now
        )
        wake_waiting(contract.target, now=now)
        return contract


def retry(*, contract_id: UUID, by: Actor, now: datetime) -> Contract:
    """A person asks that a dead-lettered contract is tried again.

    While attempts are left it goes on under its authorization, if that is still good. Once they are used up it waits
    for whoever authorized it: as many attempts again as another authorization allows. Raises NotNow and
    AuthorizationUsedUp.
    """
    with log.recording():
        contract = lock(contract_id)
        if contract.state != State.FAILED or contract.dead_lettered_at is None:
            raise NotNow(f"The contract is {contract.state}; only a dead-lettered one can be tried again.")
        made = contract.executions.count()
        used_up = made >= contract.max_attempts
        if used_up:
            before = contract.executions.filter(created_at__lt=contract.authorized_at).count()
            contract.max_attempts += contract.max_attempts - before
        elif contract.valid_until is not None and contract.valid_until <= now:
            raise AuthorizationUsedUp("What authorized this contract has run out; propose it again.")
        contract.dead_lettered_at = contract.settled_at = None
        # Whoever wanted it stopped has been heard; this is a new wish.
        contract.cancel_requested_at, contract.cancel_reason = None, ""
        wanted = ("max_attempts", "dead_lettered_at", "settled_at", "cancel_requested_at", "cancel_reason")
        contract.save(update_fields=wanted)
        about = {"action_type": contract.action_type, "target": contract.target, "tier": contract.tier}
        record(contract, ContractFact.RETRIED, {**about, "attempts": contract.max_attempts}, by=by, now=now)
        if used_up:
            reason = f"{made} attempts were made and none is left"
            return await_approval(contract_id=contract.pk, tier=contract.tier, by=by, reason=reason, now=now)
        _owe_execution(contract, due_at=now, now=now)
        return contract


def dead_letter(contract: Contract, *, attempts: int, error: str, by: Actor, now: datetime) -> None:
    """Give up on a failed contract until a person asks again."""
    contract.dead_lettered_at = contract.settled_at = now
    contract.save(update_fields=["dead_lettered_at", "settled_at"])
    about = {"action_type": contract.action_type, "target": contract.target, "tier": contract.tier}
    record(
        contract,
        ContractFact.DEAD_LETTERED,
        {**about, "attempts": attempts, "error": error[:500]},
        by=by,
        now=now,
        outcome="failure",
    )


def wake_waiting(target: str, *, now: datetime) -> None:
    """A target became free: make the oldest contract that waits for it due now."""
    waiting = Contract.objects.filter(target=target, state=State.AUTHORIZED).order_by("authorized_at", "id")
    if (oldest := waiting.values_list("pk", flat=True).first()) is not None:
        jobs.bring_forward(kind=EXECUTION_JOB, subject_id=str(oldest), now=now)
