"""Counters of the ground, and readings of the database that the metrics endpoint shows. A metric never fails a verb."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import structlog
from django.db import transaction
from django.db.models import Count, Min, Q
from prometheus_client import Counter, Histogram

from .models import Checkpoint, Finding, Job, JobState, Pending, Subscription

logger = structlog.get_logger(__name__)

entries_total = Counter("grace_audit_entries_total", "Entries appended to the log")
jobs_enqueued = Counter("grace_jobs_enqueued_total", "Jobs enqueued", ["job_type"])
jobs_completed = Counter("grace_jobs_completed_total", "Jobs that ended", ["job_type", "status"])
job_duration = Histogram("grace_job_duration_seconds", "Time a job's attempt took", ["job_type"])


def safely(record: Callable[[], object]) -> None:
    """Call `record`, and log rather than raise when it fails."""
    try:
        record()
    except Exception:
        logger.warning("metric_failed", exc_info=True)


def on_commit(record: Callable[[], object]) -> None:
    """Call `record` once the transaction around is committed."""
    transaction.on_commit(lambda: safely(record))


@contextmanager
def timed(histogram: Histogram) -> Iterator[None]:
    """Observe how long the `with` block took, in seconds."""
    began = monotonic()
    try:
        yield
    finally:
        safely(lambda: histogram.observe(monotonic() - began))


@dataclass(frozen=True)
class Readings:
    """What the gauges show; ages are in seconds, 0 when there is nothing to be late with."""

    sequencer_lag: float
    checkpoint_age: float
    findings: dict[str, int]
    jobs_pending: dict[str, int]
    subscribers_failing: dict[str, int]


def readings(now: datetime) -> Readings:
    """Read the gauges of the ground from the database."""
    oldest = Pending.objects.aggregate(oldest=Min("recorded_at"))["oldest"]
    last = Checkpoint.objects.order_by("-pk").values_list("signed_at", flat=True).first()
    open_findings = Finding.objects.filter(acknowledged_at=None).values("kind").annotate(count=Count("pk"))
    owed = Job.objects.filter(Q(state=JobState.QUEUED) | Q(state=JobState.RUNNING))
    pending = owed.values("queue").annotate(count=Count("pk"))
    return Readings(
        sequencer_lag=_age(oldest, now),
        checkpoint_age=_age(last, now),
        findings={row["kind"]: row["count"] for row in open_findings},
        jobs_pending={row["queue"]: row["count"] for row in pending},
        subscribers_failing=dict(Subscription.objects.values_list("name", "failures")),
    )


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
