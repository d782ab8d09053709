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
