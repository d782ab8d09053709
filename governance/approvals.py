"""Approvals: what people decide about a request, and what becomes of it.

The letters are those of the invariants in the documents. Who needs a contract and its request locks the contract
first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from auditlog import jobs, log, reading
from auditlog.actors import SYSTEM, Actor
from auditlog.models import Entry
from auditlog.refusals import FieldError, Refused
from verification import contracts
from verification.models import Contract, Revision, State

from . import (
    access,
    asking,
    delegating,
    holding,
    noting,
    pacing,
    parties,
    pressing,
    principals,
    quorum,
    voices,
    walking,
)
from . import digest as digests
from .asking import Examined
from .facts import ApprovalFact
from .models import ApprovalRequest, Decision, Delegation
from .policy import Requirements
from .shapes import Changes, too_late

Verdict = Decision.Verdict
JsonDict = dict[str, Any]

MAX_REASON_CHARS = 4_000
MAX_BATCH = 100
EXPIRE_AT_ONCE = 500
REOPEN_JOB = "approval.reopen"
LOOK_AGAIN_SECONDS = 60.0
GIVE_UP_AFTER = timedelta(hours=24)

OPEN = (ApprovalRequest.State.PENDING, ApprovalRequest.State.APPROVED)


class NotFound(Refused):
    """There is no such request, or it is none of this user's business."""

    code = "approval_not_found"
    kind = Refused.Kind.NOT_FOUND


class NotPending(Refused):
    """The request has been decided, or is over."""

    code = "request_not_pending"
    kind = Refused.Kind.CONFLICT


class RequestExpired(Refused):
    """Time ran out; expiry never approves."""

    code = "request_expired"
    kind = Refused.Kind.CONFLICT


class StaleDigest(Refused):
    """What was decided on is not what the request asks."""

    code = "stale_digest"
    kind = Refused.Kind.CONFLICT


class SeparationOfDuties(Refused):
    """Nobody decides on what they, or an agent of theirs, asked for, or on their own things. No setting lifts this."""

    code = "separation_of_duties"
    kind = Refused.Kind.FORBIDDEN


class NotAnApprover(Refused):
    """The person is in none of the groups this request asks."""

    code = "not_an_approver"
    kind = Refused.Kind.FORBIDDEN


class AlreadyDecided(Refused):
    """This person has decided on this request; they may withdraw first."""

    code = "already_decided"
    kind = Refused.Kind.CONFLICT


class SecondFactorRequired(Refused):
    """The policy asks for a second factor."""

    code = "second_factor_required"
    kind = Refused.Kind.FORBIDDEN


class BadDecision(Refused):
    """The decision does not make sense; `errors` names the fields."""

    code = "bad_decision"
    kind = Refused.Kind.INVALID


class EditDenied(Refused):
    """The policy says no to the edited wording; the request stands as it was."""

    code = "edit_denied_by_policy"
    kind = Refused.Kind.INVALID


class NothingToWithdraw(Refused):
    """This person has no decision on this request."""

    code = "nothing_to_withdraw"
    kind = Refused.Kind.CONFLICT


class AlreadyStarted(Refused):
    """Execution has begun or the request is over: there is nothing left to take back."""

    code = "already_started"
    kind = Refused.Kind.CONFLICT


# --- reading ---


@dataclass(frozen=True)
class SlotView:
    """A slot of a request as people see it; `person` and `decided_at` are None while it is open.

    `on_behalf_of` is the name of whoever the person decided for, empty when for themselves.
    """

    group: str
    person: User | None
    decided_at: datetime | None
    on_behalf_of: str = ""


def slots(request: ApprovalRequest, *, now: datetime) -> list[SlotView]:
    """The slots of a request and who fills them, counting only who may still speak (H)."""
    # Read once: between two readings somebody may decide, who then fills a slot and is not known.
    approved = yeses(request)
    by_person = {decision.person_id: decision for decision in approved}
    required = Requirements.from_dict(request.requirements).approvals
    return [
        SlotView(
            slot.group,
            by_person[slot.person].person if slot.person is not None else None,
            by_person[slot.person].created_at if slot.person is not None else None,
            by_person[slot.person].on_behalf_of_label if slot.person is not None else "",
        )
        for slot in quorum.fill(required, _counting(request, approved, now=now))
    ]


