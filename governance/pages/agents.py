"""Agents: who proposes by program, who answers for it, and its keys."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import agents as verbs
from governance import principals
from governance.models import Agent, AgentKey

from . import base
from .base import PageRequest


@base.page("agents.read")
def agents(request: PageRequest) -> HttpResponse:
    """Every agent with its keys (never the key itself: it was shown once)."""
    return show(request)


def show(request: PageRequest, agent_id: UUID | None = None, *, refused: Refused | None = None) -> HttpResponse:
    """The page; `refused` stands above the list."""
    rows = Agent.objects.select_related("owner").prefetch_related(
        Prefetch("keys", queryset=AgentKey.objects.order_by("-created_at"))
    )
    return render(
        request,
        "console/agents.html",
        {"shown": base.cut(request, rows, order=("name",)), "refused": refused, "now": base.now()},
    )


@base.act("agents.manage", shown_by=show)
def revoke(request: PageRequest, agent_id: UUID) -> HttpResponse:
    """End an agent: none of its keys opens anything from now on."""
    agent = verbs.revoke(agent_id=agent_id, by=principals.actor_of(request.user), now=base.now())
    messages.success(request, f"{agent} is revoked.")
    return redirect("agents")
