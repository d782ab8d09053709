"""Break-glass: what was done on one person's word, its review, and doing so."""

from __future__ import annotations

import json
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import breakglass as verbs
from governance import policy, principals, typed
from governance.models import BreakGlass
from governance.shapes import repointed
from verification import executors

from . import asking, base
from .base import PageRequest

PARAMETERS = {"path": "app.json", "merge": {"pool": 20}}
EFFECT = {"success_criteria": [{"type": "state_match", "path": "content.pool", "equals": 20}]}


@base.page("breakglass.read")
def break_glass(request: PageRequest) -> HttpResponse:
    """What has to be reviewed, and what was."""
    return show(request)


def show(
    request: PageRequest, break_glass_id: UUID | None = None, *, refused: Refused | None = None, form: str = ""
) -> HttpResponse:
    """The page; `refused` stands in the form it belongs to."""
    uses = BreakGlass.objects.select_related("contract")
    open_uses: list[Any] = list(uses.filter(reviewed_at=None).order_by("used_at")[:100])
    for row in open_uses:
        row.form, row.mine = f"review-{row.pk}", row.person_id == request.user.pk
    return render(
        request,
        "console/break_glass.html",
        {
            "open": open_uses,
            "shown": base.cut(request, uses.exclude(reviewed_at=None), order=("-used_at", "-id")),
            "waits": any(row.mine for row in open_uses),
            "action_types": [each.action_type for each in executors.all() if not policy.governs(each.action_type)],
            "parameters": json.dumps(PARAMETERS),
            "effect": json.dumps(EFFECT),
            "refused": refused,
            "refused_form": f"review-{break_glass_id}" if break_glass_id else form,
        },
    )


@base.act("breakglass.use", shown_by=partial(show, form="use"))
def use(request: PageRequest) -> HttpResponse:
    """Run one action now, on one's own word."""
    form = typed.Form(request.POST)
    body = {
        "action_type": form.text("action_type"),
        "target": form.text("target"),
        "parameters": form.object("parameters"),
        "expected_effect": form.object("expected_effect"),
        "justification": form.text("reason"),
        "reason": form.text("reason"),
    }
    form.finish()
    with repointed(parameters="/parameters"):
        proposal, reason = verbs.read(body)
        used = verbs.use(
            proposal=proposal,
            reason=reason,
            by=principals.actor_of(request.user),
            user=request.user,
            now=base.now(),
        )
    return asking.answered(request, used, otherwise="break-glass")


@base.act("breakglass.review", shown_by=show)
def review(request: PageRequest, break_glass_id: UUID) -> HttpResponse:
    """Close the review of what somebody else did."""
    row = verbs.review(
        break_glass_id=break_glass_id,
        finding=request.POST.get("finding", "").strip(),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, f"Reviewed: {row.contract}.")
    return redirect("break-glass")