def filled(request: ApprovalRequest, *, now: datetime) -> list[quorum.Slot]:
    """The slots of a request, filled by the approvals that count now (G, H)."""
    required = Requirements.from_dict(request.requirements).approvals
    return quorum.fill(required, _counting(request, yeses(request), now=now))


def _counting(request: ApprovalRequest, approved: list[Decision], *, now: datetime) -> list[quorum.Approval]:
    """Those of these approvals that count now; nobody is heard twice, by themselves or in somebody else's name."""
    given = delegating.in_force(now=now)
    heard = set(given.side(parties.asking_side(request.contract)))
    counting = []
    for decision in approved:
        voice = voices.behind(decision, request, given)
        if voice is not None and heard.isdisjoint(people := {decision.person_id, voice.person.pk}):
            counting.append(quorum.Approval(decision.person_id, voice.groups))
            heard |= people
    return counting


def yeses(request: ApprovalRequest) -> list[Decision]:
    """The approvals of exactly what the request asks that nobody took back, whoever may still give one."""
    said_yes = [each for each in standing(request) if each.verdict == Verdict.APPROVE]
    return [each for each in said_yes if digests.same(each.digest, request.digest)]


@reading.remembered
def standing(request: ApprovalRequest) -> list[Decision]:
    """The decisions on a request that nobody took back, the earliest first."""
    rows = Decision.objects.filter(request_id=request.pk, withdrawn_at=None).select_related("person")
    return list(rows.order_by("created_at", "id"))


def meet(request: ApprovalRequest, *more: int) -> None:
    """Within `reading.once()`: look up everybody who asked or decided, together; every question is about them."""
    contract = request.contract
    deciders = [each.person_id for each in standing(request)]
    principals.meet(contract.requested_by_id, contract.on_behalf_of_id, *deciders, *more)


def deadline(request: ApprovalRequest, *, now: datetime) -> datetime:
    """When a pending request expires: its clock stops while a hold covers the contract (I)."""
    paused = holding.paused(request.contract, since=request.created_at, until=now)
    return request.expires_at + paused


def begins_at(request: ApprovalRequest, *, now: datetime) -> datetime | None:
    """When its action could begin if approved now: by `not_before` and windows. None once it has, or is over."""
    waits = request.contract.state in (State.AWAITING_APPROVAL, State.AUTHORIZED)
    if request.state not in OPEN or not waits:
        return None
    return asking.begins(request.revision, Requirements.from_dict(request.requirements), now=now)


def refusal(request: ApprovalRequest, user: User, *, now: datetime) -> Refused | None:
    """Why this person may not decide on this request, whatever its state; None when they may.

    The one predicate of every door: F, then permission, then H, for themselves and for whoever delegated to them.
    """
    found = principals.principal(user.pk)
    if found is None or not found.user.is_active:
        return access.Forbidden("This account is not active.")
    person = found.user
    asking_side, given = parties.asking_side(request.contract), delegating.in_force(now=now)
    if person.pk in asking_side:
        return SeparationOfDuties(
            "Nobody decides on what they or an agent of theirs asked for, or on what is their own."
        )
    if person.pk in given.side(asking_side):
        return SeparationOfDuties("You stand in for somebody who asked for this or answers for it.")
    if voices.of(request, person, given):
        return None
    if not given.to(person.pk) and not access.may(person, "approvals.decide"):
        return access.Forbidden("This needs the permission approvals.decide.")
    groups = Requirements.from_dict(request.requirements).groups
    return NotAnApprover(f"This request asks members of {', '.join(sorted(groups))}.")


