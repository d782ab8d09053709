"""Summaries: hours, counted."""

from __future__ import annotations

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from missions.api import shapes
from missions.models import Summary


class SummaryQuery(PageQuery):
    """Filters of the list."""

    kind = s.ChoiceField(Summary.Kind.choices, required=False)
    tier = s.ChoiceField(["tier_1", "tier_2", "tier_3"], required=False)
    action_type = s.CharField(required=False, max_length=100)
    period_after = s.DateTimeField(required=False, help_text="Periods that begin at or after.")
    period_before = s.DateTimeField(required=False, help_text="Periods that begin before.")


_FILTERS = {
    "kind": "kind",
    "tier": "tier",
    "action_type": "action_type",
    "period_after": "period_start__gte",
    "period_before": "period_start__lt",
}


class Summaries(Endpoint):
    """`/summaries`"""

    @operation(
        "list_summaries",
        "Hours of contracts and approvals, counted",
        tag="summaries",
        asks="summaries.read",
        query=SummaryQuery,
        answer=[shapes.SummaryShape],
    )
    def get(self, request: Request) -> Response:
        """Newest first."""
        wanted = {column: self.query[name] for name, column in _FILTERS.items() if name in self.query}
        return self.page(Summary.objects.filter(**wanted), shapes.summary, order=("-period_start", "-id"))
