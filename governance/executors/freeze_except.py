"""`freeze.except`: let one contract start in spite of a freeze."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.refusals import FieldError
from governance import freezing
from governance.executors.own import EXAMPLE_ID, UUID_SCHEMA, OwnExecutor, done, schema
from governance.models import Freeze, FreezeException
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
from verification.models import Contract


class FreezeExcept(OwnExecutor):
    """Writes one exception; the way back is to withdraw it."""

    action_type = freezing.EXCEPT
    title = "Let one contract start in spite of a freeze"
    schema: dict[str, Any] = schema(
        freezing.EXCEPT,
        "Let exactly one revision of a contract start while a freeze lasts.",
        {
            "freeze_id": {**UUID_SCHEMA, "description": "The freeze."},
            "contract_id": {**UUID_SCHEMA, "description": "The contract that may start."},
            "revision": {"type": "integer", "minimum": 1, "description": "The number of its revision."},
            "digest": {
                "type": "string",
                "pattern": "^[0-9a-f]{64}$",
                "description": "SHA-256 of what that revision does; asking by /freezes/{id}/exceptions fills it in.",
            },
        },
    )
    example: dict[str, Any] = {
        "action_type": freezing.EXCEPT,
        "target": f"freeze:{EXAMPLE_ID}",
        "parameters": {"freeze_id": EXAMPLE_ID, "contract_id": EXAMPLE_ID, "revision": 1, "digest": "0" * 64},
        "expected_effect": {"target_state": {"excepted": True}},
        "justification": "The certificate ends before the freeze does.",
    }

    def target_of(self, parameters: dict[str, Any]) -> str:
        """The freeze."""
        return f"freeze:{parameters['freeze_id']}"

    def check_parameters(self, parameters: dict[str, Any]) -> list[FieldError]:
        """The revision in force is the one that is meant, word for word."""
        contract = Contract.objects.filter(pk=UUID(parameters["contract_id"])).first()
        if contract is None:
            return []
        number, digest = contract.current_revision, freezing.wording(contract)
        if (parameters["revision"], parameters["digest"]) == (number, digest):
            return []
        detail = f"The contract says something else now: revision {number}, digest {digest}."
        return [FieldError("/parameters/digest", "another_wording", detail)]

    def observe(self, call: Call) -> Observation:
        """Whether the contract is excepted, and what both of them are."""
        freeze = Freeze.objects.filter(pk=UUID(call.parameters["freeze_id"])).first()
        contract = Contract.objects.filter(pk=UUID(call.parameters["contract_id"])).first()
        if freeze is None or contract is None:
            raise ExecutorError("there is no such freeze or no such contract")
        wanted = {"revision": call.parameters["revision"], "digest": call.parameters["digest"], "withdrawn_at": None}
        excepted = FreezeException.objects.filter(freeze=freeze, contract=contract, **wanted).exists()
        now_says = {"revision": contract.current_revision, "digest": freezing.wording(contract)}
        return observed.now({"excepted": excepted, "freeze": freeze.name, "contract": str(contract), **now_says})

    def preview(self, call: Call, observation: Observation) -> Preview:
        """Which freeze, and everything the contract does."""
        state = observation.state
        contract = Contract.objects.get(pk=UUID(call.parameters["contract_id"]))
        body = json.dumps(freezing.worded(contract), indent=2, ensure_ascii=False)
        return Preview("json", body, f"let {state['contract']} start in spite of {state['freeze']}")

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Write the exception."""
        assert call.contract_id is not None, "only a contract executes"
        approved_by, reason = call.contract_id, f"contract {call.contract_id}"
        return done(
            lambda: freezing.except_(
                freeze_id=UUID(call.parameters["freeze_id"]),
                contract_id=UUID(call.parameters["contract_id"]),
                revision=call.parameters["revision"],
                wording=call.parameters["digest"],
                approved_by=approved_by,
                by=SYSTEM,
                reason=reason,
                now=timezone.now(),
            )
        )

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Withdraw it."""
        assert call.contract_id is not None, "only a contract executes"
        approved_by = call.contract_id
        return done(
            lambda: freezing.withdraw_exception(
                approved_by=approved_by, by=SYSTEM, reason="rolled back", now=timezone.now()
            )
        )
