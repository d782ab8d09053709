"""Benchmark runs: start one, carry it out as a job, mark one golden."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from auditlog import jobs, log
from auditlog.actors import SYSTEM, Actor
from auditlog.jobs import Lease
from auditlog.models import Job
from auditlog.refusals import FieldError, Kind, Refused
from auditlog.subjects import Subject

from .benchmarks import checks
from .facts import BenchmarkFact
from .models import BenchmarkRun

JOB = "benchmark.run"


class NotFound(Refused):
    """There is no such run."""

    code = "benchmark_not_found"
    kind = Kind.NOT_FOUND


class UnknownSuite(Refused):
    """No check is registered in this suite."""

    code = "unknown_suite"
    kind = Kind.INVALID


class NotGoldenMaterial(Refused):
    """Only a completed run in which every check passed can be golden."""

    code = "benchmark_not_passed"
    kind = Kind.CONFLICT


def start(*, suite: str, by: Actor, now: datetime) -> BenchmarkRun:
    """Owe a run of a suite; a worker measures it. Raises UnknownSuite."""
    try:
        checks.of_suite(suite)
    except checks.UnknownSuite as unknown:
        error = FieldError("/suite", UnknownSuite.code, str(unknown))
        raise UnknownSuite(str(unknown), errors=[error]) from None
    with log.recording():
        run = BenchmarkRun(suite=suite, requested_by_label=by.label, created_at=now)
        run.job_id = jobs.enqueue(kind=JOB, subject_id=str(run.pk), now=now, by=by).pk
        run.save(force_insert=True)
        return run


@jobs.runner(JOB, max_attempts=2, visible=True)
def measure(job: Job, lease: Lease) -> dict[str, Any]:
    """Measure every check of the run, and compare it with the golden run of its suite."""
    run = BenchmarkRun.objects.get(pk=job.subject_id)
    began = time.monotonic()
    BenchmarkRun.objects.filter(pk=run.pk).update(state=BenchmarkRun.State.RUNNING)
    results = checks.run_suite(run.suite, progress=lease.progress)
    duration_ms = int((time.monotonic() - began) * 1000)
    _complete(run.pk, results, duration_ms=duration_ms, lease=lease, now=timezone.now())
    return {"run": str(run.pk)}


def _complete(
    run_id: UUID, results: list[checks.CheckResult], *, duration_ms: int, lease: Lease, now: datetime
) -> None:
    with log.recording():
        lease.fence()
        run = BenchmarkRun.objects.select_for_update().get(pk=run_id)
        golden = BenchmarkRun.objects.filter(suite=run.suite, is_golden=True).first()
        comparison = checks.compare(results, golden.checks if golden else [])
        run.state, run.finished_at = BenchmarkRun.State.COMPLETED, now
        run.checks = [result.as_dict() for result in results]
        run.passed, run.drifted = not comparison.failed, bool(comparison.drifted)
        run.save()
        told = {"passed": run.passed, "drifted": run.drifted, "duration_ms": duration_ms}
        _record(run, BenchmarkFact.COMPLETED, told, by=SYSTEM, now=now)
        if run.drifted:
            drifted = {"drifted": True, "checks": ", ".join(comparison.drifted)}
            _record(run, BenchmarkFact.DRIFTED, drifted, by=SYSTEM, now=now)


def mark_golden(*, run_id: UUID, by: Actor, now: datetime) -> BenchmarkRun:
    """Make a passing run the one later runs of its suite are compared with. Raises NotFound, NotGoldenMaterial."""
    with log.recording():
        run = BenchmarkRun.objects.select_for_update().filter(pk=run_id).first()
        if run is None:
            raise NotFound(f"There is no benchmark run {run_id}.")
        if run.state != BenchmarkRun.State.COMPLETED or not run.passed:
            raise NotGoldenMaterial("Only a completed run in which every check passed can be golden.")
        if not run.is_golden:
            BenchmarkRun.objects.filter(suite=run.suite, is_golden=True).update(is_golden=False)
            run.is_golden = True
            run.save(update_fields=["is_golden"])
            _record(run, BenchmarkFact.GOLDEN, {}, by=by, now=now)
        return run


def _record(run: BenchmarkRun, fact: BenchmarkFact, data: dict[str, Any], *, by: Actor, now: datetime) -> None:
    subject = Subject("benchmark", str(run.pk), str(run))
    log.append(fact, actor=by, subject=subject, data={"suite": run.suite, **data}, now=now)
