"""Approval requests and the decisions people take on them."""

from django.conf import settings
from django.db import models

from auditlog.ids import new_id
from verification.models import Contract, Revision

from .delegations import Delegation
from .policies import Assessment, Policy


class ApprovalRequest(models.Model):
    """A question to people, frozen: what they are shown is what they approve.

    `document` is the exact RFC 8785 text whose SHA-256 is `digest`. `drift` says what has changed in the world since
    the request before this one: `{"request": its id, "before": state, "after": state}`.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        REJECTED = "rejected"
        CHANGES_REQUESTED = "changes_requested"
        EXPIRED = "expired"
        CANCELLED = "cancelled"
        STALE = "stale"
        SPENT = "spent"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="approval_requests")
    revision = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=20, choices=State.choices, default=State.PENDING)
    tier = models.CharField(max_length=10)
    digest = models.CharField(max_length=64)
    document = models.TextField()
    requirements = models.JSONField()
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="+")
    assessment = models.ForeignKey(Assessment, on_delete=models.PROTECT, related_name="+")
    preview = models.JSONField(default=dict)
    observation = models.JSONField(default=dict)
    drift = models.JSONField(default=dict)
    fingerprint = models.CharField(max_length=64, blank=True)
    risk = models.JSONField(default=dict)
    risk_score = models.PositiveSmallIntegerField(default=0)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    requester_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    valid_until = models.DateTimeField(null=True, blank=True)
    remind_at = models.DateTimeField(null=True, blank=True)
    reminder_count = models.PositiveSmallIntegerField(default=0)
    escalated_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    closing_reason = models.TextField(blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["revision"],
                condition=models.Q(state__in=["pending", "approved"]),
                name="one_open_request_per_revision",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    state__in=[
                        "pending",
                        "approved",
                        "rejected",
                        "changes_requested",
                        "expired",
                        "cancelled",
                        "stale",
                        "spent",
                    ]
                ),
                name="approval_state_is_known",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "-risk_score", "created_at"], name="approval_inbox"),
            models.Index(fields=["state", "expires_at"], name="approval_by_expiry"),
            models.Index(fields=["state", "remind_at"], name="approval_by_reminder"),
            models.Index(fields=["-created_at", "-id"], name="approval_newest"),
        ]

    def __str__(self) -> str:
        return str(self.contract)


class Decision(models.Model):
    """What one person said of one request, bound to the digest they were shown.

    Said in their own name, or, with a `delegation`, in that of `on_behalf_of`. Nobody is heard twice in a request,
    neither by themselves and by a delegate nor by two delegates.
    """

    class Verdict(models.TextChoices):
        APPROVE = "approve"
        REJECT = "reject"
        REQUEST_CHANGES = "request_changes"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="decisions")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    person_label = models.CharField(max_length=150)
    delegation = models.ForeignKey(
        Delegation, null=True, blank=True, on_delete=models.PROTECT, related_name="decisions"
    )
    on_behalf_of = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    on_behalf_of_label = models.CharField(max_length=150, blank=True)
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    digest = models.CharField(max_length=64)
    reason = models.TextField(blank=True)
    entry_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "person"],
                condition=models.Q(withdrawn_at__isnull=True),
                name="one_decision_per_person",
            ),
            models.UniqueConstraint(
                fields=["request", "on_behalf_of"],
                condition=models.Q(withdrawn_at__isnull=True),
                name="one_decision_on_behalf",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.person_label}: {self.verdict}"


class Comment(models.Model):
    """What somebody had to say about a request; `links` are https addresses of evidence. No part of any digest."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="comments")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    person_label = models.CharField(max_length=150)
    text = models.TextField()
    links = models.JSONField(default=list)
    entry_id = models.UUIDField()
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"{self.person_label} on {self.request_id}"
