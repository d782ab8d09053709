"""Freeze windows: recurring times in which nothing of a tier starts, and the exceptions people approved."""

from django.db import models

from auditlog.ids import new_id
from verification.models import Contract


class Freeze(models.Model):
    """A calendar: `rule` is RFC 5545 text (DTSTART and RRULE lines), each occurrence lasts `duration_seconds`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    rule = models.TextField()
    duration_seconds = models.PositiveIntegerField()
    minimum_tier = models.CharField(max_length=10)
    reason = models.TextField(blank=True)
    created_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name", "-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(ended_at__isnull=True), name="one_freeze_of_a_name"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class FreezeException(models.Model):
    """One revision of a contract that may start in spite of a freeze; `approved_by` is the contract that said so.

    `digest` is that of the wording people were shown (`freezing.wording`); another wording is not excepted.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    freeze = models.ForeignKey(Freeze, on_delete=models.PROTECT, related_name="exceptions")
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="+")
    revision = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    approved_by = models.UUIDField(unique=True)
    created_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.contract_id} in spite of {self.freeze_id}"
