"""`grant.create`: let an agent do something so many times without asking."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from auditlog.actors import SYSTEM
from auditlog.refusals import FieldError
from governance import granting
from governance.executors.own import OwnExecutor, done, schema
from governance.models import Agent, Grant
from verification import executors, expressions
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

LONGEST = timedelta(days=90)
MAX_USES = 10_000


class GrantCreate(OwnExecutor):
    """Makes one grant; the way back is to revoke it."""

    action_type = granting.CREATE
    title = "Give an agent a standing grant"
    schema: dict[str, Any] = schema(
        granting.CREATE,
        "Let an agent do one kind of action a bounded number of times without asking anybody.",
        {
            "agent": {"type": "string", "maxLength": 100, "description": "Its name."},
            "action_type": {"type": "string", "maxLength": 100},
            "target": {"type": "string", "minLength": 1, "maxLength": 500, "description": "A glob."},
            "when": {
                "type": "string",
                "maxLength": 2000,
                "description": "CEL over `parameters`; what it does not hold for is not covered.",
            },
            "max_uses": {"type": "integer", "minimum": 1, "maximum": MAX_USES},
            "expires_at": {"type": "string", "format": "date-time", "description": "At most 90 days ahead."},
        },
        optional=("when",),
    )
    example: dict[str, Any] = {
        "action_type": granting.CREATE,
        "target": "grant:deployer",
        "parameters": {
            "agent": "deployer",
            "action_type": "config.update",
            "target": "file:cache/*.json",
            "when": "parameters.merge.ttl_seconds <= 600",
            "max_uses": 50,
            "expires_at": "2026-12-24T00:00:00Z",
        },
        "expected_effect": {"target_state": {"granted": True}},
        "justification": "Cache lifetimes are tuned many times a day, within ten minutes at most.",
    }

    def target_of(self, parameters: dict[str, Any]) -> str:
        """The agent."""
        return f"grant:{parameters['agent']}"

    def check_parameters(self, parameters: dict[str, Any]) -> list[FieldError]:
        """An agent and an action type that exist and can be covered, an end in sight, a condition that compiles."""
        found: list[FieldError] = []
        if not Agent.objects.filter(name=parameters["agent"], state=Agent.State.ACTIVE).exists():
            found.append(FieldError("/parameters/agent", "invalid", "There is no such active agent."))
        known = {executor.action_type for executor in executors.all()}
        if parameters["action_type"] not in known or not granting.coverable(parameters["action_type"]):
            found.append(FieldError("/parameters/action_type", "not_grantable", "No grant can cover this."))
        expires_at = _time(parameters["expires_at"])
        if expires_at is None or not timezone.now() < expires_at <= timezone.now() + LONGEST:
            detail = f"A time with an offset, at most {LONGEST.days} days ahead."
            found.append(FieldError("/parameters/expires_at", "out_of_range", detail))
        if source := parameters.get("when"):
            try:
                expressions.compile_expression(source, names=("parameters",))
            except expressions.InvalidExpression as error:
                found.append(FieldError("/parameters/when", "invalid_expression", f"It {error}."))
        return found

    def observe(self, call: Call) -> Observation:
        """Whether this contract's grant is there."""
        if not Agent.objects.filter(name=call.parameters["agent"]).exists():
            raise ExecutorError("there is no such agent")
        made = _made_by(call)
        return observed.now({"granted": made is not None and made.revoked_at is None})

    def preview(self, call: Call, observation: Observation) -> Preview:
        """The grant in a sentence."""
        asked = call.parameters
        when = f" when {asked['when']}" if asked.get("when") else ""
        body = (
            f"{asked['agent']} may do {asked['action_type']} on {asked['target']}{when}, "
            f"{asked['max_uses']} times at most, until {asked['expires_at']}, and nobody is asked."
        )
        return Preview("text", body, f"grant {asked['agent']} {asked['action_type']}")

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Make it."""
        asked = call.parameters
        agent = Agent.objects.filter(name=asked["agent"], state=Agent.State.ACTIVE).first()
        expires_at = _time(asked["expires_at"])
        if agent is None or expires_at is None or call.contract_id is None:
            return ExecutionResult.failure("There is no such active agent.")
        contract_id = call.contract_id
        return done(
            lambda: granting.create(
                agent=agent,
                action_type=asked["action_type"],
                target=asked["target"],
                when=asked.get("when", ""),
                max_uses=asked["max_uses"],
                expires_at=expires_at,
                reason=f"contract {contract_id}",
                contract_id=contract_id,
                now=timezone.now(),
            )
        )

    def restore(self, call: Call, snapshot: SnapshotReader, baseline: Observation, run: Run) -> ExecutionResult:
        """Revoke it."""
        made = _made_by(call)
        if made is None:
            return ExecutionResult.success({"changed": False})
        grant_id = made.pk
        return done(lambda: granting.end(grant_id=grant_id, by=SYSTEM, reason="rolled back", now=timezone.now()))


def _made_by(call: Call) -> Grant | None:
    return Grant.objects.filter(contract_id=call.contract_id).first() if call.contract_id is not None else None


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
