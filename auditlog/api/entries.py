"""The log itself: entries in order, one by one, counted, and what checks found in it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog import entries, findings, summaries
from auditlog.api import shapes
from auditlog.api.endpoint import Endpoint, PageQuery, Query, Strict, operation
from auditlog.models import Finding, Leaf

TAG = "auditlog"
READ = "auditlog.read"


class EntryFilter(Strict):
    """Which entries. The list, the export and the console's search understand the same words."""

    fact = s.CharField(required=False, max_length=300, help_text="Patterns such as approval.*, separated by commas.")
    actor = s.CharField(required=False, max_length=200, help_text="The id of an actor.")
    subject = s.CharField(required=False, max_length=250, help_text="The id of a subject, or kind:id.")
    outcome = s.CharField(required=False, max_length=30)
    mission_id = s.UUIDField(required=False)
    contract_id = s.UUIDField(required=False)
    correlation_id = s.CharField(required=False, max_length=200)
    since = s.IntegerField(required=False, min_value=-1, help_text="Only entries after this leaf index.")
    until = s.IntegerField(required=False, min_value=0, help_text="Only entries before this leaf index.")
    created_after = s.DateTimeField(required=False, help_text="Recorded at this time or later.")
    created_before = s.DateTimeField(required=False, help_text="Recorded before this time.")

    def validate_fact(self, value: str) -> str:
        """It must be a pattern the log knows how to look for."""
        try:
            entries.matching(value)
        except ValueError as problem:
            raise s.ValidationError(str(problem), code="not_a_fact_pattern") from None
        return value


class EntryQuery(EntryFilter, PageQuery):
    """Filters of the list, and its order."""

    order = s.ChoiceField(["asc", "desc"], default="asc", help_text="By leaf index.")


class SummaryQuery(Query):
    """How far to look back."""

    hours = s.IntegerField(min_value=1, max_value=24 * 366, default=24)


class FindingQuery(PageQuery):
    """Filters of the list."""

    kind = s.CharField(required=False, max_length=50)
    open = s.BooleanField(required=False, help_text="Only those that are (not) acknowledged.", allow_null=True)


class Acknowledgement(Strict):
    """Why signing may go on, in words that go into the log."""

    reason = s.CharField(max_length=2000)


class Entries(Endpoint):
    """`/entries`"""

    @operation(
        "list_entries",
        "Entries of the log, in order",
        tag=TAG,
        asks=READ,
        query=EntryQuery,
        answer=[shapes.LogEntry],
    )
    def get(self, request: Request) -> Response:
        """Oldest first, which is how a program keeps up (`since`); newest first with `order=desc`."""
        order = "-index" if self.query["order"] == "desc" else "index"
        return self.page_of(entries.chosen(self.query), shown, order=(order,))


class OneEntry(Endpoint):
    """`/entries/{leaf_index}`"""

    @operation("get_entry", "One entry, with its exact bytes", tag=TAG, asks=READ, answer=shapes.WholeEntry)
    def get(self, request: Request, leaf_index: int) -> Response:
        """The bytes are what the leaf's hash is computed from."""
        leaf = self.find(Leaf.objects.select_related("entry"), index=leaf_index)
        found = shapes.entry(leaf, entries.disclosed([leaf.entry]))
        return self.answer(found | {"bytes": shapes.b64(leaf.entry.bytes)})


class Summary(Endpoint):
    """`/summary`"""

    @operation(
        "get_activity_summary",
        "What happened in the last hours",
        tag=TAG,
        asks=READ,
        query=SummaryQuery,
        answer=shapes.ActivitySummary,
    )
    def get(self, request: Request) -> Response:
        """Counts by actor, fact and subsystem, and failures by subsystem."""
        hours = self.query["hours"]
        found = summaries.recent(hours=hours, now=self.now)
        return self.answer(
            {
                "hours": hours,
                "since": found.since,
                "entries": found.entries,
                "failures": found.failures,
                **{
                    name: [{"name": each, "count": count} for each, count in getattr(found, name)]
                    for name in ("by_fact", "by_actor", "by_subsystem", "failures_by_subsystem")
                },
            }
        )


class Findings(Endpoint):
    """`/findings`"""

    @operation(
        "list_findings",
        "What integrity checks found",
        tag=TAG,
        asks=READ,
        query=FindingQuery,
        answer=[shapes.IntegrityFinding],
    )
    def get(self, request: Request) -> Response:
        """Newest first."""
        rows = Finding.objects.all()
        if "kind" in self.query:
            rows = rows.filter(kind=self.query["kind"])
        if self.query.get("open") is not None:
            rows = rows.filter(acknowledged_at__isnull=self.query["open"])
        return self.page(rows, shapes.finding, order=("-id",))


class AcknowledgeFinding(Endpoint):
    """`/findings/{id}/acknowledge`"""

    @operation(
        "acknowledge_finding",
        "Take note of a finding, so that signing goes on",
        tag=TAG,
        asks="auditlog.acknowledge",
        body=Acknowledgement,
        answer=shapes.IntegrityFinding,
        example={"reason": "The backup of Sunday was restored on purpose."},
    )
    def post(self, request: Request, id: int) -> Response:
        """The evidence stays where it is; the reason goes into the log."""
        row = findings.acknowledge(finding_id=id, by=self.actor, reason=self.body["reason"], now=self.now)
        return self.answer(shapes.finding(row))


def shown(leaves: list[Leaf]) -> list[dict[str, Any]]:
    """A page, with personal values put back where they have not been erased: one query."""
    documents = entries.disclosed([leaf.entry for leaf in leaves])
    return [shapes.entry(leaf, documents) for leaf in leaves]
