"""Settling by hand what the product could not: a person's verdict, never on what they are behind themselves."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User

from auditlog import log
from auditlog.actors import Actor
from auditlog.refusals import Refused
from verification import contracts
from verification.models import Contract

from . import access, delegating


class OwnContract(Refused):
    """Nobody judges what they, or an agent they answer for, asked for. No setting lifts this."""

    code = "separation_of_duties"
    kind = Refused.Kind.FORBIDDEN


def refusal(contract: Contract, user: User, *, now: datetime) -> Refused | None:
    """Why this person may not settle this contract, whatever its state; None when they may."""
    if not access.may(user, "contracts.resolve"):
        return access.Forbidden("This needs the permission contracts.resolve.")
    if user.pk in delegating.asking_side(contract, now=now):
        return OwnContract("Somebody who did not ask for it has to settle it.")
    return None


def resolve(*, contract_id: UUID, verdict: str, reason: str, by: Actor, user: User, now: datetime) -> Contract:
    """Settle a partial, held or doubtful contract as `verified`, `failed` or `rolled_back`.

    The one verb of every door. Raises Forbidden, OwnContract, and what `contracts.resolve` refuses.
    """
    with log.recording():
        contract = contracts.lock(contract_id)
        if (no := refusal(contract, user, now=now)) is not None:
            raise no
        return contracts.resolve(contract_id=contract_id, verdict=verdict, reason=reason, by=by, now=now)
