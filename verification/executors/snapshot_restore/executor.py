"""Going back to a snapshot by hand: the executor that took it looks, restores and finds its own way back."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from auditlog.refusals import FieldError, Refused
from verification import executors, snapshotting
from verification.executors import observed
from verification.executors.base import (
    Call,
    ExecutionResult,
    Executor,
    ExecutorError,
    Observation,
    Preview,
    Reversibility,
    Run,
    SnapshotReader,
    SnapshotWriter,
)
from verification.json_schemas import Schema
from verification.models import Snapshot

from .schema import EXAMPLE, SCHEMA
from .scopes import OfScope

FINGERPRINT = "fingerprint"
"""The member of the observed state that holds the fingerprint of the executor that took the snapshot."""
_POINTER = "/parameters/snapshot_id"


class SnapshotRestore(Executor):
    """A restore is an action like any other: it has a tier, is previewed, verified, and can be undone."""

    version = "1"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "health_check", "metric_threshold", "benchmark", "expression")
    retryable = True

    def __init__(self, action_type: str, title: str) -> None:
        """`snapshot.restore` and `contract.rollback` do the same and are governed apart."""
        self.action_type, self.title = action_type, title
        self.example: dict[str, Any] = {**EXAMPLE, "action_type": action_type}
        self._schema = Schema(SCHEMA)

    @property
    def restore_is_repeatable(self) -> bool:  # type: ignore[override]
        """Going back from a restore is a restore too; each executor decides for itself when asked."""
        return False

    def check(self, call: Call) -> list[FieldError]:
        """The snapshot exists, is sound, and is of the target the contract names."""
        if errors := self._schema.errors(dict(call.parameters), "/parameters"):
            return errors
        try:
            snapshot = snapshotting.get(UUID(call.parameters["snapshot_id"]))
            snapshotting.open_verified(snapshot)
        except ValueError:
            return [FieldError(_POINTER, "not_a_uuid", "A snapshot's id is expected.")]
        except Refused as refusal:
            return [FieldError(_POINTER, refusal.code, refusal.detail)]
        if snapshot.baseline is None:
            return [FieldError(_POINTER, "not_restorable", "This snapshot was taken for comparison only.")]
        if snapshot.scope != call.target:
            return [FieldError("/target", "target_mismatch", f"The snapshot is of {snapshot.scope!r}.")]
        return []

    def reversibility(self, call: Call) -> Reversibility:
        """As the action whose way back it is."""
        inner, original = _original(call)
        return inner.reversibility(original)

    def edition(self, call: Call) -> str:
        """The version, and the edition of the executor that took the snapshot."""
        try:
            inner, original = _original(call)
        except (ExecutorError, Refused, KeyError, ValueError):
            return self.version
        return f"{self.version}/{inner.edition(original)}"

    def deadline_seconds(self, call: Call) -> float:
        """As the action whose way back it is."""
        inner, original = _original(call)
        return inner.deadline_seconds(original)

    def tells_change(self, call: Call) -> bool:
        """As the action whose way back it is."""
        inner, original = _original(call)
        return inner.tells_change(original)

    def observe(self, call: Call) -> Observation:
        """The target, as the executor of the original action sees it, and that executor's own fingerprint of it."""
        inner, original = _original(call)
        seen = inner.observe(original)
        return Observation({**seen.state, FINGERPRINT: inner.fingerprint(seen)}, seen.at)

    def fingerprint(self, observation: Observation) -> str:
        """What the executor of the original action takes for stable."""
        return observed.digest(observation.state.get(FINGERPRINT, observation.state))

    def untouched(self, call: Call, baseline: Observation, observation: Observation) -> bool:
        """As the executor of the original action tells."""
        inner, original = _original(call)
        return inner.untouched(original, baseline, observation)

    def is_back(
        self, call: Call, baseline: Observation, observation: Observation, snapshot: SnapshotReader | None
    ) -> bool:
        """As the executor of the original action tells."""
        inner, original = _original(call)
        return inner.is_back(original, baseline, observation, snapshot)

    def preview(self, call: Call, observation: Observation) -> Preview:
        """The observed state now against the state the snapshot holds, as a diff."""
        kept = _snapshot(call)
        now = {name: value for name, value in observation.state.items() if name != FINGERPRINT}
        difference = _difference(now, kept.baseline or {})
        when = f"{kept.created_at:%Y-%m-%d %H:%M} UTC"
        summary = f"bring {call.target} back to {when}" if difference else f"{call.target} is as it was at {when}"
        return Preview("diff", difference, summary)

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """The target as it is before going back."""
        inner, original = _original(call)
        inner.snapshot(original, store)

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Restore from the snapshot the contract names."""
        kept = _snapshot(call)
        try:
            reader = snapshotting.open_verified(kept)
        except Refused as refusal:
            return ExecutionResult.failure(refusal.detail)
        return self.restore(call, reader, Observation(kept.baseline or {}, kept.created_at), run)

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Let the original executor go back."""
        inner, original = _original(call)
        return inner.restore(original, snapshot, baseline, run)


def _snapshot(call: Call) -> Snapshot:
    try:
        return snapshotting.get(UUID(call.parameters["snapshot_id"]))
    except snapshotting.NotFound as missing:
        raise ExecutorError(missing.detail) from None


def _original(call: Call) -> tuple[Executor, Call]:
    """The executor that took the snapshot, and the call it took it for."""
    kept = _snapshot(call)
    original = replace(
        call,
        action_type=kept.action_type,
        parameters=kept.parameters or {},
        edition=call.edition.partition("/")[2],
    )
    return (executors.get(kept.action_type) if kept.action_type else OfScope()), original


def _difference(now: dict[str, Any], then: dict[str, Any]) -> str:
    lines = difflib.unified_diff(_lines(now), _lines(then), "now", "snapshot", lineterm="")
    return "\n".join(lines)


def _lines(state: dict[str, Any]) -> list[str]:
    return json.dumps(state, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