def voice_of(request: ApprovalRequest, user: User, *, now: datetime) -> voices.Voice:
    """In whose name this person would decide now: their own, or the first in which they would fill a further slot.

    Raises AlreadyDecided when everybody they could speak for has been heard (G).
    """
    found = voices.of(request, user, delegating.in_force(now=now)) or [voices.Voice(user, frozenset())]
    heard = _heard(request)
    free = [voice for voice in found if voice.person.pk not in heard]
    if not free:
        raise AlreadyDecided("Whoever you would speak for has been heard on this request.")
    if len(free) == 1:
        return free[0]
    wanted, counting = (
        Requirements.from_dict(request.requirements).approvals,
        _counting(request, yeses(request), now=now),
    )

    def placed(*more: quorum.Approval) -> int:
        return sum(slot.person is not None for slot in quorum.fill(wanted, [*counting, *more]))

    fills = (voice for voice in free if placed(quorum.Approval(user.pk, voice.groups)) > placed())
    return next(fills, free[0])


def _heard(request: ApprovalRequest) -> set[int]:
    pairs = [(each.person_id, each.on_behalf_of_id) for each in standing(request)]
    return {each for pair in pairs for each in pair if each is not None}


# --- deciding ---


def decide(
    *,
    request_id: UUID,
    by: Actor,
    user: User,
    verdict: str,
    digest: str,
    reason: str = "",
    edits: JsonDict | None = None,
    now: datetime,
    second_factor: bool = False,
) -> ApprovalRequest:
    """Say yes, no, or "not like this" to exactly what was shown; answers the request as it stands then.

    `digest` is the one that was shown. `edits` with an approval make another revision, whose request is answered.
    `second_factor` says that this person has proved one in this session. Raises the refusals above, NotNow and
    TooManyDecisions.
    """
    pacing.take(user.pk, now=now)
    _sensible(verdict, reason, edits)
    return _decide_noting(request_id, _Word(by, user, Verdict(verdict), digest, reason, now, second_factor), edits)


def _decide_noting(request_id: UUID, word: _Word, edits: JsonDict | None = None) -> ApprovalRequest:
    try:
        if edits:
            return _decide_edited(request_id, word, Changes.from_body(edits, at="/edits"))
        return _decide(request_id, word)
    except _WORTH_NOTING as no:
        _note(request_id, word, no)
        raise


def _decide(request_id: UUID, word: _Word) -> ApprovalRequest:
    with log.recording(), reading.once():
        contract, request = _locked(request_id)
        meet(request, word.user.pk)
        _admit(contract, request, word)
        decision = _write(contract, request, word)
        reading.tell(standing, request, answer=[*standing(request), decision])
        _FOLLOWS[word.verdict](contract, request, word.by, word.reason, word.now)
    return request


_WORTH_NOTING = (SeparationOfDuties, StaleDigest, RequestExpired, NotAnApprover, access.Forbidden)


def _note(request_id: UUID, word: _Word, no: Refused) -> None:
    """Say in the log that somebody tried what they may not, or decided on what was not asked."""
    if noting.enough(ApprovalFact.REFUSED, now=word.now, actor_id=word.by.id):
        return
    with log.recording():
        request = ApprovalRequest.objects.select_related("contract").get(pk=request_id)
        contract = request.contract
        log.append(
            ApprovalFact.REFUSED,
            actor=word.by,
            subject=pressing.subject_of(request),
            data={
                "action_type": contract.action_type,
                "target": contract.target,
                "tier": request.tier,
                "digest": request.digest,
                "verdict": word.verdict.value,
                "code": no.code,
            },
            outcome="refused",
            now=word.now,
            contract_id=contract.pk,
            mission_id=contract.mission_id,
        )


@dataclass(frozen=True)
class _Word:
    """What one person says, about which digest, and whether they proved a second factor."""

    by: Actor
    user: User
    verdict: Verdict
    digest: str
    reason: str
    now: datetime
    second_factor: bool


