"""A hold: the switch that stops things."""

from django.db import models

from auditlog.ids import new_id


class Hold(models.Model):
    """Nothing in its scope starts while it is engaged; `contract_id` is what led to it, if anything did.

    `pattern` is a glob, or with `is_exact` the one text that is meant.
    """

    class Scope(models.TextChoices):
        EVERYTHING = "everything"
        AGENT = "agent"
        ACTION_TYPE = "action_type"
        TARGET = "target"
        MISSION = "mission"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    scope = models.CharField(max_length=20, choices=Scope.choices)
    pattern = models.CharField(max_length=500, blank=True)
    is_exact = models.BooleanField(default=False)
    reason = models.TextField()
    source = models.CharField(max_length=20, default="person")
    contract_id = models.UUIDField(null=True, blank=True)
    engaged_by_label = models.CharField(max_length=150)
    engaged_at = models.DateTimeField()
    released_by_label = models.CharField(max_length=150, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-engaged_at", "-id"]
        indexes = [models.Index(fields=["released_at"], name="hold_engaged")]

    def __str__(self) -> str:
        return f"{self.scope} {self.pattern}".strip()


class FileHold(models.Model):
    """A file HOLD that was seen in the VAR_DIR of a host, so that clocks stop for it as for any hold.

    `written_at` is the file's own time and tells one file from the next; what began before anybody could look (the
    database was down) began then. It is extended to `last_seen_at` each time the file is seen.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    host = models.CharField(max_length=255)
    written_at = models.DateTimeField()
    began_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    class Meta:
        ordering = ["-began_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["host", "written_at"], name="one_row_of_a_hold_file")]
        indexes = [models.Index(fields=["last_seen_at"], name="hold_file_last_seen")]

    def __str__(self) -> str:
        return f"{self.host} since {self.began_at}"
