"""Agents: programs that propose, and their keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from governance import agents
from governance.api import shapes
from governance.models import Agent

TAG = "agents"


class AgentQuery(PageQuery):
    """Filters of the list."""

    state = s.ChoiceField(Agent.State.choices, required=False)
    owner = s.CharField(required=False, max_length=150, help_text="A username.")


class Agents(Endpoint):
    """`/agents`"""

    write_scope = "proposals"

    @operation(
        "list_agents",
        "Agents by name",
        tag=TAG,
        asks="agents.read",
        query=AgentQuery,
        answer=[shapes.AgentShape],
    )
    def get(self, request: Request) -> Response:
        """With who answers for each."""
        columns = {"state": "state", "owner": "owner__username"}
        wanted = {column: self.query[name] for name, column in columns.items() if name in self.query}
        rows = Agent.objects.filter(**wanted).select_related("owner")
        return self.page(self.visible(rows), shapes.agent, order=("name",))

    @operation(
        "create_agent",
        "A new agent and its key",
        tag=TAG,
        asks="agents.manage",
        body=shapes.AgentRequest,
        answer=shapes.AgentWithKey,
        status=201,
        example={"name": "deployer", "owner": "ada", "allowed_action_types": ["config.*"]},
    )
    def post(self, request: Request) -> Response:
        """The key is in this answer and nowhere else."""
        agent, key = agents.create(
            name=self.body["name"],
            owner=agents.owner_named(owner) if (owner := self.body["owner"]) else self.user,
            allowed_action_types=self.body["allowed_action_types"],
            open_request_limit=self.body["open_request_limit"],
            key_days=self.body["key_days"],
            by=self.actor,
            now=self.now,
        )
        return self.answer_once({**shapes.agent(agent), "key": key}, status=201)


class OneAgent(Endpoint):
    """`/agents/{id}`"""

    @operation("get_agent", "One agent", tag=TAG, asks="agents.read", answer=shapes.AgentDetail)
    def get(self, request: Request, id: UUID) -> Response:
        """With the first characters of its keys."""
        agent = self.find(Agent.objects.select_related("owner"), id=id)
        return self.answer({**shapes.agent(agent), "keys": _keys(agent)})


class RotateAgent(Endpoint):
    """`/agents/{id}/rotate`"""

    write_scope = "proposals"

    @operation(
        "rotate_agent_key",
        "A new key for an agent",
        tag=TAG,
        asks="agents.manage",
        body=shapes.RotateRequest,
        answer=shapes.AgentWithKey,
        example={"overlap_minutes": 60},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """The old keys end after the overlap (a day unless said otherwise, at once for 0)."""
        agent = self.find(Agent.objects.select_related("owner"), id=id)
        overlap = timedelta(minutes=self.body["overlap_minutes"])
        key = agents.rotate(agent_id=id, overlap=overlap, key_days=self.body["key_days"], by=self.actor, now=self.now)
        return self.answer_once({**shapes.agent(agent), "key": key})


class SuspendAgent(Endpoint):
    """`/agents/{id}/suspend`"""

    write_scope = "proposals"

    @operation(
        "suspend_agent",
        "Let an agent do nothing for now",
        tag=TAG,
        asks="agents.answer_for",
        body=shapes.CancelRequest,
        answer=shapes.AgentShape,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """By its owner or an administrator. Its keys open nothing until it is resumed."""
        self.find(Agent.objects.all(), id=id)
        agents.suspend(agent_id=id, reason=self.body["reason"], by=self.actor, user=self.user, now=self.now)
        return self.answer(shapes.agent(Agent.objects.select_related("owner").get(pk=id)))


class ResumeAgent(Endpoint):
    """`/agents/{id}/resume`"""

    write_scope = "proposals"

    @operation(
        "resume_agent",
        "Let a suspended agent go on",
        tag=TAG,
        asks="agents.answer_for",
        body=shapes.CancelRequest,
        answer=shapes.AgentShape,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """By its owner or an administrator."""
        self.find(Agent.objects.all(), id=id)
        agents.resume(agent_id=id, reason=self.body["reason"], by=self.actor, user=self.user, now=self.now)
        return self.answer(shapes.agent(Agent.objects.select_related("owner").get(pk=id)))


class ChangeAgent(Endpoint):
    """`/agents/{id}/change`"""

    write_scope = "proposals"

    @operation(
        "change_agent",
        "What an agent may propose, and how much of it may wait",
        tag=TAG,
        asks="agents.answer_for",
        body=shapes.ChangeAgentRequest,
        answer=shapes.AgentShape,
        example={"allowed_action_types": ["config.*"], "open_request_limit": 50, "reason": "It only needs these."},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """By its owner or an administrator. Both members replace what was."""
        self.find(Agent.objects.all(), id=id)
        agents.change(agent_id=id, **self.body, by=self.actor, user=self.user, now=self.now)
        return self.answer(shapes.agent(Agent.objects.select_related("owner").get(pk=id)))


class RevokeAgent(Endpoint):
    """`/agents/{id}/revoke`"""

    write_scope = "proposals"

    @operation(
        "revoke_agent",
        "End an agent",
        tag=TAG,
        asks="agents.manage",
        body=shapes.CancelRequest,
        answer=shapes.AgentShape,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Its keys stop working with this answer."""
        self.find(Agent.objects.all(), id=id)
        agents.revoke(agent_id=id, reason=self.body["reason"], by=self.actor, now=self.now)
        return self.answer(shapes.agent(Agent.objects.select_related("owner").get(pk=id)))


def _keys(agent: Agent) -> list[dict[str, Any]]:
    names = ("created_at", "expires_at", "last_used_at", "revoked_at")
    keys = agent.keys.order_by("created_at")
    return [{"prefix": key.token_key, **{name: getattr(key, name) for name in names}} for key in keys]
