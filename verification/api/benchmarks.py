"""Benchmark runs: measured checks, compared with their golden run."""

from __future__ import annotations

from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, Strict, operation
from verification import benchmarking
from verification.api import shapes
from verification.models import BenchmarkRun

TAG = "benchmarks"


class BenchmarkQuery(PageQuery):
    """Filters of the list."""

    suite = s.CharField(required=False, max_length=100)
    state = s.ChoiceField(BenchmarkRun.State.choices, required=False)
    passed = s.BooleanField(required=False)
    is_golden = s.BooleanField(required=False)


class BenchmarkRequest(Strict):
    """Which suite to run."""

    suite = s.CharField(max_length=100)


class Benchmarks(Endpoint):
    """`/benchmarks`"""

    @operation(
        "list_benchmarks",
        "Benchmark runs, newest first",
        tag=TAG,
        asks="benchmarks.read",
        query=BenchmarkQuery,
        answer=[shapes.BenchmarkShape],
    )
    def get(self, request: Request) -> Response:
        """With the samples of every check."""
        wanted = {name: value for name, value in self.query.items() if name not in ("limit", "cursor")}
        return self.page(self.visible(BenchmarkRun.objects.filter(**wanted)), shapes.benchmark)

    @operation(
        "start_benchmark",
        "Run a suite",
        tag=TAG,
        asks="benchmarks.run",
        body=BenchmarkRequest,
        answer=shapes.BenchmarkShape,
        status=202,
        example={"suite": "smoke"},
    )
    def post(self, request: Request) -> Response:
        """Answers at once; the run is a job, whose id is in the answer."""
        run = benchmarking.start(suite=self.body["suite"], by=self.actor, now=self.now)
        return self.answer(shapes.benchmark(run), status=202)


class OneBenchmark(Endpoint):
    """`/benchmarks/{id}`"""

    @operation("get_benchmark", "One benchmark run", tag=TAG, asks="benchmarks.read", answer=shapes.BenchmarkShape)
    def get(self, request: Request, id: UUID) -> Response:
        """Its samples, and how they compare."""
        return self.answer(shapes.benchmark(self.find(BenchmarkRun.objects.all(), id=id)))


class GoldenBenchmark(Endpoint):
    """`/benchmarks/{id}/golden`"""

    @operation(
        "mark_benchmark_golden",
        "Make a run the one to compare with",
        tag=TAG,
        asks="benchmarks.mark_golden",
        answer=shapes.BenchmarkShape,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """There is one golden run for each suite; the one before it is no longer."""
        return self.answer(shapes.benchmark(benchmarking.mark_golden(run_id=id, by=self.actor, now=self.now)))
