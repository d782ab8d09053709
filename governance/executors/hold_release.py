"""`hold.release`: take a hold off. The only action that passes holds."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from auditlog.actors import SYSTEM
from governance import holding
from governance.executors.own import EXAMPLE_ID, UUID_SCHEMA, OwnExecutor, done, schema
from governance.models import Hold
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


class HoldRelease(OwnExecutor):
    """Takes one hold off; the way back is the same hold, engaged again."""

    action_type = holding.RELEASE
    title = "Take a hold off"
    schema: dict[str, Any] = schema(
        holding.RELEASE,
        "Take a hold off, so that what it covers may start again.",
        {"hold_id": {**UUID_SCHEMA, "description": "The hold."}},
    )
    example: dict[str, Any] = {
        "action_type": holding.RELEASE,
        "target": f"hold:{EXAMPLE_ID}",
        "parameters": {"hold_id": EXAMPLE_ID},
        "expected_effect": {"target_state": {"engaged": False}},
        "justification": "The disk was replaced; nothing is in its way any more.",
    }

    def target_of(self, parameters: dict[str, Any]) -> str:
        """The hold."""
        return f"hold:{parameters['hold_id']}"

    def observe(self, call: Call) -> Observation:
        """Whether the hold is engaged, and on what."""
        hold = Hold.objects.filter(pk=UUID(call.parameters["hold_id"])).first()
        if hold is None:
            raise ExecutorError("there is no such hold")
        about = {"scope": hold.scope, "pattern": hold.pattern, "reason": hold.reason}
        return observed.now({"engaged": hold.released_at is None, **about})

    def preview(self, call: Call, observation: Observation) -> Preview:
        """What it holds now."""
        state = observation.state
        held = f"{state['scope']} {state['pattern']}".strip()
        if not state["engaged"]:
            return Preview("text", "", f"the hold on {held} is off already")
        return Preview("text", f"Held because: {state['reason']}", f"release the hold on {held}")

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Take it off; one that is off already is left alone."""
        hold_id = UUID(call.parameters["hold_id"])
        reason = f"contract {call.contract_id}"
        if Hold.objects.filter(pk=hold_id).exclude(released_at=None).exists():
            return ExecutionResult.success({"changed": False})
        return done(lambda: holding.mark_released(hold_id=hold_id, by=SYSTEM, reason=reason, now=timezone.now()))

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Engage it again, if it was."""
        hold_id = UUID(call.parameters["hold_id"])
        reason = f"contract {call.contract_id} was rolled back"
        if not baseline.state.get("engaged"):
            return ExecutionResult.success({"changed": False})
        return done(lambda: holding.mark_engaged_again(hold_id=hold_id, by=SYSTEM, reason=reason, now=timezone.now()))
