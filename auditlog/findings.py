"""Findings of integrity checks: recorded once, open until a person acknowledges them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from . import log
from .actors import Actor
from .facts import AuditlogFact
from .models import Finding
from .refusals import Refused
from .subjects import Subject

# Something is late, nothing is wrong: these do not stop signing.
LATE = frozenset({"sequencer_stalled", "checkpoint_stale", "subsystem_silent", "subscriber_failing"})
# A lock stands open and nothing was taken: a signature is the better evidence then.
OPEN = frozenset({"role_may_change_log"})


class NoSuchFinding(Refused):
    """There is no such finding."""

    code = "finding_not_found"
    kind = Refused.Kind.NOT_FOUND


class AlreadyAcknowledged(Refused):
    """Somebody has acknowledged the finding before."""

    code = "finding_already_acknowledged"
    kind = Refused.Kind.CONFLICT


class ReasonMissing(Refused):
    """Acknowledging says why signing may go on; nothing was said."""

    code = "reason_missing"
    kind = Refused.Kind.INVALID


@dataclass(frozen=True)
class Found:
    """What a check found: a stable kind, what it is about, and a sentence that names it."""

    kind: str
    subject: str
    detail: str


def unacknowledged() -> QuerySet[Finding]:
    """Findings nobody has taken note of yet."""
    return Finding.objects.filter(acknowledged_at=None)


def stop_signing() -> bool:
    """Whether something was found that signing must wait for."""
    return unacknowledged().exclude(kind__in=LATE | OPEN).exists()


def record(found: Iterable[Found], *, now: datetime) -> list[Finding]:
    """Keep what was found, each thing once; returns those that are not acknowledged."""
    rows = []
    for each in found:
        row, new = Finding.objects.get_or_create(
            kind=each.kind,
            subject=each.subject[:200],
            detail=each.detail,
            defaults={"found_at": now, "last_seen_at": now},
        )
        if not new:
            Finding.objects.filter(pk=row.pk).update(last_seen_at=now)
        if row.acknowledged_at is None:
            rows.append(row)
    return rows


def acknowledge(*, finding_id: int, by: Actor, reason: str, now: datetime) -> Finding:
    """Take note of a finding, so that signing may go on. Raises ReasonMissing, NoSuchFinding, AlreadyAcknowledged."""
    if not reason.strip():
        raise ReasonMissing("Say why signing may go on; the reason goes into the log.")
    with log.recording():
        finding = Finding.objects.select_for_update().filter(pk=finding_id).first()
        if finding is None:
            raise NoSuchFinding("There is no such finding.")
        if finding.acknowledged_at is not None:
            raise AlreadyAcknowledged(f"Acknowledged before, by {finding.acknowledged_by}.")
        finding.acknowledged_at, finding.acknowledged_by, finding.reason = now, by.label, reason
        finding.save()
        log.append(
            AuditlogFact.FINDING_ACKNOWLEDGED,
            actor=by,
            subject=Subject("finding", str(finding.pk), str(finding)),
            data={"finding_id": str(finding.pk), "kind": finding.kind, "reason": reason},
            now=now,
        )
    return finding