def _sensible(verdict: str, reason: str, edits: Any) -> None:
    errors = []
    if verdict not in Verdict.values:
        errors.append(FieldError("/verdict", "not_allowed", f"One of {', '.join(Verdict.values)} is expected."))
    elif verdict != Verdict.APPROVE and not reason.strip():
        errors.append(FieldError("/reason", "missing", "A rejection or a request for changes says why."))
    if len(reason) > MAX_REASON_CHARS:
        errors.append(FieldError("/reason", "too_long", f"At most {MAX_REASON_CHARS} characters."))
    errors += digests.unfaithful(reason, at="/reason")
    if edits and verdict != Verdict.APPROVE:
        errors.append(FieldError("/edits", "not_allowed", "Only an approval can edit."))
    if errors:
        raise BadDecision(errors[0].detail, errors=errors)


def _locked(request_id: UUID) -> tuple[Contract, ApprovalRequest]:
    """A request and its contract, both locked and both read after the lock."""
    entries = Entry.objects.filter(contract_id=OuterRef("contract_id")).order_by("-id").values("id")
    # PostgreSQL locks the rows of a join in the order in which they are named here.
    rows = ApprovalRequest.objects.select_for_update(of=("contract", "self")).select_related("contract", "revision")
    # What is asked along is answered from before a wait for the locks: nothing that deciders change may be among it.
    any_delegation = Exists(Delegation.objects.filter(ended_at=None))
    rows = rows.annotate(latest_entry_id=Subquery(entries[:1]), any_delegation=any_delegation)
    request = rows.filter(pk=request_id).order_by().first()
    if request is None:
        raise NotFound(f"There is no approval request {request_id}.")
    if not request.any_delegation:
        reading.tell(delegating.rows, answer=[])
    contract = request.contract
    contract.revision = request.revision
    reading.tell(contracts.lock, contract.pk, answer=contract)
    reading.tell(log.latest_committed, contract.pk, using=DEFAULT_DB_ALIAS, answer=request.latest_entry_id)
    return contract, request


def _admit(contract: Contract, request: ApprovalRequest, word: _Word) -> None:
    """Raise the first reason for which this person cannot decide this now."""
    if (no := refusal(request, word.user, now=word.now)) is not None:
        raise no
    if request.state == ApprovalRequest.State.EXPIRED:
        raise RequestExpired("The request has expired.")
    if request.state != ApprovalRequest.State.PENDING or contract.state != State.AWAITING_APPROVAL:
        raise NotPending(f"The request is {request.state}.")
    if request.expires_at <= word.now and deadline(request, now=word.now) <= word.now:
        raise RequestExpired("The request has expired.")
    if not digests.same(word.digest, request.digest):
        detail = "This is not what the request asks now; read it again and decide on its digest."
        raise StaleDigest(detail, errors=[FieldError("/digest", StaleDigest.code, detail)])
    if word.user.pk in _heard(request):
        raise AlreadyDecided("You have decided on this request, or somebody in your name; withdraw first.")
    _prove(Requirements.from_dict(request.requirements), word)


def _prove(requirements: Requirements, word: _Word) -> None:
    if requirements.second_factor and not word.second_factor:
        raise SecondFactorRequired("The policy asks for a second factor to decide this.")


def _write(contract: Contract, request: ApprovalRequest, word: _Word, *, shown_digest: str = "") -> Decision:
    """Write a decision and its fact; the fact's entry is what a receipt proves."""
    edited = {"shown_digest": shown_digest} if shown_digest else {}
    voice = voice_of(request, word.user, now=word.now)
    lent = voice.delegation
    in_name = {"on_behalf_of": str(lent.delegator_id), "delegation": str(lent.pk)} if lent else {}
    with contracts.story(contract):
        entry_id = log.append(
            ApprovalFact.DECIDED,
            actor=word.by,
            subject=pressing.subject_of(request),
            data={
                **_about(contract, request),
                "verdict": word.verdict.value,
                "reason": word.reason,
                "edited": bool(shown_digest),
                **edited,
                **in_name,
            },
            now=word.now,
            contract_id=contract.pk,
            mission_id=contract.mission_id,
        )
    return Decision.objects.create(
        request=request,
        person=word.user,
        person_label=word.by.label,
        delegation=lent,
        on_behalf_of=lent.delegator if lent else None,
        on_behalf_of_label=lent.delegator_label if lent else "",
        verdict=word.verdict,
        digest=request.digest,
        reason=word.reason,
        entry_id=entry_id,
        created_at=word.now,
    )


