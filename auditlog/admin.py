"""The log and what is owed, to look at."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from . import entries, exports, findings, jobs
from .admin_verbs import REASON, AskedVerb, Evidence, Field, Pressed, VerbAdmin
from .models import Checkpoint, Entry, Finding, Job, JobState, Subscription
from .read_only import ReadOnlyAdmin

_FILTERS = (
    Field(
        "fact", "Fact", required=False, hint="A name, or a beginning followed by *. With nothing at all: the whole log."
    ),
    Field("actor", "Id of the actor", required=False),
    Field("subject", "Subject", required=False, hint="Its id, or kind:id."),
    Field("contract_id", "Contract", required=False),
    Field("mission_id", "Mission", required=False),
    Field("disclose", "People's names and large payloads", choices=(("yes", "come along"), ("no", "stay here"))),
)


def _exports(pressed: Pressed) -> object:
    asked = {field.name: pressed.form.get(field.name, "").strip() for field in _FILTERS}
    disclose = asked.pop("disclose") == "yes"
    wanted = {name: value for name, value in asked.items() if value}
    return exports.request(wanted=wanted, disclose=disclose, by=pressed.by, now=timezone.now())


@admin.register(Entry)
class EntryAdmin(VerbAdmin):
    """Entries, newest first."""

    asked_of_list = (
        AskedVerb(
            "export",
            "Export a bundle",
            "auditlog.export",
            _exports,
            fields=_FILTERS,
            words="Of the whole log, or of part of it. A job makes it; it is fetched under Audit log in the console.",
        ),
    )

    reads = "auditlog.read"
    list_display = ("leaf_index", "recorded_at", "fact", "actor", "subject", "outcome")
    list_display_links = ("leaf_index", "recorded_at")
    list_filter = ("subsystem", "outcome", "actor_kind")
    search_fields = ("fact", "actor_id", "subject_id", "=mission_id", "=contract_id", "=correlation_id")
    ordering = ("-recorded_at",)
    fields = ("leaf_index", "recorded_at", "said")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        """With each entry's place in the log."""
        rows: QuerySet[Entry] = super().get_queryset(request).annotate(place=F("leaf__index"))
        return rows

    @admin.display(description="Leaf", ordering="place", empty_value="pending")
    def leaf_index(self, entry: Any) -> int | None:
        """The entry's place in the log."""
        place: int | None = entry.place
        return place

    @admin.display(description="Actor")
    def actor(self, entry: Entry) -> str:
        """Who."""
        return f"{entry.actor_kind} {entry.actor_id}"

    @admin.display(description="Subject")
    def subject(self, entry: Entry) -> str:
        """About what."""
        return f"{entry.subject_kind} {entry.subject_id}"

    @admin.display(description="Content")
    def said(self, entry: Entry) -> str:
        """The content, with personal values where they have not been erased."""
        document = entries.disclosed([entry])[entry.pk]
        return format_html("<pre>{}</pre>", json.dumps(document, indent=2, ensure_ascii=False))


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    """Signed checkpoints."""

    reads = "auditlog.read"
    list_display = ("size", "signed_at")
    ordering = ("-pk",)
    fields = ("size", "signed_at", "signed_note")
    readonly_fields = fields

    @admin.display(description="Note")
    def signed_note(self, row: Checkpoint) -> str:
        """The note as it was signed."""
        return format_html("<pre>{}</pre>", row.note)


ON_HOST = "It is acknowledged on the host that signs: manage.py acknowledge."


def _acknowledges(pressed: Pressed) -> object:
    return findings.acknowledge(finding_id=pressed.row.pk, by=pressed.by, reason=pressed.reason, now=timezone.now())


@admin.register(Finding)
class FindingAdmin(VerbAdmin):
    """What integrity checks found."""

    reads = "auditlog.read"
    list_display = ("kind", "subject", "found_at", "acknowledged_at", "acknowledged_by")
    list_filter = ("kind",)
    ordering = ("-found_at",)
    asked = (
        AskedVerb(
            "acknowledge",
            "Acknowledge",
            "auditlog.acknowledge",
            _acknowledges,
            shows=lambda row: row.acknowledged_at is None,
            forbids=lambda row, user: ON_HOST if row.kind in findings.ON_HOST else "",
            fields=(REASON,),
            words="Signing goes on when every finding is acknowledged. The log keeps who said so, and why.",
        ),
    )

    def evidence(self, row: Finding) -> list[Evidence]:
        """What was found."""
        return [Evidence("Finding", "text", f"{row.kind}, {row.subject}: {row.detail}")]


def _cancels(pressed: Pressed) -> object:
    return jobs.cancel(job_id=pressed.row.pk, by=pressed.by, reason=pressed.reason, now=timezone.now())


def _retries(pressed: Pressed) -> object:
    return jobs.retry(job_id=pressed.row.pk, by=pressed.by, now=timezone.now())


@admin.register(Job)
class JobAdmin(VerbAdmin):
    """Work owed."""

    reads = "jobs.read"
    list_display = ("kind", "subject_id", "state", "due_at", "attempts", "progress", "created_at")
    list_filter = ("state", "kind", "visible")
    search_fields = ("subject_id", "=id")
    ordering = ("-created_at",)
    asked = (
        AskedVerb(
            "cancel",
            "Cancel",
            "jobs.manage",
            _cancels,
            shows=lambda row: row.visible and row.state in (JobState.QUEUED, JobState.RUNNING),
            fields=(REASON,),
            stops=True,
        ),
        AskedVerb(
            "retry",
            "Retry",
            "jobs.manage",
            _retries,
            shows=lambda row: row.state in (JobState.DEAD, JobState.CANCELLED),
        ),
    )

    def evidence(self, row: Job) -> list[Evidence]:
        """What is owed, and what became of it so far."""
        attempts = f"{row.attempts} of {row.max_attempts} attempts"
        return [Evidence("Job", "text", f"{row.kind} for {row.subject_id}: {row.state}, {attempts}")]


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    """Who listens to the log, how far they are and how they fare."""

    reads = "auditlog.read"
    list_display = ("name", "cursor", "failures", "failing_since", "due_at", "delivered_at")
    ordering = ("name",)
