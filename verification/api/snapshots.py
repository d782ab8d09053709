"""Snapshots: the way back, listed, taken, restored, and marked as the good one."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog.api.endpoint import Endpoint, PageQuery, Strict, operation
from verification import snapshotting
from verification.api import shapes
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
    """What to keep: the target of an action, as its executor would keep it before acting."""

    action_type = s.CharField(max_length=100)
    target = s.CharField(max_length=500)
    parameters = shapes.JsonObject()
    mission_id = s.UUIDField(required=False, allow_null=True, default=None)


class RestoreRequest(Strict):
    """How to restore."""

    dry_run = s.BooleanField(default=False, help_text="Only show the difference.")


class RestoreShape(s.Serializer[Any]):
    """What was, or would be, restored."""

    dry_run = s.BooleanField()
    snapshot_id = s.UUIDField()
    difference = shapes.ForeignJson(allow_null=True)
    contract_id = s.UUIDField(allow_null=True, help_text="The contract that restores it, if it was proposed.")
    job_id = s.UUIDField(allow_null=True)


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


class OneSnapshot(Endpoint):
    """`/snapshots/{id}`"""

    @operation("get_snapshot", "One snapshot", tag=TAG, asks="snapshots.read", answer=shapes.SnapshotDetail)
    def get(self, request: Request, id: UUID) -> Response:
        """With its manifest: every item and its SHA-256."""
        return self.answer(detail(self.find(Snapshot.objects.all(), id=id)))


def detail(row: Snapshot) -> dict[str, Any]:
    """The members of SnapshotDetail."""
    return {
        **shapes.snapshot(row),
        "manifest": json.loads(row.manifest or "{}"),
        "signature": row.signature,
        "parameters": row.parameters,
        "baseline": row.baseline,
    }
