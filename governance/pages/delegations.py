"""Delegations: who decides in whose name now, and letting somebody decide in one's own."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import delegations as verbs
from governance import principals, typed
from governance.models import Delegation

from . import base
from .base import PageRequest

MOST_PEOPLE = 500


@base.page("delegations.read")
def delegations(request: PageRequest) -> HttpResponse:
    """Those that count or will count, one's own first, and those that are over."""
    return show(request)


def show(
    request: PageRequest, delegation_id: UUID | None = None, *, refused: Refused | None = None, form: str = ""
) -> HttpResponse:
    """The page; `refused` stands in the form it belongs to."""
    now = base.now()
    over = Q(ended_at__isnull=False) | Q(ends_at__lte=now)
    current: list[Any] = list(Delegation.objects.exclude(over).order_by("starts_at", "id")[:200])
    for row in current:
        row.counts, row.form = row.starts_at <= now, f"end-{row.pk}"
        row.mine = request.user.pk in (row.delegator_id, row.delegate_id)
        row.may_end = verbs.may_end(row, request.user) and "delegations.end" in request.permissions
    return render(
        request,
        "console/delegations.html",
        {
            "current": sorted(current, key=lambda row: not row.mine),
            "shown": base.cut(request, Delegation.objects.filter(over)),
            "people": _people(request),
            "groups": sorted(principals.groups_of(request.user.pk)),
            "starts": typed.for_input(now),
            "ends": typed.for_input(now + timedelta(days=7)),
            "refused": refused,
            "refused_form": f"end-{delegation_id}" if delegation_id else form,
        },
    )


def _people(request: PageRequest) -> list[tuple[str, str]]:
    others = User.objects.filter(is_active=True, agent__isnull=True).exclude(pk=request.user.pk)
    found = others.order_by("first_name", "username")[:MOST_PEOPLE]
    return [(each.get_username(), f"{each.get_full_name()} ({each})".removeprefix(" ")) for each in found]


@base.act("delegations.create", shown_by=partial(show, form="create"))
def create(request: PageRequest) -> HttpResponse:
    """Let somebody decide in one's name."""
    form = typed.Form(request.POST)
    wanted = {
        "delegate": form.text("delegate"),
        "groups": form.choices("groups"),
        "starts_at": form.time("starts_at", required=False),
        "ends_at": form.time("ends_at"),
        "reason": form.text("reason"),
    }
    form.finish()
    made = verbs.create(**wanted, by=principals.actor_of(request.user), user=request.user, now=base.now())
    messages.success(request, f"{made.delegate_label} may decide in your name.")
    return redirect("delegations")


@base.act("delegations.end", shown_by=show)
def end(request: PageRequest, delegation_id: UUID) -> HttpResponse:
    """End a delegation now."""
    ended = verbs.end(
        delegation_id=delegation_id,
        reason=request.POST.get("reason", "").strip(),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, f"Ended: {ended}.")
    return redirect("delegations")
