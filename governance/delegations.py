"""Delegations: a person who decides lets another decide in their name for a while, and takes that back at any time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.contrib.auth.models import User

from auditlog import log
from auditlog.actors import SYSTEM, Actor
from auditlog.refusals import FieldError, Refused

from . import access, delegating, digest, principals, walking
from .delegating import NoSuchDelegation
from .facts import ApprovalFact
from .models import Delegation

LONGEST = timedelta(days=31)
LATEST_START = timedelta(days=90)
MAX_OPEN = 20
MAX_REASON_CHARS = 2_000
MAX_GROUPS = 20
AT_ONCE = 500


class InvalidDelegation(Refused):
    """It cannot be delegated like this; `errors` names the fields."""

    code = "invalid_delegation"
    kind = Refused.Kind.INVALID


class TooManyDelegations(Refused):
    """The person has as many open delegations as anybody may have."""

    code = "too_many_delegations"
    kind = Refused.Kind.CONFLICT


class NotYourDelegation(Refused):
    """Only who delegated, the delegate, or an administrator may end it."""

    code = "not_yours"
    kind = Refused.Kind.FORBIDDEN


def create(
    *,
    delegate: str,
    ends_at: datetime,
    reason: str,
    by: Actor,
    user: User,
    now: datetime,
    starts_at: datetime | None = None,
    groups: Sequence[str] = (),
) -> Delegation:
    """Let `delegate` (a username) decide in this user's name from `starts_at` (now) until `ends_at`, 31 days at most.

    `groups` limits it to some of the user's groups. What was itself delegated cannot be passed on. Whom it lets decide
    on what is resolved at each decision. Raises Forbidden, InvalidDelegation and TooManyDelegations.
    """
    access.require_own(user, "delegations.create")
    found = principals.person_named(delegate)
    starts = max(starts_at or now, now)
    _sensible(user, found, groups, starts_at=starts, ends_at=ends_at, reason=reason, now=now)
    assert found is not None, "it was looked at"
    with log.recording():
        User.objects.select_for_update().get(pk=user.pk)
        if Delegation.objects.filter(delegator=user, ended_at=None, ends_at__gt=now).count() >= MAX_OPEN:
            raise TooManyDelegations(f"You have {MAX_OPEN} open delegations; end one first.")
        delegation = Delegation.objects.create(
            delegator=user,
            delegator_label=by.label,
            delegate=found,
            delegate_label=principals.actor_of(found).label,
            groups=sorted(set(groups)),
            reason=reason,
            starts_at=starts,
            ends_at=ends_at,
            created_at=now,
        )
        delegating.say(delegation, ApprovalFact.DELEGATED, by=by, reason=reason, now=now)
    return delegation


def _sensible(
    user: User,
    delegate: User | None,
    groups: Sequence[str],
    *,
    starts_at: datetime,
    ends_at: datetime,
    reason: str,
    now: datetime,
) -> None:
    errors = digest.unfaithful(reason, at="/reason")
    if not reason.strip() or len(reason) > MAX_REASON_CHARS:
        errors.append(FieldError("/reason", "missing", f"A reason of at most {MAX_REASON_CHARS} characters."))
    if delegate is None or "approvals.stand_in" not in access.own_permissions(delegate):
        detail = "The username of an active person who may propose is expected; auditors and agents never decide."
        errors.append(FieldError("/delegate", "invalid", detail))
    elif delegate.pk == user.pk:
        errors.append(FieldError("/delegate", "invalid", "Nobody stands in for themselves."))
    own = principals.groups_of(user.pk)
    if not own:
        errors.append(FieldError("/groups", "invalid", "You are in no group, so nobody can speak for it in your name."))
    elif len(groups) > MAX_GROUPS or not own >= set(groups):
        errors.append(FieldError("/groups", "invalid", "Only groups you are in can be named."))
    if starts_at > now + LATEST_START:
        errors.append(FieldError("/starts_at", "out_of_range", f"At most {LATEST_START.days} days ahead."))
    if not timedelta(0) < ends_at - starts_at <= LONGEST:
        detail = f"After it starts and now, and at most {LONGEST.days} days after it starts."
        errors.append(FieldError("/ends_at", "out_of_range", detail))
    if errors:
        raise InvalidDelegation(errors[0].detail, errors=errors)


def end(*, delegation_id: UUID, reason: str, by: Actor, user: User, now: datetime) -> Delegation:
    """End a delegation now; what was decided by it and has not begun counts no more. Doing it twice changes nothing.

    By who delegated, the delegate, or an administrator. Raises Forbidden, NoSuchDelegation, NotYourDelegation.
    """
    access.require(user, "delegations.end")
    if errors := digest.unfaithful(reason, at="/reason"):
        raise InvalidDelegation(errors[0].detail, errors=errors)
    with log.recording():
        delegation = Delegation.objects.select_for_update().filter(pk=delegation_id).first()
        if delegation is None:
            raise NoSuchDelegation(f"There is no delegation {delegation_id}.")
        if not may_end(delegation, user):
            raise NotYourDelegation("Only who delegated, the delegate, or an administrator may end it.")
        if delegation.ended_at is None:
            _end(delegation, by=by, reason=reason, at=now, now=now)
    return delegation


def may_end(delegation: Delegation, user: User) -> bool:
    """Whether a delegation is this user's to end."""
    return user.is_superuser or user.pk in (delegation.delegator_id, delegation.delegate_id)


def end_due(*, now: datetime) -> int:
    """Write down the end of every delegation whose time is over (it counted no more since then); returns how many."""
    due = Delegation.objects.filter(ended_at=None, ends_at__lte=now)
    return sum(_end_due(each, now=now) for each in walking.ids_by(due, "ends_at", at_once=AT_ONCE))


def _end_due(delegation_id: UUID, *, now: datetime) -> bool:
    with log.recording():
        delegation = Delegation.objects.select_for_update().get(pk=delegation_id)
        if delegation.ended_at is not None:
            return False
        _end(delegation, by=SYSTEM, reason="Its time was over.", at=delegation.ends_at, now=now)
    return True


def _end(delegation: Delegation, *, by: Actor, reason: str, at: datetime, now: datetime) -> None:
    delegation.ended_at, delegation.ended_by_label = at, by.label
    delegation.save(update_fields=["ended_at", "ended_by_label"])
    delegating.say(delegation, ApprovalFact.DELEGATION_ENDED, by=by, reason=reason, now=now)
