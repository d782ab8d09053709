"""What verification looks like from outside: contracts, executions, snapshots, benchmark runs, jobs, facts."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s

from auditlog.api.endpoint import members
from auditlog.models import JobState
from verification.executors.base import Reversibility
from verification.models import BenchmarkRun, Contract, Execution, Revision, Snapshot, State

Shape = s.Serializer[Any]


class ForeignJson(s.JSONField):
    """Any JSON: its shape is somebody else's."""


class JsonObject(s.DictField):
    """A JSON object whose members are somebody else's."""


# --- contracts -------------------------------------------------------------------------------------------------


class Requester(Shape):
    """Who asked."""

    kind = s.ChoiceField(["person", "agent", "system"])
    label = s.CharField()


class CriterionResult(Shape):
    """One criterion, as it was measured."""

    key = s.CharField()
    type = s.CharField()
    title = s.CharField()
    weight = s.CharField(help_text="A decimal.")
    required = s.BooleanField()
    outcome = s.ChoiceField(["passed", "failed", "inconclusive", "pending"])
    passed = s.BooleanField()
    reason = s.CharField()
    expected = ForeignJson()
    observed = ForeignJson()
    samples = s.ListField(child=ForeignJson())


class Verification(Shape):
    """What was measured after the last attempt, and the verdict."""

    outcome = s.ChoiceField(["verified", "partial", "violated", ""], help_text="Empty while nothing was judged.")
    confidence = s.FloatField(allow_null=True, help_text="Weight of the passed criteria over the weight of all.")
    criteria = CriterionResult(many=True)
    expected = ForeignJson(help_text="The expected effect of the revision that ran.")
    observed = ForeignJson(help_text="The target as it was observed afterwards.")
    baseline = ForeignJson(help_text="The target as it was observed just before.")


class ExecutionResult(Shape):
    """What the executor reported. It is never what the verdict rests on."""

    ok = s.BooleanField()
    status = s.ChoiceField(["success", "failed", "partial", "rolled_back", "pending", "timeout", "unknown"])
    result = JsonObject()
    error = s.CharField(allow_null=True)
    error_resolved = s.BooleanField()
    metrics = JsonObject()
    duration_ms = s.IntegerField()


class ExecutionShape(Shape):
    """One attempt."""

    id = s.UUIDField()
    attempt = s.IntegerField()
    revision = s.IntegerField()
    state = s.ChoiceField(Execution.State.choices)
    outcome = s.CharField()
    confidence = s.FloatField(allow_null=True)
    result = ExecutionResult(allow_null=True)
    criteria = CriterionResult(many=True)
    snapshot_id = s.UUIDField(allow_null=True)
    rollback_reason = s.CharField()
    rollback_result = ExecutionResult(allow_null=True)
    recovered = s.BooleanField(help_text="Settled by observation after its worker vanished.")
    job_id = s.UUIDField()
    created_at = s.DateTimeField()
    started_at = s.DateTimeField(allow_null=True)
    finished_at = s.DateTimeField(allow_null=True)


class RevisionShape(Shape):
    """What the contract does, in one revision. Revisions never change."""

    number = s.IntegerField()
    origin = s.ChoiceField(Revision.Origin.choices)
    parameters = JsonObject()
    expected_effect = JsonObject()
    preconditions = s.ListField(child=JsonObject())
    not_before = s.DateTimeField(allow_null=True)
    made_by = s.CharField()
    created_at = s.DateTimeField()


class ContractShape(Shape):
    """A contract, without what it does."""

    id = s.UUIDField()
    action_type = s.CharField()
    target = s.CharField()
    state = s.ChoiceField(State.choices)
    settled = s.BooleanField(help_text="Nothing more happens by itself, and nothing is owed by a person.")
    tier = s.ChoiceField(["tier_1", "tier_2", "tier_3", ""], help_text="Empty until policy was asked.")
    revision = s.IntegerField(help_text="The number of the revision in force.")
    requested_by = Requester()
    mission_id = s.UUIDField(allow_null=True)
    incident_id = s.UUIDField(allow_null=True)
    playbook = s.CharField()
    error_pattern = s.CharField()
    correlation_id = s.CharField()
    justification = s.CharField()
    stated_confidence = s.FloatField(allow_null=True)
    confidence = s.FloatField(allow_null=True)
    digest = s.CharField(help_text="SHA-256 of what was authorized; empty until then.")
    valid_until = s.DateTimeField(allow_null=True)
    dead_lettered_at = s.DateTimeField(allow_null=True)
    created_at = s.DateTimeField()
    authorized_at = s.DateTimeField(allow_null=True)
    state_changed_at = s.DateTimeField()
    settled_at = s.DateTimeField(allow_null=True)


# --- snapshots and benchmarks ----------------------------------------------------------------------------------


class SnapshotShape(Shape):
    """A way back: a signed manifest."""

    id = s.UUIDField()
    kind = s.ChoiceField(Snapshot.Kind.choices)
    state = s.ChoiceField(Snapshot.State.choices)
    scope = s.CharField()
    action_type = s.CharField()
    contract_id = s.UUIDField(allow_null=True)
    mission_id = s.UUIDField(allow_null=True)
    manifest_sha256 = s.CharField()
    item_count = s.IntegerField()
    byte_count = s.IntegerField()
    health_score = s.IntegerField(allow_null=True)
    is_golden = s.BooleanField()
    created_by = s.CharField()
    created_at = s.DateTimeField()
    expires_at = s.DateTimeField(allow_null=True)


