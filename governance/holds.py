"""Holds: the switch. Nothing in a hold's scope starts while it is engaged; taking it off again is tier_3."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User

from auditlog import log
from auditlog.actors import Actor
from auditlog.refusals import FieldError, Refused

from . import access, digest, proposals
from .facts import HoldFact
from .holding import RELEASE, NoSuchHold, NotEngaged, Scope, say
from .models import Hold
from .proposals import Submitted
from .shapes import Proposal

MAX_REASON_CHARS = 2_000


class InvalidHold(Refused):
    """The hold does not make sense; `errors` names the fields."""

    code = "invalid_hold"
    kind = Refused.Kind.INVALID


def engage(
    *,
    scope: str,
    pattern: str = "",
    reason: str,
    by: Actor,
    user: User | None,
    now: datetime,
    source: str = "person",
    contract_id: UUID | None = None,
    is_exact: bool = False,
) -> Hold:
    """Stop everything in a scope from starting; answers the hold, or the one that is engaged on it already.

    `pattern` is a glob over agent names, action types or targets, or the id of a mission; with `is_exact` it is the
    one text that is meant. `user` is None when Grace holds by itself. Raises Forbidden and InvalidHold.
    """
    if user is not None:
        access.require(user, "holds.engage")
    _sensible(scope, pattern, reason)
    with log.recording():
        engaged = Hold.objects.filter(scope=scope, pattern=pattern, is_exact=is_exact, released_at=None).first()
        if engaged is not None:
            return engaged
        hold = Hold.objects.create(
            scope=scope,
            pattern=pattern,
            is_exact=is_exact,
            reason=reason,
            source=source,
            contract_id=contract_id,
            engaged_by_label=by.label,
            engaged_at=now,
        )
        say(hold, HoldFact.ENGAGED, reason=reason, by=by, now=now)
    return hold


def _sensible(scope: str, pattern: str, reason: str) -> None:
    errors: list[FieldError] = []
    if scope not in Scope.values:
        errors.append(FieldError("/scope", "not_allowed", f"One of {', '.join(Scope.values)} is expected."))
    elif (scope == Scope.EVERYTHING) is bool(pattern):
        errors.append(FieldError("/pattern", "invalid", "A pattern is expected, except for everything."))
    if len(pattern) > 500:
        errors.append(FieldError("/pattern", "too_long", "At most 500 characters."))
    if not reason.strip() or len(reason) > MAX_REASON_CHARS:
        errors.append(FieldError("/reason", "missing", f"A reason of at most {MAX_REASON_CHARS} characters."))
    errors += digest.unfaithful({"pattern": pattern, "reason": reason})
    if errors:
        raise InvalidHold(errors[0].detail, errors=errors)


def release(
    *,
    hold_id: UUID,
    reason: str,
    by: Actor,
    user: User | None,
    now: datetime,
    idempotency_key: str | None = None,
) -> Submitted:
    """Ask to take a hold off: a contract of its own, tier_3, which passes holds. Raises NoSuchHold and NotEngaged."""
    if user is not None:
        access.require_to_ask(user, RELEASE)
    hold = Hold.objects.filter(pk=hold_id).first()
    if hold is None:
        raise NoSuchHold(f"There is no hold {hold_id}.")
    if hold.released_at is not None:
        raise NotEngaged("The hold was released already.")
    proposal = Proposal(
        action_type=RELEASE,
        target=f"hold:{hold_id}",
        parameters={"hold_id": str(hold_id)},
        expected_effect={"target_state": {"engaged": False}},
        justification=reason,
    )
    return proposals.submit(proposal=proposal, by=by, user=user, idempotency_key=idempotency_key, now=now)