def _approved(contract: Contract, request: ApprovalRequest, by: Actor, reason: str, now: datetime) -> None:
    """One more yes: when every slot is filled the contract is authorized, in this transaction (N)."""
    if not quorum.complete(filled(request, now=now)):
        return
    requirements = Requirements.from_dict(request.requirements)
    start = asking.begins(request.revision, requirements, now=now)
    request.state = ApprovalRequest.State.APPROVED
    request.valid_until = start + timedelta(seconds=requirements.valid_seconds)
    request.save(update_fields=["state", "valid_until"])
    _say(
        contract,
        request,
        ApprovalFact.GRANTED,
        by=by,
        reason=reason,
        now=now,
        valid_until=request.valid_until,
    )
    contracts.authorize(
        contract_id=contract.pk,
        tier=request.tier,
        digest=request.digest,
        valid_until=request.valid_until,
        by=by,
        now=now,
    )


def _rejected(contract: Contract, request: ApprovalRequest, by: Actor, reason: str, now: datetime) -> None:
    """One more no: as many as the policy asks for end the request (J)."""
    said_no = Decision.objects.filter(request=request, verdict=Verdict.REJECT, withdrawn_at=None).count()
    if said_no < Requirements.from_dict(request.requirements).denials:
        return
    close(contract, request, ApprovalRequest.State.REJECTED, by=by, reason=reason, now=now)
    contracts.reject(contract_id=contract.pk, by=by, reason=reason, now=now)


def _returned(contract: Contract, request: ApprovalRequest, by: Actor, reason: str, now: datetime) -> None:
    close(contract, request, ApprovalRequest.State.CHANGES_REQUESTED, by=by, reason=reason, now=now)
    contracts.request_changes(contract_id=contract.pk, by=by, reason=reason, now=now)


_FOLLOWS: dict[Verdict, Callable[[Contract, ApprovalRequest, Actor, str, datetime], None]] = {
    Verdict.APPROVE: _approved,
    Verdict.REJECT: _rejected,
    Verdict.REQUEST_CHANGES: _returned,
}


def _decide_edited(request_id: UUID, word: _Word, changes: Changes) -> ApprovalRequest:
    """Approve something else than was asked (L).

    That is a new revision and a new request, on which the editor has approved and nobody else has.
    """
    examined, wording = _examined_edit(request_id, word, changes)
    by, now = word.by, word.now
    with log.recording():
        contract, request = _locked(request_id)
        _admit(contract, request, word)
        shown = request.digest
        close(
            contract,
            request,
            ApprovalRequest.State.CANCELLED,
            by=by,
            reason="Approved with edits; the next revision has a request of its own.",
            code="edited",
            now=now,
        )
        revision = asking.write_revision(contract, wording, changes, origin=Revision.Origin.EDITED, by=by, now=now)
        contract.refresh_from_db()
        opened = asking.put(contract=contract, revision=revision, examined=examined, by=by, now=now).request
        assert opened is not None, "an edit asks for at least what was asked before"
        opened.contract = contract
        _write(contract, opened, word, shown_digest=shown)
        _approved(contract, opened, by, word.reason, now)
    return opened


def try_edit(
    *, request_id: UUID, by: Actor, user: User, digest: str, edits: JsonDict, now: datetime, second_factor: bool = False
) -> Examined:
    """What an approval with these edits would do and whom it would ask; writes nothing. Raises what `decide` does."""
    word = _Word(by, user, Verdict.APPROVE, digest, "", now, second_factor)
    return _examined_edit(request_id, word, Changes.from_body(edits, at="/edits"))[0]


