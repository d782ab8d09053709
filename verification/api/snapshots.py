"""Snapshots: the way back, listed, taken, restored, and marked as the good one."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, Strict, operation
from verification import keeping, snapshotting
from verification.api import shapes
from verification.executors.base import Call
from verification.models import Snapshot

TAG = "snapshots"


class SnapshotQuery(PageQuery):
    """Filters of the list."""

    kind = s.ChoiceField(Snapshot.Kind.choices, required=False)
    state = s.ChoiceField(Snapshot.State.choices, required=False)
    scope = s.CharField(required=False, max_length=500)
    contract_id = s.UUIDField(required=False)
    mission_id = s.UUIDField(required=False)
    is_golden = s.BooleanField(required=False)


class SnapshotRequest(Strict):
    """What to keep: a scope of Grace's own, or the target of an action as its executor would keep it."""

    scope = s.CharField(
        required=False,
        max_length=500,
        help_text="`grace` (its own configuration), `file:…`, `files:…`, `database:…`, or an address.",
    )
    action_type = s.CharField(required=False, max_length=100)
    target = s.CharField(required=False, max_length=500)
    parameters = shapes.JsonObject(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Either the one or the other."""
        given = set(attrs)
        if given not in ({"scope"}, {"action_type", "target", "parameters"}):
            raise s.ValidationError(
                "Either scope is expected, or action_type, target and parameters.", code="either_or"
            )
        return attrs


class Snapshots(Endpoint):
    """`/snapshots`"""

    @operation(
        "list_snapshots",
        "Snapshots, newest first",
        tag=TAG,
        asks="snapshots.read",
        query=SnapshotQuery,
        answer=[shapes.SnapshotShape],
    )
    def get(self, request: Request) -> Response:
        """Without their manifests."""
        wanted = {name: value for name, value in self.query.items() if name not in ("limit", "cursor")}
        rows = Snapshot.objects.filter(**wanted).defer("manifest", "baseline", "parameters")
        return self.page(self.visible(rows), shapes.snapshot)

    @operation(
        "take_snapshot",
        "Keep what is there now",
        tag=TAG,
        asks="snapshots.create",
        body=SnapshotRequest,
        answer=shapes.SnapshotShape,
        status=201,
        example={
            "action_type": "config.update",
            "target": "file:service.json",
            "parameters": {"path": "service.json", "merge": {}},
        },
    )
    def post(self, request: Request) -> Response:
        """A manual snapshot; nothing is done to the target."""
        if "scope" in self.body:
            taken = snapshotting.take_of(
                scope=self.body["scope"], kind=Snapshot.Kind.MANUAL, by=self.actor, now=self.now
            )
        else:
            taken = keeping.keep(call=Call(**self.body), by=self.actor, now=self.now)
        return self.answer(shapes.snapshot(taken), status=201)


class OneSnapshot(Endpoint):
    """`/snapshots/{id}`"""

    @operation("get_snapshot", "One snapshot", tag=TAG, asks="snapshots.read", answer=shapes.SnapshotDetail)
    def get(self, request: Request, id: UUID) -> Response:
        """With its manifest: every item and its SHA-256."""
        return self.answer(detail(self.find(Snapshot.objects.all(), id=id)))


class GoldenSnapshot(Endpoint):
    """`/snapshots/{id}/golden`"""

    @operation(
        "mark_snapshot_golden",
        "Make a snapshot the good one of its scope",
        tag=TAG,
        asks="snapshots.mark_golden",
        answer=shapes.SnapshotShape,
    )
    def post(self, request: Request, id: UUID) -> Response:
        """Its signature and every hash are checked first. The one before it is no longer golden."""
        golden = snapshotting.mark_golden(snapshot_id=id, by=self.actor, now=self.now)
        return self.answer(shapes.snapshot(golden))


def detail(row: Snapshot) -> dict[str, Any]:
    """The members of SnapshotDetail."""
    return {
        **shapes.snapshot(row),
        "manifest": json.loads(row.manifest or "{}"),
        "signature": row.signature,
        "parameters": row.parameters,
        "baseline": row.baseline,
    }
