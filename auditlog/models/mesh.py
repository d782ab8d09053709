"""Who listens to the log, and how far they have heard."""

from django.db import models


class Subscription(models.Model):
    """A subscriber's durable cursor, its lease, and how it fares."""

    name = models.CharField(max_length=100, primary_key=True)
    facts = models.JSONField(default=list)
    cursor = models.BigIntegerField(default=0, help_text="The next leaf index to look at.")
    token = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    failures = models.IntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    due_at = models.DateTimeField(null=True, help_text="Not tried again before this time after a failure.")
    delivered_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
