"""Which freeze keeps a contract from starting, and for how long."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q

from auditlog import canonical, log, reading
from auditlog.actors import Actor
from auditlog.refusals import Refused
from auditlog.subjects import Subject
from verification.models import Contract

from . import digest, holding, recorded
from .calendars import BadRule, Window, parse
from .facts import FreezeFact
from .models import Freeze, FreezeException
from .policy import STRICTNESS

EXCEPT = "freeze.except"
END = "freeze.end"
PASSES = frozenset({holding.RELEASE, EXCEPT, END})
"""What starts in spite of every freeze: otherwise no freeze could be lifted while it lasts."""

LONGEST = timedelta(days=31)

Span = tuple[datetime, datetime]


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
        return parse(freeze.rule).after(now) if freeze.ended_at is None else None
    except BadRule:
        return None


def covering(contract: Contract, *, now: datetime) -> tuple[Freeze, datetime] | None:
    """The freeze that keeps a contract from starting now and the moment it ends, if any; the longest first."""
    if contract.action_type in PASSES:
        return None
    found = [(freeze, window[1]) for freeze in _about(contract) if (window := window_at(freeze, now)) is not None]
    return max(found, key=lambda each: each[1], default=None)


def spans(contract: Contract, *, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """The spans between two times in which freezes kept the contract from starting, whatever ended them since.

    That is until the calendar was ended for good, or the contract excepted.
    """
    if contract.action_type in PASSES:
        return []
    ever = Freeze.objects.filter(Q(ended_at=None) | Q(ended_at__gt=since), created_at__lt=until)
    known = [freeze for freeze in ever if _reaches(freeze, contract)]
    excepted = _exceptions(contract) if known else []
    found = []
    for freeze in known:
        ended = min(until, freeze.ended_at or until)
        lasted = _occurrences(freeze, max(since, freeze.created_at), ended)
        for row in excepted:
            if row.freeze_id == freeze.pk:
                lasted = _without(lasted, row.created_at, row.withdrawn_at or ended)
        found += lasted
    return found


def _occurrences(freeze: Freeze, since: datetime, until: datetime) -> list[Span]:
    lasts = timedelta(seconds=freeze.duration_seconds)
    try:
        starts = parse(freeze.rule).between(since - lasts, until)
        found = [(max(start, since), min(start + lasts, until)) for start in starts]
    except BadRule:
        # It kept everything from starting, as long as it was there.
        return [(since, until)]
    return [(start, stop) for start, stop in found if stop > start]


def _without(spans: list[Span], since: datetime, until: datetime) -> list[Span]:
    """What is left of spans outside of two times; pure."""
    parts = [part for start, stop in spans for part in ((start, min(stop, since)), (max(start, until), stop))]
    return [(start, stop) for start, stop in parts if stop > start]


def _about(contract: Contract) -> list[Freeze]:
    found = [each for each in calendars() if _reaches(each, contract)]
    if not found:
        return []
    excepted = {row.freeze_id for row in _exceptions(contract) if row.withdrawn_at is None}
    return [each for each in found if each.pk not in excepted]


def _reaches(freeze: Freeze, contract: Contract) -> bool:
    return STRICTNESS[contract.tier] >= STRICTNESS[freeze.minimum_tier]


def _exceptions(contract: Contract) -> list[FreezeException]:
    """The exceptions people made for what the contract says now, as far as the log knows of them."""
    rows = list(FreezeException.objects.filter(contract=contract, revision=contract.current_revision))
    if not rows:
        return []
    now_says = wording(contract)
    return [row for row in rows if digest.same(row.digest, now_says) and recorded.excepted(row)]


def wording(contract: Contract) -> str:
    """SHA-256 of what a contract does, word for word, in the revision in force: what an exception is for."""
    return digest.sha256(digest.canonical(worded(contract)))


def worded(contract: Contract) -> dict[str, Any]:
    """What a contract does in the revision in force, complete."""
    revision = contract.revision
    return {
        "action_type": contract.action_type,
        "executor_version": contract.executor_version,
        "target": contract.target,
        "revision": revision.number,
        "parameters": revision.parameters,
        "expected_effect": revision.expected_effect,
        "preconditions": revision.preconditions,
        "not_before": canonical.stamp(revision.not_before) if revision.not_before else None,
    }


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
    *,
    freeze_id: UUID,
    contract_id: UUID,
    revision: int,
    wording: str,
    approved_by: UUID,
    by: Actor,
    reason: str,
    now: datetime,
) -> FreezeException:
    """Let a contract start in spite of a freeze as it is worded. Only the executor of `freeze.except` calls this."""
    with log.recording():
        freeze = _locked(freeze_id)
        row, made = FreezeException.objects.get_or_create(
            approved_by=approved_by,
            defaults={
                "freeze": freeze,
                "contract_id": contract_id,
                "revision": revision,
                "digest": wording,
                "created_at": now,
            },
        )
        if made:
            say(freeze, "excepted", by=by, reason=reason, now=now, exception=row)
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
        say(row.freeze, "exception_withdrawn", by=by, reason=reason, now=now, exception=row)


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


def say(
    freeze: Freeze, change: str, *, by: Actor, reason: str, now: datetime, exception: FreezeException | None = None
) -> None:
    """Append a fact about a freeze. Inside `recording()`."""
    about = {} if exception is None else _said(exception)
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
            **about,
        },
        now=now,
        contract_id=exception.contract_id if exception else None,
    )


def _said(exception: FreezeException) -> dict[str, Any]:
    return {
        "excepted": exception.contract_id,
        "revision": exception.revision,
        "digest": exception.digest,
        "approved_by": exception.approved_by,
    }
