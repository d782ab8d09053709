"""The policy in force, the versions before it, what it would say, and asking for another."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from auditlog.refusals import FieldError, Refused
from governance import access, amendments, principals, typed
from governance import policies as verbs
from governance.models import Agent, Policy

from . import asking, base
from .base import PageRequest

EXAMPLE = {
    "action_type": "config.update",
    "target": "file:app.json",
    "parameters": '{"path": "app.json", "merge": {"pool": 20}}',
    "agent": "",
}


class NotJson(Refused):
    """The parameters are not a JSON object."""

    code = "not_json"
    kind = Refused.Kind.INVALID


@base.page("policies.read")
def policies(request: PageRequest) -> HttpResponse:
    """Rules and history; with `action_type` in the query, what the policy says about that action."""
    asked = {name: request.GET.get(name, default) for name, default in EXAMPLE.items()}
    tested = "action_type" in request.GET
    ruling, refused = _try(request, asked) if tested else (None, None)
    shown = base.cut(request, Policy.objects.all(), order=("-version",))
    response = render(
        request,
        "console/policies.html",
        {
            "active": next((each for each in shown.rows if each.is_active), None)
            or Policy.objects.filter(is_active=True).first(),
            "shown": shown,
            "agents": Agent.objects.order_by("name").values_list("name", flat=True),
            "asked_for": asked,
            "ruling": ruling,
            "refused": refused,
            "refused_form": "test",
            "may_try": "policies.evaluate" in request.permissions,
        },
    )
    if refused is not None:
        response.refusal = refused  # type: ignore[attr-defined]
    return response


def _try(request: PageRequest, asked: dict[str, str]) -> tuple[dict[str, Any] | None, Refused | None]:
    """What the policy says, or why it cannot be asked. Changes nothing, so a query is enough."""
    try:
        access.require(request.user, "policies.evaluate")
        agent = Agent.objects.select_related("user").filter(name=asked["agent"]).first()
        evaluation = verbs.evaluate(
            action_type=asked["action_type"].strip(),
            target=asked["target"].strip(),
            parameters=_parameters(asked["parameters"]),
            user=agent.user if agent else request.user,
            now=base.now(),
        )
    except Refused as refusal:
        return None, refusal
    return evaluation.as_dict(), None


def _parameters(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotJson(
            "The parameters are not a JSON object.",
            errors=[FieldError("/parameters", NotJson.code, "The parameters are not a JSON object.")],
        )
    return found


@base.page("policies.read")
def version(request: PageRequest, number: int) -> HttpResponse:
    """One version: its rules, and what it changed."""
    before, after = verbs.pair(number)
    difference = {"kind": "diff", "body": verbs.changed(before, after)}
    return render(request, "console/policy.html", {"policy": after, "before": before, "difference": difference})


@base.page("policies.change")
def change(request: PageRequest) -> HttpResponse:
    """The form by which another policy is asked for; it begins with what is in force."""
    return show_change(request)


def show_change(request: PageRequest, *, refused: Refused | None = None) -> HttpResponse:
    """The form; with `refused`, what was typed is still there."""
    active = Policy.objects.filter(is_active=True).first()
    document = verbs.document_of(active) if active else {}
    return render(
        request,
        "console/policy_change.html",
        {
            "active": active,
            "document": json.dumps(document, indent=2, ensure_ascii=False),
            "refused": refused,
            "refused_form": "",
        },
    )


@base.act("policies.change", shown_by=show_change)
def propose(request: PageRequest) -> HttpResponse:
    """Ask for another policy: an action of its own, on which people decide (D)."""
    form = typed.Form(request.POST)
    document = form.object("policy")
    form.finish()
    submitted = amendments.propose(
        document=document,
        note=form.text("note"),
        reason=form.text("reason"),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    return asking.answered(request, submitted, otherwise="policies")
