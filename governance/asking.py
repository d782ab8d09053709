"""Asking: a revision is examined, put before the policy, and denied, authorized, or shown to people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from auditlog import log
from auditlog.actors import SYSTEM, Actor
from auditlog.refusals import FieldError, Refused
from verification import contracts, criteria, executors, measuring
from verification.executors.base import Call, Executor
from verification.models import Contract, Revision, State

from . import binding, digest, looking, policies, policy, pressing
from .facts import ApprovalFact
from .looking import Look
from .models import ApprovalRequest, Assessment
from .policies import Evaluation
from .shapes import Changes

JsonDict = dict[str, Any]


class InvalidProposal(Refused):
    """The action cannot be proposed like this; `errors` names each field."""

    code = "invalid_proposal"
    kind = Refused.Kind.INVALID


@dataclass(frozen=True)
class Wording:
    """What an action does, word for word."""

    action_type: str
    target: str
    parameters: JsonDict
    expected_effect: JsonDict
    preconditions: list[Any] = field(default_factory=list)
    mission_id: UUID | None = None
    playbook: str = ""
    minimum_tier: str = ""

    @classmethod
    def of(cls, contract: Contract, revision: Revision) -> Wording:
        """The wording of a revision."""
        return cls(
            contract.action_type,
            contract.target,
            revision.parameters,
            revision.expected_effect,
            revision.preconditions,
            contract.mission_id,
            contract.playbook,
        )


@dataclass(frozen=True)
class Examined:
    """An action that can be proposed: its executor and call, what the policy says, and what was seen.

    Nobody looks at the target of what the policy denies: `look` is None.
    """

    executor: Executor
    call: Call
    look: Look | None
    evaluation: Evaluation

    def at_least(self, tier: str, requirements: policy.Requirements) -> Examined:
        """The same, never asking for less than was asked before."""
        ruling = policy.never_looser(self.evaluation.ruling, requirements, tier)
        return replace(self, evaluation=replace(self.evaluation, ruling=ruling))

    def tried(self, count: int) -> Examined:
        """The same, saying among the risks how often it was tried before in vain."""
        risk = self.evaluation.risk
        if not count:
            return self
        factors = (*risk.factors, f"was tried before: attempts made in vain: {count}")
        return replace(self, evaluation=replace(self.evaluation, risk=replace(risk, factors=factors)))


def examine(wording: Wording, *, user: User | None, now: datetime) -> Examined:
    """Check, evaluate, and look unless it is denied, changing nothing; outside any transaction.

    Raises UnknownActionType, InvalidProposal, VerifiesNothing, InvalidExpectedEffect and NotObservable, each naming
    the fields.
    """
    executor = executors.get(wording.action_type)
    call = Call(wording.action_type, wording.target, wording.parameters)
    _check(executor, call, wording)
    evaluation = policies.evaluate(
        action_type=wording.action_type,
        target=wording.target,
        parameters=wording.parameters,
        user=user,
        now=now,
        mission_id=wording.mission_id,
        playbook=wording.playbook,
        minimum_tier=wording.minimum_tier,
    )
    look = None if evaluation.ruling.denied else looking.look(executor, call)
    return Examined(executor, call, look, evaluation)


def _check(executor: Executor, call: Call, wording: Wording) -> None:
    refusals: list[Refused] = []
    if errors := executor.check(call):
        refusals.append(InvalidProposal(_sentence(errors), errors=errors))
    for parse in (
        lambda: ("/expected_effect", criteria.parse(wording.expected_effect).criteria),
        lambda: ("/preconditions", criteria.parse_criteria(wording.preconditions)),
    ):
        try:
            at, wanted = parse()
            measuring.require_measurable(wanted, at=at)
        except Refused as refusal:
            refusals.append(refusal)
    if len(refusals) == 1:
        raise refusals[0]
    if refusals:
        found = [error for refusal in refusals for error in refusal.errors]
        raise InvalidProposal(_sentence(found), errors=found)


def _sentence(errors: list[FieldError]) -> str:
    return errors[0].detail if len(errors) == 1 else f"{len(errors)} fields cannot be accepted."


@dataclass(frozen=True)
class StandIn:
    """What stands in for the word of people: a standing `grant` or a use of `break_glass`, by the id of its row."""

    kind: str
    id: UUID

    def as_dict(self) -> JsonDict:
        """As it stands in the digest."""
        return {"kind": self.kind, "id": str(self.id)}


FindStandIn = Callable[[Contract, Examined], StandIn | None]


@dataclass(frozen=True)
class Answer:
    """What became of a revision that was put before the policy."""

    contract: Contract
    assessment: Assessment
    request: ApprovalRequest | None


def put(
    *,
    contract: Contract,
    revision: Revision,
    examined: Examined,
    by: Actor,
    now: datetime,
    drift: JsonDict | None = None,
    stand_in: FindStandIn | None = None,
) -> Answer:
    """Write down what the policy says about a revision and act on it. Inside `recording()`, the contract locked.

    `stand_in` is asked when people would be: what it answers takes their place.
    """
    ruling = examined.evaluation.ruling
    asks_people = ruling.effect in (policy.Effect.TIER_2, policy.Effect.TIER_3)
    instead = stand_in(contract, examined) if stand_in is not None and asks_people else None
    assessment = _assessed(contract, revision, examined, instead, now=now)
    if ruling.denied:
        contract = contracts.deny(contract_id=contract.pk, by=SYSTEM, reason=_denial(ruling), now=now)
        return Answer(contract, assessment, None)
    if instead is not None or not asks_people:
        contract = contracts.authorize(
            contract_id=contract.pk,
            tier=ruling.tier,
            digest=assessment.digest,
            valid_until=assessment.expires_at,
            by=SYSTEM,
            now=now,
        )
        return Answer(contract, assessment, None)
    contract = _waiting(contract, ruling.tier, reason=ruling.reason, now=now)
    request = open_request(contract, revision, examined, assessment, by=by, now=now, drift=drift or {})
    return Answer(contract, assessment, request)


def _denial(ruling: policy.Ruling) -> str:
    return f"{ruling.reason} Instead: {ruling.instead}" if ruling.instead else ruling.reason


def _waiting(contract: Contract, tier: str, *, reason: str, now: datetime) -> Contract:
    if contract.state != State.AWAITING_APPROVAL:
        return contracts.await_approval(contract_id=contract.pk, tier=tier, by=SYSTEM, reason=reason, now=now)
    # It waits already and only what is asked for has changed, which the new request says.
    contract.tier = tier
    contract.save(update_fields=["tier"])
    return contract


def _assessed(
    contract: Contract, revision: Revision, examined: Examined, instead: StandIn | None, *, now: datetime
) -> Assessment:
    evaluation = examined.evaluation
    requirements = evaluation.requirements
    start = begins(revision, requirements, now=now, at_once=instead is not None and instead.kind == "break_glass")
    by_itself = evaluation.ruling.effect is policy.Effect.TIER_1 or instead is not None
    assessment = Assessment(
        contract=contract,
        revision=revision,
        policy=evaluation.policy,
        effect=evaluation.effect,
        tier=evaluation.tier,
        requirements={**requirements.as_dict(), **({"stand_in": instead.as_dict()} if instead else {})},
        rules=[match.as_dict() for match in evaluation.ruling.matched],
        reason=evaluation.ruling.reason,
        instead=evaluation.ruling.instead,
        risk=evaluation.risk.as_dict(),
        risk_score=evaluation.risk.score,
        fingerprint=examined.look.fingerprint if examined.look else "",
        expires_at=start + timedelta(seconds=requirements.valid_seconds)
        if by_itself
        else now + timedelta(seconds=requirements.expires_seconds),
        created_at=now,
    )
    assessment.document = binding.document(contract, revision, assessment)
    assessment.digest = digest.sha256(assessment.document)
    assessment.save(force_insert=True)
    return assessment


def begins(revision: Revision, requirements: policy.Requirements, *, now: datetime, at_once: bool = False) -> datetime:
    """When a revision that is authorized now may begin, as far as that is known: from then on its validity counts.

    That is its `not_before`, and the next of the policy's windows unless it runs `at_once`.
    """
    start = max(now, revision.not_before) if revision.not_before else now
    return start if at_once else requirements.opens_at(start) or start


def open_request(
    contract: Contract,
    revision: Revision,
    examined: Examined,
    assessment: Assessment,
    *,
    by: Actor,
    now: datetime,
    drift: JsonDict,
) -> ApprovalRequest:
    """Freeze what people are asked, and say that they are asked. Inside `recording()`."""
    assert examined.look is not None, "what people are asked about is not denied"
    request = ApprovalRequest(
        contract=contract,
        revision=revision,
        tier=assessment.tier,
        digest=assessment.digest,
        document=assessment.document,
        requirements=assessment.requirements,
        policy=assessment.policy,
        assessment=assessment,
        preview=examined.look.preview.as_dict(),
        observation=examined.look.observation.as_dict(),
        drift=drift,
        fingerprint=assessment.fingerprint,
        risk=assessment.risk,
        risk_score=assessment.risk_score,
        requested_by_id=contract.requested_by_id,
        requester_label=contract.requested_by_label,
        created_at=now,
        expires_at=assessment.expires_at,
    )
    request.remind_at = pressing.next_look(request)
    request.save(force_insert=True)
    with contracts.story(contract):
        log.append(
            ApprovalFact.REQUESTED,
            actor=by,
            subject=pressing.subject_of(request),
            data={
                "action_type": contract.action_type,
                "target": contract.target,
                "tier": request.tier,
                "revision": revision.number,
                "digest": request.digest,
                "approvals": assessment.requirements["approvals"],
                "expires_at": request.expires_at,
                "risk_score": request.risk_score,
                "policy_version": request.policy.version,
            },
            now=now,
            contract_id=contract.pk,
            mission_id=contract.mission_id,
        )
    return request


def reworded(contract: Contract, revision: Revision, changes: Changes) -> Wording:
    """The wording of a revision with changes applied; each given member replaces the whole of the old one."""
    wording = Wording.of(contract, revision)
    given = {
        name: value
        for name in ("parameters", "expected_effect", "preconditions")
        if (value := getattr(changes, name)) is not None
    }
    return replace(wording, **given)


def write_revision(
    contract: Contract,
    wording: Wording,
    changes: Changes,
    *,
    origin: Revision.Origin,
    by: Actor,
    now: datetime,
) -> Revision:
    """Write a wording down as the next revision. Inside `recording()`, the contract locked."""
    return contracts.revise(
        contract_id=contract.pk,
        parameters=wording.parameters,
        expected_effect=wording.expected_effect,
        preconditions=wording.preconditions,
        not_before=changes.not_before or contract.revision.not_before,
        origin=origin,
        by=by,
        now=now,
    )
