"""An executor for tests: it appends a line to a ledger file, and can be told to go wrong in every way.

Each line that ever happened stays in the file, so that "not twice" can be counted in the world and not in a table.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from django.utils import timezone

from auditlog.refusals import FieldError
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


class Ledger(Executor):
    """`ledger.append`: `{"line": text, "then"?: …, "reversibility"?: …}`.

    `then` is "refuse", "fail", "raise", "wait", "pretend" or "lose". With `hidden_by` it cannot be read any more from
    then on: once it was executed, or once it was brought back.
    """

    action_type = "ledger.append"
    version = "1"
    title = "Append a line to a ledger"
    schema: dict[str, Any] = {"type": "object"}
    criteria = ("state_match", "expression")
    example: dict[str, Any] = {}
    retryable = True
    restore_is_repeatable = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unreadable = False
        self.executed: list[int] = []
        self.restored: list[int] = []

    def check(self, call: Call) -> list[FieldError]:
        return []

    def reversibility(self, call: Call) -> Reversibility:
        return Reversibility(call.parameters.get("reversibility", "reversible"))

    def deadline_seconds(self, call: Call) -> float:
        return float(call.parameters.get("deadline", 60))

    def path(self, target: str) -> Path:
        return self.folder / target.replace(":", "_")

    def lines(self, target: str) -> list[str]:
        """Every line of a target's ledger."""
        path = self.path(target)
        return path.read_text().splitlines() if path.exists() else []

    def observe(self, call: Call) -> Observation:
        if self.unreadable:
            raise ExecutorError("the ledger cannot be read")
        lines = self.lines(call.target)
        return Observation({"lines": lines, "count": len(lines)}, timezone.now())

    def fingerprint(self, observation: Observation) -> str:
        return hashlib.sha256("\n".join(observation.state["lines"]).encode()).hexdigest()

    def preview(self, call: Call, observation: Observation) -> Preview:
        return Preview("diff", f"+{call.parameters['line']}", "appends one line")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        path = self.path(call.target)
        if path.exists():
            store.add_file(path, name="ledger")

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        self.executed.append(call.token)
        self.unreadable = call.parameters.get("hidden_by") == "execute"
        then = call.parameters.get("then")
        if then == "refuse":
            return ExecutionResult.failure("refused", retryable=True)
        if then == "raise":
            raise RuntimeError("a bug in the executor")
        if then == "lose":
            return ExecutionResult.unknown("lost sight of the ledger")
        if then == "pretend":
            return ExecutionResult.success({"said": "done"}, duration_ms=1)
        with self.path(call.target).open("a") as file:
            file.write(call.parameters["line"] + "\n")
        if then == "wait":
            while not run.cancelled():
                time.sleep(0.01)
            return ExecutionResult.failure("cancelled")
        if then == "fail":
            return ExecutionResult.failure("failed half way")
        return ExecutionResult.success({"said": "done"}, duration_ms=1)

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        self.restored.append(call.token)
        self.unreadable = call.parameters.get("hidden_by") == "restore"
        if call.parameters.get("cannot_restore"):
            return ExecutionResult.failure("the way back is blocked")
        path = self.path(call.target)
        names = [item.name for item in snapshot.items()]
        if "ledger" in names:
            path.write_bytes(snapshot.read("ledger"))
        else:
            path.unlink(missing_ok=True)
        return ExecutionResult.success()
