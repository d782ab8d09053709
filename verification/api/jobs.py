"""Jobs: work that is owed, as far as people want to know of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from auditlog import jobs
from auditlog.api.endpoint import Endpoint, PageQuery, Strict, operation
from auditlog.models import Job, JobState
from verification.api import shapes

TAG = "jobs"


class JobQuery(PageQuery):
    """Filters of the list."""

    state = s.ChoiceField(JobState.choices, required=False)
    kind = s.CharField(required=False, max_length=100)
    contract_id = s.UUIDField(required=False)
    mission_id = s.UUIDField(required=False)
    all = s.BooleanField(default=False, help_text="Also executions, deliveries and other everyday work.")


class Reason(Strict):
    """Why, in words that go into the log."""

    reason = s.CharField(required=False, default="", allow_blank=True, max_length=2000)


class Jobs(Endpoint):
    """`/jobs`"""

    @operation(
        "list_jobs",
        "Work that is owed, newest first",
        tag=TAG,
        asks="jobs.read",
        query=JobQuery,
        answer=[shapes.JobShape],
    )
    def get(self, request: Request) -> Response:
        """Benchmarks, restores, exports, aggregation and full verification; everything else with `all`."""
        wanted: dict[str, Any] = {
            name: self.query[name] for name in ("state", "kind", "contract_id", "mission_id") if name in self.query
        }
        if not self.query["all"] and "kind" not in wanted:
            wanted["visible"] = True
        return self.page(self.visible(Job.objects.filter(**wanted)), shapes.job)


class OneJob(Endpoint):
    """`/jobs/{id}`"""

    @operation("get_job", "One job", tag=TAG, asks="jobs.read", answer=shapes.JobShape)
    def get(self, request: Request, id: UUID) -> Response:
        """How far it is and how it ended."""
        return self.answer(shapes.job(self.find(Job.objects.all(), id=id)))


class CancelJob(Endpoint):
    """`/jobs/{id}/cancel`"""

    @operation("cancel_job", "Stop a job", tag=TAG, asks="jobs.manage", body=Reason, answer=shapes.JobShape)
    def post(self, request: Request, id: UUID) -> Response:
        """At once while it waits; a running job is asked to stop."""
        job = jobs.cancel(job_id=id, by=self.actor, reason=self.body["reason"], now=self.now)
        return self.answer(shapes.job(job))


class RetryJob(Endpoint):
    """`/jobs/{id}/retry`"""

    @operation("retry_job", "Try a dead job again", tag=TAG, asks="jobs.manage", answer=shapes.JobShape)
    def post(self, request: Request, id: UUID) -> Response:
        """With a fresh set of attempts."""
        return self.answer(shapes.job(jobs.retry(job_id=id, by=self.actor, now=self.now)))
