"""Benchmarks: each check over the last runs of its suite, against the golden run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import principals
from verification import benchmarking
from verification.benchmarks import checks
from verification.models import BenchmarkRun

from . import base, charts
from .base import PageRequest

LOOKED_AT = 200
RUNS = 30


@dataclass(frozen=True)
class Measured:
    """One check in one run. `change` is against golden, as a share of it; None where there is nothing to compare."""

    run: BenchmarkRun
    median: float | None
    change: float | None
    outcome: str


@dataclass(frozen=True)
class History:
    """One check over its last runs, oldest first."""

    name: str
    golden: float | None
    rows: list[Measured]
    trend: charts.Trend


@base.page("benchmarks.read")
def benchmarks(request: PageRequest) -> HttpResponse:
    """Every check's trend by suite, and the runs, newest first."""
    return show(request)


def show(request: PageRequest, run_id: UUID | None = None, *, refused: Refused | None = None) -> HttpResponse:
    """The page; `refused` stands above everything."""
    rows = base.filtered(request, BenchmarkRun.objects.all(), suite="suite")
    return render(
        request,
        "console/benchmarks.html",
        {
            "shown": base.cut(request, rows),
            "suites": checks.suites(),
            "histories": _histories(request.GET.get("suite", "").strip()),
            "width": charts.WIDTH,
            "height": charts.HEIGHT,
            "refused": refused,
        },
    )


def _histories(suite: str) -> list[tuple[str, list[History]]]:
    """The histories of every suite (or of one), from the newest runs; two queries."""
    completed = BenchmarkRun.objects.filter(state=BenchmarkRun.State.COMPLETED)
    completed = completed.filter(suite=suite) if suite else completed
    runs: dict[str, list[BenchmarkRun]] = defaultdict(list)
    for run in completed.order_by("-created_at", "-id")[:LOOKED_AT]:
        if len(runs[run.suite]) < RUNS:
            runs[run.suite].insert(0, run)
    golden = {run.suite: run.checks for run in BenchmarkRun.objects.filter(is_golden=True)}
    return [(name, of_suite(runs[name], golden.get(name, []))) for name in sorted(runs)]


def of_suite(runs: Sequence[BenchmarkRun], golden: Iterable[dict[str, Any]]) -> list[History]:
    """Each check of some runs (oldest first) against the checks of their golden run; pure."""
    known = {each["name"]: each for each in golden if each.get("passed") and each.get("samples_ms")}
    rows: dict[str, list[Measured]] = defaultdict(list)
    for run in runs:
        for check in run.checks:
            rows[check["name"]].append(_measured(run, check, known.get(check["name"])))
    return [_history(name, rows[name], known.get(name)) for name in sorted(rows)]


def _measured(run: BenchmarkRun, check: dict[str, Any], golden: dict[str, Any] | None) -> Measured:
    median = check.get("median_ms")
    if not check.get("passed"):
        return Measured(run, median, None, "failed")
    if golden is None or median is None:
        return Measured(run, median, None, "passed")
    tolerance = check.get("tolerance", checks.TOLERANCE)
    slower = checks.drifted(check["samples_ms"], golden["samples_ms"], tolerance=tolerance)
    reference = golden["median_ms"]
    change = (median - reference) / reference if reference else None
    return Measured(run, median, change, "drifted" if slower else "passed")


def _history(name: str, rows: list[Measured], golden: dict[str, Any] | None) -> History:
    reference = golden["median_ms"] if golden else None
    values = [
        (row.median, f"{row.run.created_at:%Y-%m-%d %H:%M}: {row.median:.2f} ms, {row.outcome}", row.outcome)
        for row in rows
        if row.median is not None
    ]
    return History(name, reference, rows, charts.trend(values, reference))


@base.act("benchmarks.run", shown_by=show)
def run(request: PageRequest) -> HttpResponse:
    """Owe a run of a suite."""
    suite = request.POST.get("suite", "")
    benchmarking.start(suite=suite, by=principals.actor_of(request.user), now=base.now())
    messages.success(request, f"A run of {suite} is owed; a worker measures it.")
    return redirect("benchmarks")


@base.act("benchmarks.mark_golden", shown_by=show)
def mark_golden(request: PageRequest, run_id: UUID) -> HttpResponse:
    """Make a run the one later runs of its suite are compared with."""
    marked = benchmarking.mark_golden(run_id=run_id, by=principals.actor_of(request.user), now=base.now())
    messages.success(request, f"{marked} is golden now.")
    return redirect("benchmarks")
