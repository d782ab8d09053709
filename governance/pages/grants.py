"""Standing grants: what agents may do without asking, how much of it is left, and asking for another."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import granting, principals, typed
from governance import grants as verbs
from governance.models import Agent, Grant, GrantUse
from verification import executors

from . import asking, base
from .base import PageRequest

USES_SHOWN = 5
STATES = [(state.value, state.value.replace("_", " ")) for state in granting.State]


@base.page("grants.read")
def grants(request: PageRequest) -> HttpResponse:
    """Every grant, newest first, with what ran on it."""
    return show(request)


def show(
    request: PageRequest, grant_id: UUID | None = None, *, refused: Refused | None = None, form: str = ""
) -> HttpResponse:
    """The page; `refused` stands in the form it belongs to."""
    now = base.now()
    uses = GrantUse.objects.select_related("contract").order_by("-used_at")[:USES_SHOWN]
    rows = Grant.objects.select_related("agent").prefetch_related(Prefetch("uses", queryset=uses, to_attr="last_uses"))
    rows = base.filtered(request, rows, agent="agent__name", action="action_type")
    if request.GET.get("active"):
        rows = rows.filter(granting.usable(now))
    shown = base.cut(request, rows)
    for row in shown.rows:
        row.state, row.form = granting.state(row, now=now), f"revoke-{row.pk}"
    return render(
        request,
        "console/grants.html",
        {
            "shown": shown,
            "agents": list(_active_agents()),
            "action_types": [each.action_type for each in executors.all() if granting.coverable(each.action_type)],
            "in_a_week": typed.for_input(now + timedelta(days=7)),
            "refused": refused,
            "refused_form": f"revoke-{grant_id}" if grant_id else form,
        },
    )


def _active_agents() -> Any:
    return Agent.objects.filter(state=Agent.State.ACTIVE).order_by("name").values_list("name", flat=True)[:500]


@base.act("grants.ask", shown_by=partial(show, form="ask"))
def ask(request: PageRequest) -> HttpResponse:
    """Ask for a grant: an action of its own, on which people decide."""
    form = typed.Form(request.POST)
    wanted = {
        **{name: form.text(name) for name in ("agent", "action_type", "target", "when", "reason")},
        "max_uses": form.whole("max_uses"),
        "expires_at": form.time("expires_at"),
    }
    form.finish()
    submitted = verbs.ask(**wanted, by=principals.actor_of(request.user), user=request.user, now=base.now())
    return asking.answered(request, submitted, otherwise="grants")


@base.act("grants.revoke", shown_by=show)
def revoke(request: PageRequest, grant_id: UUID) -> HttpResponse:
    """Take a grant away at once."""
    grant = verbs.revoke(
        grant_id=grant_id,
        by=principals.actor_of(request.user),
        user=request.user,
        reason=request.POST.get("reason", "").strip(),
        now=base.now(),
    )
    messages.success(request, f"Revoked: {grant.action_type} on {grant.target}.")
    return redirect("grants")
