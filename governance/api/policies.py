"""Policies: every version, the one in force, what it would say, and how another is asked for."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, Query, Strict, operation
from governance import amendments, policies
from governance.api import shapes
from governance.api.contracts import IDEMPOTENCY_KEY, submitted_shape
from governance.models import Agent, Policy
from verification.api.shapes import JsonObject

TAG = "policies"
EXAMPLE = {
    "policy": {
        "unmatched": "tier_3",
        "tiers": {"tier_3": {"approvals": [{"group": "reviewers", "count": 2}]}},
        "rules": [{"name": "change configuration", "effect": "tier_2", "action_types": ["config.update"]}],
    },
    "note": "Begin small.",
    "reason": "Only configuration is changed by agents for now.",
}


class PolicyChangeRequest(Strict):
    """Another policy, whole."""

    policy = JsonObject(help_text="`{unmatched?, tiers?, rules}`.")
    note = s.CharField(
        required=False, default="", allow_blank=True, max_length=500, help_text="Stays with the version."
    )
    reason = s.CharField(max_length=4000, help_text="For the reviewers.")


class DifferenceQuery(Query):
    """Compared with what."""

    against = s.IntegerField(required=False, min_value=1, help_text="A version; the one before unless said otherwise.")


class Difference(s.Serializer[Any]):
    """What changed between two versions."""

    version = s.IntegerField()
    against = s.IntegerField(allow_null=True, help_text="null for the first version: everything in it is new.")
    diff = s.CharField(help_text="A unified diff of the two documents as indented JSON.")


class Policies(Endpoint):
    """`/policies`"""

    write_scope = "proposals"

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

    @operation(
        "propose_policy",
        "Propose another policy",
        tag=TAG,
        asks="policies.change",
        body=PolicyChangeRequest,
        answer=shapes.Submitted,
        status=202,
        parameters=[IDEMPOTENCY_KEY],
        example=EXAMPLE,
    )
    def post(self, request: Request) -> Response:
        """A change is a tier_3 action (`policy.change`): the answer is its contract, which waits for people."""
        submitted = amendments.propose(
            document=self.body["policy"],
            note=self.body["note"],
            reason=self.body["reason"],
            idempotency_key=request.headers.get("Idempotency-Key"),
            by=self.actor,
            user=self.user,
            now=self.now,
        )
        return self.answer(submitted_shape(submitted), status=202)


class ActivePolicy(Endpoint):
    """`/policies/active`"""

    @operation("get_active_policy", "The policy in force", tag=TAG, asks="policies.read", answer=shapes.PolicyShape)
    def get(self, request: Request) -> Response:
        """There is exactly one."""
        return self.answer(shapes.policy(policies.current()))


class OnePolicy(Endpoint):
    """`/policies/{version}`"""

    @operation("get_policy", "One version of the policy", tag=TAG, asks="policies.read", answer=shapes.PolicyShape)
    def get(self, request: Request, version: int) -> Response:
        """A version never changes."""
        return self.answer(shapes.policy(policies.version(version)))


class PolicyDifference(Endpoint):
    """`/policies/{version}/diff`"""

    @operation(
        "compare_policies",
        "What changed between two versions",
        tag=TAG,
        asks="policies.read",
        query=DifferenceQuery,
        answer=Difference,
    )
    def get(self, request: Request, version: int) -> Response:
        """Against the version before, or any other."""
        before, after = policies.pair(version, against=self.query.get("against"))
        return self.answer(
            {
                "version": after.version,
                "against": before.version if before else None,
                "diff": policies.changed(before, after),
            }
        )


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
