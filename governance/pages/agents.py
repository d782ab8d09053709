"""Agents: who proposes by program, who answers for it, and its keys."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import agents as verbs
from governance import principals, typed
from governance.models import Agent, AgentKey

from . import base, secrets
from .base import PageRequest

MOST_PEOPLE = 500


@base.page("agents.read")
def agents(request: PageRequest) -> HttpResponse:
    """Every agent with its keys (never the key itself: it was shown once)."""
    return show(request)


def show(
    request: PageRequest, agent_id: UUID | None = None, *, refused: Refused | None = None, form: str = ""
) -> HttpResponse:
    """The page; `refused` stands in the form it belongs to."""
    rows = Agent.objects.select_related("owner").prefetch_related(
        Prefetch("keys", queryset=AgentKey.objects.order_by("-created_at"))
    )
    shown = base.cut(request, rows, order=("name",))
    for row in shown.rows:
        for name in ("rotate", "suspend", "resume", "change", "revoke"):
            setattr(row, f"{name}_form", f"{name}-{row.pk}")
    may_manage = "agents.manage" in request.permissions
    return render(
        request,
        "console/agents.html",
        {
            "shown": shown,
            "now": base.now(),
            "people": _people() if may_manage else [],
            "me": request.user.get_username(),
            "my_id": request.user.pk if "agents.answer_for" in request.permissions else None,
            "key_days": verbs.KEY_DAYS,
            "overlap": int(verbs.OVERLAP.total_seconds() // 3600),
            "refused": refused,
            "refused_form": f"{form}-{agent_id}" if agent_id else form,
        },
    )


def _people() -> list[tuple[str, str]]:
    found = User.objects.filter(is_active=True, agent__isnull=True).order_by("first_name", "username")[:MOST_PEOPLE]
    return [(each.get_username(), f"{each.get_full_name()} ({each})".removeprefix(" ")) for each in found]


@base.act("agents.manage", shown_by=partial(show, form="create"))
def create(request: PageRequest) -> HttpResponse:
    """Make an agent, and show its key this once."""
    form = typed.Form(request.POST)
    limit = form.whole("open_request_limit", otherwise=0)
    days = form.whole("key_days", otherwise=verbs.KEY_DAYS)
    form.finish()
    agent, key = verbs.create(
        name=form.text("name"),
        owner=verbs.owner_named(form.text("owner")),
        allowed_action_types=form.words("allowed_action_types"),
        open_request_limit=limit or None,
        key_days=days,
        by=principals.actor_of(request.user),
        now=base.now(),
    )
    return secrets.shown_once(request, f"The key of {agent}", key, back="agents", kind="key")


@base.act("agents.manage", shown_by=partial(show, form="rotate"))
def rotate(request: PageRequest, agent_id: UUID) -> HttpResponse:
    """Give an agent another key, and show it this once."""
    form = typed.Form(request.POST)
    overlap = form.span("overlap", otherwise=verbs.OVERLAP)
    days = form.whole("key_days", otherwise=verbs.KEY_DAYS)
    form.finish()
    agent = base.find(request, Agent.objects.all(), pk=agent_id)
    key = verbs.rotate(
        agent_id=agent_id,
        overlap=overlap,
        key_days=days,
        by=principals.actor_of(request.user),
        now=base.now(),
    )
    return secrets.shown_once(request, f"The new key of {agent}", key, back="agents", kind="key")


@base.act("agents.answer_for", shown_by=partial(show, form="suspend"))
def suspend(request: PageRequest, agent_id: UUID) -> HttpResponse:
    """Let an agent do nothing until it is resumed."""
    agent = verbs.suspend(agent_id=agent_id, **_told(request))
    messages.success(request, f"{agent} is suspended.")
    return redirect("agents")


@base.act("agents.answer_for", shown_by=partial(show, form="resume"))
def resume(request: PageRequest, agent_id: UUID) -> HttpResponse:
    """Let a suspended agent go on."""
    agent = verbs.resume(agent_id=agent_id, **_told(request))
    messages.success(request, f"{agent} goes on.")
    return redirect("agents")


@base.act("agents.answer_for", shown_by=partial(show, form="change"))
def change(request: PageRequest, agent_id: UUID) -> HttpResponse:
    """Say anew what an agent may propose and how much of it may wait."""
    form = typed.Form(request.POST)
    limit = form.whole("open_request_limit", otherwise=0)
    form.finish()
    agent = verbs.change(
        agent_id=agent_id,
        allowed_action_types=form.words("allowed_action_types"),
        open_request_limit=limit,
        **_told(request),
    )
    messages.success(request, f"{agent} is changed.")
    return redirect("agents")


def _told(request: PageRequest) -> dict[str, Any]:
    return {
        "reason": request.POST.get("reason", "").strip(),
        "by": principals.actor_of(request.user),
        "user": request.user,
        "now": base.now(),
    }


@base.act("agents.manage", shown_by=partial(show, form="revoke"))
def revoke(request: PageRequest, agent_id: UUID) -> HttpResponse:
    """End an agent: none of its keys opens anything from now on."""
    agent = verbs.revoke(
        agent_id=agent_id,
        reason=request.POST.get("reason", "").strip(),
        by=principals.actor_of(request.user),
        now=base.now(),
    )
    messages.success(request, f"{agent} is revoked.")
    return redirect("agents")
