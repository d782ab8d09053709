"""Proposals: the one way for an action to become a contract, and the requester's second thoughts about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError
from django.db.models import Exists, OuterRef, Q

from auditlog import log, reading
from auditlog.actors import SYSTEM, Actor
from auditlog.refusals import FieldError, Refused
from auditlog.subjects import Subject
from verification import contracts
from verification.models import Contract, Revision, State

from . import access, approvals, asking, callbacks, granting, noting, principals
from .asking import Examined, FindStandIn, StandIn, Wording
from .facts import ProposalFact
from .looking import Look
from .models import Agent, ApprovalRequest, Grant
from .policies import Evaluation
from .shapes import Changes, Proposal, too_late

__all__ = ["Changes", "Proposal", "Submitted", "cancel", "revise", "submit"]

MAX_KEY_CHARS = 200
RETRY_AFTER_SECONDS = 60.0
RESERVED_KEYS = ("step:", "bootstrap-")
"""How keys begin that Grace makes itself; users have them only on the steps of playbooks, which Grace proposes."""
NOT_BEGUN = (State.PROPOSED, State.AWAITING_APPROVAL, State.CHANGES_REQUESTED, State.AUTHORIZED)
HARMLESS = frozenset(
    {
        *("missing", "unknown_member", "wrong_type", "not_allowed", "no_match", "out_of_range", "too_short"),
        *("too_long", "invalid", "verifies_nothing", "malformed", "target_not_observable", "unknown_type"),
        "not_available",
    }
)
"""Codes of slips. Any other code means that somebody reached for what they may not have, and is a fact."""


class KeyReused(Refused):
    """The idempotency key was used for another proposal."""

    code = "idempotency_key_reused"
    kind = Refused.Kind.CONFLICT


class BadKey(Refused):
    """The idempotency key is empty, too long, or one that only Grace makes."""

    code = "bad_idempotency_key"
    kind = Refused.Kind.MALFORMED


class ActionTypeNotAllowed(Refused):
    """The agent's owner has not allowed it this action type."""

    code = "action_type_not_allowed"
    kind = Refused.Kind.FORBIDDEN


class TooManyOpen(Refused):
    """The agent has as many open requests as it may have."""

    code = "too_many_open_requests"
    kind = Refused.Kind.LIMITED


class NotYours(Refused):
    """Only who asked for it (or the owner of the agent that did) may do this."""

    code = "not_yours"
    kind = Refused.Kind.FORBIDDEN


Check = Callable[[Proposal, User | None], list[FieldError]]
_checks: list[Check] = []


def checked_by(check: Check) -> None:
    """Let a package above refuse proposals for reasons of its own; called from the `ready()` of its app.

    It is told who proposes: None is Grace by itself.
    """
    _checks.append(check)


@dataclass(frozen=True)
class Submitted:
    """What became of a proposal. A dry run has no contract; `replayed` says that the answer was given before."""

    contract: Contract | None
    tier: str
    state: str
    digest: str
    approval: ApprovalRequest | None
    evaluation: Evaluation | None
    replayed: bool = False
    look: Look | None = None


@reading.once()
def submit(
    *,
    proposal: Proposal,
    by: Actor,
    user: User | None,
    idempotency_key: str | None,
    now: datetime,
    dry_run: bool = False,
    stand_in: FindStandIn | None = None,
) -> Submitted:
    """Propose an action: it is denied, waits for people, or is authorized, all in one transaction.

    Where people would be asked, a standing grant of the agent (or `stand_in`) may take their place. `user` is
    None when Grace proposes by itself. The same key with the same proposal gives the same answer; with
    another one KeyReused is raised. Whoever is behind it needs the permission its action type asks for by itself
    (`access.require_to_ask`). Everything `asking.examine` refuses is refused here.
    """
    if user is not None:
        access.require(user, "contracts.propose")
    request_sha256 = proposal.sha256()
    if idempotency_key is not None and user is not None and not proposal.playbook:
        _unreserved(idempotency_key)
    behind = user or _reporter(proposal)
    if idempotency_key is not None and (earlier := _earlier(user, idempotency_key)):
        return _replay(earlier, request_sha256)
    try:
        examined = _examine(proposal, user=user, behind=behind, now=now)
    except Refused as refusal:
        _note_refusal(refusal, proposal, by=by, now=now)
        raise
    if dry_run:
        if examined.evaluation.ruling.denied:
            _note("denied_by_policy", examined.evaluation.ruling.reason, proposal, by=by, now=now)
        return _rehearsed(examined, user, now=now)
    try:
        with log.recording():
            _guard_against_flood(behind, now=now)
            contract = contracts.propose(
                draft=proposal.draft(max_attempts=examined.evaluation.requirements.max_attempts),
                requested_by_id=user.pk if user else None,
                by=by,
                idempotency_key=idempotency_key,
                request_sha256=request_sha256,
                executor_version=examined.executor.edition(examined.call),
                now=now,
            )
            return _put(contract, examined, stand_in or _grant(now), by=by, now=now)
    except IntegrityError:
        earlier = _earlier(user, idempotency_key) if idempotency_key is not None else None
        if earlier is None:
            raise
        return _replay(earlier, request_sha256)


