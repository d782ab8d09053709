"""Webhooks, and each delivery owed to them."""

from django.db import models

from auditlog.ids import new_id
from verification.models import Contract


class Webhook(models.Model):
    """A receiver of facts, signed to the Standard Webhooks specification.

    Until `previous_until` deliveries are signed with the secret before as well.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    url = models.CharField(max_length=500)
    secret_sealed = models.TextField()
    previous_secret_sealed = models.TextField(blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    facts = models.JSONField(default=list)
    is_active = models.BooleanField(default=True)
    created_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One fact owed to a webhook, or to the callback of a contract; the job that carries it holds the due time."""

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    webhook = models.ForeignKey(Webhook, null=True, blank=True, on_delete=models.PROTECT, related_name="deliveries")
    contract = models.ForeignKey(Contract, null=True, blank=True, on_delete=models.PROTECT, related_name="callbacks")
    entry_id = models.UUIDField()
    fact = models.CharField(max_length=100)
    payload = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    last_status = models.PositiveIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True)
    job_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(fields=["webhook", "entry_id"], name="one_delivery_per_fact"),
            models.UniqueConstraint(
                fields=["entry_id"], condition=models.Q(contract__isnull=False), name="one_callback_per_fact"
            ),
            models.CheckConstraint(
                condition=models.Q(webhook__isnull=False, contract__isnull=True)
                | models.Q(webhook__isnull=True, contract__isnull=False),
                name="delivery_has_one_receiver",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.fact} to {self.webhook_id or self.contract_id}"

    @property
    def url(self) -> str:
        """Where it goes."""
        if self.webhook is not None:
            return self.webhook.url
        assert self.contract is not None, "one of the two"
        return self.contract.callback_url
