"""Insights: what is said, once, when the record of an action crosses a line."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from django.db.models import Q

from auditlog import entries, log
from auditlog.actors import Actor
from auditlog.models import Entry
from auditlog.subjects import Subject

from . import learning
from .facts import LearningFact
from .learning import Stat
from .models import Contract, State

LOW, LOW_AFTER_RUNS = 0.6, 3
HIGH, HIGH_AFTER_RUNS = 0.9, 5


class Suggestion(StrEnum):
    """What the record suggests. It may tighten autonomy; loosening it is for people to propose."""

    TIGHTEN = "tighten"
    RELY = "rely"


def suggestion(successes: int, runs: int) -> Suggestion | None:
    """What so many successes in so many runs suggest; None while they suggest nothing.

    Below 60 % after 3 runs an action should be watched; above 90 % after 5 it can be relied on.
    """
    if runs >= LOW_AFTER_RUNS and successes < LOW * runs:
        return Suggestion.TIGHTEN
    if runs >= HIGH_AFTER_RUNS and successes > HIGH * runs:
        return Suggestion.RELY
    return None


def draw(*, contract_id: UUID, by: Actor, now: datetime) -> UUID | None:
    """Say an insight when settling this contract took the record of its like across a line; answers its entry's id.

    Its like are the contracts of the last 90 days with the same action type, playbook, error pattern and agent. Asked
    again about the same contract, it says nothing again.
    """
    contract = Contract.objects.get(pk=contract_id)
    if contract.state not in learning.OUTCOMES or contract.settled_at is None:
        return None
    stat = _record_up_to(contract, contract.settled_at)
    succeeded = int(contract.state == State.VERIFIED)
    reached = suggestion(stat.successes, stat.runs)
    if reached is None or reached == suggestion(stat.successes - succeeded, stat.runs - 1):
        return None
    with log.recording():
        if _said(contract, reached):
            return None
        return log.append(
            LearningFact.INSIGHT,
            actor=by,
            subject=Subject("record", contract.action_type, " / ".join(filter(None, stat.group.values()))),
            data={
                **stat.group,
                "runs": stat.runs,
                "successes": stat.successes,
                "lower_bound": log.decimal(stat.lower_bound, 4),
                "suggestion": reached.value,
            },
            now=now,
            contract_id=contract.pk,
            mission_id=contract.mission_id,
        )


def _record_up_to(contract: Contract, settled_at: datetime) -> Stat:
    """How contracts like this one fared until it settled, itself included."""
    agent = Q(requested_by_kind="agent", requested_by_label=contract.requested_by_label)
    like = Q(
        action_type=contract.action_type,
        playbook=contract.playbook,
        error_pattern=contract.error_pattern,
        settled_at__lte=settled_at,
    )
    like &= agent if contract.requested_by_kind == "agent" else ~Q(requested_by_kind="agent")
    (stat,) = learning.stats(since=settled_at - learning.RECENT, where=like)
    return stat


def _said(contract: Contract, reached: Suggestion) -> bool:
    earlier = Entry.objects.filter(contract_id=contract.pk, fact=LearningFact.INSIGHT.name_)
    return any(entries.data(entry)["suggestion"] == reached for entry in earlier)
