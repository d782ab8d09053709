"""The circuit breaker: what goes wrong again and again holds itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from auditlog.actors import SYSTEM
from auditlog.models import Entry
from verification.models import Contract

from . import holds
from .models import Hold

SOURCE = "circuit_breaker"
WENT_WRONG = ("contract.violated", "contract.held")


def count(*, contract_id: UUID, happened_at: datetime, now: datetime) -> Hold | None:
    """Engage a hold on the target when its contracts of this action type went wrong too often, and answer it.

    The window ends with what happened last, however late it is heard of. What happened before the last such
    hold was released does not count again: people have looked at it.
    """
    contract = Contract.objects.get(pk=contract_id)
    since = happened_at - timedelta(minutes=settings.CIRCUIT_BREAKER_WINDOW_MINUTES)
    ours = Hold.objects.filter(scope=Hold.Scope.TARGET, pattern=contract.target, is_exact=True, source=SOURCE)
    released = ours.exclude(released_at=None)
    if (last := released.order_by("-released_at").first()) is not None and last.released_at is not None:
        since = max(since, last.released_at)
    wrong = wrong_since(contract, since)
    if wrong < settings.CIRCUIT_BREAKER_VIOLATIONS:
        return None
    minutes = settings.CIRCUIT_BREAKER_WINDOW_MINUTES
    return holds.engage(
        scope=Hold.Scope.TARGET,
        pattern=contract.target,
        is_exact=True,
        reason=f"{wrong} contracts of {contract.action_type} went wrong here within {minutes} minutes.",
        by=SYSTEM,
        user=None,
        now=now,
        source=SOURCE,
        contract_id=contract_id,
    )


def wrong_since(contract: Contract, since: datetime) -> int:
    """How many contracts of the same action type on the same target went wrong after a time."""
    alike = Contract.objects.filter(action_type=contract.action_type, target=contract.target)
    told = Entry.objects.filter(fact__in=WENT_WRONG, recorded_at__gt=since, contract_id__in=alike.values("pk"))
    return told.values("contract_id").distinct().count()
