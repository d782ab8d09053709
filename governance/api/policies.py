"""Policies: every version, the one in force, and what it would say."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from governance import policies
from governance.api import shapes
from governance.models import Agent, Policy

TAG = "policies"


class Policies(Endpoint):
    """`/policies`"""

    @operation(
        "list_policies",
        "Every version of the policy",
        tag=TAG,
        asks="policies.read",
        query=PageQuery,
        answer=[shapes.PolicyShape],
    )
    def get(self, request: Request) -> Response:
        """Newest first. A version never changes."""
        return self.page(Policy.objects.all(), shapes.policy, order=("-version",))


class ActivePolicy(Endpoint):
    """`/policies/active`"""

    @operation("get_active_policy", "The policy in force", tag=TAG, asks="policies.read", answer=shapes.PolicyShape)
    def get(self, request: Request) -> Response:
        """There is exactly one."""
        return self.answer(shapes.policy(policies.current()))


class EvaluatePolicy(Endpoint):
    """`/policies/evaluate`"""

    @operation(
        "evaluate_policy",
        "What would policy say?",
        tag=TAG,
        asks="policies.evaluate",
        body=shapes.EvaluationRequest,
        answer=shapes.Evaluation,
        example={"action_type": "config.update", "target": "file:a.json", "parameters": {}, "agent": "deployer"},
        description="For the caller, or for an agent by name. Writes nothing. An action type nobody can carry out "
        "is tier_3.",
    )
    def post(self, request: Request) -> Response:
        """The effect, the tier, what it asks for, and the rules that said so."""
        agent = Agent.objects.select_related("user").filter(name=self.body["agent"]).first()
        evaluation = policies.evaluate(
            action_type=self.body["action_type"],
            target=self.body["target"],
            parameters=self.body["parameters"],
            user=agent.user if agent else self.user,
            mission_id=self.body["mission_id"],
            now=self.now,
        )
        return self.answer(evaluation.as_dict())
