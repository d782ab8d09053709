"""An incident: an error that was reported, what it was taken for, and what was done."""

from django.conf import settings
from django.db import models

from auditlog.ids import new_id

from .missions import Mission


class Incident(models.Model):
    """One deduplicated problem. A second report of the same problem while it is open counts an occurrence."""

    class State(models.TextChoices):
        OPEN = "open"
        PLANNED = "planned"
        ESCALATED = "escalated"
        RESOLVED = "resolved"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    error_type = models.CharField(max_length=200)
    error_message = models.TextField()
    severity = models.CharField(max_length=20)
    source = models.CharField(max_length=200)
    error_id = models.CharField(max_length=200, blank=True)
    context = models.JSONField(default=dict)
    fingerprint = models.CharField(max_length=64)
    occurrence_count = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=20, choices=State.choices, default=State.OPEN)
    error_pattern = models.CharField(max_length=100, blank=True)
    confidence = models.DecimalField(max_digits=5, decimal_places=4, null=True, blank=True)
    patterns_version = models.PositiveIntegerField(default=0)
    playbook = models.CharField(max_length=100, blank=True)
    escalation_reason = models.TextField(blank=True)
    mission = models.ForeignKey(Mission, null=True, blank=True, on_delete=models.PROTECT, related_name="incidents")
    diagnosis = models.JSONField(default=dict)
    reported_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reported_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint"],
                condition=models.Q(resolved_at__isnull=True),
                name="one_open_incident_per_problem",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["open", "planned", "escalated", "resolved"]),
                name="incident_state_is_known",
            ),
        ]
        indexes = [models.Index(fields=["-created_at", "-id"], name="incident_newest")]

    def __str__(self) -> str:
        return f"{self.error_type} from {self.source}"
