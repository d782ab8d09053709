"""Which freeze keeps a contract from starting, and for how long."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from auditlog import log, reading
from auditlog.actors import Actor
from auditlog.refusals import Refused
from auditlog.subjects import Subject
from verification.models import Contract

from . import holding
from .calendars import BadRule, Window, parse
from .facts import FreezeFact
from .models import Freeze, FreezeException
from .policy import STRICTNESS

EXCEPT = "freeze.except"
END = "freeze.end"
PASSES = frozenset({holding.RELEASE, EXCEPT, END})
"""What starts in spite of every freeze: otherwise no freeze could be lifted while it lasts."""

LONGEST = timedelta(days=31)
MOST_OCCURRENCES = 2_000


class NoSuchFreeze(Refused):
    """There is no such freeze."""

    code = "freeze_not_found"
    kind = Refused.Kind.NOT_FOUND


def window_at(freeze: Freeze, now: datetime) -> tuple[datetime, datetime] | None:
    """The occurrence of a freeze that lasts at a moment: when it began, and when it ends."""
    return Window(freeze.rule, freeze.duration_seconds).lasting(now)


def lasts_until(freeze: Freeze, *, now: datetime) -> datetime | None:
    """Until when a freeze keeps things from starting now; None when it does not, has been ended, or cannot be read."""
    try:
        window = window_at(freeze, now) if freeze.ended_at is None else None
    except BadRule:
        return None
    return window[1] if window else None


def next_start(freeze: Freeze, *, now: datetime) -> datetime | None:
    """When the next occurrence of a freeze begins; None when there is none, or it has been ended or cannot be read."""
    try:
        found: datetime | None = parse(freeze.rule).after(now) if freeze.ended_at is None else None
    except BadRule:
        return None
    return found


def covering(contract: Contract, *, now: datetime) -> tuple[Freeze, datetime] | None:
    """The freeze that keeps a contract from starting now and the moment it ends, if any; the longest first."""
    if contract.action_type in PASSES:
        return None
    found = [(freeze, window[1]) for freeze in _about(contract) if (window := window_at(freeze, now)) is not None]
    return max(found, key=lambda each: each[1], default=None)


def spans(contract: Contract, *, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """The spans between two times in which freezes kept the contract from starting."""
    if contract.action_type in PASSES:
        return []
    found = []
    for freeze in _about(contract):
        lasts = timedelta(seconds=freeze.duration_seconds)
        for start in parse(freeze.rule).xafter(since - lasts, count=MOST_OCCURRENCES, inc=True):
            if start >= until:
                break
            found.append((max(start, since), min(start + lasts, until)))
    return [(start, stop) for start, stop in found if stop > start]


def _about(contract: Contract) -> list[Freeze]:
    found = [each for each in calendars() if STRICTNESS[contract.tier] >= STRICTNESS[each.minimum_tier]]
    if not found:
        return []
    exceptions = FreezeException.objects.filter(contract=contract, withdrawn_at=None)
    excepted = set(exceptions.values_list("freeze_id", flat=True))
    return [each for each in found if each.pk not in excepted]


@reading.remembered
def calendars() -> list[Freeze]:
    """Every freeze that nobody has ended."""
    return list(Freeze.objects.filter(ended_at=None))


def end(*, freeze_id: UUID, by: Actor, reason: str, now: datetime, again: bool = False) -> Freeze:
    """End a calendar for good, or (`again`) take its end back. Only the executor of `freeze.end` calls this."""
    with log.recording():
        freeze = _locked(freeze_id)
        if (freeze.ended_at is None) is again:
            return freeze
        freeze.ended_at = None if again else now
        freeze.save(update_fields=["ended_at"])
        say(freeze, "resumed" if again else "ended", by=by, reason=reason, now=now)
    return freeze


def except_(
    *, freeze_id: UUID, contract_id: UUID, approved_by: UUID, by: Actor, reason: str, now: datetime
) -> FreezeException:
    """Let one contract start in spite of a freeze. Only the executor of `freeze.except` calls this."""
    with log.recording():
        freeze = _locked(freeze_id)
        row, made = FreezeException.objects.get_or_create(
            approved_by=approved_by,
            defaults={"freeze": freeze, "contract_id": contract_id, "created_at": now},
        )
        if made:
            say(freeze, "excepted", by=by, reason=reason, now=now, excepted=contract_id)
    return row


def withdraw_exception(*, approved_by: UUID, by: Actor, reason: str, now: datetime) -> None:
    """Take an exception back."""
    with log.recording():
        row = (
            FreezeException.objects.select_related("freeze").filter(approved_by=approved_by, withdrawn_at=None).first()
        )
        if row is None:
            return
        row.withdrawn_at = now
        row.save(update_fields=["withdrawn_at"])
        say(row.freeze, "exception_withdrawn", by=by, reason=reason, now=now, excepted=row.contract_id)


def named(freeze_id: UUID) -> Freeze:
    """The freeze with this id. Raises NoSuchFreeze."""
    freeze = Freeze.objects.filter(pk=freeze_id).first()
    if freeze is None:
        raise NoSuchFreeze(f"There is no freeze {freeze_id}.")
    return freeze


def _locked(freeze_id: UUID) -> Freeze:
    freeze = Freeze.objects.select_for_update().filter(pk=freeze_id).first()
    if freeze is None:
        raise NoSuchFreeze(f"There is no freeze {freeze_id}.")
    return freeze


def say(freeze: Freeze, change: str, *, by: Actor, reason: str, now: datetime, excepted: UUID | None = None) -> None:
    """Append a fact about a freeze. Inside `recording()`."""
    log.append(
        FreezeFact.CHANGED,
        actor=by,
        subject=Subject("freeze", str(freeze.pk), freeze.name),
        data={
            "name": freeze.name,
            "change": change,
            "rule": freeze.rule,
            "duration_seconds": freeze.duration_seconds,
            "minimum_tier": freeze.minimum_tier,
            "reason": reason,
            **({"excepted": str(excepted)} if excepted else {}),
        },
        now=now,
        contract_id=excepted,
    )
