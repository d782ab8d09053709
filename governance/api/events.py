"""Facts, listed: what of the log the caller may see."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog import entries
from auditlog.api.endpoint import Endpoint, PageQuery, operation
from auditlog.models import Entry
from governance.streams import sight, storage
from verification.api import shapes

ORDER = ("leaf__index",)


class EventQuery(PageQuery):
    """Filters of the list."""

    fact = s.CharField(required=False, max_length=300, help_text="Patterns such as approval.*, separated by commas.")
    mission_id = s.UUIDField(required=False)
    contract_id = s.UUIDField(required=False)
    actor = s.CharField(required=False, max_length=200, help_text="The id of an actor.")
    since = s.IntegerField(
        required=False, min_value=-1, help_text="Only facts after this index, oldest first; without it newest first."
    )

    def validate_fact(self, value: str) -> str:
        """It must be a pattern the log knows how to look for."""
        try:
            entries.matching(value)
        except ValueError as problem:
            raise s.ValidationError(str(problem), code="not_a_fact_pattern") from None
        return value


class Events(Endpoint):
    """`/events`"""

    @operation(
        "list_events",
        "Facts from the log",
        tag="events",
        asks="stream.read",
        query=EventQuery,
        answer=[shapes.Event],
    )
    def get(self, request: Request) -> Response:
        """Newest first; with `since`, oldest first, which is how a program keeps up."""
        wanted: dict[str, Any] = {
            name: self.query[name] for name in ("mission_id", "contract_id") if name in self.query
        }
        if "actor" in self.query:
            wanted["actor_id"] = self.query["actor"]
        found = Entry.objects.filter(**wanted)
        if "fact" in self.query:
            found = found.filter(entries.matching(self.query["fact"]))
        if "since" in self.query:
            found = found.filter(leaf__index__gt=self.query["since"])
        return self.page(shown(request, found), event, order=ORDER if "since" in self.query else ("-leaf__index",))


def shown(request: Request, found: QuerySet[Entry]) -> QuerySet[Entry]:
    """What of these entries the caller may see, each with its place in the log."""
    return sight.visible(sight.viewer_of(request.user), found.filter(leaf__isnull=False).select_related("leaf"))


def event(entry: Entry) -> dict[str, Any]:
    """The members of Event."""
    return storage.as_json(entry.leaf.index, entry)
