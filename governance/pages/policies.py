"""The policy in force, the versions before it, and what it would say."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from auditlog.refusals import FieldError, Refused
from governance import access
from governance import policies as verbs
from governance.models import Agent, Policy

from . import base
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
    versions = list(Policy.objects.all()[:50])
    response = render(
        request,
        "console/policies.html",
        {
            "active": next((each for each in versions if each.is_active), None),
            "versions": versions,
            "agents": Agent.objects.order_by("name").values_list("name", flat=True),
            "asked_for": asked,
            "ruling": ruling,
            "refused": refused,
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
            errors=[FieldError("/parameters", NotJson.code, "A JSON object is expected.")],
        )
    return found
