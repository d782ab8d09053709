"""`freeze.end`: end a calendar of freezes for good."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from auditlog.actors import SYSTEM
from governance import freezing
from governance.executors.own import EXAMPLE_ID, UUID_SCHEMA, OwnExecutor, done, schema
from governance.models import Freeze
from verification.executors import observed
from verification.executors.base import (
    Call,
    ExecutionResult,
    ExecutorError,
    Observation,
    Preview,
    Run,
    SnapshotReader,
)


class FreezeEnd(OwnExecutor):
    """Ends one calendar; the way back is to let it go on."""

    action_type = freezing.END
    title = "End a freeze"
    schema: dict[str, Any] = schema(
        freezing.END,
        "End a calendar of freezes for good.",
        {"freeze_id": {**UUID_SCHEMA, "description": "The freeze."}},
    )
    example: dict[str, Any] = {
        "action_type": freezing.END,
        "target": f"freeze:{EXAMPLE_ID}",
        "parameters": {"freeze_id": EXAMPLE_ID},
        "expected_effect": {"target_state": {"ended": True}},
        "justification": "The release is out.",
    }

    def target_of(self, parameters: dict[str, Any]) -> str:
        """The freeze."""
        return f"freeze:{parameters['freeze_id']}"

    def observe(self, call: Call) -> Observation:
        """Whether it has ended."""
        freeze = Freeze.objects.filter(pk=UUID(call.parameters["freeze_id"])).first()
        if freeze is None:
            raise ExecutorError("there is no such freeze")
        return observed.now({"ended": freeze.ended_at is not None, "name": freeze.name, "rule": freeze.rule})

    def preview(self, call: Call, observation: Observation) -> Preview:
        """The calendar."""
        return Preview("text", str(observation.state["rule"]), f"end the freeze {observation.state['name']}")

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """End it."""
        return _end(call, again=False)

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Let it go on, if it had not ended before."""
        if baseline.state.get("ended"):
            return ExecutionResult.success({"changed": False})
        return _end(call, again=True)


def _end(call: Call, *, again: bool) -> ExecutionResult:
    freeze_id, reason = UUID(call.parameters["freeze_id"]), f"contract {call.contract_id}"
    return done(lambda: freezing.end(freeze_id=freeze_id, by=SYSTEM, reason=reason, now=timezone.now(), again=again))
