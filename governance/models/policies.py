"""A policy version: an append-only list of rules with a digest."""

from django.db import models

from auditlog.ids import new_id


class Policy(models.Model):
    """One version of the policy. Exactly one is in force."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    version = models.PositiveIntegerField(unique=True)
    rules = models.JSONField()
    digest = models.CharField(max_length=64)
    note = models.TextField(blank=True)
    is_active = models.BooleanField(default=False)
    created_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-version"]
        verbose_name_plural = "policies"
        constraints = [
            models.UniqueConstraint(
                fields=["is_active"], condition=models.Q(is_active=True), name="one_active_policy"
            ),
        ]

    def __str__(self) -> str:
        return f"policy {self.version}"
