"""Going back to a snapshot of a scope: what a provider keeps, seen as an executor sees a target."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from auditlog.refusals import FieldError
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
    SnapshotItem,
    SnapshotReader,
    SnapshotWriter,
)
from verification.snapshots import providers


class OfScope(Executor):
    """Brings the scope that is the target of a call back; nothing is ever proposed to it by name."""

    action_type = "scope"
    version = "1"
    title = "Bring a scope back"
    schema: dict[str, Any] = {"type": "object"}
    criteria = ()
    example: dict[str, Any] = {}
    retryable = True
    restore_is_repeatable = True

    def check(self, call: Call) -> list[FieldError]:
        """Nothing is proposed to it."""
        return []

    def reversibility(self, call: Call) -> Reversibility:
        """It is kept before."""
        return Reversibility.REVERSIBLE

    def observe(self, call: Call) -> Observation:
        """The digest of every item as it is now."""
        digests = _Digests()
        providers.get(call.target).take(digests)
        return observed.now({"items": digests.found})

    def fingerprint(self, observation: Observation) -> str:
        """Over every item."""
        return observed.digest(observation.state["items"])

    def preview(self, call: Call, observation: Observation) -> Preview:
        """Made by whoever restores."""
        return Preview("text", "", call.target)

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """As the provider keeps it."""
        providers.get(call.target).take(store)

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Nothing is proposed to it."""
        return ExecutionResult.failure("A scope is only ever brought back.")

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """As the provider brings it back."""
        began = time.monotonic()
        restore = providers.get(call.target).restore
        if restore is None:
            return ExecutionResult.failure("This scope is kept for comparison only.")
        try:
            restore(snapshot)
        except ExecutorError as problem:
            return ExecutionResult.failure(str(problem), duration_ms=_since(began))
        return ExecutionResult.success({"scope": call.target}, duration_ms=_since(began))


class _Digests:
    """A writer that keeps nothing but digests."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def add_bytes(self, name: str, data: bytes, meta: dict[str, Any] | None = None) -> SnapshotItem:
        self.found[name] = hashlib.sha256(data).hexdigest()
        return SnapshotItem(name, self.found[name], len(data), meta or {})

    def add_file(self, path: Any, *, name: str = "", meta: dict[str, Any] | None = None) -> SnapshotItem:
        return self.add_bytes(name or path.name, path.read_bytes(), meta)


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
