"""A playbook: a versioned template of steps."""

from django.db import models

from auditlog.ids import new_id


class Playbook(models.Model):
    """One version of a playbook; running it makes a mission. `missions.templates` is the typed face of
    `steps` and `variables`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.SlugField(max_length=100)
    version = models.PositiveIntegerField(default=1)
    title = models.CharField(max_length=200)
    error_pattern = models.CharField(max_length=100, blank=True)
    variables = models.JSONField(default=dict, blank=True)
    steps = models.JSONField()
    digest = models.CharField(max_length=64)
    is_active = models.BooleanField(default=True)
    created_by_label = models.CharField(max_length=150)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="playbook_version_once"),
            models.UniqueConstraint(fields=["name"], condition=models.Q(is_active=True), name="one_active_playbook"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
