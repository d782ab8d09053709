"""A permit: the right of one agent to do the work of one attempt, once."""

from django.db import models

from auditlog.ids import new_id

from .executions import Execution


class Permit(models.Model):
    """Offered to the agents it names, claimed by one of them, and then reported or lapsed.

    `good_until` is by when it must be claimed, then by when its agent must be heard of again. Whatever happens, its
    work ends by `deadline_at`.
    """

    class State(models.TextChoices):
        OFFERED = "offered"
        CLAIMED = "claimed"
        REPORTED = "reported"
        LAPSED = "lapsed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    execution = models.OneToOneField(Execution, on_delete=models.PROTECT, related_name="permit")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OFFERED)
    name = models.CharField(max_length=100)
    agents = models.JSONField()
    arguments = models.JSONField()
    digest = models.CharField(max_length=64)
    token = models.BigIntegerField()
    heartbeat_seconds = models.FloatField()
    offered_at = models.DateTimeField()
    good_until = models.DateTimeField()
    deadline_at = models.DateTimeField()
    claimed_by_id = models.CharField(max_length=64, blank=True)
    claimed_by_label = models.CharField(max_length=150, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    heard_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    result = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["offered_at", "id"]
        indexes = [
            models.Index(fields=["offered_at", "id"], condition=models.Q(state="offered"), name="permit_offered"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"
