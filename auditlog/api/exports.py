"""Bundles to take away: asked for, made by a job, fetched."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import FileResponse
from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog import exports
from auditlog.api.endpoint import Endpoint, Missing, operation
from auditlog.api.entries import EntryFilter
from auditlog.api.proofs import AsText
from auditlog.models import Job, JobState

TAG = "auditlog"
EXPORT = "auditlog.export"


class ExportRequest(EntryFilter):
    """Which entries; all of them when nothing is said. Part of the log makes a bundle that says that it is a part."""

    disclose = s.BooleanField(default=True, help_text="With personal values and large payloads.")


class LogExport(s.Serializer[Any]):
    """A bundle that is made or was made."""

    id = s.UUIDField(help_text="Also the id of the job that makes it.")
    state = s.ChoiceField(JobState.choices)
    progress = s.IntegerField()
    size = s.IntegerField(allow_null=True, help_text="Of the log it was made from.")
    entries = s.IntegerField(allow_null=True)
    subset = s.BooleanField(allow_null=True)
    error = s.CharField(allow_blank=True)


class Exports(Endpoint):
    """`/exports`"""

    @operation(
        "export_log",
        "Make a bundle that proves itself",
        tag=TAG,
        asks=EXPORT,
        body=ExportRequest,
        answer=LogExport,
        status=202,
    )
    def post(self, request: Request) -> Response:
        """A job makes it; follow it here and fetch the bundle when it is completed."""
        wanted = {name: value for name, value in self.body.items() if name != "disclose"}
        job = exports.request(wanted=wanted, disclose=self.body["disclose"], by=self.actor, now=self.now)
        return self.answer(shown(job), status=202)


class OneExport(Endpoint):
    """`/exports/{id}`"""

    @operation("get_export", "One bundle", tag=TAG, asks=EXPORT, answer=LogExport)
    def get(self, request: Request, id: UUID) -> Response:
        """How far it is."""
        return self.answer(shown(self.find(Job.objects.filter(kind=exports.KIND), id=id)))


class Bundle(Endpoint):
    """`/exports/{id}/bundle`"""

    content_negotiation_class = AsText

    @operation(
        "get_export_bundle",
        "The bundle itself",
        tag=TAG,
        asks=EXPORT,
        responses={(200, "application/zip"): bytes},
    )
    def get(self, request: Request, id: UUID) -> FileResponse:
        """A ZIP file. Unpack it and run its verify.py."""
        job = self.find(Job.objects.filter(kind=exports.KIND, state=JobState.COMPLETED), id=id)
        path = exports.path_of(job)
        if not path.is_file():
            raise Missing("The bundle is not here any more; make it anew.")
        return FileResponse(path.open("rb"), as_attachment=True, filename=f"grace-log-{job.pk}.zip")


def shown(job: Job) -> dict[str, Any]:
    """The members of LogExport."""
    result = job.result or {}
    return {
        "id": job.pk,
        "state": job.state,
        "progress": job.progress,
        "size": result.get("size"),
        "entries": result.get("entries"),
        "subset": result.get("subset"),
        "error": job.error.partition(":")[0],
    }
