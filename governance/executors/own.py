"""What the executors of governance have in common: their targets are rows of Grace's own database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auditlog.refusals import FieldError, Refused
from verification.executors import observed
from verification.executors.base import (
    Call,
    ExecutionResult,
    Executor,
    Observation,
    Reversibility,
    SnapshotWriter,
)
from verification.json_schemas import Schema


class OwnExecutor(Executor):
    """An executor over our own rows: read here and not in a thread, undone by another row or by taking one back."""

    version = "1"
    criteria = ("state_match", "expression")
    retryable = True
    restore_is_repeatable = True
    reads_database = True

    def __init__(self) -> None:
        """Compile the schema once."""
        self._schema = Schema(self.schema)

    def target_of(self, parameters: dict[str, Any]) -> str:
        """The one right target for these parameters."""
        raise NotImplementedError

    def check(self, call: Call) -> list[FieldError]:
        """Schema, target, and then whatever `check_parameters` finds."""
        parameters = dict(call.parameters)
        if errors := self._schema.errors(parameters, "/parameters"):
            return errors
        if call.target != (wanted := self.target_of(parameters)):
            return [FieldError("/target", "target_mismatch", f"The target of this is {wanted!r}.")]
        return self.check_parameters(parameters)

    def check_parameters(self, parameters: dict[str, Any]) -> list[FieldError]:
        """What the schema cannot say."""
        return []

    def reversibility(self, call: Call) -> Reversibility:
        """The row can be taken back, but not what happened meanwhile because of it."""
        return Reversibility.EXTERNALLY_REVERSIBLE

    def fingerprint(self, observation: Observation) -> str:
        """Over all that is observed."""
        return observed.digest(observation.state)

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """The parameters say what to take back."""
        store.add_bytes("row", b"", {"target": call.target})


def done(act: Callable[[], object]) -> ExecutionResult:
    """The result of a verb: what it refuses is a failure in its own words."""
    try:
        act()
    except Refused as refusal:
        return ExecutionResult.failure(refusal.detail)
    return ExecutionResult.success({"changed": True})


def schema(
    title: str, description: str, properties: dict[str, Any], *, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A closed JSON Schema of parameters, all of them required but for the optional ones."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "description": description,
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


UUID_SCHEMA = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
EXAMPLE_ID = "00000000-0000-7000-8000-000000000000"