def _put(contract: Contract, examined: Examined, stand_in: FindStandIn, *, by: Actor, now: datetime) -> Submitted:
    answer = asking.put(
        contract=contract, revision=contract.revision, examined=examined, by=by, now=now, stand_in=stand_in
    )
    return Submitted(
        contract=answer.contract,
        tier=answer.assessment.tier,
        state=answer.contract.state,
        digest=answer.assessment.digest,
        approval=answer.request,
        evaluation=examined.evaluation,
        look=examined.look,
    )


def _grant(now: datetime) -> FindStandIn:
    """Look for a standing grant, and take one use of it."""

    def take(contract: Contract, examined: Examined) -> StandIn | None:
        grant = _covering(examined, contract.requested_by_id, now=now)
        if grant is None or not granting.take(grant, contract, now=now):
            return None
        return StandIn("grant", grant.pk)

    return take


def _covering(examined: Examined, user_id: int | None, *, now: datetime) -> Grant | None:
    if user_id is None or principals.agent_of_id(user_id) is None:
        return None
    return granting.covering(
        agent_user_id=user_id,
        action_type=examined.call.action_type,
        target=examined.call.target,
        parameters=dict(examined.call.parameters),
        reversibility=examined.evaluation.risk.reversibility,
        now=now,
    )


def _examine(proposal: Proposal, *, user: User | None, behind: User | None, now: datetime) -> Examined:
    if behind is not None:
        access.require_to_ask(behind, proposal.action_type)
    agent = principals.agent_of(behind)
    if agent is not None and not principals.allows(agent, proposal.action_type):
        detail = f"{agent.name} may not propose {proposal.action_type[:80]!r}."
        raise ActionTypeNotAllowed(detail, errors=[FieldError("/action_type", ActionTypeNotAllowed.code, detail)])
    if errors := callbacks.refused(proposal.callback_url, agent=agent):
        raise asking.InvalidProposal(errors[0].detail, errors=errors)
    if errors := too_late(proposal.not_before, now=now):
        raise asking.InvalidProposal(errors[0].detail, errors=errors)
    if errors := [error for check in _checks for error in check(proposal, user)]:
        raise asking.InvalidProposal(errors[0].detail, errors=errors)
    wording = Wording(
        proposal.action_type,
        proposal.target,
        proposal.parameters,
        proposal.expected_effect,
        proposal.preconditions,
        proposal.mission_id,
        proposal.playbook,
        proposal.minimum_tier,
    )
    return asking.examine(wording, user=behind, now=now)


def _reporter(proposal: Proposal) -> User | None:
    """On whose behalf Grace asks: what holds for their own proposals holds for this one."""
    return User.objects.filter(pk=proposal.on_behalf_of_id).first() if proposal.on_behalf_of_id else None


def _guard_against_flood(user: User | None, *, now: datetime) -> None:
    """Raise TooManyOpen at the ceiling, counted under the lock of the agent's row; and ask with it for its grants."""
    if principals.agent_of(user) is None:
        return
    usable = Grant.objects.filter(granting.usable(now), agent_id=OuterRef("pk"))
    agent = Agent.objects.select_for_update().annotate(any_grant=Exists(usable)).get(user=user)
    if not agent.any_grant:
        reading.tell(granting.held_by, agent.user_id, now, answer=[])
    asked = Q(contract__requested_by_id=agent.user_id) | Q(contract__on_behalf_of_id=agent.user_id)
    waiting = ApprovalRequest.objects.filter(asked, state=ApprovalRequest.State.PENDING).count()
    if waiting >= agent.open_request_limit:
        raise TooManyOpen(
            f"{waiting} requests of {agent.name} wait for people; {agent.open_request_limit} is the most.",
            retry_after=RETRY_AFTER_SECONDS,
        )


def _unreserved(idempotency_key: str) -> None:
    if idempotency_key.startswith(RESERVED_KEYS):
        raise BadKey(f"Keys that begin with {' or '.join(RESERVED_KEYS)} are made by Grace itself.")


def _earlier(user: User | None, idempotency_key: str) -> Contract | None:
    if not 0 < len(idempotency_key) <= MAX_KEY_CHARS or not idempotency_key.isprintable():
        raise BadKey(f"An idempotency key has from 1 to {MAX_KEY_CHARS} printable characters.")
    made = Contract.objects.filter(requested_by=user, idempotency_key=idempotency_key)
    return made.first()


def _replay(contract: Contract, request_sha256: str) -> Submitted:
    if contract.request_sha256 != request_sha256:
        raise KeyReused("This idempotency key was used for another proposal.")
    assessment = contract.assessments.first()
    return Submitted(
        contract=contract,
        tier=assessment.tier if assessment else contract.tier,
        state=contract.state,
        digest=assessment.digest if assessment else contract.authorized_digest,
        approval=contract.approval_requests.first(),
        evaluation=None,
        replayed=True,
    )


_REHEARSED = {"deny": State.DENIED, "tier_1": State.AUTHORIZED}


