"""Freeze windows: what is frozen now and next, and what people were asked about it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import freezes as verbs
from governance import freezing, principals, typed
from governance.models import Freeze, FreezeException
from governance.policy import Tier

from . import asking, base
from .base import PageRequest

WEEKEND_HOURS = 62
FRIDAY = 4


@base.page("freezes.read")
def freezes(request: PageRequest) -> HttpResponse:
    """Every calendar that is in force, with its exceptions, and those that were ended."""
    return show(request)


def show(
    request: PageRequest, freeze_id: UUID | None = None, *, refused: Refused | None = None, form: str = "create"
) -> HttpResponse:
    """The page; `refused` stands in the form it belongs to."""
    now = base.now()
    exceptions = FreezeException.objects.select_related("contract").filter(withdrawn_at=None)
    lasting = Freeze.objects.filter(ended_at=None).prefetch_related(
        Prefetch("exceptions", queryset=exceptions, to_attr="in_force")
    )
    calendars: list[Any] = list(lasting.order_by("name")[:100])
    for row in calendars:
        row.until, row.next = freezing.lasts_until(row, now=now), freezing.next_start(row, now=now)
        row.end_form, row.except_form = f"end-{row.pk}", f"except-{row.pk}"
    return render(
        request,
        "console/freezes.html",
        {
            "calendars": sorted(calendars, key=lambda row: (row.until is None, row.next or now, row.name)),
            "shown": base.cut(request, Freeze.objects.exclude(ended_at=None)),
            "tiers": [tier.value for tier in Tier],
            "example": _weekend(now),
            "hours": WEEKEND_HOURS,
            "refused": refused,
            "refused_form": f"{form}-{freeze_id}" if freeze_id else form,
        },
    )


def _weekend(now: datetime) -> str:
    """From the next Friday at 18:00 on, every week."""
    friday = now + timedelta(days=(FRIDAY - now.weekday()) % 7 or 7)
    return f"DTSTART;TZID=Europe/Berlin:{friday:%Y%m%d}T180000\nRRULE:FREQ=WEEKLY;BYDAY=FR"


@base.act("freezes.create", shown_by=show)
def create(request: PageRequest) -> HttpResponse:
    """Make a calendar."""
    form = typed.Form(request.POST)
    lasts = form.hours("duration_seconds")
    form.finish()
    freeze = verbs.create(
        **{name: form.text(name) for name in ("name", "minimum_tier", "reason")},
        rule=form.text("rule").replace("\r\n", "\n"),
        duration_seconds=lasts,
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, f"In force: {freeze}.")
    return redirect("freezes")


@base.act("freezes.change", shown_by=partial(show, form="end"))
def end(request: PageRequest, freeze_id: UUID) -> HttpResponse:
    """Ask to end a calendar for good: an action of its own, on which people decide."""
    submitted = verbs.ask_to_end(
        freeze_id=freeze_id,
        reason=request.POST.get("reason", "").strip(),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    return asking.answered(request, submitted, otherwise="freezes")


@base.act("freezes.change", shown_by=partial(show, form="except"))
def except_(request: PageRequest, freeze_id: UUID) -> HttpResponse:
    """Ask that one contract may start in spite of a calendar."""
    form = typed.Form(request.POST)
    contract_id = form.id("contract_id")
    form.finish()
    submitted = verbs.ask_exception(
        freeze_id=freeze_id,
        contract_id=contract_id,
        reason=form.text("reason"),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    return asking.answered(request, submitted, otherwise="freezes")
