"""A benchmark run: a suite of measured checks, compared with its golden run."""

from django.db import models

from auditlog.ids import new_id


class BenchmarkRun(models.Model):
    """One run of a suite: samples per check, and how they compare with the golden run."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    suite = models.CharField(max_length=100)
    state = models.CharField(max_length=20, choices=State.choices, default=State.QUEUED)
    passed = models.BooleanField(null=True, blank=True)
    drifted = models.BooleanField(null=True, blank=True)
    is_golden = models.BooleanField(default=False)
    checks = models.JSONField(default=list)
    job_id = models.UUIDField(null=True, blank=True)
    requested_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["suite"], condition=models.Q(is_golden=True), name="one_golden_run_per_suite"
            ),
        ]
        indexes = [models.Index(fields=["suite", "-created_at"], name="benchmark_by_suite")]

    def __str__(self) -> str:
        return f"{self.suite} at {self.created_at:%Y-%m-%d %H:%M}"
