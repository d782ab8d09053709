"""A snapshot: the way back."""

from django.db import models

from auditlog.ids import new_id


class Snapshot(models.Model):
    """A signed manifest of what was there; the content itself is stored by its SHA-256."""

    class Kind(models.TextChoices):
        PRE_ACTION = "pre_action"
        GOLDEN = "golden"
        MANUAL = "manual"
        SCHEDULED = "scheduled"
        POST_ROLLBACK = "post_rollback"

    class State(models.TextChoices):
        ACTIVE = "active"
        RESTORED = "restored"
        INVALIDATED = "invalidated"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    state = models.CharField(max_length=20, choices=State.choices, default=State.ACTIVE)
    scope = models.CharField(max_length=500)
    action_type = models.CharField(max_length=100, blank=True)
    parameters = models.JSONField(null=True, blank=True)
    contract_id = models.UUIDField(null=True, blank=True)
    mission_id = models.UUIDField(null=True, blank=True)
    manifest = models.TextField()
    manifest_sha256 = models.CharField(max_length=64)
    signature = models.CharField(max_length=200)
    item_count = models.PositiveIntegerField(default=0)
    byte_count = models.BigIntegerField(default=0)
    baseline = models.JSONField(null=True, blank=True)
    health_score = models.PositiveSmallIntegerField(null=True, blank=True)
    is_golden = models.BooleanField(default=False)
    created_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["scope"], condition=models.Q(is_golden=True), name="one_golden_snapshot_per_scope"
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="snapshot_newest"),
            models.Index(fields=["contract_id"], name="snapshot_by_contract"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.scope}"
