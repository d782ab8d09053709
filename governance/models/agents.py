"""An agent: a service user with an owner who answers for it."""

from django.conf import settings
from django.db import models

from auditlog.ids import new_id


class Agent(models.Model):
    """A program that proposes. Its keys are knox tokens of its service user: shown once, stored hashed."""

    class State(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"
        REVOKED = "revoked"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.SlugField(max_length=100, unique=True)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="agent")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="agents")
    state = models.CharField(max_length=10, choices=State.choices, default=State.ACTIVE)
    allowed_action_types = models.JSONField(default=list)
    open_request_limit = models.PositiveIntegerField(default=200)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class AgentKey(models.Model):
    """What is known of a key besides its hash, which knox keeps under `token_digest`. Outlives the key itself."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="keys")
    token_digest = models.CharField(max_length=128, unique=True)
    token_key = models.CharField(max_length=25)
    created_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.token_key}... of {self.agent_id}"
