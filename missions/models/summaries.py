"""A summary: one hour of contracts or approvals, counted."""

from django.db import models

from auditlog.ids import new_id


class Summary(models.Model):
    """What happened in one period, by dimension; counted again whenever asked, never added to."""

    class Kind(models.TextChoices):
        CONTRACTS = "contracts"
        APPROVALS = "approvals"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    tier = models.CharField(max_length=10, blank=True)
    action_type = models.CharField(max_length=100, blank=True)
    counts = models.JSONField(default=dict)
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ["-period_start", "kind"]
        verbose_name_plural = "summaries"
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "period_start", "period_end", "tier", "action_type"], name="summary_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} from {self.period_start:%Y-%m-%d %H:%M}"