class SnapshotDetail(SnapshotShape):
    """A snapshot with its manifest."""

    manifest = JsonObject()
    signature = s.CharField()
    parameters = ForeignJson(allow_null=True)
    baseline = ForeignJson(allow_null=True)


class BenchmarkShape(Shape):
    """One run of a suite."""

    id = s.UUIDField()
    suite = s.CharField()
    state = s.ChoiceField(BenchmarkRun.State.choices)
    passed = s.BooleanField(allow_null=True)
    drifted = s.BooleanField(allow_null=True)
    is_golden = s.BooleanField()
    checks = s.ListField(child=JsonObject())
    job_id = s.UUIDField(allow_null=True)
    requested_by = s.CharField()
    created_at = s.DateTimeField()
    finished_at = s.DateTimeField(allow_null=True)


# --- discovery, jobs, facts ------------------------------------------------------------------------------------


class ActionType(Shape):
    """Something Grace can do, and how to ask for it."""

    action_type = s.CharField()
    version = s.CharField()
    title = s.CharField()
    schema = JsonObject(help_text="JSON Schema (2020-12) of `parameters`.")
    reversibility = s.ChoiceField(
        [each.value for each in Reversibility],
        allow_null=True,
        help_text="Of the example; it depends on the parameters. null when only a real target can tell.",
    )
    criteria = s.ListField(child=s.CharField())
    retryable = s.BooleanField()
    example = JsonObject(help_text="A whole proposal.")


class JobShape(Shape):
    """Work that is owed, or was."""

    id = s.UUIDField()
    kind = s.CharField()
    subject_id = s.CharField()
    queue = s.CharField()
    state = s.ChoiceField(JobState.choices)
    progress = s.IntegerField(help_text="0 to 100.")
    progress_text = s.CharField()
    attempts = s.IntegerField()
    max_attempts = s.IntegerField()
    error = s.CharField(help_text="The kind of error of the last failed attempt; its words are in the logs.")
    result = ForeignJson(allow_null=True)
    contract_id = s.UUIDField(allow_null=True)
    mission_id = s.UUIDField(allow_null=True)
    correlation_id = s.CharField(allow_null=True)
    due_at = s.DateTimeField()
    cancel_requested_at = s.DateTimeField(allow_null=True)
    created_at = s.DateTimeField()
    started_at = s.DateTimeField(allow_null=True)
    finished_at = s.DateTimeField(allow_null=True)


class Reference(Shape):
    """Who or what, by kind and id."""

    kind = s.CharField()
    id = s.CharField()


class Event(Shape):
    """A fact from the log."""

    index = s.IntegerField(allow_null=True, help_text="Its place in the log; null for the moment until it has one.")
    id = s.UUIDField()
    fact = s.CharField()
    at = s.DateTimeField()
    actor = Reference()
    subject = Reference()
    mission_id = s.UUIDField(allow_null=True)
    contract_id = s.UUIDField(allow_null=True)
    correlation_id = s.CharField(allow_null=True)
    outcome = s.CharField()
    data = JsonObject()


# --- rows into shapes ------------------------------------------------------------------------------------------


def contract(row: Contract) -> dict[str, Any]:
    """The members of ContractShape."""
    copied = {name: getattr(row, name) for name in _CONTRACT}
    return {
        **copied,
        "settled": row.settled_at is not None,
        "revision": row.current_revision,
        "requested_by": {"kind": row.requested_by_kind, "label": row.requested_by_label},
        "stated_confidence": number(row.stated_confidence),
        "confidence": number(row.confidence),
        "digest": row.authorized_digest,
    }


def execution(row: Execution, revision_number: int) -> dict[str, Any]:
    """The members of ExecutionShape."""
    copied = {name: getattr(row, name) for name in _EXECUTION}
    return {
        **copied,
        "revision": revision_number,
        "confidence": number(row.confidence),
        "criteria": row.measurements,
    }


def verification(row: Execution, expected: Any) -> dict[str, Any]:
    """The members of Verification."""
    return {
        "outcome": row.outcome,
        "confidence": number(row.confidence),
        "criteria": row.measurements,
        "expected": expected,
        "observed": row.observed,
        "baseline": row.baseline,
    }


def revision(row: Revision) -> dict[str, Any]:
    """The members of RevisionShape."""
    return {**{name: getattr(row, name) for name in _REVISION}, "made_by": row.made_by_label}


def snapshot(row: Snapshot) -> dict[str, Any]:
    """The members of SnapshotShape."""
    return {**{name: getattr(row, name) for name in _SNAPSHOT}, "created_by": row.created_by_label}


def benchmark(row: BenchmarkRun) -> dict[str, Any]:
    """The members of BenchmarkShape."""
    return {**{name: getattr(row, name) for name in _BENCHMARK}, "requested_by": row.requested_by_label}


def job(row: Any) -> dict[str, Any]:
    """The members of JobShape. Never the text of an exception."""
    copied = {name: getattr(row, name) for name in _JOB}
    return {**copied, "error": row.error.partition(":")[0][:100]}


def number(value: Any) -> float | None:
    """A decimal as a JSON number."""
    return None if value is None else float(value)


_CONTRACT = members(ContractShape, "settled", "revision", "requested_by", "stated_confidence", "confidence", "digest")
_EXECUTION = members(ExecutionShape, "revision", "confidence", "criteria")
_REVISION = members(RevisionShape, "made_by")
_SNAPSHOT = members(SnapshotShape, "created_by")
_BENCHMARK = members(BenchmarkShape, "requested_by")
_JOB = members(JobShape, "error")