def _examined_edit(request_id: UUID, word: _Word, changes: Changes) -> tuple[Examined, asking.Wording]:
    request = ApprovalRequest.objects.select_related("contract", "revision").filter(pk=request_id).first()
    if request is None:
        raise NotFound(f"There is no approval request {request_id}.")
    _admit(request.contract, request, word)
    if errors := too_late(changes.not_before, now=word.now, at="/edits"):
        raise BadDecision(errors[0].detail, errors=errors)
    wording = asking.reworded(request.contract, request.revision, changes)
    examined = asking.examine(wording, user=principals.behind(request.contract), now=word.now)
    if examined.evaluation.ruling.denied:
        raise EditDenied(examined.evaluation.ruling.reason)
    examined = examined.at_least(request.tier, Requirements.from_dict(request.requirements))
    # The editor approves the edited wording, which may ask for more than the one that was shown.
    _prove(examined.evaluation.ruling.requirements, word)
    return examined, wording


@dataclass(frozen=True)
class Result:
    """What became of one item of a batch: the request, or why not."""

    request_id: UUID
    request: ApprovalRequest | None
    refused: Refused | None


def decide_many(
    *, items: Iterable[Mapping[str, Any]], by: Actor, user: User, now: datetime, second_factor: bool = False
) -> list[Result]:
    """Decide on several requests, each by its own digest and each on its own: one refusal stops no other.

    An item is `{request_id, verdict, digest, reason?}`. Raises BadDecision for more than 100, and TooManyDecisions:
    the batch counts once.
    """
    wanted = list(items)
    if len(wanted) > MAX_BATCH:
        raise BadDecision(f"At most {MAX_BATCH} decisions at once.")
    pacing.take(user.pk, now=now)
    return [_one(item, by=by, user=user, now=now, second_factor=second_factor) for item in wanted]


def _one(item: Mapping[str, Any], *, by: Actor, user: User, now: datetime, second_factor: bool) -> Result:
    request_id, reason = item["request_id"], item.get("reason", "")
    try:
        _sensible(item["verdict"], reason, None)
        word = _Word(by, user, Verdict(item["verdict"]), item["digest"], reason, now, second_factor)
        request = _decide_noting(request_id, word)
    except Refused as refused:
        return Result(request_id, None, refused)
    return Result(request_id, request, None)


def withdraw(*, request_id: UUID, by: Actor, user: User, reason: str, now: datetime) -> ApprovalRequest:
    """Take one's decision back, or one made in one's name, while nothing has begun (K).

    An approved request is pending again. It counts like a decision. Raises Forbidden, TooManyDecisions,
    AlreadyStarted and NothingToWithdraw.
    """
    access.require(user, "approvals.withdraw")
    pacing.take(user.pk, now=now)
    if errors := digests.unfaithful(reason, at="/reason"):
        raise BadDecision(errors[0].detail, errors=errors)
    with log.recording():
        contract, request = _locked(request_id)
        if request.state not in OPEN or contract.state not in (State.AWAITING_APPROVAL, State.AUTHORIZED):
            raise AlreadyStarted(f"The request is {request.state}, the contract {contract.state}.")
        ours = Q(person_id=user.pk) | Q(on_behalf_of_id=user.pk)
        mine = Decision.objects.filter(ours, request=request, withdrawn_at=None).first()
        if mine is None:
            raise NothingToWithdraw("You have no decision on this request.")
        mine.withdrawn_at = now
        mine.save(update_fields=["withdrawn_at"])
        _say(contract, request, ApprovalFact.WITHDRAWN, by=by, reason=reason, now=now, decision=mine.entry_id)
        if request.state == ApprovalRequest.State.APPROVED and not quorum.complete(filled(request, now=now)):
            request.state, request.valid_until = ApprovalRequest.State.PENDING, None
            request.save(update_fields=["state", "valid_until"])
            contracts.await_approval(
                contract_id=contract.pk, tier=request.tier, by=by, reason="an approval was withdrawn", now=now
            )
    return request


# --- the end of a request ---

