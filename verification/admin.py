"""Verification in the admin: attempts, permits, snapshots, benchmark runs. Contracts stand in governance's."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from auditlog.admin_verbs import AskedVerb, Evidence, Field, Pressed, VerbAdmin, as_json
from auditlog.read_only import ReadOnlyAdmin

from . import benchmarking, snapshotting
from .models import BenchmarkRun, Execution, Permit, Snapshot


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    """Attempts, with everything that was observed."""

    reads = "contracts.read"
    list_display = ("contract", "attempt", "state", "outcome", "confidence", "holds_target", "created_at")
    list_filter = ("state", "outcome", "holds_target")
    list_select_related = ("contract",)
    search_fields = ("=id", "=contract__id", "target")
    ordering = ("-created_at", "-id")
    fields = (
        *("contract", "attempt", "state", "target", "holds_target", "outcome", "confidence", "recovered"),
        *("baseline_", "result_", "observed_", "measurements_", "snapshot", "rollback_reason"),
        *("rollback_result_", "rollback_observed_", "created_at", "started_at", "finished_at"),
    )
    readonly_fields = fields
    baseline_ = as_json("baseline")
    result_ = as_json("result")
    observed_ = as_json("observed")
    measurements_ = as_json("measurements")
    rollback_result_ = as_json("rollback_result")
    rollback_observed_ = as_json("rollback_observed")


@admin.register(Permit)
class PermitAdmin(ReadOnlyAdmin):
    """Work that was handed to external agents."""

    reads = "contracts.read"
    list_display = ("name", "state", "claimed_by_label", "execution", "offered_at", "good_until", "deadline_at")
    list_filter = ("state", "name")
    list_select_related = ("execution",)
    search_fields = ("=id", "=execution__contract__id", "name", "claimed_by_label")
    ordering = ("-offered_at", "-id")
    fields = (
        *("execution", "name", "state", "agents", "arguments_", "digest", "token", "claimed_by_label"),
        *("offered_at", "claimed_at", "heard_at", "good_until", "deadline_at", "ended_at", "result_"),
    )
    readonly_fields = fields
    arguments_ = as_json("arguments")
    result_ = as_json("result")


def _marks_snapshot(pressed: Pressed) -> object:
    return snapshotting.mark_golden(snapshot_id=pressed.row.pk, by=pressed.by, now=timezone.now())


@admin.register(Snapshot)
class SnapshotAdmin(VerbAdmin):
    """The ways back."""

    reads = "snapshots.read"
    list_display = ("scope", "kind", "state", "is_golden", "item_count", "byte_count", "created_at")
    list_filter = ("kind", "state", "is_golden")
    search_fields = ("=id", "scope", "=contract_id", "manifest_sha256")
    asked = (
        AskedVerb(
            "mark-golden",
            "Mark as golden",
            "snapshots.mark_golden",
            _marks_snapshot,
            shows=lambda row: not row.is_golden,
            words="The golden snapshot of its scope until now stays, as a snapshot like others.",
        ),
    )
    fields = (
        *("scope", "kind", "state", "is_golden", "item_count", "byte_count", "manifest", "manifest_sha256"),
        *("signature", "contract_id", "mission_id", "health_score", "created_by_label", "created_at"),
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the manifests, which a list does not show."""
        return super().get_queryset(request).defer("manifest", "parameters", "baseline")

    def evidence(self, row: Snapshot) -> list[Evidence]:
        """Which one it is."""
        return [
            Evidence("Snapshot", "text", f"{row}, {row.item_count} items, {row.byte_count} bytes"),
            Evidence("SHA-256 of its manifest", "text", row.manifest_sha256),
        ]


def _marks_run(pressed: Pressed) -> object:
    return benchmarking.mark_golden(run_id=pressed.row.pk, by=pressed.by, now=timezone.now())


def _runs(pressed: Pressed) -> object:
    return benchmarking.start(suite=pressed.form.get("suite", ""), by=pressed.by, now=timezone.now())


@admin.register(BenchmarkRun)
class BenchmarkRunAdmin(VerbAdmin):
    """What was measured."""

    reads = "benchmarks.read"
    list_display = ("suite", "state", "passed", "drifted", "is_golden", "requested_by_label", "created_at")
    list_filter = ("suite", "state", "passed", "drifted", "is_golden")
    asked_of_list = (
        AskedVerb(
            "run",
            "Run a suite",
            "benchmarks.run",
            _runs,
            fields=(Field("suite", "Suite", hint="Such as smoke."),),
            words="A worker measures it.",
        ),
    )
    asked = (
        AskedVerb(
            "mark-golden",
            "Mark as golden",
            "benchmarks.mark_golden",
            _marks_run,
            shows=lambda row: bool(row.passed) and not row.is_golden,
            words="Later runs of this suite are compared with this one.",
        ),
    )
    fields = (
        *("suite", "state", "passed", "drifted", "is_golden", "checks_"),
        *("requested_by_label", "created_at", "finished_at"),
    )
    readonly_fields = fields
    checks_ = as_json("checks")

    def evidence(self, row: BenchmarkRun) -> list[Evidence]:
        """What was measured."""
        return [Evidence("Run", "text", str(row)), Evidence("Checks", "json", row.checks)]
