"""Holds: what is stopped, and the switch."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import holding, principals
from governance import holds as verbs
from governance.models import Hold

from . import base
from .base import PageRequest


@base.page("holds.read")
def holds(request: PageRequest) -> HttpResponse:
    """What is held now, and what was."""
    return show(request)


def show(request: PageRequest, hold_id: UUID | None = None, *, refused: Refused | None = None) -> HttpResponse:
    """The page; `refused` stands beside the form it belongs to (`hold_id`: that of a release)."""
    engaged: list[Any] = list(Hold.objects.filter(released_at=None))
    for row in engaged:
        row.form = f"release-{row.pk}"
    return render(
        request,
        "console/holds.html",
        {
            "engaged": engaged,
            "shown": base.cut(request, Hold.objects.exclude(released_at=None), order=("-engaged_at", "-id")),
            "file_reason": holding.file_reason(),
            "scopes": Hold.Scope.choices,
            "refused": refused,
            "refused_form": f"release-{hold_id}" if hold_id else "engage",
        },
    )


@base.act("holds.engage", shown_by=show)
def engage(request: PageRequest) -> HttpResponse:
    """Stop everything in a scope from starting."""
    hold = verbs.engage(
        scope=request.POST.get("scope", ""),
        pattern=request.POST.get("pattern", "").strip(),
        reason=request.POST.get("reason", "").strip(),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, f"Held: {hold}.")
    return redirect("holds")


@base.act("holds.release", shown_by=show)
def release(request: PageRequest, hold_id: UUID) -> HttpResponse:
    """Ask to take a hold off: an action of its own, on which people decide."""
    submitted = verbs.release(
        hold_id=hold_id,
        reason=request.POST.get("reason", "").strip(),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, "Letting it run again waits for people.")
    if submitted.approval is not None:
        return redirect("approval", request_id=submitted.approval.pk)
    return redirect("holds")
