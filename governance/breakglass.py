"""Break-glass: a permitted person acts now, on their own word, and somebody else has to look at it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from auditlog import log
from auditlog.actors import Actor
from auditlog.refusals import FieldError, Refused
from auditlog.subjects import Subject
from verification.models import Contract

from . import access, delegating, digest, parties, policy, proposals
from .asking import Examined, StandIn
from .facts import BreakGlassFact
from .models import BreakGlass
from .proposals import Proposal, Submitted

MAX_TEXT_CHARS = 4_000


class NotByBreakGlass(Refused):
    """Permission itself never changes on one person's word (D)."""

    code = "not_by_break_glass"
    kind = Refused.Kind.FORBIDDEN


class ReviewOpen(Refused):
    """This person broke glass before, and nobody has looked at it yet."""

    code = "review_open"
    kind = Refused.Kind.CONFLICT


class NotAtOnce(Refused):
    """Break-glass is for what has to start now."""

    code = "not_at_once"
    kind = Refused.Kind.INVALID


class NoReason(Refused):
    """A reason (or a finding) is part of it."""

    code = "reason_missing"
    kind = Refused.Kind.INVALID


class NoSuchUse(Refused):
    """There is no such use of break-glass."""

    code = "break_glass_not_found"
    kind = Refused.Kind.NOT_FOUND


class Reviewed(Refused):
    """Somebody has closed the review."""

    code = "already_reviewed"
    kind = Refused.Kind.CONFLICT


class OwnReview(Refused):
    """Somebody else has to look at it."""

    code = "separation_of_duties"
    kind = Refused.Kind.FORBIDDEN


def read(body: Mapping[str, Any]) -> tuple[Proposal, str]:
    """The action in the body of a request, and its `reason`. Raises NoReason and what `Proposal.from_body` does."""
    reason = body.get("reason", "")
    if not isinstance(reason, str):
        raise NoReason("A text is expected.", errors=[FieldError("/reason", "wrong_type", "A text is expected.")])
    return Proposal.from_body({name: value for name, value in body.items() if name != "reason"}), reason


def use(
    *,
    proposal: Proposal,
    reason: str,
    by: Actor,
    user: User,
    now: datetime,
    idempotency_key: str | None = None,
) -> Submitted:
    """Run one action without waiting for people. What the policy denies stays denied, and holds stay holds.

    An action that would have run by itself does so, and no glass is broken. Raises Forbidden, NoReason, NotAtOnce,
    NotByBreakGlass, ReviewOpen and what `proposals.submit` refuses.
    """
    access.require(user, "breakglass.use")
    _said(reason, "/reason")
    if proposal.not_before is not None:
        detail = "What is done by breaking glass starts now."
        raise NotAtOnce(detail, errors=[FieldError("/not_before", NotAtOnce.code, detail)])
    if policy.governs(proposal.action_type):
        detail = f"{proposal.action_type[:80]} changes who may do what; that takes the people the policy asks for."
        raise NotByBreakGlass(detail, errors=[FieldError("/action_type", NotByBreakGlass.code, detail)])
    if BreakGlass.objects.filter(person=user, reviewed_at=None).exists():
        raise ReviewOpen("Somebody has to review how you broke glass before, first.")

    def break_glass(contract: Contract, examined: Examined) -> StandIn | None:
        return StandIn("break_glass", _used(contract, reason, by=by, user=user, now=now).pk)

    return proposals.submit(
        proposal=proposal, by=by, user=user, idempotency_key=idempotency_key, now=now, stand_in=break_glass
    )


def _used(contract: Contract, reason: str, *, by: Actor, user: User, now: datetime) -> BreakGlass:
    try:
        with transaction.atomic():
            row = BreakGlass.objects.create(
                contract=contract, person=user, person_label=by.label, reason=reason, used_at=now
            )
    except IntegrityError:
        raise ReviewOpen("Somebody has to review how you broke glass before, first.") from None
    _say(row, BreakGlassFact.USED, by=by, text=reason, now=now)
    return row


def refusal(row: BreakGlass, user: User, *, now: datetime) -> Refused | None:
    """Why this person may not close this review; None when they may. The one predicate of every door."""
    if not access.may(user, "breakglass.review"):
        return access.Forbidden("This needs the permission breakglass.review.")
    if row.reviewed_at is not None:
        return Reviewed(f"{row.reviewer_label} has reviewed it.")
    behind = {row.person_id, *parties.asking_side(row.contract)}
    if user.pk in delegating.in_force(now=now).side(behind):
        return OwnReview("Somebody else has to look at it.")
    return None


def review(*, break_glass_id: UUID, finding: str, by: Actor, user: User, now: datetime) -> BreakGlass:
    """Close the review with what was found. Never by who broke the glass. Raises Forbidden, OwnReview, Reviewed."""
    access.require(user, "breakglass.review")
    _said(finding, "/finding")
    with log.recording():
        row = BreakGlass.objects.select_for_update(of=("self",)).filter(pk=break_glass_id).first()
        if row is None:
            raise NoSuchUse(f"There is no use of break-glass {break_glass_id}.")
        if (no := refusal(row, user, now=now)) is not None:
            raise no
        row.reviewed_by_id, row.reviewer_label = user.pk, by.label
        row.finding, row.reviewed_at = finding, now
        row.save(update_fields=["reviewed_by", "reviewer_label", "finding", "reviewed_at"])
        _say(row, BreakGlassFact.REVIEWED, by=by, text=finding, now=now)
    return row


def _said(text: str, at: str) -> None:
    errors = digest.unfaithful(text, at=at)
    if not text.strip() or len(text) > MAX_TEXT_CHARS:
        errors.append(FieldError(at, "missing", f"A text of at most {MAX_TEXT_CHARS} characters."))
    if errors:
        raise NoReason(errors[0].detail, errors=errors)


def _say(row: BreakGlass, fact: BreakGlassFact, *, by: Actor, text: str, now: datetime) -> None:
    contract = row.contract
    log.append(
        fact,
        actor=by,
        subject=Subject("break_glass", str(row.pk), str(contract)),
        data={
            "action_type": contract.action_type,
            "target": contract.target,
            "person_id": str(row.person_id),
            "text": text,
        },
        now=now,
        contract_id=contract.pk,
        mission_id=contract.mission_id,
    )
