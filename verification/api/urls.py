"""Addresses below /api/verification that need nothing from the packages above."""

from __future__ import annotations

from django.urls import path

from verification.api import actions, benchmarks, health, jobs, learning, snapshots

urlpatterns = [
    path("action-types", actions.ActionTypes.as_view(), name="api-action-types"),
    path("snapshots", snapshots.Snapshots.as_view(), name="api-snapshots"),
    path("snapshots/<uuid:id>", snapshots.OneSnapshot.as_view(), name="api-snapshot"),
    path("snapshots/<uuid:id>/golden", snapshots.GoldenSnapshot.as_view(), name="api-snapshot-golden"),
    path("benchmarks", benchmarks.Benchmarks.as_view(), name="api-benchmarks"),
    path("benchmarks/<uuid:id>", benchmarks.OneBenchmark.as_view(), name="api-benchmark"),
    path("benchmarks/<uuid:id>/golden", benchmarks.GoldenBenchmark.as_view(), name="api-benchmark-golden"),
    path("jobs", jobs.Jobs.as_view(), name="api-jobs"),
    path("jobs/<uuid:id>", jobs.OneJob.as_view(), name="api-job"),
    path("jobs/<uuid:id>/cancel", jobs.CancelJob.as_view(), name="api-job-cancel"),
    path("jobs/<uuid:id>/retry", jobs.RetryJob.as_view(), name="api-job-retry"),
    path("learning/stats", learning.LearningStats.as_view(), name="api-learning-stats"),
    path("health", health.VerificationHealth.as_view(), name="api-verification-health"),
]