_SAID = {
    ApprovalRequest.State.REJECTED: ApprovalFact.REJECTED,
    ApprovalRequest.State.CHANGES_REQUESTED: ApprovalFact.CHANGES_REQUESTED,
    ApprovalRequest.State.EXPIRED: ApprovalFact.EXPIRED,
    ApprovalRequest.State.CANCELLED: ApprovalFact.CANCELLED,
    ApprovalRequest.State.STALE: ApprovalFact.STALE,
}


def close(
    contract: Contract,
    request: ApprovalRequest,
    state: ApprovalRequest.State,
    *,
    by: Actor,
    reason: str,
    now: datetime,
    code: str = "",
) -> None:
    """End a request and say so. Inside `recording()`, both rows locked; the contract is the caller's to move."""
    request.state, request.closed_at, request.closing_reason = state, now, reason
    request.save(update_fields=["state", "closed_at", "closing_reason"])
    _say(contract, request, _SAID[state], by=by, reason=reason, now=now, code=code)


def close_open(contract: Contract, state: ApprovalRequest.State, *, by: Actor, reason: str, now: datetime) -> None:
    """End the open request of a locked contract, if it has one."""
    for request in ApprovalRequest.objects.select_for_update(of=("self",)).filter(contract=contract, state__in=OPEN):
        close(contract, request, state, by=by, reason=reason, now=now)


def spend(request: ApprovalRequest, *, now: datetime) -> None:
    """The approval is used up by the execution that begins now (E). Inside the claim's transaction."""
    request.state, request.closed_at = ApprovalRequest.State.SPENT, now
    request.save(update_fields=["state", "closed_at"])


def expire_due(*, now: datetime) -> int:
    """End what nobody answered in time; returns how many. Expiry never approves (I).

    That is every pending request, and every contract for which changes were asked: its requester has as long to
    answer as the reviewers had.
    """
    holding.notice_file(now=now)
    due = ApprovalRequest.objects.filter(state=ApprovalRequest.State.PENDING, expires_at__lte=now)
    pending = sum(_expire(each, now=now) for each in walking.ids_by(due, "expires_at", at_once=EXPIRE_AT_ONCE))
    returned = _returned_unanswered().filter(closed_at__lte=now - (F("expires_at") - F("created_at")))
    return pending + sum(
        _expire_returned(each, now=now) for each in walking.ids_by(returned, "closed_at", at_once=EXPIRE_AT_ONCE)
    )


def _returned_unanswered() -> QuerySet[ApprovalRequest]:
    """The requests for changes which are still the last word on their contract."""
    return ApprovalRequest.objects.filter(
        state=ApprovalRequest.State.CHANGES_REQUESTED,
        contract__state=State.CHANGES_REQUESTED,
        revision__number=F("contract__current_revision"),
    )


def answer_by(request: ApprovalRequest, *, now: datetime) -> datetime:
    """Until when a requester may answer with another revision; the clock stops while held (I)."""
    assert request.closed_at is not None, "changes are asked for by closing the request"
    paused = holding.paused(request.contract, since=request.closed_at, until=now)
    return request.closed_at + (request.expires_at - request.created_at) + paused


def _expire_returned(request_id: UUID, *, now: datetime) -> bool:
    with log.recording():
        contract, request = _locked(request_id)
        if not _returned_unanswered().filter(pk=request.pk).exists() or answer_by(request, now=now) > now:
            return False
        reason = "Nobody answered the request for changes in time."
        contracts.expire(contract_id=contract.pk, by=SYSTEM, reason=reason, now=now)
    return True


def _expire(request_id: UUID, *, now: datetime) -> bool:
    with log.recording():
        contract, request = _locked(request_id)
        if request.state != ApprovalRequest.State.PENDING or deadline(request, now=now) > now:
            return False
        reason = "Nobody decided in time."
        close(contract, request, ApprovalRequest.State.EXPIRED, by=SYSTEM, reason=reason, now=now)
        if contract.state == State.AWAITING_APPROVAL:
            contracts.expire(contract_id=contract.pk, by=SYSTEM, reason=reason, now=now)
    return True


# --- asking again ---


