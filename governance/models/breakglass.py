"""Break-glass: one person acted now, and somebody else has to look at it."""

from django.conf import settings
from django.db import models

from auditlog.ids import new_id
from verification.models import Contract


class BreakGlass(models.Model):
    """One action a person ran on their own word; open until somebody else has reviewed it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    contract = models.OneToOneField(Contract, on_delete=models.PROTECT, related_name="break_glass")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    person_label = models.CharField(max_length=150)
    reason = models.TextField()
    used_at = models.DateTimeField()
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reviewer_label = models.CharField(max_length=150, blank=True)
    finding = models.TextField(blank=True)
    reviewed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-used_at", "-id"]
        verbose_name_plural = "break-glass uses"
        constraints = [
            models.UniqueConstraint(
                fields=["person"], condition=models.Q(reviewed_at__isnull=True), name="one_open_review_per_person"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.person_label}: {self.reason[:60]}"
