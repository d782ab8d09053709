"""Delegations: one person lets another decide in their name for a while."""

from django.conf import settings
from django.db import models

from auditlog.ids import new_id


class Delegation(models.Model):
    """From `starts_at` until `ends_at` (or `ended_at`, if that comes first) the delegate may decide for the delegator.

    `groups` are the groups the delegate may speak for; empty for all those the delegator is in when it is resolved.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    delegator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    delegator_label = models.CharField(max_length=150)
    delegate = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    delegate_label = models.CharField(max_length=150)
    groups = models.JSONField(default=list)
    reason = models.TextField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by_label = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(ends_at__gt=models.F("starts_at")), name="delegation_lasts"),
            models.CheckConstraint(
                condition=~models.Q(delegate=models.F("delegator")), name="delegation_to_somebody_else"
            ),
        ]
        indexes = [models.Index(fields=["ended_at", "ends_at"], name="delegation_by_end")]

    def __str__(self) -> str:
        return f"{self.delegate_label} for {self.delegator_label}"
