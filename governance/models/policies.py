"""A policy version: an append-only list of rules with a digest; and what it said about a revision."""

from django.db import models

from auditlog.ids import new_id
from verification.models import Contract, Revision


class Policy(models.Model):
    """One version of the policy. Exactly one is in force."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    version = models.PositiveIntegerField(unique=True)
    rules = models.JSONField()
    tiers = models.JSONField(default=dict)
    unmatched = models.CharField(max_length=10, default="tier_3")
    digest = models.CharField(max_length=64)
    note = models.TextField(blank=True)
    is_active = models.BooleanField(default=False)
    created_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-version"]
        verbose_name_plural = "policies"
        constraints = [
            models.UniqueConstraint(fields=["is_active"], condition=models.Q(is_active=True), name="one_active_policy"),
        ]

    def __str__(self) -> str:
        return f"policy {self.version}"


class Assessment(models.Model):
    """What the policy said about one revision, and what was bound by it; written once, never changed.

    `document` is the exact RFC 8785 text whose SHA-256 is `digest`. A tier_1 contract runs on its assessment
    alone; the others on an approval request, which carries a copy.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="assessments")
    revision = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="+")
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    effect = models.CharField(max_length=10)
    tier = models.CharField(max_length=10)
    requirements = models.JSONField()
    rules = models.JSONField(default=list)
    reason = models.TextField(blank=True)
    instead = models.TextField(blank=True)
    risk = models.JSONField(default=dict)
    risk_score = models.PositiveSmallIntegerField(default=0)
    fingerprint = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64)
    document = models.TextField()
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["contract", "digest"], name="assessment_by_digest")]

    def __str__(self) -> str:
        return f"{self.contract_id}: {self.effect}"
