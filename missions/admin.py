"""Missions in the admin."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.utils import timezone

from auditlog.admin_verbs import REASON, REASON_IF_ANY, AskedVerb, Evidence, Field, Pressed, VerbAdmin, as_json
from auditlog.read_only import ReadOnlyAdmin

from . import missions, playbooks
from .models import Incident, Mission, Playbook, SafePoint, Step, Summary
from .templates import InvalidVariables


def _completes(pressed: Pressed) -> object:
    return missions.complete(mission_id=pressed.row.pk, reason=pressed.reason, by=pressed.by, now=timezone.now())


def _abandons(pressed: Pressed) -> object:
    return missions.abandon(
        mission_id=pressed.row.pk,
        reason=pressed.reason,
        by=pressed.by,
        user=pressed.user,
        now=timezone.now(),
    )


@admin.register(Mission)
class MissionAdmin(VerbAdmin):
    """Goals, and how far they have come."""

    reads = "missions.read"
    list_display = ("goal", "state", "playbook", "started_by_label", "health_score", "created_at", "ended_at")
    list_filter = ("state", "playbook")
    search_fields = ("=id", "goal")
    asked = (
        AskedVerb(
            "complete",
            "Complete",
            "missions.manage",
            _completes,
            shows=lambda row: row.state in missions.OPEN,
            fields=(REASON_IF_ANY,),
        ),
        AskedVerb(
            "abandon",
            "Abandon",
            "missions.manage",
            _abandons,
            shows=lambda row: row.state in missions.OPEN,
            fields=(REASON,),
            words="What has not started is cancelled; what runs settles by itself.",
            stops=True,
        ),
    )

    def evidence(self, row: Mission) -> list[Evidence]:
        """What it is for, and every step."""
        steps = row.steps.select_related("contract")
        listed = [f"{step.position}. {step.title or step.contract}: {_stands(step)}" for step in steps]
        return [Evidence("Goal", "text", row.goal), Evidence("Steps", "json", listed)]


def _stands(step: Step) -> str:
    return step.contract.state if step.contract is not None else step.problem or "planned"


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    """The steps of missions."""

    reads = "missions.read"
    list_display = ("mission", "position", "title", "contract", "reached", "created_at")
    list_select_related = ("mission", "contract")
    ordering = ("-created_at", "position")


@admin.register(SafePoint)
class SafePointAdmin(ReadOnlyAdmin):
    """Where missions can return to."""

    reads = "missions.read"
    list_display = ("mission", "after_position", "label", "created_at")
    list_select_related = ("mission",)


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    """What went wrong."""

    reads = "incidents.read"
    list_display = ("error_type", "source", "severity", "state", "error_pattern", "occurrence_count", "created_at")
    list_filter = ("state", "severity", "error_pattern")
    search_fields = ("=id", "error_type", "error_message", "source")


def _runs(pressed: Pressed) -> object:
    return playbooks.run(
        name=pressed.row.name,
        variables=_variables(pressed.form.get("variables", "").strip()),
        by=pressed.by,
        user=pressed.user,
        now=timezone.now(),
    )


def _variables(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InvalidVariables("The variables are not a JSON object.")
    return values


@admin.register(Playbook)
class PlaybookAdmin(VerbAdmin):
    """Templates of steps."""

    reads = "playbooks.read"
    asked = (
        AskedVerb(
            "run",
            "Run it",
            "playbooks.run",
            _runs,
            shows=lambda row: row.is_active,
            fields=(Field("variables", "Variables", required=False, hint="JSON; what is left out is as usual."),),
            words="In a mission of its own. Its steps are proposed in your name.",
        ),
    )
    list_display = ("name", "version", "title", "error_pattern", "is_active", "created_at")
    list_filter = ("is_active",)
    fields = (
        *("name", "version", "title", "error_pattern", "is_active", "variables_", "steps_"),
        *("digest", "created_by_label", "created_at"),
    )
    readonly_fields = fields
    variables_ = as_json("variables")
    steps_ = as_json("steps")

    def evidence(self, row: Playbook) -> list[Evidence]:
        """Which one it is, and what it does."""
        return [Evidence("Playbook", "text", str(row)), Evidence("Steps", "json", row.steps)]


@admin.register(Summary)
class SummaryAdmin(ReadOnlyAdmin):
    """The hours in numbers."""

    reads = "summaries.read"
    list_display = ("kind", "period_start", "tier", "action_type", "updated_at")
    list_filter = ("kind", "tier")
