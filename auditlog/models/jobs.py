"""Work that is still owed."""

import uuid

from django.db import models
from django.db.models import Q


class JobState(models.TextChoices):
    """`queued` waits for its time or a worker; the last three are final until a person retries."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DEAD = "dead"


class Job(models.Model):
    """A piece of work owed, written with the change that owes it. Celery only carries its id."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=100)
    subject_id = models.CharField(max_length=200)
    arguments = models.JSONField(default=dict)
    queue = models.CharField(max_length=30, default="default")
    visible = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    due_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True)
    lease_seconds = models.FloatField(default=30)
    token = models.BigIntegerField(default=0)
    attempts = models.IntegerField(default=0)
    losses = models.IntegerField(default=0, help_text="Attempts whose worker vanished; not counted as failures.")
    max_attempts = models.IntegerField(default=5)
    progress = models.SmallIntegerField(default=0)
    progress_text = models.CharField(max_length=200, blank=True)
    cancel_requested_at = models.DateTimeField(null=True)
    result = models.JSONField(null=True)
    error = models.TextField(blank=True)
    worker = models.CharField(max_length=200, blank=True)
    contract_id = models.UUIDField(null=True)
    mission_id = models.UUIDField(null=True)
    correlation_id = models.CharField(max_length=200, null=True)
    caused_by = models.UUIDField(null=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=JobState.values), name="job_state_known"),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="job_running_has_lease"
            ),
            models.CheckConstraint(condition=Q(progress__gte=0, progress__lte=100), name="job_progress_percent"),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="job_due", condition=Q(state="queued")),
            models.Index(fields=["lease_until"], name="job_lease", condition=Q(state="running")),
            models.Index(fields=["kind", "subject_id"], name="job_subject"),
            models.Index(fields=["visible", "-created_at"], name="job_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject_id} ({self.state})"