def owe_reopening(contract_id: UUID, *, now: datetime) -> None:
    """See to it that a contract which waits for people is asked about (in a job, since it has to look first)."""
    with log.recording():
        contract = contracts.lock(contract_id)
        pending = ApprovalRequest.objects.filter(contract=contract, state=ApprovalRequest.State.PENDING)
        if contract.state == State.AWAITING_APPROVAL and not pending.exists():
            jobs.enqueue(
                kind=REOPEN_JOB,
                subject_id=str(contract.pk),
                now=now,
                contract_id=contract.pk,
                mission_id=contract.mission_id,
            )


def reopen(contract_id: UUID, *, now: datetime) -> ApprovalRequest | None:
    """Ask anew about a contract that waits for people and has no pending request, showing what has changed.

    Does nothing when there is nothing to ask. Raises what `asking.examine` refuses.
    """
    contract = Contract.objects.select_related("requested_by", "on_behalf_of").filter(pk=contract_id).first()
    if contract is None or contract.state != State.AWAITING_APPROVAL:
        return None
    revision = contract.revision
    examined = asking.examine(asking.Wording.of(contract, revision), user=principals.behind(contract), now=now)
    with log.recording():
        contract = contracts.lock(contract_id)
        before = _latest(contract)
        if contract.state != State.AWAITING_APPROVAL or contract.current_revision != revision.number:
            return None
        if before is not None and before.state == ApprovalRequest.State.PENDING:
            return before
        if before is not None and before.state == ApprovalRequest.State.APPROVED:
            why = "What it rested on no longer holds."
            close(contract, before, ApprovalRequest.State.STALE, by=SYSTEM, reason=why, now=now)
        if before is not None and not examined.evaluation.ruling.denied:
            examined = examined.at_least(before.tier, Requirements.from_dict(before.requirements))
        drift = _drift(before, examined) if before else {}
        examined = examined.tried(contract.executions.count())
        return asking.put(
            contract=contract, revision=revision, examined=examined, by=SYSTEM, now=now, drift=drift
        ).request


def give_up(contract_id: UUID, *, reason: str, now: datetime) -> None:
    """Nobody can be asked about this contract any more: it ends."""
    with log.recording():
        contract = contracts.lock(contract_id)
        if contract.state == State.AWAITING_APPROVAL:
            close_open(contract, ApprovalRequest.State.CANCELLED, by=SYSTEM, reason=reason, now=now)
            contracts.cancel(contract_id=contract_id, by=SYSTEM, reason=reason, now=now)


def _latest(contract: Contract) -> ApprovalRequest | None:
    found = ApprovalRequest.objects.select_for_update(of=("self",)).filter(contract=contract)
    return found.order_by("-created_at", "-id").first()


def _drift(before: ApprovalRequest, examined: Examined) -> JsonDict:
    """What has changed in the world since people were asked before; empty when nothing has."""
    if examined.look is None or before.fingerprint == examined.look.fingerprint:
        return {}
    return {
        "request": str(before.pk),
        "before": before.observation.get("state"),
        "after": examined.look.observation.state,
    }


# --- facts ---


def _about(contract: Contract, request: ApprovalRequest) -> JsonDict:
    return {
        "action_type": contract.action_type,
        "target": contract.target,
        "tier": request.tier,
        "revision": request.revision.number,
        "digest": request.digest,
    }


def _say(
    contract: Contract,
    request: ApprovalRequest,
    fact: ApprovalFact,
    *,
    by: Actor,
    reason: str,
    now: datetime,
    code: str = "",
    valid_until: datetime | None = None,
    decision: UUID | None = None,
) -> None:
    more: JsonDict = {"code": code} if code else {}
    if decision is not None:
        more["decision"] = decision
    if valid_until is not None:
        more["valid_until"] = valid_until
    with contracts.story(contract):
        log.append(
            fact,
            actor=by,
            subject=pressing.subject_of(request),
            data={
                **_about(contract, request),
                "reason": reason,
                "latency_seconds": max(0, int((now - request.created_at).total_seconds())),
                **more,
            },
            now=now,
            contract_id=contract.pk,
            mission_id=contract.mission_id,
        )
