"""Summaries: hours of contracts and approvals, counted for the overview and for whoever takes them elsewhere.

A period is counted again as often as anybody likes, always from the rows themselves: what happened in an hour
is found by when it happened (created, settled, asked, decided, closed), so an hour that is over hardly
changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, DurationField, ExpressionWrapper, F, Min, QuerySet, Sum
from django.db.models.functions import TruncHour

from auditlog import jobs, log
from auditlog.actors import SYSTEM, Actor
from auditlog.models import Job
from auditlog.refusals import FieldError, Kind, Refused
from auditlog.subjects import Subject
from governance.models import ApprovalRequest, Decision
from verification.models import Contract

from .facts import AnalyticsFact
from .models import Summary

JOB = "summaries.aggregate"
HOUR = timedelta(hours=1)
LOOK_BACK = timedelta(hours=24)
MAX_SPAN = timedelta(days=366)


class InvalidPeriod(Refused):
    """The period is empty, reversed or longer than a year."""

    code = "invalid_period"
    kind = Kind.INVALID


@dataclass(frozen=True)
class Aggregated:
    """What a count came to: whole hours from `start` to `end`, and how many summary rows of each kind they
    have."""

    start: datetime
    end: datetime
    contracts: int
    approvals: int

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "contracts": self.contracts,
            "approvals": self.approvals,
        }


@dataclass(frozen=True)
class _Key:
    """What one summary row is about."""

    kind: str
    hour: datetime
    tier: str
    action_type: str


_Counted = tuple[_Key, dict[str, int]]


def aggregate(*, start: datetime, end: datetime, now: datetime, by: Actor = SYSTEM) -> Aggregated:
    """Count the whole hours that touch `start` to `end` (aware) again. Raises InvalidPeriod."""
    start, end = floor(start), ceiling(end)
    if not timedelta(0) < end - start <= MAX_SPAN:
        errors = [FieldError("/to", "out_of_range", "After `from`, and at most a year later.")]
        raise InvalidPeriod("A period ends after it begins, and spans at most a year.", errors=errors)
    with log.recording():
        counted: defaultdict[_Key, dict[str, int]] = defaultdict(dict)
        for key, counts in (*_contracts(start, end), *_approvals(start, end)):
            counted[key].update(_added(counted[key], counts))
        _store(counted, start=start, end=end, now=now)
        kinds = [key.kind for key in counted]
        result = Aggregated(start, end, kinds.count(Summary.Kind.CONTRACTS), kinds.count(Summary.Kind.APPROVALS))
        data = {"start": start, "end": end, "contracts": result.contracts, "approvals": result.approvals}
        subject = Subject("summaries", f"{start:%Y%m%dT%H}-{end:%Y%m%dT%H}")
        log.append(AnalyticsFact.AGGREGATED, actor=by, subject=subject, data=data, now=now)
        return result


def owe(*, now: datetime) -> Job:
    """Owe a count of what the last ones may have missed, as a job people can see."""
    start, end = due(now)
    with log.recording():
        arguments = {"start": start.isoformat(), "end": end.isoformat()}
        return jobs.enqueue(kind=JOB, subject_id=f"{start:%Y%m%dT%H}-{end:%Y%m%dT%H}", arguments=arguments, now=now)


def due(now: datetime) -> tuple[datetime, datetime]:
    """The period a count should cover now: a day back, further when counting was interrupted, all at
    first."""
    last = Summary.objects.order_by("-period_start").values_list("period_start", flat=True).first()
    if last is None:
        last = Contract.objects.aggregate(first=Min("created_at"))["first"] or now
    start = max(min(floor(last), floor(now) - LOOK_BACK), floor(now) - MAX_SPAN + HOUR)
    return start, ceiling(now)


def floor(moment: datetime) -> datetime:
    """The beginning of the hour (UTC) a moment lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def ceiling(moment: datetime) -> datetime:
    """The end of the hour a moment lies in; a moment on the hour is its own."""
    below = floor(moment)
    return below if below == moment else below + HOUR


def _contracts(start: datetime, end: datetime) -> Iterator[_Counted]:
    rows = Contract.objects.all()
    for row in _grouped(rows, "created_at", start, end):
        yield _key(Summary.Kind.CONTRACTS, row), {"created": row["count"]}
    for row in _grouped(rows, "settled_at", start, end, "state"):
        latency = {"settled": row["count"], "latency_ms": _milliseconds(row["latency"])}
        yield _key(Summary.Kind.CONTRACTS, row), {row["state"]: row["count"], **latency}


def _approvals(start: datetime, end: datetime) -> Iterator[_Counted]:
    requests = ApprovalRequest.objects.annotate(action_type=F("contract__action_type"))
    for row in _grouped(requests, "created_at", start, end):
        yield _key(Summary.Kind.APPROVALS, row), {"requested": row["count"]}
    for row in _grouped(requests, "closed_at", start, end, "state"):
        latency = {"closed": row["count"], "latency_ms": _milliseconds(row["latency"])}
        yield _key(Summary.Kind.APPROVALS, row), {row["state"]: row["count"], **latency}
    decisions = Decision.objects.annotate(tier=F("request__tier"), action_type=F("request__contract__action_type"))
    for row in _grouped(decisions, "created_at", start, end, "verdict"):
        yield (
            _key(Summary.Kind.APPROVALS, row),
            {"decisions": row["count"], f"verdict_{row['verdict']}": row["count"]},
        )


def _grouped(
    rows: QuerySet[Any], moment: str, start: datetime, end: datetime, *also: str
) -> QuerySet[Any, dict[str, Any]]:
    """Rows whose `moment` lies in the period, counted by hour, tier and action type; and the time they
    took."""
    took = ExpressionWrapper(F(moment) - F("created_at"), output_field=DurationField())
    counted: QuerySet[Any, dict[str, Any]] = (
        rows.filter(**{f"{moment}__gte": start, f"{moment}__lt": end})
        .order_by()
        .annotate(hour=TruncHour(moment, tzinfo=UTC))
        .values("hour", "tier", "action_type", *also)
        .annotate(count=Count("id"), latency=Sum(took))
    )
    return counted


def _key(kind: Summary.Kind, row: dict[str, Any]) -> _Key:
    return _Key(kind.value, row["hour"].astimezone(UTC), row["tier"], row["action_type"])


def _milliseconds(latency: timedelta | None) -> int:
    return int(latency / timedelta(milliseconds=1)) if latency else 0


def _added(so_far: dict[str, int], counts: dict[str, int]) -> dict[str, int]:
    return {name: so_far.get(name, 0) + value for name, value in counts.items()}


def _store(counted: dict[_Key, dict[str, int]], *, start: datetime, end: datetime, now: datetime) -> None:
    """Write the rows of a period, and remove those that no longer count anything."""
    Summary.objects.filter(period_start__gte=start, period_start__lt=end).update(counts={})
    Summary.objects.bulk_create(
        [
            Summary(
                kind=key.kind,
                period_start=key.hour,
                period_end=key.hour + HOUR,
                tier=key.tier,
                action_type=key.action_type,
                counts=counts,
                updated_at=now,
            )
            for key, counts in counted.items()
        ],
        update_conflicts=True,
        unique_fields=["kind", "period_start", "period_end", "tier", "action_type"],
        update_fields=["counts", "updated_at"],
        batch_size=500,
    )
    Summary.objects.filter(period_start__gte=start, period_start__lt=end, counts={}).delete()
