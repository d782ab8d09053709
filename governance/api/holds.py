"""Holds: the switch that stops things."""

from __future__ import annotations

from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, operation
from governance import holds
from governance.api import shapes
from governance.api.contracts import submitted_shape
from governance.models import Hold

TAG = "holds"


class HoldQuery(PageQuery):
    """Filters of the list."""

    engaged = s.BooleanField(
        required=False, allow_null=True, default=None, help_text="Only those that hold now, or not."
    )
    scope = s.ChoiceField(Hold.Scope.choices, required=False)


class Holds(Endpoint):
    """`/holds`"""

    @operation(
        "list_holds",
        "Holds, newest first",
        tag=TAG,
        asks="holds.read",
        query=HoldQuery,
        answer=[shapes.HoldShape],
    )
    def get(self, request: Request) -> Response:
        """Those that hold, and those that did."""
        rows = Hold.objects.filter(**{name: self.query[name] for name in ("scope",) if name in self.query})
        if self.query["engaged"] is not None:
            rows = rows.filter(released_at__isnull=self.query["engaged"])
        return self.page(self.visible(rows), shapes.hold, order=("-engaged_at", "-id"))

    @operation(
        "engage_hold",
        "Stop things",
        tag=TAG,
        asks="holds.engage",
        body=shapes.HoldRequest,
        answer=shapes.HoldShape,
        status=201,
        example={"scope": "action_type", "pattern": "config.update", "reason": "Three bad changes in a row."},
    )
    def post(self, request: Request) -> Response:
        """From the next start on, nothing in its scope begins. Rollbacks in flight go on."""
        hold = holds.engage(
            scope=self.body["scope"],
            pattern=self.body["pattern"],
            reason=self.body["reason"],
            by=self.actor,
            user=self.user,
            now=self.now,
        )
        return self.answer(shapes.hold(hold), status=201)


class ReleaseHold(Endpoint):
    """`/holds/{id}/release`"""

    write_scope = "proposals"

    @operation(
        "release_hold",
        "Propose to release a hold",
        tag=TAG,
        asks="holds.release",
        body=shapes.ReleaseRequest,
        answer=shapes.Submitted,
        status=202,
        example={"reason": "The disk was replaced."},
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Letting things run again is a tier_3 action: the answer is its contract, which waits for people."""
        self.find(Hold.objects.all(), id=id)
        submitted = holds.release(hold_id=id, reason=self.body["reason"], by=self.actor, user=self.user, now=self.now)
        return self.answer(submitted_shape(submitted), status=202)
