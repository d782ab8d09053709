"""Who may: one table from role to permissions, and the one predicate every door asks.

What a person may do to a request they made themselves is no permission: nobody decides on their own proposal,
whatever stands here (see `approvals.decide`).
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from auditlog.refusals import Refused
from verification.models import Contract

from . import policies, policy, principals
from .models import Agent, ApprovalRequest, Delegation

_READ = frozenset(
    f"{noun}.read"
    for noun in (
        *("contracts", "approvals", "holds", "policies", "agents", "webhooks", "snapshots", "benchmarks"),
        *(
            "missions",
            "incidents",
            "playbooks",
            "jobs",
            "auditlog",
            "learning",
            "summaries",
            "stream",
            "overview",
            "grants",
            "freezes",
            "breakglass",
            "delegations",
        ),
    )
)
_OPERATE = _READ | {
    "policies.evaluate",
    "policies.change",
    "approvals.comment",
    "approvals.stand_in",
    "delegations.end",
    "agents.answer_for",
    "contracts.propose",
    "contracts.cancel",
    "contracts.retry",
    "contracts.rollback",
    "holds.engage",
    "holds.release",
    "grants.ask",
    "grants.revoke",
    "freezes.create",
    "freezes.change",
    "snapshots.create",
    "snapshots.restore",
    "benchmarks.run",
    "missions.start",
    "missions.manage",
    "incidents.report",
    "playbooks.run",
    "jobs.manage",
}
_REVIEW = _OPERATE | {
    "approvals.decide",
    "approvals.withdraw",
    "delegations.create",
    "contracts.resolve",
    "breakglass.use",
    "breakglass.review",
    "snapshots.mark_golden",
    "benchmarks.mark_golden",
}
_DELEGATED = frozenset({"approvals.decide", "approvals.withdraw"})
_ADMINISTER = _REVIEW | {
    "agents.manage",
    "webhooks.manage",
    "auditlog.export",
    "auditlog.acknowledge",
    "second_factors.remove",
}
_AGENT = frozenset(
    {
        "contracts.propose",
        "contracts.read",
        "contracts.cancel",
        "approvals.read",
        "approvals.comment",
        "incidents.report",
        "permits.claim",
        "policies.evaluate",
        "stream.read",
    }
)

ROLES: dict[str, frozenset[str]] = {
    "operators": frozenset(_OPERATE),
    "reviewers": frozenset(_REVIEW),
    "auditors": _READ | {"policies.evaluate", "auditlog.export"},
}
"""What members of a group may; any other group a policy names may what `reviewers` may."""

GOVERNING_PERMISSIONS = {
    "policy.change": "policies.change",
    "grant.create": "grants.ask",
    "hold.release": "holds.release",
    "freeze.end": "freezes.change",
    "freeze.except": "freezes.change",
}
"""The permission to ask for an action by which permission itself changes; `policies.change` for types not named."""

AGENT_PERMISSIONS = _AGENT
ADMINISTRATOR_PERMISSIONS = frozenset(_ADMINISTER)
PERMISSIONS = ADMINISTRATOR_PERMISSIONS | AGENT_PERMISSIONS

Row = TypeVar("Row", bound=Model)


class Forbidden(Refused):
    """The user may not do this."""

    code = "not_permitted"
    kind = Refused.Kind.FORBIDDEN


class UnknownPermission(LookupError):
    """A permission nobody has ever heard of: a slip of the pen in our own code."""


def may(user: User | AnonymousUser | None, permission: str, obj: Model | None = None) -> bool:
    """Whether the user may do this, and, with `obj`, to this row. Raises UnknownPermission for a misspelt one."""
    if permission not in PERMISSIONS:
        raise UnknownPermission(permission)
    if user is None or permission not in permissions(user):
        return False
    return obj is None or _in_sight(user, obj)


def require(user: User | AnonymousUser | None, permission: str, obj: Model | None = None) -> None:
    """Raise Forbidden unless `may` says yes."""
    if not may(user, permission, obj):
        raise Forbidden(f"This needs the permission {permission}.")


def require_to_ask(user: User | AnonymousUser | None, action_type: str) -> None:
    """Raise Forbidden unless the user may ask for actions of this type; through whichever door, it is the same act."""
    if policy.governs(action_type):
        require(user, GOVERNING_PERMISSIONS.get(action_type, "policies.change"))


def require_own(user: User, permission: str) -> None:
    """Raise Forbidden unless the user's own groups allow it, whoever they stand in for."""
    if permission not in own_permissions(user):
        raise Forbidden(f"This needs the permission {permission}, from a group of one's own.")


def permissions(user: User | AnonymousUser) -> frozenset[str]:
    """Everything the user may now, from their groups and for whoever they stand in for."""
    own = own_permissions(user)
    if "approvals.stand_in" in own and not own >= _DELEGATED and _stands_in(user):
        return own | _DELEGATED
    return own


def _stands_in(user: User | AnonymousUser) -> bool:
    """Whether anybody delegates to this user now; for which requests that counts is asked again at each of them."""
    now = timezone.now()
    lasting = Delegation.objects.filter(delegate_id=user.pk, ended_at=None, starts_at__lte=now, ends_at__gt=now)
    return lasting.exists()


def own_permissions(user: User | AnonymousUser) -> frozenset[str]:
    """What the user may from their groups alone; an agent's never exceed what agents may."""
    if not user.is_active or user.pk is None:
        return frozenset()
    agent = principals.agent_of(user)
    if agent is not None:
        return AGENT_PERMISSIONS if agent.state == Agent.State.ACTIVE else frozenset()
    if user.is_superuser:
        return ADMINISTRATOR_PERMISSIONS
    groups = principals.groups_of(user.pk)
    granted = [ROLES[group] for group in groups if group in ROLES]
    if "reviewers" not in groups and groups and groups & policies.named_groups():
        granted.append(ROLES["reviewers"])
    return frozenset().union(*granted)


def visible(user: User | AnonymousUser, rows: QuerySet[Row]) -> QuerySet[Row]:
    """The rows this user may see: agents see their own contracts and requests and nothing else, people all."""
    if principals.agent_of(user) is None:
        return rows
    own = _own(rows.model)
    return rows.none() if own is None else rows.filter(Q(**{own: user.pk}))


def _own(model: type[Any]) -> str | None:
    """The column by which rows of a model belong to whom asked for them."""
    return {Contract: "requested_by_id", ApprovalRequest: "requested_by_id"}.get(model)


def _in_sight(user: User | AnonymousUser, obj: Model) -> bool:
    if principals.agent_of(user) is None:
        return True
    own = _own(type(obj))
    return own is not None and getattr(obj, own) == user.pk
