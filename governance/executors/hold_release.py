"""`hold.release`: take a hold off. The only action that passes holds."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.refusals import FieldError, Refused
from governance import holding
from governance.models import Hold
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

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": holding.RELEASE,
    "type": "object",
    "description": "Take a hold off, so that what it covers may start again.",
    "properties": {"hold_id": {"type": "string", "format": "uuid", "description": "The hold."}},
    "required": ["hold_id"],
    "additionalProperties": False,
}
_ID = "00000000-0000-7000-8000-000000000000"
EXAMPLE = {
    "action_type": holding.RELEASE,
    "target": f"hold:{_ID}",
    "parameters": {"hold_id": _ID},
    "expected_effect": {"target_state": {"engaged": False}},
    "justification": "The disk was replaced; nothing is in its way any more.",
}


class HoldRelease(Executor):
    """Takes one hold off; the way back is the same hold, engaged again."""

    action_type = holding.RELEASE
    version = "1"
    title = "Take a hold off"
    schema: dict[str, Any] = SCHEMA
    criteria = ("state_match", "expression")
    example: dict[str, Any] = EXAMPLE
    retryable = True
    restore_is_repeatable = True
    reads_database = True

    def __init__(self) -> None:
        """Compile the schema once."""
        self._schema = Schema(SCHEMA)

    def check(self, call: Call) -> list[FieldError]:
        """Schema, and that the target names the same hold."""
        if errors := self._schema.errors(dict(call.parameters), "/parameters"):
            return errors
        if call.target != f"hold:{call.parameters['hold_id']}":
            wanted = f"hold:{call.parameters['hold_id']}"
            return [FieldError("/target", "target_mismatch", f"The target of this hold is {wanted!r}.")]
        return []

    def reversibility(self, call: Call) -> Reversibility:
        """A hold can be engaged again, but not what started meanwhile."""
        return Reversibility.EXTERNALLY_REVERSIBLE

    def observe(self, call: Call) -> Observation:
        """Whether the hold is engaged, and on what."""
        hold = Hold.objects.filter(pk=UUID(call.parameters["hold_id"])).first()
        if hold is None:
            raise ExecutorError("there is no such hold")
        about = {"scope": hold.scope, "pattern": hold.pattern, "reason": hold.reason}
        return observed.now({"engaged": hold.released_at is None, **about})

    def fingerprint(self, observation: Observation) -> str:
        """Over all of it."""
        return observed.digest(observation.state)

    def preview(self, call: Call, observation: Observation) -> Preview:
        """What it holds now."""
        state = observation.state
        held = f"{state['scope']} {state['pattern']}".strip()
        if not state["engaged"]:
            return Preview("text", "", f"the hold on {held} is off already")
        return Preview("text", f"Held because: {state['reason']}", f"release the hold on {held}")

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """That it was engaged."""
        store.add_bytes("engaged", b"", {"hold_id": call.parameters["hold_id"]})

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Take it off; one that is off already is left alone."""
        hold_id = UUID(call.parameters["hold_id"])
        try:
            holding.mark_released(hold_id=hold_id, by=SYSTEM, reason=f"contract {call.contract_id}", now=timezone.now())
        except holding.NotEngaged:
            return ExecutionResult.success({"changed": False})
        except Refused as refusal:
            return ExecutionResult.failure(refusal.detail)
        return ExecutionResult.success({"changed": True})

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Engage it again."""
        if baseline.state.get("engaged"):
            holding.mark_engaged_again(
                hold_id=UUID(call.parameters["hold_id"]),
                by=SYSTEM,
                reason=f"contract {call.contract_id} was rolled back",
                now=timezone.now(),
            )
        return ExecutionResult.success({"engaged": bool(baseline.state.get("engaged"))})
