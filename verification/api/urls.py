"""Addresses below /api/verification that need nothing from the packages above."""

from __future__ import annotations

from django.urls import path

from verification.api import actions, benchmarks, health, jobs, learning, snapshots

urlpatterns = [
    path("action-types", actions.ActionTypes.as_view(), name="action-types"),
    path("snapshots", snapshots.Snapshots.as_view(), name="snapshots"),
    path("snapshots/<uuid:id>", snapshots.OneSnapshot.as_view(), name="snapshot"),
    path("snapshots/<uuid:id>/golden", snapshots.GoldenSnapshot.as_view(), name="snapshot-golden"),
    path("benchmarks", benchmarks.Benchmarks.as_view(), name="benchmarks"),
    path("benchmarks/<uuid:id>", benchmarks.OneBenchmark.as_view(), name="benchmark"),
    path("benchmarks/<uuid:id>/golden", benchmarks.GoldenBenchmark.as_view(), name="benchmark-golden"),
    path("jobs", jobs.Jobs.as_view(), name="jobs"),
    path("jobs/<uuid:id>", jobs.OneJob.as_view(), name="job"),
    path("jobs/<uuid:id>/cancel", jobs.CancelJob.as_view(), name="job-cancel"),
    path("jobs/<uuid:id>/retry", jobs.RetryJob.as_view(), name="job-retry"),
    path("learning/stats", learning.LearningStats.as_view(), name="learning-stats"),
    path("health", health.VerificationHealth.as_view(), name="verification-health"),
]
