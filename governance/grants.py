"""Standing grants: routine work that need not tire reviewers. Asked for like anything else, taken away at once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User

from auditlog.actors import Actor

from . import access, digest, granting, proposals
from .models import Grant
from .proposals import Submitted
from .shapes import NotStorable, Proposal, repointed


def ask(
    *,
    agent: str,
    action_type: str,
    target: str,
    max_uses: int,
    expires_at: datetime,
    reason: str,
    by: Actor,
    user: User | None,
    now: datetime,
    when: str = "",
    idempotency_key: str | None = None,
) -> Submitted:
    """Ask that an agent may do this so many times until then without asking: a tier_3 contract `grant.create`.

    `target` is a glob, `when` a CEL condition over `parameters`. Raises NotStorable and what
    `proposals.submit` refuses, naming the arguments.
    """
    if user is not None:
        access.require_to_ask(user, granting.CREATE)
    parameters = {
        "agent": agent,
        "action_type": action_type,
        "target": target,
        "max_uses": max_uses,
        "expires_at": expires_at.isoformat(),
    }
    if errors := digest.unfaithful({**parameters, "when": when, "reason": reason}):
        raise NotStorable("Something in the grant would not be kept as it is.", errors=errors)
    proposal = Proposal(
        action_type=granting.CREATE,
        target=f"grant:{agent}",
        parameters={**parameters, "when": when} if when else parameters,
        expected_effect={"target_state": {"granted": True}},
        justification=reason,
    )
    with repointed():
        return proposals.submit(proposal=proposal, by=by, user=user, idempotency_key=idempotency_key, now=now)


def revoke(*, grant_id: UUID, by: Actor, user: User | None, reason: str, now: datetime) -> Grant:
    """Take a grant away. Contracts that were authorized on it and have not begun go to people. Raises NoSuchGrant."""
    if user is not None:
        access.require(user, "grants.revoke")
    return granting.end(grant_id=grant_id, by=by, reason=reason, now=now)
