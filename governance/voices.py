"""In whose name somebody decides: their own, or that of a person who delegated to them. Resolved anew each time (H)."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User

from . import access, principals
from .delegating import InForce
from .models import ApprovalRequest, Decision, Delegation
from .policy import Requirements


@dataclass(frozen=True)
class Voice:
    """Whose word it is, the groups of a request it counts for, and the delegation when somebody else utters it."""

    person: User
    groups: frozenset[str]
    delegation: Delegation | None = None


def of(request: ApprovalRequest, person: User, given: InForce) -> list[Voice]:
    """Every voice a person has on a request now, their own first; none when the request does not ask for them."""
    own = _own(request, person)
    lent = [_lent(request, person, delegation) for delegation in given.to(person.pk)]
    return [voice for voice in (own, *lent) if voice is not None]


def behind(decision: Decision, request: ApprovalRequest, given: InForce) -> Voice | None:
    """The voice a decision was uttered with, if it still counts: in one's own name, or by the same delegation."""
    if decision.delegation_id is None:
        return _own(request, decision.person)
    delegation = given.of(decision.delegation_id)
    if delegation is None or delegation.delegator_id != decision.on_behalf_of_id:
        return None
    return _lent(request, decision.person, delegation)


def _own(request: ApprovalRequest, person: User) -> Voice | None:
    groups = _groups(request, person)
    return Voice(person, groups) if groups else None


def _lent(request: ApprovalRequest, person: User, delegation: Delegation) -> Voice | None:
    """The delegator's voice: both have to be in their places, and what was lent to the delegator is not theirs."""
    if delegation.delegate_id != person.pk or "approvals.stand_in" not in access.own_permissions(person):
        return None
    groups = _groups(request, delegation.delegator, only=frozenset(delegation.groups))
    return Voice(delegation.delegator, groups, delegation) if groups else None


def _groups(request: ApprovalRequest, person: User, *, only: frozenset[str] = frozenset()) -> frozenset[str]:
    """The groups of a request a person may speak for: their own, or all when they stand in after escalation."""
    if "approvals.decide" not in access.own_permissions(person):
        return frozenset()
    requirements = Requirements.from_dict(request.requirements)
    own = principals.groups_of(person.pk)
    if only:
        own &= only
    stands_in = request.escalated_at is not None and requirements.escalate_to in own
    return requirements.groups if stands_in else requirements.groups & own