def _rehearsed(examined: Examined, user: User | None, *, now: datetime) -> Submitted:
    evaluation = examined.evaluation
    state = _REHEARSED.get(evaluation.effect, State.AWAITING_APPROVAL)
    if state == State.AWAITING_APPROVAL and user is not None and _covering(examined, user.pk, now=now) is not None:
        state = State.AUTHORIZED
    return Submitted(
        contract=None,
        tier=evaluation.tier,
        state=state.value,
        digest="",
        approval=None,
        evaluation=evaluation,
        look=examined.look,
    )


def _note_refusal(refusal: Refused, proposal: Proposal, *, by: Actor, now: datetime) -> None:
    codes = [error.code for error in refusal.errors if error.code not in HARMLESS] or [refusal.code]
    if codes[0] in HARMLESS or codes[0] == asking.InvalidProposal.code:
        return
    _note(codes[0], refusal.detail, proposal, by=by, now=now)


def _note(code: str, detail: str, proposal: Proposal, *, by: Actor, now: datetime) -> None:
    """Say in the log that somebody reached for what they may not have; junk cannot flood it."""
    if noting.enough(ProposalFact.REFUSED, now=now, actor_id=by.id):
        return
    with log.recording():
        log.append(
            ProposalFact.REFUSED,
            actor=by,
            subject=Subject("proposal", proposal.sha256(), proposal.action_type),
            data={
                "action_type": proposal.action_type,
                "target": proposal.target,
                "code": code,
                "detail": detail[:500],
            },
            outcome="refused",
            now=now,
            mission_id=proposal.mission_id,
        )


def cancel(*, contract_id: UUID, by: Actor, user: User | None, reason: str, now: datetime) -> Contract:
    """Take a contract back: by who asked, the owner of the agent that did, an administrator, or Grace (`user` None).

    Raises Forbidden, NotYours and NotNow.
    """
    if user is not None:
        access.require(user, "contracts.cancel")
    with log.recording():
        contract = contracts.lock(contract_id)
        if user is not None and not user.is_superuser and not _asked_for(contract, user):
            raise NotYours("Only who asked for a contract may cancel it.")
        approvals.close_open(contract, ApprovalRequest.State.CANCELLED, by=by, reason=reason, now=now)
        return contracts.cancel(contract_id=contract_id, by=by, reason=reason, now=now)


def cancel_all_of(*, user_id: int, reason: str, now: datetime) -> int:
    """Take back everything a user asked for, or had Grace ask for, that has not begun; answers how many.

    Each on its own, so that what begins meanwhile stops nothing: the gate before it does.
    """
    behind = Q(requested_by_id=user_id) | Q(on_behalf_of_id=user_id)
    waiting = Contract.objects.filter(behind, state__in=NOT_BEGUN)
    return sum(_cancel_one(each, reason, now) for each in list(waiting.values_list("pk", flat=True)))


def _cancel_one(contract_id: UUID, reason: str, now: datetime) -> bool:
    try:
        cancel(contract_id=contract_id, by=SYSTEM, user=None, reason=reason, now=now)
    except contracts.NotNow:
        return False
    return True


def _asked_for(contract: Contract, user: User) -> bool:
    return user.pk in principals.answerable(contract.requested_by_id)


def revise(
    *, contract_id: UUID, revision: Any, by: Actor, user: User, now: datetime
) -> tuple[Revision, ApprovalRequest | None]:
    """Answer `changes_requested` with another wording, which is put before the policy like the first.

    `revision` is the body `{parameters?, expected_effect?, preconditions?, not_before?}`. Raises NotYours, NotNow
    and whatever `asking.examine` refuses.
    """
    access.require(user, "contracts.propose")
    changes = revision if isinstance(revision, Changes) else Changes.from_body(revision)
    contract = _contract(contract_id)
    access.require_to_ask(user, contract.action_type)
    _revisable(contract, user)
    number = contract.current_revision
    if errors := too_late(changes.not_before, now=now):
        raise asking.InvalidProposal(errors[0].detail, errors=errors)
    wording = asking.reworded(contract, contract.revision, changes)
    examined = asking.examine(wording, user=principals.behind(contract), now=now)
    with log.recording():
        contract = contracts.lock(contract_id)
        _revisable(contract, user)
        if contract.current_revision != number:
            raise contracts.NotNow("Another revision was made meanwhile.")
        written = asking.write_revision(contract, wording, changes, origin=Revision.Origin.REVISED, by=by, now=now)
        contract.refresh_from_db()
        answer = asking.put(contract=contract, revision=written, examined=examined, by=by, now=now)
        return written, answer.request


def _contract(contract_id: UUID) -> Contract:
    found = Contract.objects.filter(pk=contract_id).first()
    if found is None:
        raise contracts.NotFound(f"There is no contract {contract_id}.")
    return found


def _revisable(contract: Contract, user: User) -> None:
    if not _asked_for(contract, user):
        raise NotYours("Only who asked for a contract may revise it.")
    if contract.state != State.CHANGES_REQUESTED:
        raise contracts.NotNow(f"The contract is {contract.state}; nobody asked for changes.")
