"""`policy.change`: put another version of the policy in force (D)."""

from __future__ import annotations

import json
from typing import Any

from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.refusals import FieldError, Refused
from governance import lockouts, policies, policy
from governance.amendments import ACTION_TYPE, TARGET
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
    "title": ACTION_TYPE,
    "type": "object",
    "description": "Put another version of the policy in force. The old versions stay.",
    "properties": {
        "policy": {
            "type": "object",
            "description": "The whole policy: {unmatched, tiers, rules}.",
            "properties": {"unmatched": {}, "tiers": {}, "rules": {"type": "array"}},
            "required": ["rules"],
        },
        "note": {"type": "string", "maxLength": 500, "description": "Why."},
    },
    "required": ["policy"],
    "additionalProperties": False,
}
_RULE = {"name": "change configuration", "effect": "tier_2", "action_types": ["config.update"]}
_POLICY = {
    "unmatched": "tier_3",
    "tiers": {
        "tier_2": {"approvals": [{"group": "reviewers", "count": 1}]},
        "tier_3": {"approvals": [{"group": "reviewers", "count": 2}]},
    },
    "rules": [_RULE],
}
EXAMPLE = {
    "action_type": ACTION_TYPE,
    "target": TARGET,
    "parameters": {"policy": _POLICY, "note": "Begin small."},
    "expected_effect": {
        "target_state": {"digest": policies.digest_of(policy.parse(_POLICY).as_dict())},
    },
    "justification": "Only configuration is changed by agents for now.",
}
_ITEM = "policy"


class PolicyChange(Executor):
    """Publishes a policy; the way back is publishing the one before."""

    action_type = ACTION_TYPE
    version = "1"
    title = "Change the policy"
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
        """Schema, target, every rule, and that there are people who can do what it asks of them."""
        if errors := self._schema.errors(dict(call.parameters), "/parameters"):
            return errors
        if call.target != TARGET:
            return [FieldError("/target", "target_mismatch", f"The target of the policy is {TARGET!r}.")]
        try:
            read = policy.parse(call.parameters["policy"], at="/parameters/policy")
        except policy.InvalidPolicy as refusal:
            return list(refusal.errors)
        return lockouts.found(read, at="/parameters/policy")

    def reversibility(self, call: Call) -> Reversibility:
        """The version before can be put in force again, but not what it was used for meanwhile."""
        return Reversibility.EXTERNALLY_REVERSIBLE

    def observe(self, call: Call) -> Observation:
        """Digest and version of what is in force."""
        try:
            row = policies.current()
        except Refused as refusal:
            raise ExecutorError(refusal.detail) from refusal
        return observed.now({"digest": row.digest, "version": row.version})

    def fingerprint(self, observation: Observation) -> str:
        """Over the digest: the same policy published again is the same policy."""
        return observed.digest(observation.state["digest"])

    def preview(self, call: Call, observation: Observation) -> Preview:
        """The difference to what is in force, and what is risky about it."""
        row = policies.current()
        wanted = policy.parse(call.parameters["policy"])
        lines = policies.difference(policies.document_of(row), wanted.as_dict(), names=(str(row), "proposed"))
        return Preview("diff", lines, " ".join([f"replace {row}.", *lockouts.risks(wanted)]))

    def snapshot(self, call: Call, store: SnapshotWriter) -> None:
        """The policy in force."""
        store.add_bytes(_ITEM, json.dumps(policies.document_of(policies.current())).encode())

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Publish it, if there are still people who can do what it asks of them; what is in force is left alone."""
        if errors := lockouts.found(policy.parse(call.parameters["policy"])):
            return ExecutionResult.failure(errors[0].detail)
        note = str(call.parameters.get("note", ""))
        return _published(call.parameters["policy"], note or f"contract {call.contract_id}")

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Publish the one before."""
        return _published(json.loads(snapshot.read(_ITEM)), f"contract {call.contract_id} was rolled back")


def _published(document: Any, note: str) -> ExecutionResult:
    try:
        row = policies.publish(document=document, note=note, by=SYSTEM, now=timezone.now())
    except policies.NothingChanged:
        return ExecutionResult.success({"changed": False})
    except Refused as refusal:
        return ExecutionResult.failure(refusal.detail)
    return ExecutionResult.success({"changed": True, "version": row.version, "digest": row.digest})
