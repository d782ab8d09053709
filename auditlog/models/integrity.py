"""What integrity checks found, and how far they have looked."""

from django.db import models
from django.db.models import Q

from .times import readable


class Finding(models.Model):
    """Something an integrity check found; signing stops until a person has acknowledged it."""

    kind = models.CharField(max_length=50)
    subject = models.CharField(max_length=200)
    detail = models.TextField()
    found_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)
    # The entries of the log that say so, and that were the first to tell of it.
    acknowledged_in = models.UUIDField(null=True)
    told_in = models.UUIDField(null=True)

    class Meta:
        constraints = [
            readable("finding_time", "found_at", "last_seen_at"),
            readable("finding_acknowledged", "acknowledged_at"),
            # Open once; what was acknowledged, went away and came back is another finding.
            models.UniqueConstraint(
                fields=["kind", "subject", "detail"], name="finding_once", condition=Q(acknowledged_at__isnull=True)
            ),
        ]
        indexes = [models.Index(fields=["found_at"], name="finding_open", condition=Q(acknowledged_at__isnull=True))]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class IntegrityRun(models.Model):
    """One integrity run; where it ended well, the next one starts from its size and frontier."""

    level = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    from_index = models.BigIntegerField()
    size = models.BigIntegerField()
    root = models.BinaryField(max_length=32)
    frontier = models.BinaryField(default=b"")
    slice_number = models.SmallIntegerField(default=0)
    duration_ms = models.IntegerField(default=0)
    findings = models.JSONField(default=list)
    passed = models.BooleanField()

    class Meta:
        constraints = [readable("integrity_run_time", "started_at", "finished_at")]
        indexes = [models.Index(fields=["-started_at"], name="integrity_run_recent")]

    def __str__(self) -> str:
        return f"{self.level} run to {self.size}"
