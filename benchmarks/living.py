"""A Grace that lives lifecycles: an agent proposes, a person approves, an executor does nothing, which is verified.

Everything goes through the domain verbs, as the doors call them. What stands here needs Django set up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from auditlog import jobs
from auditlog.actors import SYSTEM
from auditlog.models import Job
from governance import agents, approvals, policies, principals, proposals, seeds
from governance.proposals import Proposal, Submitted
from verification import executors
from verification.executors.base import Call, ExecutionResult, Executor, Observation, Preview, Reversibility, Run
from verification.models import Contract, State

AGENT = "bench"


class Nothing(Executor):
    """`bench.nothing` does nothing, to a target that is always fine, and says when it was asked to."""

    action_type = "bench.nothing"
    version = "1"
    title = "Nothing"
    schema: dict[str, Any] = {"type": "object", "properties": {"reversible": {"type": "boolean"}}}
    criteria = ("state_match",)
    example: dict[str, Any] = {}
    retryable = True

    def check(self, call: Call) -> list[Any]:
        """Everything is fine."""
        return []

    def reversibility(self, call: Call) -> Reversibility:
        """Nothing is changed, unless the benchmark wants the way of something that can be."""
        return Reversibility.REVERSIBLE if call.parameters.get("reversible") else Reversibility.READ_ONLY

    def observe(self, call: Call) -> Observation:
        """Always the same."""
        return Observation({"fine": True}, timezone.now())

    def fingerprint(self, observation: Observation) -> str:
        """Always the same."""
        return "f" * 64

    def preview(self, call: Call, observation: Observation) -> Preview:
        """Nothing would happen."""
        return Preview("text", "", "nothing happens")

    def snapshot(self, call: Call, store: Any) -> None:
        """Nothing is needed."""

    def execute(self, call: Call, run: Run) -> ExecutionResult:
        """Say what time it is."""
        return ExecutionResult.success({"at": str(time.time())})

    def restore(self, call: Call, snapshot: Any, baseline: Observation, run: Run) -> ExecutionResult:
        """Nothing is to be undone."""
        return ExecutionResult.success()


def register() -> None:
    """Make the no-op executor known to this process, once."""
    if Nothing.action_type not in [each.action_type for each in executors.all()]:
        executors.register(Nothing())


def furnish() -> None:
    """The seeded people and policy, a rule that one reviewer decides on nothing, and an agent of Ada's."""
    now = timezone.now()
    seeds.seed(now=now)
    rule = {"name": "nothing", "effect": "tier_2", "action_types": [Nothing.action_type]}
    document = {**seeds.POLICY, "rules": [*seeds.POLICY["rules"], rule]}
    policies.publish(document=document, note="for a benchmark", by=SYSTEM, now=now)
    agents.create(name=AGENT, owner=User.objects.get(username="ada"), by=SYSTEM, now=now)


class Cast:
    """The agent that proposes and the person who approves, as a door would have them."""

    def __init__(self) -> None:
        self.robot = User.objects.get(agent__name=AGENT)
        self.bea = User.objects.get(username="bea")
        self.robot_actor, self.bea_actor = principals.actor_of(self.robot), principals.actor_of(self.bea)

    def propose(self, key: str, **parameters: Any) -> Submitted:
        """Nothing, to be done to a target of its own."""
        body = {
            "action_type": Nothing.action_type,
            "target": f"nothing:{key}",
            "parameters": parameters,
            "expected_effect": {"success_criteria": [{"type": "state_match", "path": "fine", "equals": True}]},
        }
        return proposals.submit(
            proposal=Proposal.from_body(body),
            by=self.robot_actor,
            user=self.robot,
            idempotency_key=key,
            now=timezone.now(),
        )

    def approve(self, asked: Submitted) -> None:
        """Bea says yes to what was asked."""
        assert asked.approval is not None
        approvals.decide(
            request_id=asked.approval.pk,
            by=self.bea_actor,
            user=self.bea,
            verdict="approve",
            digest=asked.digest,
            now=timezone.now(),
        )

    def live(self, key: str, **parameters: Any) -> Contract:
        """One lifecycle, from the proposal to the settled contract."""
        asked = self.propose(key, **parameters)
        self.approve(asked)
        assert asked.contract is not None
        jobs.run(Job.objects.values_list("pk", flat=True).get(kind="execution.run", subject_id=str(asked.contract.pk)))
        return asked.contract


def settled(contract: Contract) -> bool:
    """Whether a contract ended as it should."""
    return Contract.objects.filter(pk=contract.pk, state=State.VERIFIED).exists()


def timed(act: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
