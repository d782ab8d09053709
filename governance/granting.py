"""What a standing grant covers, and taking a use of it."""

from __future__ import annotations

import fnmatch
import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db.models import F, Q

from auditlog import canonical, log, reading
from auditlog.actors import SYSTEM, Actor
from auditlog.refusals import Refused
from auditlog.subjects import Subject
from verification import expressions
from verification.executors.base import Reversibility
from verification.models import Contract

from . import policy
from .facts import GrantFact
from .models import Agent, Grant, GrantUse

CREATE = "grant.create"


class State(StrEnum):
    """What a grant is at a moment."""

    ACTIVE = "active"
    USED_UP = "used_up"
    EXPIRED = "expired"
    REVOKED = "revoked"


class NoSuchGrant(Refused):
    """There is no such grant."""

    code = "grant_not_found"
    kind = Refused.Kind.NOT_FOUND


def usable(now: datetime) -> Q:
    """A condition on grants: those that can be used at a moment."""
    return Q(revoked_at=None, expires_at__gt=now, use_count__lt=F("max_uses"))


def state(grant: Grant, *, now: datetime) -> State:
    """What a grant is at a moment."""
    if grant.revoked_at is not None:
        return State.REVOKED
    if grant.expires_at <= now:
        return State.EXPIRED
    return State.USED_UP if grant.use_count >= grant.max_uses else State.ACTIVE


def coverable(action_type: str) -> bool:
    """Whether a grant can cover this action type at all."""
    return not policy.governs(action_type)


def covering(
    *,
    agent_user_id: int | None,
    action_type: str,
    target: str,
    parameters: dict[str, Any],
    reversibility: Reversibility | None,
    now: datetime,
) -> Grant | None:
    """The grant under which this may run without asking, the one that ends first; None for everybody but agents.

    What cannot be taken back is covered by none. A condition that cannot be decided covers nothing.
    """
    if agent_user_id is None or not coverable(action_type):
        return None
    if reversibility in (None, Reversibility.IRREVERSIBLE):
        return None
    held = [grant for grant in held_by(agent_user_id, now) if grant.action_type == action_type]
    return next((grant for grant in held if _covers(grant, target, parameters)), None)


@reading.remembered
def held_by(agent_user_id: int, now: datetime) -> list[Grant]:
    """The grants that an active agent can use at a moment, by its user; the one that ends first comes first."""
    whose = {"agent__user_id": agent_user_id, "agent__state": Agent.State.ACTIVE}
    return list(Grant.objects.filter(usable(now), **whose).order_by("expires_at"))


def _covers(grant: Grant, target: str, parameters: dict[str, Any]) -> bool:
    if not fnmatch.fnmatchcase(target, grant.target):
        return False
    if not grant.when:
        return True
    try:
        return expressions.compile_expression(grant.when, names=("parameters",)).holds({"parameters": parameters})
    except (expressions.ExpressionFailed, expressions.InvalidExpression):
        return False


def take(grant: Grant, contract: Contract, *, now: datetime) -> bool:
    """Use the grant once for a contract; False when somebody else took the last use. Inside `recording()`."""
    if Grant.objects.filter(usable(now), pk=grant.pk).update(use_count=F("use_count") + 1) != 1:
        return False
    GrantUse.objects.create(grant=grant, contract=contract, used_at=now)
    grant.refresh_from_db()
    say(grant, GrantFact.USED, by=SYSTEM, now=now, contract=contract)
    return True


def create(
    *,
    agent: Agent,
    action_type: str,
    target: str,
    when: str,
    max_uses: int,
    expires_at: datetime,
    reason: str,
    contract_id: UUID,
    now: datetime,
) -> Grant:
    """Make a grant, once for its contract. Only the executor of `grant.create` calls this."""
    with log.recording():
        grant, made = Grant.objects.get_or_create(
            contract_id=contract_id,
            defaults={
                "agent": agent,
                "action_type": action_type,
                "target": target,
                "when": when,
                "max_uses": max_uses,
                "expires_at": expires_at,
                "reason": reason,
                "salt": secrets.token_bytes(log.SALT_BYTES),
                "created_at": now,
            },
        )
        if made:
            say(grant, GrantFact.CREATED, by=SYSTEM, now=now, commitment=commitment(grant))
    return grant


def commitment(grant: Grant) -> str:
    """What the log holds of a grant's bounds, secrets included: hex SHA-256 nobody can guess them from."""
    bounds = {
        "agent": grant.agent.name,
        "action_type": grant.action_type,
        "target": grant.target,
        "when": grant.when,
        "max_uses": grant.max_uses,
        "expires_at": grant.expires_at,
    }
    return log.commitment(canonical.dumps(bounds).decode(), bytes(grant.salt))


def end(*, grant_id: UUID, by: Actor, reason: str, now: datetime) -> Grant:
    """Take a grant away at once; what has begun goes on. Doing it twice changes nothing. Raises NoSuchGrant."""
    with log.recording():
        grant = Grant.objects.select_for_update().filter(pk=grant_id).first()
        if grant is None:
            raise NoSuchGrant(f"There is no grant {grant_id}.")
        if grant.revoked_at is None:
            grant.revoked_at, grant.revoked_by_label = now, by.label
            grant.save(update_fields=["revoked_at", "revoked_by_label"])
            say(grant, GrantFact.REVOKED, by=by, now=now, reason=reason)
    return grant


def say(
    grant: Grant,
    fact: GrantFact,
    *,
    by: Actor,
    now: datetime,
    contract: Contract | None = None,
    reason: str = "",
    **more: str,
) -> None:
    """Append a fact about a grant, with `more` in it. Inside `recording()`."""
    log.append(
        fact,
        actor=by,
        subject=Subject("grant", str(grant.pk), f"{grant.action_type} on {grant.target}"),
        data={
            "agent": grant.agent.name,
            "action_type": grant.action_type,
            "target": grant.target,
            "when": grant.when,
            "uses": grant.use_count,
            "max_uses": grant.max_uses,
            "expires_at": grant.expires_at,
            "reason": reason or grant.reason,
            **more,
        },
        now=now,
        contract_id=contract.pk if contract else grant.contract_id,
        mission_id=contract.mission_id if contract else None,
    )
