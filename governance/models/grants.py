"""Standing grants, and each use of one."""

from django.db import models

from auditlog.ids import new_id
from verification.models import Contract

from .agents import Agent


class Grant(models.Model):
    """An approved, bounded permission: this agent may do this so many times until then, and nobody is asked.

    `target` is a glob, `when` a CEL condition over `parameters`; `contract_id` is the contract that made it. `salt` is
    that of what the log holds of all this, with what is a secret in it (`granting.commitment`).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="grants")
    action_type = models.CharField(max_length=100)
    target = models.CharField(max_length=500)
    when = models.TextField(blank=True)
    max_uses = models.PositiveIntegerField()
    use_count = models.PositiveIntegerField(default=0)
    reason = models.TextField(blank=True)
    salt = models.BinaryField(max_length=16)
    contract_id = models.UUIDField(unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by_label = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=models.Q(use_count__lte=models.F("max_uses")), name="grant_not_overdrawn"),
        ]
        indexes = [models.Index(fields=["agent", "action_type", "expires_at"], name="grant_by_agent")]

    def __str__(self) -> str:
        return f"{self.action_type} on {self.target} for {self.agent_id}"


class GrantUse(models.Model):
    """One contract that runs on a grant."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    grant = models.ForeignKey(Grant, on_delete=models.PROTECT, related_name="uses")
    contract = models.OneToOneField(Contract, on_delete=models.PROTECT, related_name="+")
    used_at = models.DateTimeField()

    class Meta:
        ordering = ["-used_at", "-id"]

    def __str__(self) -> str:
        return f"{self.grant_id} by {self.contract_id}"
