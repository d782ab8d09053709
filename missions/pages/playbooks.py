"""Playbooks: what they do, how they have fared, their versions, and running one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render

from auditlog.refusals import Refused
from governance import principals
from governance.pages import base
from governance.pages.base import PageRequest
from missions import missions as mission_verbs
from missions import playbooks as verbs
from missions.models import Mission, Playbook
from verification import learning

from . import variables

MISSIONS = 10
OPEN_MISSIONS = 50


@dataclass(frozen=True)
class Version:
    """One version of a playbook, and what it changed as a diff (None for the first)."""

    playbook: Playbook
    change: dict[str, str] | None


@base.page("playbooks.read")
def playbooks(request: PageRequest) -> HttpResponse:
    """Those in force, by name, each with its record."""
    shown = base.cut(request, Playbook.objects.filter(is_active=True), order=("name",))
    record = _record([row.name for row in shown.rows])
    for row in shown.rows:
        row.stat = record.get(row.name)
    return render(request, "console/playbooks.html", {"shown": shown})


@base.page("playbooks.read")
def playbook(request: PageRequest, name: str) -> HttpResponse:
    """One playbook."""
    return show(request, name)


def show(request: PageRequest, name: str, *, refused: Refused | None = None) -> HttpResponse:
    """The page of one playbook; with `refused`, what was refused stands beside the form."""
    found = base.find(request, Playbook.objects.filter(is_active=True), name=name)
    may_run = "playbooks.run" in request.permissions
    fields = variables.fields(found.variables)
    return render(
        request,
        "console/playbook.html",
        {
            "playbook": found,
            "fields": fields,
            "typed": [(field, request.POST.get(field.sent_as, "")) for field in fields],
            "stat": _record([name]).get(name),
            "versions": versions(list(Playbook.objects.filter(name=name).order_by("-version"))),
            "missions": Mission.objects.filter(playbook=name).order_by("-created_at", "-id")[:MISSIONS],
            "open_missions": _open_missions() if may_run else [],
            "may_run": may_run,
            "refused": refused,
        },
    )


def _record(names: Sequence[str]) -> dict[str, learning.Stat]:
    since = base.now() - learning.RECENT
    stats = learning.stats(group_by=["playbook"], since=since, where=Q(playbook__in=names))
    return {stat.group["playbook"]: stat for stat in stats}


def _open_missions() -> QuerySet[Mission]:
    return Mission.objects.filter(state__in=mission_verbs.OPEN).order_by("-created_at", "-id")[:OPEN_MISSIONS]


def versions(rows: Sequence[Playbook]) -> list[Version]:
    """Versions, newest first, each with what it changed in the one before; pure."""
    earlier: list[Playbook | None] = [*rows[1:], None]
    return [Version(row, _change(before, row)) for row, before in zip(rows, earlier, strict=True)]


def _change(before: Playbook | None, after: Playbook) -> dict[str, str] | None:
    if before is None:
        return None
    names = f"version {before.version}", f"version {after.version}"
    lines = difflib.unified_diff(_lines(before), _lines(after), *names, lineterm="")
    return {"kind": "diff", "body": "\n".join(lines), "summary": ""}


def _lines(row: Playbook) -> list[str]:
    document: dict[str, Any] = {"error_pattern": row.error_pattern, "variables": row.variables, "steps": row.steps}
    return json.dumps(document, indent=2, ensure_ascii=False).splitlines()


@base.act("playbooks.run", shown_by=show)
def run(request: PageRequest, name: str) -> HttpResponse:
    """Run it: in a mission of its own, or in an open one."""
    declared = verbs.active(name).variables
    mission = verbs.run(
        name=name,
        variables=variables.values(declared, request.POST.dict()),
        mission_id=_mission_id(request.POST.get("mission", "").strip()),
        by=principals.actor_of(request.user),
        user=request.user,
        now=base.now(),
    )
    messages.success(request, f"{name} runs; its steps are proposed one after the other.")
    return redirect("mission", mission_id=mission.pk)


def _mission_id(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise mission_verbs.NotFound(f"There is no mission {text[:100]!r}.") from None
